"""How far estimates from a table target by record are off: influence values, clustered both ways.

Leave-one-out targets share records and references, so entries [K, N] are independent neither along
a row nor along a column. A standard error here is that over other targets *and* other records of
the same kind.

There is none for one fixed pool, because none was found that holds. Measured there, with 32 models
and 200 records (benchmarks/coverage.py, the last two cells): the two-way interval of the AUC covers
99.7-99.8 % where records differ in exposure, and is 1.6 times too wide; clustering by target alone
covers 93-96 % for raw signals, offline LiRA and RMIA, but 84 % (null) and 91 % (signal) for online
LiRA, whose targets share noisy references. A jackknife over 16 groups of models that scores anew
each time was tried too: 98-99 % and 1.2 to 1.7 times too wide for online LiRA's AUC, 1.5 to 2.4
times for the TPR of LiRA and RMIA.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mia_jax.statistics.roc import leaders, refuse_one_side, target_by_record
from mia_jax.types import Array
from mia_jax.validation import as_mask, as_numbers


class Spread(NamedTuple):
    """A standard error, and the degrees of freedom of the variance it comes from."""

    error: float
    degrees: float


class Ranking(NamedTuple):
    """Entries of a table that have a score, from the smallest up; M of them.

    order: int [M], their places in the flattened table. tie: int [M], the number of each one's score
    among the distinct scores.
    """

    order: np.ndarray
    tie: np.ndarray


def ranking(scores: np.ndarray) -> Ranking:
    """Sort once what many parts of a table are then judged by. scores: any shape, NaN where missing."""
    order = np.argsort(scores, axis=None)[: int(np.sum(~np.isnan(scores)))]
    rising = scores.ravel()[order]
    return Ranking(order, np.cumsum(np.append(False, rising[1:] != rising[:-1])[: rising.size]))


def auc_of(ranked: Ranking, inside: np.ndarray, outside: np.ndarray) -> tuple[float, np.ndarray]:
    """The AUC of the members `inside` against the non-members `outside`, and every entry's influence.

    inside, outside: bool, of the table's shape, no entry in both or without a score, at least one in
    each. The influence has that shape and is 0 in neither. DeLong, DeLong & Clarke-Pearson 1988.
    """
    held, other = inside.ravel()[ranked.order], outside.ravel()[ranked.order]
    members, others = int(held.sum()), int(other.sum())
    below_in, below_out = _twice_below(ranked.tie, held), _twice_below(ranked.tie, other)
    value = float(below_out[held].sum() / (2.0 * members * others))
    ordered = np.where(held, (below_out / (2.0 * others) - value) / members, 0.0)
    ordered += np.where(other, (1.0 - below_in / (2.0 * members) - value) / others, 0.0)
    influence = np.zeros(inside.size)
    influence[ranked.order] = ordered
    return value, influence.reshape(inside.shape)


def auc_influence(scores: Array, member: Array) -> np.ndarray:
    """Influence of every entry on the pooled AUC: [K, N], 0 where the score is NaN. See `auc_of`."""
    scores, held = target_by_record(scores, member)
    known = ~np.isnan(scores)
    refuse_one_side(held[known])
    return auc_of(ranking(scores), known & held, known & ~held)[1]


def spread(influence: np.ndarray, known: np.ndarray, twin: Array | None = None) -> Spread:
    """Standard error from influence values [K, N], 0 where not `known`, clustered by target and by record.

    The variance is that by target and that by record less that of single entries (Cameron, Gelbach &
    Miller 2011), each of the first two times G / (G - 1) for its G clusters, but at least the
    smaller of them: the difference may come out too small by chance. Degrees of freedom: those of
    the clustering with fewer clusters. twin: int [K], models of one pair are one target (-1: none),
    for they are trained on complementary halves.
    """
    return _clustered(influence, known, twin).spread()


def disjoint_spread(
    first: np.ndarray,
    in_first: np.ndarray,
    second: np.ndarray,
    in_second: np.ndarray,
    twin: Array | None = None,
) -> Spread:
    """Standard error of the difference of two estimates from parts of a table that share no entry.

    first, second: influence values [K, N], 0 outside their parts `in_first`, `in_second`. As
    `spread` of their difference, but each part has its own number of clusters, and the degrees of
    freedom are Welch's.
    """
    parts = _clustered(first, in_first, twin), _clustered(second, in_second, twin)
    one, two = (part.spread() for part in parts)
    a, b = (part.sums() for part in parts)
    by_target = float(np.sum((a.target - b.target) ** 2))
    by_record = float(np.sum((a.record - b.record) ** 2))
    variance = max(by_target + by_record - a.single - b.single, min(by_target, by_record))
    noise = one.error**4 / one.degrees + two.error**4 / two.degrees
    degrees = (one.error**2 + two.error**2) ** 2 / noise if noise > 0 else min(one.degrees, two.degrees)
    return Spread(float(np.sqrt(variance)), float(degrees))


def clustered_error(influence: np.ndarray, known: np.ndarray) -> float:
    """The standard error of `spread`. influence: [K, N]. known: bool [K, N]. Raises ValueError for other shapes."""
    influence = as_numbers("influence", influence)
    if influence.ndim != 2:
        raise ValueError(f"influence has shape {influence.shape}: it must be [K, N], target by record.")
    known = as_mask("known", known, influence.shape)
    return spread(influence, known).error


def clusters(known: np.ndarray) -> tuple[int, int]:
    """The number of targets and of records that have a score at all."""
    return int(known.any(axis=1).sum()), int(known.any(axis=0).sum())


class Sums(NamedTuple):
    """Influence summed over each target [K] and each record [N], times the root of G / (G - 1) for its G
    clusters; the sum of squares of single entries; degrees of freedom.
    """

    target: np.ndarray
    record: np.ndarray
    single: float
    degrees: float


class Clustered:
    """Influence values of a table added up both ways, block by block of targets.

    Beside the sums of the blocks it holds two vectors [N]. Twins come in one block and are one target.
    """

    def __init__(self, num_records: int) -> None:
        self._target: list[np.ndarray] = []
        self._record, self._seen = np.zeros(num_records), np.zeros(num_records, bool)
        self._single, self._targets = 0.0, 0

    def add(self, influence: np.ndarray, known: np.ndarray, cluster: np.ndarray) -> None:
        """Take some targets. influence: [k, N], 0 where not `known`. cluster: int [k], equal for twins."""
        influence, known = _paired(influence, known, cluster)
        self._target.append(influence.sum(axis=1))
        self._record += influence.sum(axis=0)
        self._single += float(np.sum(influence**2))
        self._targets += int(known.any(axis=1).sum())
        self._seen |= known.any(axis=0)

    def sums(self) -> Sums:
        """What a clustered variance is made of."""
        targets, records = self._targets, int(self._seen.sum())
        by_target = np.concatenate(self._target) * np.sqrt(targets / max(targets - 1, 1))
        by_record = self._record * np.sqrt(records / max(records - 1, 1))
        return Sums(by_target, by_record, self._single, float(max(min(targets, records) - 1, 1)))

    def spread(self) -> Spread:
        """The standard error; see `spread`."""
        sums = self.sums()
        by_target, by_record = (float(np.sum(part**2)) for part in (sums.target, sums.record))
        variance = max(by_target + by_record - sums.single, min(by_target, by_record))
        return Spread(float(np.sqrt(variance)), sums.degrees)


def pairs(num_models: int, twin: Array | None) -> np.ndarray:
    """The number of each target's cluster, the same for twins: int [K]. twin: int [K], -1: none."""
    return np.unique(leaders(num_models, twin), return_inverse=True)[1]


def _clustered(influence: np.ndarray, known: np.ndarray, twin: Array | None) -> Clustered:
    """The sums of a whole table."""
    found = Clustered(influence.shape[1])
    found.add(influence, known, pairs(influence.shape[0], twin))
    return found


def _paired(influence: np.ndarray, known: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Influence and knownness with the targets of each cluster summed into one row."""
    numbers, row_of = np.unique(cluster, return_inverse=True)
    if numbers.size == cluster.size:
        return influence, known
    summed = np.zeros((numbers.size, influence.shape[1]))
    either = np.zeros(summed.shape, bool)
    for row, number in enumerate(row_of):
        summed[number] += influence[row]
        either[number] |= known[row]
    return summed, either


def _twice_below(tie: np.ndarray, side: np.ndarray) -> np.ndarray:
    """For each ranked entry twice the number of `side` below it, ties counting one half: int [M]."""
    counts = np.bincount(tie[side], minlength=tie[-1] + 1)
    return (2 * np.cumsum(counts) - counts)[tie]
