"""From scores to calls: who is called a member, at zero or at a stated FPR.

A missing score compares as False, which would be a call too: calls come with where they are known.
NumPy, float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from mia_jax.attacks.base import folds, references
from mia_jax.dynamics.rates import ROUNDING
from mia_jax.statistics.roc import check_rate, target_by_record
from mia_jax.types import Array
from mia_jax.validation import as_numbers

BITS = 16
"""Of a score's 64, those that one passage looks at where scores are many."""

LEFT_AT_FIRST = 64 - BITS
"""Bits that the first passage leaves."""

MOST_KEPT = 2**21
"""Scores of which a threshold is the one at its place, and need not be gone through again."""


def calls_at_zero(scores: Array) -> tuple[np.ndarray, np.ndarray]:
    """Who has a score of at least 0, as of a log-likelihood ratio, and where there is one: bool [K, N] each.

    scores: [K, N], NaN where missing. Raises ValueError for another shape. The rule of Chen et al. 2025.
    """
    values = as_numbers("scores", scores)
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
    scores, held = target_by_record(scores, member)
    found = thresholds(
        lambda: iter([(scores, held)]), len(scores), fpr, valid=valid, exclude=exclude, count=count
    )
    return found.calls(scores)


class Thresholds(NamedTuple):
    """What every target's scores must lie above, float64 [K], NaN for nothing at all; where that is known, bool [K]."""

    above: np.ndarray
    known: np.ndarray

    def calls(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Who is called a member, and where that is known: bool [K, n] each. scores: [K, n], NaN where missing."""
        known = ~np.isnan(scores) & self.known[:, None]
        return known & ~(scores <= self.above[:, None]), known


def thresholds(
    blocks: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]],
    num_models: int,
    fpr: float,
    *,
    valid: Array | None = None,
    exclude: Array | None = None,
    count: int = 4,
) -> Thresholds:
    """The thresholds of `calls_at_fpr`, from scores that are gone through block after block of records.

    blocks: gives, whenever it is called, every block's scores float64 [K, n], NaN where missing, and its
    membership, bool [K, n]; it is called twice or more often where scores are many: what is held does not
    grow with them. The others as for `calls_at_fpr`. Raises ValueError for an fpr outside [0, 1] and a count
    below 2.
    """
    check_rate("fpr", fpr)
    _, usable = references(num_models, exclude, valid)
    fold = folds(num_models, count, exclude)
    above, known = np.full(num_models, np.inf), np.zeros(num_models, bool)
    judges = {int(own): usable & (fold != own) for own in np.unique(fold)}
    searches = {own: _Search() for own in judges}
    while any(not search.done for search in searches.values()):
        for scores, held in blocks():
            others = ~held & ~np.isnan(scores)
            for own, search in searches.items():
                if not search.done:
                    search.add(scores[judges[own]][others[judges[own]]])
        for search in searches.values():
            search.narrow(fpr)
    for own, search in searches.items():
        above[fold == own] = search.threshold
        known[fold == own] = search.size > 0
    return Thresholds(above, known & usable)


class _Search:
    """The score that at most a share of all exceed, found by counting: all are gone through until few are left."""

    def __init__(self) -> None:
        self.done, self.threshold, self.size = False, np.inf, 0
        self._low, self._shift, self._first = 0, LEFT_AT_FIRST, True
        self._counts = np.zeros(2**BITS, np.int64)
        self._kept: list[np.ndarray] | None = []
        self._above = -1

    def add(self, scores: np.ndarray) -> None:
        """Take some scores, float64 [m], none NaN."""
        # A key below the lowest wraps round, and is as far away as one above the highest.
        digits = (keys := _keys(scores)) - np.uint64(self._low) >> np.uint64(self._shift)
        near = digits < 2**BITS
        keys, digits = keys[near], digits[near]
        self._counts += np.bincount(digits.astype(np.int64), minlength=2**BITS)
        if self._kept is not None:
            self._kept.append(keys)
            if self._counts.sum() > MOST_KEPT:
                self._kept = None

    def narrow(self, fpr: float) -> None:
        """What one passage has shown."""
        if self.done:
            return
        if self._first:
            self.size = int(self._counts.sum())
            # The product of a round count and a decimal rate falls short of the whole number by rounding.
            self._above = int(np.floor(fpr * self.size + ROUNDING))
            self._first = False
            if self._above in (0, self.size):
                self.done, self.threshold = True, np.nan if self._above else np.inf
                return
        if self._kept is not None:
            keys = np.concatenate(self._kept)
            place = keys.size - 1 - self._above
            self.done, self.threshold = True, _score(int(np.partition(keys, place)[place]))
            return
        largest_first = np.cumsum(self._counts[::-1])
        back = int(np.searchsorted(largest_first, self._above, side="right"))
        self._above -= int(largest_first[back - 1]) if back else 0
        self._low += (2**BITS - 1 - back) << self._shift
        if not self._shift:
            self.done, self.threshold = True, _score(self._low)
            return
        self._shift -= BITS
        self._counts[:], self._kept = 0, []


def _keys(scores: np.ndarray) -> np.ndarray:
    """Whole numbers that are in order as scores are: uint64 of float64."""
    bits = np.ascontiguousarray(scores + 0.0, np.float64).view(np.uint64)  # -0.0 is 0.0
    negative = bits >> np.uint64(63) == 1
    return np.where(negative, ~bits, bits | np.uint64(2**63))


def _score(key: int) -> float:
    """The score of a key."""
    bits = key - 2**63 if key >= 2**63 else ~key & (2**64 - 1)
    return float(np.array(bits, np.uint64).view(np.float64))
