"""How hard a record is to learn, from models that never saw it, and whether that goes with its exposure.

Difficulty and vulnerability of the same models share their sampling noise: take them from disjoint
halves (`mia_jax.dynamics.model_halves`), `correct[half]` and `calls[~half]`. NumPy, float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from mia_jax.dynamics.rates import Calls, by_checkpoint, plane, sides, table_of_members
from mia_jax.types import Array
from mia_jax.validation import as_numbers, check_confidence


class Learned(NamedTuple):
    """When models without a record came to classify it correctly for good, float64 [N] each.

    epoch: the mean over these models, in the unit of `times`; a model that never does counts as if
    it did at the checkpoint after the last. never: the share of the models that never do. Both NaN
    where there is no such model.
    """

    epoch: np.ndarray
    never: np.ndarray


class RankCorrelation(NamedTuple):
    """Spearman's correlation with its confidence interval; NaN where it cannot be estimated.

    pairs: int, the records that entered.
    """

    value: float
    low: float
    high: float
    pairs: int


def epoch_learned(correct: Calls, member: Array, times: Array) -> Learned:
    """The first checkpoint from which on a record stays correctly classified, on average over OUT models.

    correct: bool or 1/0, [K, T, N], or an iterator of [K, N], one a checkpoint. member: bool [K, N].
    times: [T], at least two, rising. A record that is correct at the last checkpoint alone counts as
    learned there. Leave diverged models out of both arrays. Raises ValueError for arrays that do not
    fit. Our definition.
    """
    held = table_of_members(member)
    moments = as_numbers("times", times)
    if (
        moments.ndim != 1
        or moments.size < 2
        or not np.isfinite(moments).all()
        or (np.diff(moments) <= 0).any()
    ):
        raise ValueError(f"times is {moments.tolist()}: it must hold at least two finite values that rise.")
    since, num_read = np.zeros(held.shape, np.int32), 0
    for right in by_checkpoint("correct", correct, held.shape):
        num_read += 1
        since[~right] = num_read  # wrong here: the next checkpoint is the first that can count
    if num_read != moments.size:
        raise ValueError(
            f"times has shape {moments.shape}: it must be [{num_read}], one a checkpoint of correct."
        )
    extended = np.append(moments, 2 * moments[-1] - moments[-2])
    seen = sides(held)
    epoch = np.sum(extended[since], axis=0, where=seen.outside) / seen.times_out
    return Learned(epoch, np.sum(since == num_read, axis=0, where=seen.outside) / seen.times_out)


def out_accuracy(correct: Calls, member: Array, known: Calls | None = None) -> np.ndarray:
    """The share of the models without a record that classify it correctly: [T, N], NaN where there is none.

    correct: as for `epoch_learned`. member: bool [K, N]. known: as for `plane`. Low for hard records; a
    stand-in for the consistency score of Jiang et al. 2021. Raises ValueError for arrays that do not fit.
    """
    return plane(correct, member, known)[0]


def rank_correlation(first: Array, second: Array, *, confidence: float = 0.95) -> RankCorrelation:
    """Spearman's correlation of two quantities of the same records, ties at their mean rank.

    first, second: [N]; pairs with a NaN are left out. The interval is Fisher's z with the variance
    (1 + r^2 / 2) / (N - 3) of Bonett & Wright 2000: it is over other records with the same models, and
    noise of the two quantities draws the correlation towards 0. NaN for a quantity without variation,
    an interval of NaN for fewer than four pairs. Raises ValueError for arrays that do not fit.
    """
    check_confidence(confidence)
    a, b = as_numbers("first", first), as_numbers("second", second)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"first, second have shapes {a.shape}, {b.shape}: both must be [N].")
    known = ~(np.isnan(a) | np.isnan(b))
    pairs = int(known.sum())
    x, y = _centred_ranks(a[known]), _centred_ranks(b[known])
    scale = np.sqrt(np.sum(x**2) * np.sum(y**2))
    if scale == 0:
        return RankCorrelation(np.nan, np.nan, np.nan, pairs)
    value = float(np.clip(np.sum(x * y) / scale, -1.0, 1.0))
    if pairs < 4:
        return RankCorrelation(value, np.nan, np.nan, pairs)
    if abs(value) == 1.0:
        return RankCorrelation(value, value, value, pairs)
    width = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt((1 + value**2 / 2) / (pairs - 3))
    low, high = np.tanh(np.arctanh(value) + np.array([-width, width]))
    return RankCorrelation(value, float(low), float(high), pairs)


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks less their mean, ties at their mean rank."""
    return stats.rankdata(values) - (values.size + 1) / 2
