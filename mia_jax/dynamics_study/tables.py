"""The tables of a study of dynamics: on the terminal, and as flat rows for files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mia_jax.dynamics.transitions import CUTS, states
from mia_jax.dynamics_study.rows import CURVES, FAMILY, NUMBERS, Arm, DynamicsRows, Interval
from mia_jax.report.cells import Cell
from mia_jax.report.formatting import counted, interval_name
from mia_jax.report.inputs import finite

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

HEADLINE = (
    "vulnerability",
    "high",
    "displacement",
    "signed_speed",
    "early_ratio",
    "rank_epoch_learned",
    "rank_out_error",
    "rank_prediction_depth",
)
"""The numbers that stand for an arm, four to a table or a row of panels."""

ABREAST = 4
"""So many of them side by side."""


def columns_of(rows: DynamicsRows) -> list[str]:
    """The names of the numbers that any arm has, in the order of `NUMBERS`."""
    return [name for name in NUMBERS if any(_known(arm, name) for arm in rows.arms)]


def headline(rows: DynamicsRows) -> list[list[str]]:
    """The headline numbers that any arm has, by table."""
    known = columns_of(rows)
    blocks = [HEADLINE[at : at + ABREAST] for at in range(0, len(HEADLINE), ABREAST)]
    kept = [[name for name in block if name in known] for block in blocks]
    return [block for block in kept if block]


def varying(rows: DynamicsRows) -> list[str]:
    """The factors that tell the arms apart, in the study's order; the family where there is a single arm."""
    return [name for name, levels in rows.factors.items() if len(levels) > 1] or [FAMILY]


def terminal(rows: DynamicsRows) -> RenderableType:
    """The headline numbers of every arm with their intervals, and the claims, for a console of 110 columns or more."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    same = [
        f"{name} {levels[0]}" for name, levels in rows.factors.items() if name not in varying(rows) and levels
    ]
    about = [f"{interval_name(rows.confidence)}s in brackets", *same, _models(rows.arms)]
    parts: list[RenderableType] = [Text(rows.title, style="bold"), Text("; ".join(about), style="dim")]
    parts += [_rich(rows, block) for block in headline(rows)]
    for claim in rows.claims:
        parts.append(Text(f"Claim {claim.number}, {claim.verdict}: {claim.words}", style="bold"))
        parts += [Padding(Text(sentence), (0, 0, 0, 2)) for sentence in claim.evidence]
    return Group(*parts)


def number_cell(number: Interval | None) -> Cell:
    """A number with its interval, in words: to the second figure of the interval's width, else to three figures."""
    if number is None or finite(number.value) is None:
        return Cell("none")
    low, high = finite(number.low), finite(number.high)
    if low is None or high is None:
        return Cell(_rounded(number.value, _decimals(abs(number.value), 3)))
    places = _decimals(high - low or abs(number.value), 2)
    return Cell(_rounded(number.value, places), f"{_rounded(low, places)} to {_rounded(high, places)}")


def arm_rows(rows: DynamicsRows) -> list[dict[str, Any]]:
    """Every arm as one flat row: its factors, num_models, then NAME, NAME_low, NAME_high of every number.

    Numbers that an arm does not have are None. A factor that is called like another column is "factor_NAME".
    """
    names = columns_of(rows)
    taken = {"num_models", *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))}
    found = []
    for arm in rows.arms:
        row: dict[str, Any] = {**_factors(rows, arm, taken), "num_models": arm.num_models}
        for name in names:
            number = arm.numbers.get(name, Interval(math.nan, math.nan, math.nan))
            row |= {
                name: finite(number.value),
                f"{name}_low": finite(number.low),
                f"{name}_high": finite(number.high),
            }
        found.append(row)
    return found


