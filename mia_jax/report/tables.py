"""Results as tables: on the terminal, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mia_jax.report import atomic, notices
from mia_jax.report.formatting import NOT_ESTIMABLE, bounds, number, percent, rate
from mia_jax.report.inputs import ReportInputs, Row, finite, last_rows, tpr_key

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def write_csv(results: Sequence[Row], path: pathlib.Path) -> None:
    """Writes one line per result; the columns are all keys in order of appearance, None is empty."""
    columns = list(dict.fromkeys(key for row in results for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in results)
    atomic.write_text(path, text.getvalue())


def write_json(results: Sequence[Row], path: pathlib.Path) -> None:
    """Writes a list of records as strict JSON; None, NaN and infinities become null."""
    records = [{key: _plain(value) for key, value in row.items()} for row in results]
    atomic.write_text(path, json.dumps(records, indent=1, allow_nan=False) + "\n")


def terminal(inputs: ReportInputs) -> RenderableType:
    """The utility and attack tables of the last checkpoint, for a console of 100 columns or more."""
    from rich.console import Group
    from rich.text import Text

    note = f"[..] {rate(inputs.confidence)} interval over targets and records."
    if _any_missing_tpr(inputs):
        note += f" n/e: {NOT_ESTIMABLE}."
    parts = [_utility_table(inputs), _attack_table(inputs), Text(note, style="dim")]
    return Group(*parts, *(Text(notice, style="bold red") for notice in notices.notices(inputs)))


def _utility_table(inputs: ReportInputs) -> Table:
    """Train and test accuracy and their gap, a row per family."""
    table = _table(f"{inputs.title}: utility at the last checkpoint")
    for header in ("Parameters", "Models", "Epoch", "Train accuracy", "Test accuracy", "Gap"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in last_rows(inputs.utility):
        accuracies = (
            _with_bounds(row, name, percent, lambda value: f"{100 * value:.1f}")
            for name in ("train_accuracy", "test_accuracy", "gap")
        )
        counts = (f"{row[name]:,}" for name in ("num_parameters", "models", "epoch"))
        table.add_row(_literal(row["family"]), *counts, *accuracies)
    return table


def _attack_table(inputs: ReportInputs) -> Table:
    """AUC, balanced accuracy and TPRs, a block of rows per family; the highest AUC is bold."""
    table = _table("Attacks at the last checkpoint (TPR in % of members)")
    table.add_column("AUC", justify="right", no_wrap=True)
    table.add_column("Bal.\nacc.", justify="right")
    for fpr in inputs.fprs:
        table.add_column(f"TPR at\nFPR {rate(fpr)}", justify="right")
    rows = last_rows(inputs.results)
    for family in inputs.families:
        block = [row for row in rows if row["family"] == family]
        if not block:
            continue
        strongest = max(finite(row.get("auc")) or -math.inf for row in block)
        table.add_section()
        table.add_row(_literal(family), style="bold cyan")
        for row in block:
            style = "bold" if finite(row.get("auc")) == strongest else ""
            table.add_row(*_attack_cells(row, inputs.fprs), style=style)
    return table


def _attack_cells(row: Row, fprs: Sequence[float]) -> list[Any]:
    """The cells of one attack; with more than three TPRs there is no room for their intervals."""
    auc = _with_bounds(
        row,
        "auc",
        lambda value: number(value, absent="none"),
        lambda value: f"{value:.3f}".replace("0.", ".", 1),
    )
    balanced = number(row.get("balanced_accuracy"), absent="none")
    cells: list[Any] = [_literal(f"  {row['attack']}"), auc, balanced]
    for fpr in fprs:
        key = tpr_key(fpr)
        shown = percent(row.get(key)).rstrip("%")
        with_bounds = _with_bounds(row, key, lambda _, shown=shown: shown, _short_percent)
        cells.append(with_bounds if len(fprs) <= 3 else shown)
    return cells


def _with_bounds(row: Row, name: str, style: Any, short: Any) -> Any:
    """An estimate and the ends of its interval, more briefly: "0.764 [.741, .787]"."""
    low, high = bounds(row, name)
    text = style(row.get(name))
    if finite(row.get(name)) is None or low is None or high is None:
        return _literal(text)
    return _literal(f"{text} [{short(low)}, {short(high)}]")


def _short_percent(value: float) -> str:
    """A rate in percent to about two figures and without the sign: "14", "1.5"."""
    return f"{100 * value:.{0 if abs(value) >= 0.0995 else 1}f}"


def _table(title: str) -> Table:
    """An empty table whose first column holds names."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=_literal(title),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("", overflow="fold")
    return table


def _literal(text: str) -> Any:
    """Text that is not read as markup."""
    from rich.text import Text

    return Text(text)


def _any_missing_tpr(inputs: ReportInputs) -> bool:
    """Whether any TPR at the last checkpoint is not estimable."""
    rows = last_rows(inputs.results)
    return any(finite(row.get(tpr_key(fpr))) is None for row in rows for fpr in inputs.fprs)


def _plain(value: Any) -> Any:
    """A value JSON knows; numbers that are not finite become None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
