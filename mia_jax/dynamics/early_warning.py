"""Early warning: a list of records made early in training, and what became of those on it.

List and verdict come from disjoint halves of the models, or noise that both share would prove the list
right; then even a list made at the end is wrong in part, so every figure stands beside that ceiling
and beside chance. NumPy, float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mia_jax.dynamics.halves import both_ways, by_part
from mia_jax.dynamics.rates import ROUNDING, mean_of_known, table_of_members
from mia_jax.dynamics.transitions import CUTS
from mia_jax.types import Array
from mia_jax.validation import as_mask, check_number


class Foretold(NamedTuple):
    """A list held against the final vulnerability by other models, float64 [...] each; NaN where empty.

    overlap: the share of the list that is among the most vulnerable at the end, as many as are listed:
    precision and recall in one. precision: the share of the list that is high at the end. recall: the
    share of those that are high that is listed. listed, others: mean final vulnerability of the records
    on the list and of all others.
    """

    overlap: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    listed: np.ndarray
    others: np.ndarray


class Foretelling(NamedTuple):
    """What an early list foretells, beside a list made at the end, and one made by lot.

    early, ceiling, chance: [] each, means over the splits and both directions. ceiling: with the list
    made at the end, by the same models as the early one: only noise keeps it from being right.
    chance: what a list drawn at random is expected to reach. `_by_split`: [2P] each, the P splits in
    one direction, then in the other; they share models, so their spread is no standard error.
    """

    early: Foretold
    ceiling: Foretold
    chance: Foretold
    early_by_split: Foretold
    ceiling_by_split: Foretold
    chance_by_split: Foretold


def foretell(early_v: Array, share: float) -> np.ndarray:
    """The rows of the records with the largest early vulnerability, from the largest down: int [m].

    early_v: [N]; NaN is never listed. share: how many of the M records with a value are listed, m =
    share M to the nearest whole number, but one at least. Ties go by row. Raises ValueError for another
    shape and a share outside (0, 1]. Our definition.
    """
    values = np.asarray(early_v, np.float64)
    if values.ndim != 1:
        raise ValueError(f"early_v has shape {values.shape}: it must be [N], one a record.")
    known = np.flatnonzero(~np.isnan(values))
    order = np.argsort(-_levels(values[known]), kind="stable")
    return known[order[: _size(share, known.size)]]


def foretelling(
    calls_early: Array,
    calls_final: Array,
    member: Array,
    halves: Array,
    share: float,
    known_early: Array | None = None,
    known_final: Array | None = None,
    *,
    cut: float = CUTS[-1],
) -> Foretelling:
    """What a list of one half of the models at an early checkpoint says of the other half's final verdict.

    calls_early, calls_final, member: bool [K, N]. halves: bool [P, K], e.g. of `model_halves`. share:
    of the records, on the list (as for `foretell`). known_early, known_final: bool [K, N], where there is
    a call; None: everywhere. cut: high is a vulnerability of at least this. Records without vulnerability
    by list or verdict are left out. Records tied at the edge of a list are on it in part, as if drawn
    by lot: taken by row, list and verdict would agree on the rows.

    Calls of an attack that is fitted with membership must have been made with the other half left out
    of its references (`apart`): then give one split at a time, and put the answers together with
    `combined_foretelling`. Raises ValueError for arrays that do not fit, a half without models and a share
    outside (0, 1]. Our definition.
    """
    held = table_of_members(member)
    parts = both_ways(halves, len(held))
    early, early_known = _checked("calls_early", calls_early, held, known_early)
    final, final_known = _checked("calls_final", calls_final, held, known_final)
    early_v, final_v = by_part(early, held, early_known, parts), by_part(final, held, final_known, parts)
    return foretelling_of_halves(early_v, final_v, share, cut=cut)


def foretelling_of_halves(
    early_v: np.ndarray, final_v: np.ndarray, share: float, *, cut: float = CUTS[-1]
) -> Foretelling:
    """The same from the vulnerability by each half, early and at the end: [2P, N] each.

    The second P rows are the other halves of the first. Raises ValueError for other shapes and a share outside (0, 1].
    """
    if np.ndim(early_v) != 2 or np.shape(early_v) != np.shape(final_v) or len(early_v) % 2:
        raise ValueError(
            f"early_v has shape {np.shape(early_v)} and final_v {np.shape(final_v)}: both must be [2P, N], each split "
            "and then its rest."
        )
    # The rest of a split is its other direction: each part's list meets the verdict of its rest.
    verdict = np.roll(final_v, len(final_v) // 2, axis=0)
    early = [_held_against(v, last, share, cut) for v, last in zip(early_v, verdict, strict=True)]
    ceiling = [_held_against(v, last, share, cut)[0] for v, last in zip(final_v, verdict, strict=True)]
    return _summary(
        _stacked([one for one, _ in early]), _stacked(ceiling), _stacked([lot for _, lot in early])
    )


def combined_foretelling(parts: Sequence[Foretelling]) -> Foretelling:
    """The answers of several splits as one, every split alike; `_by_split` in the order of the parts.

    Raises ValueError for no part.
    """
    if not parts:
        raise ValueError("parts is empty: give at least one split's answer.")
    return _summary(
        _joined([part.early_by_split for part in parts]),
        _joined([part.ceiling_by_split for part in parts]),
        _joined([part.chance_by_split for part in parts]),
    )


def _summary(early: Foretold, ceiling: Foretold, chance: Foretold) -> Foretelling:
    """Means over splits. early, ceiling, chance: [2P] each."""
    return Foretelling(_mean(early), _mean(ceiling), _mean(chance), early, ceiling, chance)


def _mean(by_split: Foretold) -> Foretold:
    """The mean over splits, [] each; a split without an answer is left out."""
    return Foretold(*(mean_of_known(each) for each in by_split))


def _held_against(
    list_v: np.ndarray, final_v: np.ndarray, share: float, cut: float
) -> tuple[Foretold, Foretold]:
    """A list by one vulnerability [N] against another, and a list by lot."""
    known = ~np.isnan(list_v + final_v)
    last = final_v[known]
    size = _size(share, last.size)
    on_list, on_top = _top(list_v[known], size), _top(last, size)
    # 0.7 - 0.2 is 0.49999999999999994, and means one half.
    high = last >= cut - ROUNDING
    by_lot = np.full(last.size, size / max(last.size, 1))
    return _against(on_list, on_top, high, last), _against(by_lot, on_top, high, last)


def _against(on_list: np.ndarray, on_top: np.ndarray, high: np.ndarray, last: np.ndarray) -> Foretold:
    """A list given as the part of each record that is on it, [n] each."""
    size, off_list = on_list.sum(), 1.0 - on_list
    return Foretold(
        _ratio(np.sum(on_list * on_top), size),
        _ratio(np.sum(on_list * high), size),
        _ratio(np.sum(on_list * high), high.sum()),
        _ratio(np.sum(on_list * last), size),
        _ratio(np.sum(off_list * last), off_list.sum()),
    )


def _top(values: np.ndarray, size: int) -> np.ndarray:
    """The part of each record that is among the `size` largest, those tied at the edge alike: float64 [n]."""
    level = _levels(values)
    if not size:
        return np.zeros(values.size)
    edge = np.sort(level)[values.size - size]
    above, tied = level > edge, level == edge
    return above + tied * (size - above.sum()) / tied.sum()


def _levels(values: np.ndarray) -> np.ndarray:
    """The number of each value among the distinct ones, equal up to rounding: int [n], rising."""
    order = np.argsort(values)
    level = np.empty(values.size, np.int64)
    level[order] = np.cumsum(np.diff(values[order], prepend=values[order[:1]]) > ROUNDING)
    return level


def _size(share: float, num_records: int) -> int:
    """How many records are listed. Raises ValueError."""
    check_number("share", share, lambda part: 0 < part <= 1, "lie in (0, 1]")
    return min(max(1, int(np.floor(share * num_records + 0.5 + ROUNDING))), num_records)


def _checked(name: str, calls: Array, held: np.ndarray, known: Array | None) -> tuple[np.ndarray, Any]:
    """Calls as bool [K, N], and where there are any (None: everywhere). Raises ValueError."""
    present = None if known is None else as_mask(name.replace("calls", "known"), known, held.shape)
    return as_mask(name, calls, held.shape), present


def _stacked(each: Sequence[Foretold]) -> Foretold:
    """Answers of single splits, one after another."""
    return Foretold(*(np.stack(values) for values in zip(*each, strict=True)))


def _joined(each: Sequence[Foretold]) -> Foretold:
    """Answers of several splits, one after another."""
    return Foretold(*(np.concatenate(values) for values in zip(*each, strict=True)))


def _ratio(part: float, whole: float) -> np.ndarray:
    """part / whole, NaN where the whole is 0."""
    return np.asarray(part / whole if whole > 0 else np.nan)
