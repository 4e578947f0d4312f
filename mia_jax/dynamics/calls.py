"""From scores to calls: who is called a member, at zero or at a stated FPR.

A missing score compares as False, which would be a call too: calls come with where they are known.
NumPy, float64.
"""

from __future__ import annotations

import numpy as np

from mia_jax.attacks.base import folds, references
from mia_jax.dynamics.rates import ROUNDING
from mia_jax.roc import check_rate, target_by_record
from mia_jax.types import Array


def calls_at_zero(scores: Array) -> tuple[np.ndarray, np.ndarray]:
    """Who has a score of at least 0, as of a log-likelihood ratio, and where there is one: bool [K, N] each.

    scores: [K, N], NaN where missing. Raises ValueError for another shape. The rule of Chen et al. 2025.
    """
    values = np.asarray(scores, np.float64)
    if values.ndim != 2:
        raise ValueError(f"scores have shape {values.shape}: they must be [K, N], target by record.")
    return values >= 0, ~np.isnan(values)


def calls_at_fpr(
    scores: Array,
    member: Array,
    fpr: float,
    *,
    valid: Array | None = None,
    exclude: Array | None = None,
    count: int = 4,
) -> tuple[np.ndarray, np.ndarray]:
    """Who scores above a threshold that other models' non-members set, and where that is known: bool [K, N] each.

    scores: [K, N], larger = more likely a member, NaN where missing. member: bool [K, N]. The targets of
    one of `count` folds share one threshold for all records: the smallest above which at most the share
    `fpr` lies of the non-member scores of the models outside the fold. Models that `exclude` [K, K] ties
    together (twins) are in one fold; those that are not `valid` [K] set no threshold, and their calls are
    unknown.

    ==============================================  =====================================================
    scores equal to the threshold                   not called: ties are never split
    fewer than one of the others may lie above      nobody is called, which is known
    no non-member score outside the fold            unknown
    ==============================================  =====================================================

    A new non-member lies above with probability (1 + fpr m) / (1 + m) at most, of m such scores: more than
    fpr by less than 1 / m. Raises ValueError for arrays that do not fit, an fpr outside [0, 1] and a count
    below 2.
    """
    check_rate("fpr", fpr)
    scores, held = target_by_record(scores, member)
    _, usable = references(len(scores), exclude, valid)
    fold = folds(len(scores), count, exclude)
    present = ~np.isnan(scores) & usable[:, None]
    called, known = np.zeros(scores.shape, bool), np.zeros(scores.shape, bool)
    for own in np.unique(fold):
        mine = fold == own
        judges = (present & ~held)[~mine]
        if judges.any():
            known[mine] = present[mine]
            called[mine] = present[mine] & _above(scores[mine], scores[~mine][judges], fpr)
    return called, known


def _above(scores: np.ndarray, others: np.ndarray, fpr: float) -> np.ndarray:
    """Which scores lie above the smallest threshold that at most the share `fpr` of the others exceed."""
    # The product of a round count and a decimal rate falls short of the whole number by rounding.
    allowed = int(np.floor(fpr * others.size + ROUNDING))
    if allowed in (0, others.size):
        return np.full(scores.shape, allowed > 0)
    place = others.size - 1 - allowed
    return scores > np.partition(others, place)[place]
