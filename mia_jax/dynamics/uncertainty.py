"""How far off are figures averaged over records and models: intervals of the center and of arms.

Calls of one record hang together over models, and those of one model over records, so the center's
errors come from influence values of single calls, clustered both ways (`mia_jax.statistics.clustering`): they
speak of other models *and* other records of the same kind. Influence values are made for some models at
a time: beside the calls, working memory is a few blocks and a few numbers of each record. NumPy, float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from mia_jax import blocks
from mia_jax.dynamics.bits import Bits, as_bits
from mia_jax.dynamics.rates import rates, sides
from mia_jax.statistics import intervals
from mia_jax.statistics.clustering import Clustered, Spread, pairs
from mia_jax.statistics.score_table import blocks_of_targets
from mia_jax.types import Array
from mia_jax.validation import check_confidence

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
    """An arm's calls at the first and the last checkpoint, bool [K, N], and where they are known (None: all).

    Each an array, or `Bits`.
    """

    first: Array | Bits
    last: Array | Bits
    known_first: Array | Bits | None = None
    known_last: Array | Bits | None = None


class _Center(NamedTuple):
    """A checkpoint's mean FPR and TPR [2]; what one call weighs in the mean of its side, of models without and
    with the record, [N] each; and which records count, bool [N].
    """

    at: np.ndarray
    without: np.ndarray
    inside: np.ndarray
    counted: np.ndarray


class _Influences(NamedTuple):
    """The influence of some models' calls on vulnerability, its change, the displacement, and the center's place
    across it, [k, N] each, and which calls count for each.
    """

    values: tuple[np.ndarray, ...]
    counted: tuple[np.ndarray, ...]


class _Total:
    """Influence values added up both ways, and how many targets and records they are of."""

    def __init__(self, num_records: int) -> None:
        self._sums, self._seen, self._targets = Clustered(num_records), np.zeros(num_records, bool), 0

    def add(self, influence: np.ndarray, counted: np.ndarray, cluster: np.ndarray) -> None:
        """Take some targets. influence, counted: [k, N]. cluster: int [k], equal for twins, who come together."""
        self._sums.add(influence, counted, cluster)
        self._seen |= counted.any(axis=0)
        self._targets += int(counted.any(axis=1).sum())

    def spread(self) -> Spread:
        """The standard error."""
        return self._sums.spread()

    def fewer(self) -> int:
        """The clusters of the smaller clustering, each model for itself."""
        return min(self._targets, int(self._seen.sum()))


def center_interval(
    calls_first: Array | Bits,
    calls_last: Array | Bits,
    member: Array | Bits,
    known_first: Array | Bits | None = None,
    known_last: Array | Bits | None = None,
    *,
    twin: Array | None = None,
    confidence: float = 0.95,
) -> CenterInterval:
    """Intervals of the mean vulnerability at the end, of its change, and of the center's displacement.

    calls_first, calls_last, member: bool [K, N], as arrays or `Bits`. known_first, known_last: the same, where
    there is a call at all; None: everywhere. twin: int [K], the other model of a pair (-1: none); a pair is one
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
    way = _Way(Ends(calls_first, calls_last, known_first, known_last), member)
    cluster, totals = pairs(way.shape[0], twin), [_Total(way.shape[1]) for _ in range(4)]
    for models in blocks_of_targets(cluster, way.shape[1]):
        found = way.influences(models)
        for total, influence, counted in zip(totals, found.values, found.counted, strict=True):
            total.add(influence, counted, cluster[models])
    vulnerability, change, along = (
        _estimate(value, total, confidence) for value, total in zip(way.values, totals, strict=False)
    )
    across = totals[-1].spread().error
    return CenterInterval(
        _within(vulnerability, -1.0, 1.0),
        _within(change, -2.0, 2.0),
        _within(_displaced(along, across), 0.0, float(np.sqrt(2.0))),
    )


