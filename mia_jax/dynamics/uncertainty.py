"""How far off are figures averaged over records and models: intervals of the center and of arms.

Calls of one record hang together over models, and those of one model over records, so the center's
errors come from influence values of single calls, clustered both ways (`mia_jax.clustering`): they
speak of other models *and* other records of the same kind. NumPy, float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from mia_jax import intervals
from mia_jax.clustering import spread
from mia_jax.dynamics.rates import rates, sides, table_of_members
from mia_jax.types import Array
from mia_jax.validation import as_mask

GROWING = np.array([-1.0, 1.0]) / np.sqrt(2.0)
"""The direction on the plane in which vulnerability grows: less FPR, more TPR."""


class Estimate(NamedTuple):
    """A figure, the ends of its confidence interval, its standard error and that one's degrees of freedom.

    Where nothing varies at all, the error is what the interval's ends imply.
    """

    value: float
    low: float
    high: float
    error: float
    degrees: float


class CenterInterval(NamedTuple):
    """Of the mean over records: vulnerability at the end, its change since the first checkpoint, and how
    far the center of mass has been displaced.
    """

    vulnerability: Estimate
    change: Estimate
    displacement: Estimate


class CenterDifference(NamedTuple):
    """The same figures of one arm less those of another, each with its interval and p-value."""

    vulnerability: intervals.Difference
    change: intervals.Difference
    displacement: intervals.Difference


class Ends(NamedTuple):
    """An arm's calls at the first and the last checkpoint, bool [K, N], and where they are known (None: all)."""

    first: Array
    last: Array
    known_first: Array | None = None
    known_last: Array | None = None


class _Center(NamedTuple):
    """A checkpoint's mean FPR and TPR [2]; what each call adds to the error of the mean of its side, [K, N],
    and which calls count, bool [K, N].
    """

    at: np.ndarray
    influence: np.ndarray
    counted: np.ndarray


class _Way(NamedTuple):
    """The three figures of an arm, every call's influence on each, and which calls count: [K, N] each.

    across: influence on the center's place across its displacement.
    """

    values: tuple[float, float, float]
    influences: tuple[np.ndarray, np.ndarray, np.ndarray]
    counted: tuple[np.ndarray, np.ndarray, np.ndarray]
    across: np.ndarray


def center_interval(
    calls_first: Array,
    calls_last: Array,
    member: Array,
    known_first: Array | None = None,
    known_last: Array | None = None,
    *,
    twin: Array | None = None,
    confidence: float = 0.95,
) -> CenterInterval:
    """Intervals of the mean vulnerability at the end, of its change, and of the center's displacement.

    calls_first, calls_last, member: bool [K, N]. known_first, known_last: bool [K, N], where there is a
    call at all; None: everywhere. twin: int [K], the other model of a pair (-1: none); a pair is one
    model. At each checkpoint records with calls on both sides count, as in `center_of_mass`.

    Measured on Gaussian worlds with online leave-one-out LiRA (3,000 of 32 models and 200 records, new
    ones each, without and with three kinds of signal; 1,500 with twins or of 16 and 100): 95 % intervals
    of the final mean vulnerability covered what other models and records of the same kind give in
    94.6-96.1 %, those of its change in 95.1-96.4 %, of the displacement in 95.4-96.1 %, and in 98-99 %
    where nothing moves.

    The displacement's error is that along its own direction (delta method), which says nothing of a
    displacement near 0: noise alone displaces. So the low end has the variance across the direction
    taken from its square, and is 0 where nothing is left; the value itself is as measured, too large
    by about that variance / (2 value). Of Gaussian centers it covers 95-99 % where noise is alike in all
    directions, but 90 % where it is five times as large one way as the other, and oblique to a
    displacement of two or three errors.

    Raises ValueError for arrays that do not fit, and where no record has calls on both sides.
    """
    held = table_of_members(member)
    way = _way(Ends(calls_first, calls_last, known_first, known_last), held)
    vulnerability, change, along = (
        _estimate(value, influence, counted, twin, confidence)
        for value, influence, counted in zip(way.values, way.influences, way.counted, strict=True)
    )
    across = spread(way.across, way.counted[-1], twin).error
    return CenterInterval(
        _within(vulnerability, -1.0, 1.0),
        _within(change, -2.0, 2.0),
        _within(_displaced(along, across), 0.0, float(np.sqrt(2.0))),
    )


