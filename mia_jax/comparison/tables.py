"""The tables of a comparison on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mia_jax.comparison.rows import ComparisonRows, Row, at_one_level, at_the_end
from mia_jax.report.formatting import interval_name, p_value, signed

if TYPE_CHECKING:
    from rich.console import RenderableType

MATCHED = {"gap": "gap of accuracy", "loss_gap": "gap of loss", "test_accuracy": "test accuracy"}


def terminal(rows: ComparisonRows) -> RenderableType:
    """AUCs of families less that of the reference at the end, at equal gaps and at equal test accuracy."""
    from rich.console import Group

    last = at_the_end(rows)
    places = [(f"after {rows.last} epochs", last)]
    places += [(f"at equal {words}", at_one_level(rows, matched)) for matched, words in MATCHED.items()]
    of_auc = [(where, [row for row in own if row["what"] == "auc"]) for where, own in places]
    return Group(
        *(
            _table(f"{rows.title}: AUC {where}", own, rows.confidence)
            if own
            else f"{rows.title}: AUC {where}: no level that every family comes to for good"
            for where, own in of_auc
        )
    )


def _table(title: str, rows: Sequence[Row], confidence: float) -> RenderableType:
    """Differences, a line for each family and attack."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    matched = "level" in rows[0]
    for column in ("family less reference", "attack", *(("level",) if matched else ())):
        table.add_column(column, no_wrap=True)
    for column in ("difference", f"{interval_name(confidence)}", "p"):
        table.add_column(column, justify="right")
    for row in rows:
        level = [f"{row['level']:.2f}"] if matched else []
        ends = f"{signed(row['low'])} to {signed(row['high'])}"
        pair = f"{row['family']} - {row['reference']}"
        table.add_row(pair, row["attack"], *level, signed(row["value"]), ends, p_value(row["p"]))
    return table
