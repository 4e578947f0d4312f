"""Tables of the page: the numbers of every arm, and plain rows that arms bring along."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mia_jax.dynamics_study import tables
from mia_jax.dynamics_study.page.words import spoken
from mia_jax.dynamics_study.rows import NUMBERS, DynamicsRows, Interval
from mia_jax.report.cells import Cell
from mia_jax.report.formatting import interval_name
from mia_jax.report.inputs import finite

NARROW = 4
"""Arms up to which each is a column; of more, each is a row."""


class Table(NamedTuple):
    """A table of the page. names: how many columns on the left are words."""

    caption: str
    heads: list[Cell]
    rows: list[list[Cell]]
    names: int = 1


def arms_table(rows: DynamicsRows) -> Table:
    """The numbers of all arms: a column an arm while arms are few, else a row an arm."""
    names = tables.columns_of(rows)
    caption = f"Numbers of every arm, with {interval_name(rows.confidence)}s where they have any"
    heads = [Cell(NUMBERS[name].title, NUMBERS[name].unit) for name in names]
    if len(rows.arms) > NARROW:
        factors = list(rows.factors)
        lines = [
            [Cell(str(arm.factors.get(factor, ""))) for factor in factors]
            + [tables.number_cell(arm.numbers.get(name)) for name in names]
            for arm in rows.arms
        ]
        return Table(
            caption, [*(Cell(factor.capitalize()) for factor in factors), *heads], lines, len(factors)
        )
    lines = [
        [Cell(head.value, _about(name)), *(tables.number_cell(arm.numbers.get(name)) for arm in rows.arms)]
        for name, head in zip(names, heads, strict=True)
    ]
    return Table(caption, [Cell("Measure"), *(Cell(arm.name) for arm in rows.arms)], lines)


def _about(name: str) -> str:
    """What a number says, with its unit."""
    return ", ".join(part for part in (NUMBERS[name].says, NUMBERS[name].unit) if part)


def plain_table(caption: str, given: Iterable[tuple[str, Sequence[Mapping[str, Any]]]]) -> Table | None:
    """Plain rows of arms as a table with the columns that any has; None where there are no rows."""
    lines = [(name, row) for name, rows in given for row in rows if row]
    columns = list(dict.fromkeys(column for _, row in lines for column in row))
    if not columns:
        return None
    heads = [Cell("Arm"), *(Cell(_title(column)) for column in columns)]
    cells = [[Cell(name), *(_cell(row.get(column)) for column in columns)] for name, row in lines]
    return Table(caption, heads, cells)


def comparison_table(rows: DynamicsRows) -> Table | None:
    """Arms that differ in one factor, second less first; None where there are none."""
    if not rows.compared:
        return None
    heads = ["Factor", "Second", "less first", "At", "Measure", "Difference", "p", "Shared"]
    lines = [
        [
            *(Cell(spoken(str(row["factor"]))), Cell(row["second"]), Cell(row["first"]), Cell(row["at"])),
            Cell(_title(row["measure"])),
            tables.number_cell(Interval(*(row[f"difference{end}"] for end in ("", "_low", "_high")))),
            Cell(f"{row['p']:.2g}"),
            Cell(row["shared"]),
        ]
        for row in rows.compared
    ]
    caption = f"Differences between arms, with {interval_name(rows.confidence)}s; p stands by itself"
    return Table(caption, [Cell(head) for head in heads], lines, 5)


def _title(column: str) -> str:
    """A column's name as a heading."""
    return NUMBERS[column].title if column in NUMBERS else spoken(column)


def _cell(value: Any) -> Cell:
    """A plain value or an interval in a table."""
    if isinstance(value, Interval):
        return tables.number_cell(value)
    if value is None:
        return Cell("none")
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        known = finite(value)
        return Cell("none" if known is None else f"{known:.4g}")
    return Cell(str(value))
