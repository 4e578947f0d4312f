"""What a factor changes: arms that differ in it alone, compared over the same records where they have them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mia_jax import dynamics
from mia_jax.dynamics import Bits
from mia_jax.dynamics_study.rows import Arm, Ends

MEASURES = ("vulnerability", "displacement")
"""Numbers whose differences have an interval over models and records."""


def comparisons(arms: Sequence[Arm], confidence: float) -> list[dict[str, Any]]:
    """One plain row for each pair of arms that differ in one factor, and each measure.

    first, second: levels of `factor`; at: the levels of the others. difference: second less first, with
    its ends _low and _high, and p. shared: what both have in common: "records and members" (the same records,
    model k of both trained on the same of them), "records", or "nothing". Of shared records those count alone that have
    a place on the plane in both arms.
    """
    rows = []
    for first, second, factor in _pairs(arms):
        shared = _shared(first, second)
        found = _difference(first, second, shared, confidence)
        at = " · ".join(level for name, level in first.factors.items() if name != factor)
        for measure in MEASURES:
            change = getattr(found, measure)
            rows.append(
                {
                    "factor": factor,
                    "first": first.factors[factor],
                    "second": second.factors[factor],
                    "at": at,
                    "measure": measure,
                    "difference": change.value,
                    "difference_low": change.low,
                    "difference_high": change.high,
                    "p": change.p,
                    "shared": shared,
                }
            )
    return rows


def _pairs(arms: Sequence[Arm]) -> Iterator[tuple[Arm, Arm, str]]:
    """Arms that differ in exactly one factor, and which."""
    for first, second in itertools.combinations(arms, 2):
        apart = [name for name in first.factors if first.factors[name] != second.factors[name]]
        if len(apart) == 1 and first.ends is not None and second.ends is not None:
            yield first, second, apart[0]


def _shared(first: Arm, second: Arm) -> str:
    """What two arms have in common."""
    if first.pool != second.pool:
        return "nothing"
    same = np.array_equal(_ends(first).member.packed, _ends(second).member.packed)
    return "records and members" if same else "records"


def _difference(first: Arm, second: Arm, shared: str, confidence: float) -> dynamics.CenterDifference:
    """The second arm less the first."""
    a, b = _ends(first), _ends(second)
    if shared == "nothing":
        centers = (
            dynamics.center_interval(*_calls(ends), twin=ends.twin, confidence=confidence) for ends in (b, a)
        )
        pairs = zip(*centers, strict=True)
        found = [dynamics.unpaired_difference(one, other, confidence) for one, other in pairs]
        return dynamics.CenterDifference(*found)
    placed = ~np.isnan(first.vulnerability[-1] + second.vulnerability[-1])
    one, other = (
        dynamics.Ends(ends.first, ends.last, ends.known_first.within(placed), ends.known_last.within(placed))
        for ends in (b, a)
    )
    if shared == "records":
        return dynamics.same_records_difference(
            one, b.member, other, a.member, twin_a=b.twin, twin_b=a.twin, confidence=confidence
        )
    return dynamics.paired_difference(one, other, a.member, twin=a.twin, confidence=confidence)


def _calls(ends: Ends) -> tuple[Bits, ...]:
    """The arguments of `dynamics.center_interval`."""
    return ends.first, ends.last, ends.member, ends.known_first, ends.known_last


def _ends(arm: Arm) -> Ends:
    """The calls that an arm begins and ends with."""
    assert arm.ends is not None
    return arm.ends
