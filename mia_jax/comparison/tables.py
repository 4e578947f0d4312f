"""The tables of a comparison on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mia_jax.comparison.rows import ComparisonRows, Row, at_one_level, at_the_end
from mia_jax.report.formatting import interval_name, p_value

if TYPE_CHECKING:
    from rich.console import RenderableType

MATCHED = {"gap": "gap of accuracy", "loss_gap": "gap of loss", "test_accuracy": "test accuracy"}
NAMES = {"auc": "AUC", "balanced_accuracy": "bal. accuracy"}


def terminal(rows: ComparisonRows) -> RenderableType:
    """For every variant, families less the reference at the end, at equal gap and at equal test accuracy."""
    from rich.console import Group

    tables = []
    for variant in rows.variants:
        name = variant or rows.title
        last = at_the_end(rows, variant)
        places = [(f"after {last[0]['epoch']} epochs" if last else "", last)]
        places += [
            (f"at equal {words}", at_one_level(rows, matched, variant)) for matched, words in MATCHED.items()
        ]
        tables += [_table(f"{name}: {where}", own, rows.confidence) for where, own in places if own]
    return Group(*tables)


def _table(title: str, rows: Sequence[Row], confidence: float) -> RenderableType:
    """Differences, a line for each family, attack and measure."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    matched = "level" in rows[0]
    for column in ("family less reference", "attack", *(("level",) if matched else ()), "of"):
        table.add_column(column, no_wrap=True)
    for column in ("difference", f"{interval_name(confidence)}", "p"):
        table.add_column(column, justify="right")
    for row in rows:
        level = [f"{row['level']:.2f}"] if matched else []
        ends = f"{row['low']:+.3f} to {row['high']:+.3f}"
        of = NAMES[row["what"]]
        pair = f"{row['family']} - {row['reference']}"
        table.add_row(pair, row["attack"], *level, of, f"{row['value']:+.3f}", ends, p_value(row["p"]))
    return table