def curve_rows(rows: DynamicsRows) -> list[dict[str, Any]]:
    """Every arm at every checkpoint: its factors, the epoch, then every curve that any arm has.

    What is not known is None. A factor that is called like another column is "factor_NAME".
    """
    names = [name for name in CURVES if any(name in arm.curves for arm in rows.arms)]
    found = []
    for arm in rows.arms:
        factors = _factors(rows, arm, {"epoch", *names})
        for at, epoch in enumerate(arm.epochs.tolist()):
            values = {name: finite(arm.curves[name][at]) if name in arm.curves else None for name in names}
            found.append({**factors, "epoch": epoch, **values})
    return found


def record_rows(arm: Arm, cuts: Sequence[float] = CUTS) -> list[dict[str, Any]]:
    """Every record of an arm: its rates at the end with their standard errors, and its difficulties.

    high_since: the epoch at which it entered the highest state (vulnerability of at least the last of the
    cuts) for good, that of the first checkpoint if it never was below; None where it is not there at the
    end. A checkpoint at which nothing is known of it counts as below. What is not known is None.
    """
    columns: dict[str, Iterable[Any]] = {
        "record": range(arm.fpr.shape[1]),
        "label": arm.labels.tolist(),
        "fpr": _plain(arm.fpr[-1]),
        "tpr": _plain(arm.tpr[-1]),
        "fpr_error": _plain(arm.fpr_error[-1]),
        "tpr_error": _plain(arm.tpr_error[-1]),
        "vulnerability": _plain(arm.vulnerability[-1]),
        **{name: _plain(values) for name, values in arm.difficulty.items()},
        "high_since": _high_since(arm, cuts),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _high_since(arm: Arm, cuts: Sequence[float]) -> list[Any]:
    """The epoch from which on each record is in the highest state."""
    below = states(arm.vulnerability, cuts) < len(cuts)
    since = np.where(below.any(axis=0), len(below) - np.argmax(below[::-1], axis=0), 0)
    epochs = arm.epochs.tolist()
    return [epochs[at] if at < len(epochs) else None for at in since.tolist()]


def _factors(rows: DynamicsRows, arm: Arm, taken: set[str]) -> dict[str, str]:
    """An arm's levels by column, apart from columns of other things."""
    names = {name: f"factor_{name}" if name in taken else name for name in rows.factors}
    return {column: arm.factors.get(name, "") for name, column in names.items()}


def _known(arm: Arm, name: str) -> bool:
    """Whether an arm has a number."""
    return name in arm.numbers and finite(arm.numbers[name].value) is not None


def _plain(values: np.ndarray) -> list[float | None]:
    """Numbers, None where there is none."""
    return [None if value != value else value for value in np.asarray(values, np.float64).tolist()]


def _models(arms: Sequence[Arm]) -> str:
    """How many models the arms have: "64 models an arm", "60 to 64 models an arm"."""
    counts = sorted({arm.num_models for arm in arms})
    if not counts:
        return "no arm"
    least = counted(counts[0], "model")
    return f"{least} an arm" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,} models an arm"


def _rich(rows: DynamicsRows, names: Sequence[str]) -> Table:
    """Some numbers of all arms, intervals in brackets below or beside them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    factors = varying(rows)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for factor in factors:
        made.add_column(Text(factor.replace("_", " ").capitalize()), overflow="fold")
    for name in names:
        unit = f"\n{NUMBERS[name].unit}" if NUMBERS[name].unit else ""
        made.add_column(Text(f"{NUMBERS[name].title}{unit}"), justify="right", no_wrap=True)
    for arm in rows.arms:
        cells = [number_cell(arm.numbers.get(name)) for name in names]
        made.add_row(
            *(Text(arm.factors.get(factor, "")) for factor in factors),
            *(
                Text(f"{value} [{within.replace(' to ', ', ')}]" if within else value)
                for value, within in cells
            ),
        )
    return made


def _decimals(size: float, figures: int) -> int:
    """How many decimals show so many figures of a number of this size, none to six."""
    return int(np.clip(figures - 1 - math.floor(math.log10(size)), 0, 6)) if size > 0 else figures


def _rounded(value: float, decimals: int) -> str:
    """A number with so many decimals, without a sign where it is zero."""
    words = f"{value:,.{decimals}f}"
    return words.lstrip("-") if not any(digit in words for digit in "123456789") else words
