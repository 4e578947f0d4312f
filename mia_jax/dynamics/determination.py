"""Can it be told early: the records exposed at the end against those that were exposed before.

Early and final sets of the same models agree by their shared sampling noise alone. Between disjoint
halves of the models they cannot; but then two noisy sets agree only in part even when nothing changes,
so every figure stands beside that ceiling. NumPy, float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mia_jax.dynamics.halves import both_ways, by_part
from mia_jax.dynamics.rates import Calls, by_record, mean_of_known, table_of_members, with_known
from mia_jax.dynamics.transitions import states
from mia_jax.types import Array


class Agreement(NamedTuple):
    """Of early sets with a final one, float64 [..., T] each.

    recall: the share of the final set that is in the early one, NaN where the final set is empty.
    precision: the share of the early set that is in the final one, NaN where the early set is empty.
    jaccard: the share of those in either that are in both, NaN where both are empty.
    """

    recall: np.ndarray
    precision: np.ndarray
    jaccard: np.ndarray


class HalvesAgreement(NamedTuple):
    """Early determination between halves of the models, the ceiling, and what of it is reached.

    early: [T] each, early set from one half, final set from the other, mean over splits and both
    directions. ceiling: [] each, the same with the early set taken at the end too, so that only
    sampling noise keeps it from 1. ratio: [T] each, early / ceiling, 1 at the end. by_split:
    [2P, T] each, the P splits in one direction, then in the other; they share models, so their
    spread is no standard error.
    """

    early: Agreement
    ceiling: Agreement
    ratio: Agreement
    by_split: Agreement


def early_determination(early_v: Array, final_v: Array, cut: float) -> Agreement:
    """Recall, precision and Jaccard index of the final high set, from the high set of each checkpoint: [T] each.

    early_v: vulnerability [T, N]. final_v: [N], from other models than early_v (see
    `determination_between_halves`). cut: high is at least this. Records that are NaN in either are left
    out. Raises ValueError for arrays that do not fit. Chen et al. 2025 (the formula is our definition).
    """
    early = by_record("early_v", early_v)
    if np.shape(final_v) != early.shape[1:]:
        raise ValueError(
            f"final_v has shape {np.shape(final_v)}: it must be [N] with the {early.shape[1]} records of early_v."
        )
    return _agreement(states(early, (cut,)), states(np.asarray(final_v)[None], (cut,))[0])


def determination_between_halves(
    calls: Calls, member: Array, halves: Array, cut: float, known: Calls | None = None
) -> HalvesAgreement:
    """Early determination with early and final sets from disjoint halves of the models, beside its ceiling.

    calls, member, known: as for `plane`. halves: bool [P, K], e.g. of `model_halves`. cut: high is a
    vulnerability of at least this. Calls of an attack that is fitted with membership must have been made
    with the other half left out of its references (`apart`): then give one split at a time, and put
    the answers together with `combined_halves`. Left in, they make the halves agree (leave-one-out LiRA
    without any signal, 64 models: their vulnerabilities correlate by .21-.25, and by .00 apart). Raises
    ValueError for arrays that do not fit and for a half without models.
    """
    held = table_of_members(member)
    # The rest of a split is its other direction: early sets of one are final sets of the other.
    both = both_ways(halves, len(held))
    each = with_known(calls, known, held.shape)
    return determination_of_halves((by_part(called, held, present, both) for called, present in each), cut)


def determination_of_halves(by_half: Iterable[np.ndarray], cut: float) -> HalvesAgreement:
    """The same from the vulnerability by each half at every checkpoint: T arrays [2P, N], read once.

    The second P rows are the other halves of the first. Raises ValueError as `states`, and for no checkpoint.
    """
    high = np.stack([states(v, (cut,)) for v in by_half])
    num_splits = high.shape[1] // 2
    final = np.concatenate([high[-1, num_splits:], high[-1, :num_splits]])
    each = [_agreement(high[:, way], final[way]) for way in range(2 * num_splits)]
    return _summary(Agreement(*(np.stack(rows) for rows in zip(*each, strict=True))))


def combined_halves(parts: Sequence[HalvesAgreement]) -> HalvesAgreement:
    """The answers of several splits as one, every split alike; `by_split` in the order of the parts.

    Raises ValueError for no part.
    """
    if not parts:
        raise ValueError("parts is empty: give at least one split's answer.")
    rows = zip(*(part.by_split for part in parts), strict=True)
    return _summary(Agreement(*(np.concatenate(each) for each in rows)))


def _summary(by_split: Agreement) -> HalvesAgreement:
    """Means over splits, the ceiling, and the ratio to it. by_split: [2P, T] each."""
    early = Agreement(*(mean_of_known(values, axis=0) for values in by_split))
    ceiling = Agreement(*(values[-1] for values in early))
    return HalvesAgreement(
        early, ceiling, Agreement(*(_ratio(a, b) for a, b in zip(early, ceiling, strict=True))), by_split
    )


def _agreement(early: np.ndarray, final: np.ndarray) -> Agreement:
    """Of sets given as 1 (in), 0 (out) and -1 (unknown): early [T, N], final [N]."""
    known = (early >= 0) & (final >= 0)
    then, last = (early == 1) & known, (final == 1) & known
    both = (then & last).sum(axis=1)
    either = (then | last).sum(axis=1)
    return Agreement(_ratio(both, last.sum(axis=1)), _ratio(both, then.sum(axis=1)), _ratio(both, either))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where the whole is 0."""
    return part / np.where(whole > 0, whole, np.nan)