def paired_difference(
    arm_a: Ends, arm_b: Ends, member: Array | Bits, *, twin: Array | None = None, confidence: float = 0.95
) -> CenterDifference:
    """The center's figures of arm a less those of arm b, of the same records and the same membership.

    arm_a, arm_b: calls bool [K, N] of models that pairwise were trained on the same records. member,
    twin, confidence: as for `center_interval`. Calls unknown in one arm are left out of both. A
    displacement near 0 is too large by its noise: believe the difference of two where the intervals
    of both (`center_interval`) lie above 0. In the worlds of that function, two arms of hardness and
    gain alike in part, 95 % intervals covered 95-96 %. Raises ValueError as there.
    """
    shape = _shape(member)
    a, b = (_Way(arm, member) for arm in _known_to_both(arm_a, arm_b, shape))
    cluster, totals = pairs(shape[0], twin), [_Total(shape[1]) for _ in range(3)]
    for models in blocks_of_targets(cluster, shape[1]):
        one, other = a.influences(models), b.influences(models)
        for number, total in enumerate(totals):
            total.add(one.values[number] - other.values[number], one.counted[number], cluster[models])
    return _differences(a, b, totals, confidence)


def same_records_difference(
    arm_a: Ends,
    member_a: Array | Bits,
    arm_b: Ends,
    member_b: Array | Bits,
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
    shapes = _shape(member_a), _shape(member_b)
    if shapes[0][1] != shapes[1][1]:
        raise ValueError(f"member_b has {shapes[1][1]} records: it must have the {shapes[0][1]} of member_a.")
    a, b = _Way(arm_a, member_a), _Way(arm_b, member_b)
    totals = [_Total(shapes[0][1]) for _ in range(3)]
    # One table of both arms' models: its columns are the records' differences.
    for way, twin, sign in ((a, twin_a, 1.0), (b, twin_b, -1.0)):
        cluster = pairs(way.shape[0], twin)
        for models in blocks_of_targets(cluster, way.shape[1]):
            found = way.influences(models)
            for number, total in enumerate(totals):
                total.add(sign * found.values[number], found.counted[number], cluster[models])
    return _differences(a, b, totals, confidence)


def unpaired_difference(a: Estimate, b: Estimate, confidence: float = 0.95) -> intervals.Difference:
    """The difference of a figure between two arms that share neither models nor records.

    a, b: of `center_interval`. Welch's t. Arms that share records are better compared by
    `paired_difference` or `same_records_difference`: taken for independent, their interval is too wide. In
    the same worlds 95 % intervals covered 94-96 %. Raises ValueError for a confidence outside (0, 1).
    """
    check_confidence(confidence)
    value, error = a.value - b.value, float(np.hypot(a.error, b.error))
    if error == 0.0:
        return intervals.Difference(value, value, value, 1.0)
    degrees = error**4 / (a.error**4 / a.degrees + b.error**4 / b.degrees)
    reach = _quantile(degrees, confidence) * error
    p = 2.0 * stats.t.sf(abs(value) / error, degrees)
    return intervals.Difference(value, value - reach, value + reach, float(p))


class _Way:
    """One arm: its three figures, and the influence of its calls on them. Raises ValueError."""

    def __init__(self, arm: Ends, member: Array | Bits) -> None:
        self.shape = _shape(member)
        self._member = as_bits("member", member, self.shape)
        self._first, self._last, self._known_first, self._known_last = _masks(arm, self.shape)
        self._begin = _center("first", self._first, self._member, self._known_first)
        self._end = _center("last", self._last, self._member, self._known_last)
        step = self._end.at - self._begin.at
        length = float(np.hypot(*step))
        self._along = step / length if length > 0 else GROWING
        self.values = float(self._end.at[1] - self._end.at[0]), float(step[1] - step[0]), length

    def influences(self, models: np.ndarray) -> _Influences:
        """Those of some models' calls. models: int [k]."""
        held = self._member.rows(models)
        begin, begun = _influence(self._begin, self._first.rows(models), held, self._known_first.rows(models))
        end, ended = _influence(self._end, self._last.rows(models), held, self._known_last.rows(models))
        moved, either = end - begin, begun | ended
        vulnerable, along = np.array([-1.0, 1.0]), self._along
        return _Influences(
            (
                _projected(end, held, vulnerable),
                _projected(moved, held, vulnerable),
                _projected(moved, held, along),
                _projected(moved, held, np.array([-along[1], along[0]])),
            ),
            (ended, either, either, either),
        )


def _center(name: str, called: Bits, member: Bits, known: Bits) -> _Center:
    """The center of mass of one checkpoint. Raises ValueError."""
    num_models, num_records = member.shape
    by_record, times = np.empty((2, num_records)), np.empty((2, num_records))
    for part in blocks.blocks_of(num_records, blocks.records_at_once(num_models)):
        seen = sides(member.columns(part), known.columns(part))
        by_record[:, part] = rates(called.columns(part), seen)
        times[:, part] = seen.times_out, seen.times_in
    both = ~np.isnan(by_record.sum(axis=0))
    if not both.any():
        raise ValueError(
            f"the {name} checkpoint has no record with calls on both sides: train more models, or leave it out."
        )
    without, inside = 1.0 / (times * np.count_nonzero(both))
    return _Center(by_record[:, both].mean(axis=1), without, inside, both)


def _influence(
    center: _Center, called: np.ndarray, held: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What some models' calls add to the error of the mean of their side, and which count: [k, N] each."""
    counted = known & center.counted
    # About the mean of all records, not the record's own: summed over models it is then the record's part.
    share = np.where(held, center.inside, center.without)
    return np.where(counted, (called - np.where(held, center.at[1], center.at[0])) * share, 0.0), counted


def _projected(influence: np.ndarray, held: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Influence on the center's place along a direction (of FPR, of TPR): [k, N]."""
    return influence * np.where(held, direction[1], direction[0])


def _differences(a: _Way, b: _Way, totals: Sequence[_Total], confidence: float) -> CenterDifference:
    """The figures of a less those of b, from the influences on the differences."""
    found = []
    for number, total in enumerate(totals):
        error, value = total.spread(), a.values[number] - b.values[number]
        found.append(intervals.difference(value, error, error, total.fewer(), confidence))
    return CenterDifference(*found)


def _estimate(value: float, total: _Total, confidence: float) -> Estimate:
    """A figure with its two-way interval."""
    error = total.spread()
    found = intervals.difference(value, error, error, total.fewer(), confidence)
    implied = (found.high - value) / _quantile(error.degrees, confidence)
    return Estimate(value, found.low, found.high, float(implied), error.degrees)


def _displaced(along: Estimate, across: float) -> Estimate:
    """The interval of a length: its low end without what noise across its direction adds."""
    low = np.sqrt(max(max(along.low, 0.0) ** 2 - across**2, 0.0))
    return along._replace(low=float(low))


def _within(estimate: Estimate, lowest: float, highest: float) -> Estimate:
    """The estimate with ends that can be."""
    return estimate._replace(low=max(estimate.low, lowest), high=min(estimate.high, highest))


def _known_to_both(arm_a: Ends, arm_b: Ends, shape: tuple[int, int]) -> tuple[Ends, Ends]:
    """Two arms without the calls that are unknown in either."""
    masks = [_masks(arm, shape) for arm in (arm_a, arm_b)]
    shared = [
        Bits(shape, one.packed & other.packed) for one, other in zip(masks[0][2:], masks[1][2:], strict=True)
    ]
    a, b = (Ends(first, last, *shared) for first, last, *_ in masks)
    return a, b


def _masks(arm: Ends, shape: tuple[int, int]) -> tuple[Bits, Bits, Bits, Bits]:
    """An arm's tables, [K, N] each. Raises ValueError."""
    return (
        as_bits("first", arm.first, shape),
        as_bits("last", arm.last, shape),
        as_bits("known_first", arm.known_first, shape),
        as_bits("known_last", arm.known_last, shape),
    )


def _shape(member: Array | Bits) -> tuple[int, int]:
    """K and N of a membership. Raises ValueError."""
    shape = member.shape if isinstance(member, Bits) else np.shape(member)
    if len(shape) != 2:
        raise ValueError(f"member has shape {shape}: it must be [K, N], model by record.")
    return shape[0], shape[1]


def _quantile(degrees: float, confidence: float) -> float:
    """The two-sided t quantile."""
    return float(stats.t.ppf(0.5 + confidence / 2, degrees))
