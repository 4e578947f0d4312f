"""Results as tables: on the terminal, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mia_jax.report import atomic, notices, sections
from mia_jax.report.cells import utility_counts
from mia_jax.report.formatting import NOT_ESTIMABLE, bounds, count, number, percent, rate, tiny
from mia_jax.report.inputs import LongTable, ReportInputs, Row, finite, last_rows, tpr_key

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

ONLY_REFUTES = (
    "An audit can refute a promise of privacy, never confirm one; "
    "no attack could have proven more than the ceiling."
)

LONG_NAME = 20
"""Characters of an attack's name above which a table of 100 columns gets tight."""


LINES_AT_ONCE = 4096
"""Lines of a table that are written at once."""


def write_csv(results: Sequence[Row] | LongTable, path: pathlib.Path, digits: int = 0) -> None:
    """Writes one line per result; the columns are all keys in order of appearance, None is empty.

    digits: significant digits of floats; 0 writes all of them. Rows are written as they are made; millions of
    cells take seconds.
    """
    atomic.write_parts(path, _csv(results, f"%.{digits}g" if digits else ""))


def _csv(results: Sequence[Row] | LongTable, style: str) -> Iterator[bytes]:
    """The lines of a table, some at a time."""
    if isinstance(results, LongTable):
        columns = list(results.columns)
    else:
        columns = list(dict.fromkeys(key for row in results for key in row))
    rows = iter(results)
    lines: list[Iterable[Any]] = [columns]
    while lines:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        yield text.getvalue().encode()
        lines = [
            [_written(row.get(key), style) for key in columns]
            for row in itertools.islice(rows, LINES_AT_ONCE)
        ]


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
    parts: list[RenderableType] = [_utility_table(inputs)] if inputs.utility else []
    parts += [_attack_table(inputs), Text(note, style="dim")]
    parts += [Text(line, style="dim") for line in _skipped(inputs)]
    parts += [_promise_table(inputs)] if inputs.promises else []
    parts += [_audit_table(inputs), Text(ONLY_REFUTES, style="dim")] if inputs.audits else []
    parts += [Text(note, style="dim") for note in inputs.notes]
    return Group(*parts, *(Text(notice, style="bold red") for notice in notices.notices(inputs)))


def _skipped(inputs: ReportInputs) -> list[str]:
    """The attacks that were not run, a line for each family."""
    lines = []
    for family, reasons in inputs.skipped.items():
        names: dict[str, list[str]] = {}
        for attack, reason in reasons.items():
            names.setdefault(reason, []).append(attack)
        parts = [f"{', '.join(attacks)} ({reason})" for reason, attacks in names.items()]
        if parts:
            lines.append(f"Not run{inputs.of(family, 'on')}: {'; '.join(parts)}.")
    return lines


def _promise_table(inputs: ReportInputs) -> Table:
    """What the defences promise, each with its relation and delta."""
    table = _table("Promised by the defences")
    for header in ("ε", "δ"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("Relation", "Hidden", "How"):
        table.add_column(header)
    for row in sections.promises(inputs):
        names = ("defence", "epsilon", "delta", "relation", "unit", "meaning")
        table.add_row(*(_literal(row[name]) for name in names))
    return table


def _audit_table(inputs: ReportInputs) -> Table:
    """The lower bounds on epsilon, each with its relation, ceiling and confidence."""
    table = _table("Audit: lower bounds on ε")
    promises = ("Promised",) * bool(inputs.promises)
    for header in ("ε ≥", "Ceiling", *promises, "Confidence", "δ"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("Relation", "Method"):
        table.add_column(header)
    for header in ("Trials", "Canaries"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in inputs.audits:
        proven = (number(row.get(name), 2, "none") for name in ("epsilon", "ceiling"))
        words = (row[name].replace("_", " ") for name in ("relation", "method"))
        counts = (count(row.get(name)) for name in ("trials", "canaries"))
        promised = [number(sections.promised(inputs, row), 2, "none")] * bool(inputs.promises)
        cells = (
            row["family"],
            *proven,
            *promised,
            rate(row["confidence"]),
            tiny(row["delta"]),
            *words,
            *counts,
        )
        table.add_row(*map(_literal, cells))
    return table


def _utility_table(inputs: ReportInputs) -> Table:
    """Train and test accuracy and their gap, a row per family."""
    table = _table(f"{inputs.title}: utility{inputs.at_last}")
    counted = utility_counts(inputs)
    for header in (*counted.values(), "Train accuracy", "Test accuracy", "Gap"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in last_rows(inputs.utility):
        accuracies = (
            _with_bounds(row, name, percent, lambda value: f"{100 * value:.1f}")
            for name in ("train_accuracy", "test_accuracy", "gap")
        )
        counts = (count(row.get(key)) for key in counted)
        table.add_row(_literal(row["family"]), *counts, *accuracies)
    return table


def _attack_table(inputs: ReportInputs) -> Table:
    """AUC, balanced accuracy and TPRs, a block of rows per family; the highest AUC is bold.

    Long names leave no room for the balanced accuracy.
    """
    rows = last_rows(inputs.results)
    balanced = max((len(row["attack"]) for row in rows), default=0) <= LONG_NAME
    name = f"{inputs.title}: attacks" if inputs.own else "Attacks"
    table = _table(f"{name}{inputs.at_last} (TPR in % of members)")
    table.add_column("AUC", justify="right", no_wrap=True)
    if balanced:
        table.add_column("Bal.\nacc.", justify="right")
    for fpr in inputs.fprs:
        table.add_column(f"TPR at\nFPR {rate(fpr)}", justify="right")
    for family in inputs.families:
        block = [row for row in rows if row["family"] == family]
        if not block:
            continue
        strongest = max(finite(row.get("auc")) or -math.inf for row in block)
        table.add_section()
        if inputs.of(family):
            table.add_row(_literal(family), style="bold cyan")
        for row in block:
            style = "bold" if finite(row.get("auc")) == strongest else ""
            table.add_row(*_attack_cells(row, inputs.fprs, balanced=balanced), style=style)
    return table


def _attack_cells(row: Row, fprs: Sequence[float], *, balanced: bool) -> list[Any]:
    """The cells of one attack; with more than three TPRs there is no room for their intervals."""
    auc = _with_bounds(
        row,
        "auc",
        lambda value: number(value, absent="none"),
        lambda value: f"{value:.3f}".replace("0.", ".", 1),
    )
    cells: list[Any] = [_literal(f"  {row['attack']}"), auc]
    cells += [number(row.get("balanced_accuracy"), absent="none")] if balanced else []
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
    """A rate in percent to about two figures, two of what is missing to 100, without the sign: "14", "1.5", "99.6"."""
    whole = 0.0995 <= abs(value) < 0.95 or value == 1
    return f"{100 * value:.{0 if whole else 1}f}"


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


def _written(value: Any, style: str) -> Any:
    """A value as the csv module takes it: nothing for numbers that are not finite."""
    if not isinstance(value, float):  # NumPy's float64 is one; its other scalars are written as they print
        value = value.item() if hasattr(value, "item") else value
        if not isinstance(value, float):
            return value
    if value - value != 0:  # NaN and infinities; much faster than math.isfinite over millions of cells
        return None
    return style % value if style else float(value)


def _plain(value: Any) -> Any:
    """A value JSON knows; numbers that are not finite become None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
