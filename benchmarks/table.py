"""The measurements as a table: on the terminal and in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from benchmarks import markdown as made

COLUMNS = (
    "setting",
    "family",
    "K",
    "steps",
    "ours, s",
    "ours, steps/s",
    "PyTorch, steps/s",
    "ratio (min–max)",
    "vmap, steps/s",
    "ratio (min–max)",
    "ours, of limit",
    "PyTorch",
    "vmap",
    "compile, s",
)
"""steps: of one model; steps/s: of all models together; before the last: the others' parts of the limit."""

OTHERS = ("torch", "vmap")

TEXT = ("setting", "family")


def cells(result: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, ...]:
    """One row as text, in the order of COLUMNS."""
    limit = result["limits"][row["setting"]]["matmul_flop_per_s"]
    ours, others = row["ours"], [row.get(name) for name in OTHERS]
    return (
        row["setting"].replace("_", " "),
        row["family"].upper(),
        f"{row['num_models']:,}",
        f"{row['steps']:,}",
        f"{statistics.median(ours['seconds']):.2f}",
        f"{ours['steps_per_s']:,.0f}",
        *(cell for side in others for cell in compared(side)),
        f"{ours['flop_per_s'] / limit:.0%}",
        *(f"{side['flop_per_s'] / limit:.0%}" if side and "ratio" in side else "-" for side in others),
        f"{row['compile_s']:.1f}",
    )


def compared(side: Mapping[str, Any] | None) -> tuple[str, str]:
    """Another side's steps/s, and how many times as fast ours is; or why it was not timed."""
    if side is None:
        return "-", "-"
    if "too_slow_s" in side:
        return "-", f"too slow: {side['too_slow_s']:,.0f} s a repeat"
    return f"{side['steps_per_s']:,.0f}", spread(side["ratio"])


def spread(ratio: Mapping[str, float]) -> str:
    """The median, the least and the largest."""
    return f"{ratio['median']:.1f} ({ratio['min']:.1f}–{ratio['max']:.1f})"


def terminal(result: Mapping[str, Any]) -> Table:
    """The table for a console."""
    table = Table(caption=caption(result), box=box.SIMPLE)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in TEXT else "right")
    for row in result["rows"]:
        table.add_row(*cells(result, row))
    return table


def markdown(result: Mapping[str, Any]) -> str:
    """The table for a README."""
    lines = (cells(result, row) for row in result["rows"])
    return made.table(COLUMNS, lines, caption(result), names=len(TEXT))


def caption(result: Mapping[str, Any]) -> str:
    """The machine, its limits and the sizes in one paragraph."""
    machine, sizes = result["machine"], result["sizes"]
    if "cores" in machine:
        computer = made.all_cores(machine)
    else:
        computer = ", driver ".join(filter(None, (machine["device"], machine["driver"])))
    limits = ", ".join(
        f"{setting.replace('_', ' ')} {limit['matmul_flop_per_s'] / 1e9:,.0f} GFLOP/s"
        for setting, limit in result["limits"].items()
    )
    return f"{computer}; {made.versions(machine)}. Matmul limit: {limits}. Batch {sizes['batch_size']}."