def paired_difference(
    arm_a: Ends, arm_b: Ends, member: Array, *, twin: Array | None = None, confidence: float = 0.95
) -> CenterDifference:
    """The center's figures of arm a less those of arm b, of the same records and the same membership.

    arm_a, arm_b: calls bool [K, N] of models that pairwise were trained on the same records. member,
    twin, confidence: as for `center_interval`. Calls unknown in one arm are left out of both. A
    displacement near 0 is too large by its noise: believe the difference of two where the intervals
    of both (`center_interval`) lie above 0. In the worlds of that function, two arms of hardness and
    gain alike in part, 95 % intervals covered 95-96 %. Raises ValueError as there.
    """
    held = table_of_members(member)
    masks = [_masks(arm, held.shape) for arm in (arm_a, arm_b)]
    shared = [one & other for one, other in zip(masks[0][2:], masks[1][2:], strict=True)]
    a, b = (_way(Ends(first, last, *shared), held) for first, last, *_ in masks)
    found = []
    for number, counted in enumerate(a.counted):
        error = spread(a.influences[number] - b.influences[number], counted, twin)
        value = a.values[number] - b.values[number]
        found.append(intervals.difference(value, error, error, counted, confidence))
    return CenterDifference(*found)


def same_records_difference(
    arm_a: Ends,
    member_a: Array,
    arm_b: Ends,
    member_b: Array,
    *,
    twin_a: Array | None = None,
    twin_b: Array | None = None,
    confidence: float = 0.95,
) -> CenterDifference:
    """The center's figures of arm a less those of arm b, of the same records and models of their own.

    arm_a, member_a: bool [K, N]; arm_b, member_b: bool [J, N]. twin_a: int [K], twin_b: int [J], as for
    `center_interval`. What a record has in common in both arms cancels; the models of the two are taken for
    independent. Records that have no calls on both sides of both arms should be unknown in both
    (`Ends.known_first`, `known_last`). Raises ValueError as `center_interval`, and for another number of
    records.
    """
    held = [table_of_members(member_a), table_of_members(member_b)]
    if held[0].shape[1] != held[1].shape[1]:
        raise ValueError(
            f"member_b has {held[1].shape[1]} records: it must have the {held[0].shape[1]} of member_a."
        )
    a, b = (_way(arm, members) for arm, members in zip((arm_a, arm_b), held, strict=True))
    sizes = (len(held[0]), len(held[1]))
    twins = np.concatenate([_twins(twin_a, sizes[0], 0), _twins(twin_b, sizes[1], sizes[0])])
    found = []
    for number, counted in enumerate(a.counted):
        # One table of both arms' models: its columns are the records' differences.
        both = np.concatenate([a.influences[number], -b.influences[number]])
        known = np.concatenate([counted, b.counted[number]])
        error = spread(both, known, None if (twins < 0).all() else twins)
        value = a.values[number] - b.values[number]
        found.append(intervals.difference(value, error, error, known, confidence))
    return CenterDifference(*found)


def _twins(twin: Array | None, num_models: int, offset: int) -> np.ndarray:
    """Twins of an arm's models in a table where they begin at a row: int [K]."""
    numbers = np.full(num_models, -1) if twin is None else np.asarray(twin)
    return np.where(numbers >= 0, numbers + offset, -1)


