"""What a factor changes: arms that differ in it alone, compared over the same records where they have them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mia_jax import dynamics
from mia_jax.dynamics_study.rows import Arm

MEASURES = ("vulnerability", "displacement")
"""Numbers whose differences have an interval over models and records."""


def comparisons(arms: Sequence[Arm], confidence: float) -> list[dict[str, Any]]:
    """One plain row for each pair of arms that differ in one factor, and each measure.

    first, second: levels of `factor`; at: the levels of the others. difference: second less first, with
    low, high and p. paired: whether both have the same records and the same membership, record by record; then
    records that are unknown in one count in neither.
    """
    rows = []
    for first, second, factor in _pairs(arms):
        paired = _is_paired(first, second)
        found = _paired(first, second, confidence) if paired else _unpaired(first, second, confidence)
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
                    "low": change.low,
                    "high": change.high,
                    "p": change.p,
                    "paired": paired,
                }
            )
    return rows


def _pairs(arms: Sequence[Arm]) -> Iterator[tuple[Arm, Arm, str]]:
    """Arms that differ in exactly one factor, and which."""
    for first, second in itertools.combinations(arms, 2):
        apart = [name for name in first.factors if first.factors[name] != second.factors[name]]
        if len(apart) == 1 and first.ends is not None and second.ends is not None:
            yield first, second, apart[0]


def _is_paired(first: Arm, second: Arm) -> bool:
    """Whether model k of one arm was trained on the same records as model k of the other."""
    assert first.ends is not None
    assert second.ends is not None
    return first.pool == second.pool and np.array_equal(first.ends.member, second.ends.member)


def _paired(first: Arm, second: Arm, confidence: float) -> dynamics.CenterDifference:
    """The second arm less the first, call by call."""
    a, b = first.ends, second.ends
    assert a is not None
    assert b is not None
    return dynamics.paired_difference(
        dynamics.Ends(b.first, b.last, b.known_first, b.known_last),
        dynamics.Ends(a.first, a.last, a.known_first, a.known_last),
        a.member,
        twin=a.twin,
        confidence=confidence,
    )


def _unpaired(first: Arm, second: Arm, confidence: float) -> dynamics.CenterDifference:
    """The second arm less the first, as of other models; of one pool the records that both have count alone."""
    shared = np.ones(1, bool)
    if first.pool == second.pool:
        shared = ~np.isnan(first.vulnerability[-1] + second.vulnerability[-1])
    a, b = (_center(arm, shared, confidence) for arm in (first, second))
    return dynamics.CenterDifference(
        *(dynamics.unpaired_difference(one, other, confidence) for one, other in zip(b, a, strict=True))
    )


def _center(arm: Arm, shared: np.ndarray, confidence: float) -> dynamics.CenterInterval:
    """The center's figures of one arm, of some of its records: bool [N] or [1]."""
    ends = arm.ends
    assert ends is not None
    return dynamics.center_interval(
        ends.first,
        ends.last,
        ends.member,
        ends.known_first & shared[None],
        ends.known_last & shared[None],
        twin=ends.twin,
        confidence=confidence,
    )