def unpaired_difference(a: Estimate, b: Estimate, confidence: float = 0.95) -> intervals.Difference:
    """The difference of a figure between two arms that share neither models nor records.

    a, b: of `center_interval`. Welch's t. Arms that share records are better compared by
    `paired_difference` or `same_records_difference`: taken for independent, their interval is too wide. In
    the same worlds 95 % intervals covered 94-96 %. Raises ValueError for a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    value, error = a.value - b.value, float(np.hypot(a.error, b.error))
    if error == 0.0:
        return intervals.Difference(value, value, value, 1.0)
    degrees = error**4 / (a.error**4 / a.degrees + b.error**4 / b.degrees)
    reach = _quantile(degrees, confidence) * error
    p = 2.0 * stats.t.sf(abs(value) / error, degrees)
    return intervals.Difference(value, value - reach, value + reach, float(p))


def _way(arm: Ends, held: np.ndarray) -> _Way:
    """Vulnerability, its change and the displacement of one arm, with influence values."""
    first, last, known_first, known_last = _masks(arm, held.shape)
    begin = _center("first", first, held, known_first)
    end = _center("last", last, held, known_last)
    step = end.at - begin.at
    length = float(np.hypot(*step))
    along = step / length if length > 0 else GROWING
    moved, either = end.influence - begin.influence, begin.counted | end.counted
    vulnerable = np.array([-1.0, 1.0])
    return _Way(
        (float(end.at[1] - end.at[0]), float(step[1] - step[0]), length),
        (
            _projected(end.influence, held, vulnerable),
            _projected(moved, held, vulnerable),
            _projected(moved, held, along),
        ),
        (end.counted, either, either),
        _projected(moved, held, np.array([-along[1], along[0]])),
    )


def _center(name: str, called: np.ndarray, held: np.ndarray, present: np.ndarray) -> _Center:
    """The center of mass of one checkpoint. Raises ValueError."""
    seen = sides(held, present)
    by_record = np.stack(rates(called, seen))
    both = ~np.isnan(by_record.sum(axis=0))
    if not both.any():
        raise ValueError(
            f"the {name} checkpoint has no record with calls on both sides: train more models, or leave it out."
        )
    at = by_record[:, both].mean(axis=1)
    # About the mean of all records, not the record's own: summed over models it is then the record's part.
    share = 1.0 / (np.where(held, seen.times_in, seen.times_out) * np.count_nonzero(both))
    counted = (seen.inside | seen.outside) & both
    return _Center(at, np.where(counted, (called - np.where(held, at[1], at[0])) * share, 0.0), counted)


def _projected(influence: np.ndarray, held: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Influence on the center's place along a direction (of FPR, of TPR): [K, N]."""
    return influence * np.where(held, direction[1], direction[0])


def _estimate(
    value: float, influence: np.ndarray, counted: np.ndarray, twin: Array | None, confidence: float
) -> Estimate:
    """A figure with its two-way interval."""
    error = spread(influence, counted, twin)
    found = intervals.difference(value, error, error, counted, confidence)
    implied = (found.high - value) / _quantile(error.degrees, confidence)
    return Estimate(value, found.low, found.high, float(implied), error.degrees)


def _displaced(along: Estimate, across: float) -> Estimate:
    """The interval of a length: its low end without what noise across its direction adds."""
    low = np.sqrt(max(max(along.low, 0.0) ** 2 - across**2, 0.0))
    return along._replace(low=float(low))


def _within(estimate: Estimate, lowest: float, highest: float) -> Estimate:
    """The estimate with ends that can be."""
    return estimate._replace(low=max(estimate.low, lowest), high=min(estimate.high, highest))


def _masks(arm: Ends, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An arm's arrays, bool [K, N] each. Raises ValueError."""
    first, last = as_mask("first", arm.first, shape), as_mask("last", arm.last, shape)
    known = [
        np.ones(shape, bool) if values is None else as_mask(name, values, shape)
        for name, values in (("known_first", arm.known_first), ("known_last", arm.known_last))
    ]
    return first, last, known[0], known[1]


def _quantile(degrees: float, confidence: float) -> float:
    """The two-sided t quantile."""
    return float(stats.t.ppf(0.5 + confidence / 2, degrees))


def _check_confidence(confidence: float) -> None:
    """Refuse what is no confidence."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it must lie in (0, 1).")
