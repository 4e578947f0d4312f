"""Who is called a member: thresholds chosen on other targets and other records than they judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mia_jax.statistics.pooled import Pooled
from mia_jax.statistics.pooled_roc import INSIDE, OUTSIDE
from mia_jax.statistics.roc import doubt_of_gain
from mia_jax.statistics.score_table import ScoreTable
from mia_jax.statistics.sorted_scores import SortedScores, Sorter
from mia_jax.types import Array
from mia_jax.validation import check_whole

RECORD_PARTS = 3
"""Parts of the records, each judged at thresholds that the next one chose."""


class CrossFit(NamedTuple):
    """fold: int [K], that of each target. thresholds: float64 [folds, parts], NaN where nothing could choose."""

    fold: np.ndarray
    thresholds: np.ndarray

    def decisions(self, scores: np.ndarray, models: Array | slice, first_record: int = 0) -> np.ndarray:
        """Who of some targets and neighbouring records is called a member, False without a score: bool [k, n].

        scores: [k, n]. models: the targets. first_record: the number of the first record.
        """
        called = np.zeros(scores.shape, bool)
        for part in range(RECORD_PARTS):
            mine = slice((part - first_record) % RECORD_PARTS, None, RECORD_PARTS)
            called[:, mine] = scores[:, mine] >= self.thresholds[self.fold[models], part, None]
        return called


def cross_fit_decisions(
    scores: Array | ScoreTable, member: Array, twin: Array | None = None, folds: int = 8
) -> np.ndarray:
    """Decisions at the `central_threshold` of other targets and other records.

    Other targets alone are not enough: scores of one record hang together over all targets, and a
    threshold that has seen the record overfits (null balanced accuracy .504 at 150 records). So the
    records are in three parts, and the next part chooses for each: were two to choose for each
    other, their errors would hang together (null coverage of the interval 94 % instead of 95 %).

    scores, member: [K, N]; NaN scores are missing. twin: int [K], models to keep in one fold (-1:
    none). Returns bool [K, N], False where the score is missing or nothing could choose a threshold.
    Raises ValueError for fewer than two folds.
    """
    pooled = Pooled(scores, member, twin)
    chosen = cross_fit(pooled, folds)
    decisions = np.zeros(pooled.table.shape, bool)
    for block in pooled.blocks():
        decisions[block.models] = chosen.decisions(block.scores, block.models)
    return decisions


def cross_fit(pooled: Pooled, folds: int = 8) -> CrossFit:
    """The thresholds of `cross_fit_decisions`, in one reading of the scores."""
    check_whole("folds", folds, 2, ", or no other targets are left")
    fold = pooled.cluster % folds
    folds = int(fold.max(initial=0)) + 1
    sorters = [Sorter(2 * folds) for _ in range(RECORD_PARTS)]
    for block in pooled.blocks():
        for own in np.unique(fold[block.models]):
            rows = fold[block.models] == own
            for part, sorter in enumerate(sorters):
                columns = slice(part, None, RECORD_PARTS)
                scores = block.scores[rows, columns]
                sorter.add(2 * int(own) + INSIDE, scores[block.inside[rows, columns]])
                sorter.add(2 * int(own) + OUTSIDE, scores[block.outside[rows, columns]])
    chosen = [_Chooser(sorters.pop(0).sorted(), folds).thresholds() for _ in range(RECORD_PARTS)]
    return CrossFit(fold, np.stack([*chosen[1:], chosen[0]], axis=1))


class _Gains(NamedTuple):
    """For one fold, what the others' scores called gain at a chunk's thresholds, from the largest down.

    true, false, gain: int64 [S], float64 where they would overflow; gain is (TPR - FPR) times both counts, whole
    numbers, so that equal thresholds are equal. theirs: bool [S], the thresholds that are scores of the others.
    """

    true: np.ndarray
    false: np.ndarray
    gain: np.ndarray
    theirs: np.ndarray


class _Chunk(NamedTuple):
    """A chunk's thresholds from the largest down, its entries by fold and side int64 [F, 2, S], those called
    within it, and over all folds.
    """

    values: np.ndarray
    counts: np.ndarray
    called: np.ndarray
    all_counts: np.ndarray
    all_called: np.ndarray
    gains: dict[int, _Gains]


class _Chooser:
    """Chooses for every fold the central threshold of the other folds, from their scores in order.

    scores: labels 2 f + 1 of members and 2 f of non-members of fold f.
    """

    def __init__(self, scores: SortedScores, folds: int) -> None:
        self._scores, self._folds = scores, folds
        below = scores.below.reshape(-1, folds, 2)
        # Of the others of every fold, how many are called from a chunk on: [C + 1, F, 2].
        called = (below[-1] - below).sum(axis=1, keepdims=True) - (below[-1] - below)
        # Whole numbers, so that equal gains are equal; beyond int64 they are as equal as float64 tells.
        exact = max((int(inside) * int(outside) for outside, inside in called[0]), default=0) < 2**63
        self._called = called if exact else called.astype(np.float64)
        self._counts = self._called[0]
        self._loaded: dict[int, _Chunk] = {}

    def thresholds(self) -> np.ndarray:
        """The thresholds of all folds, NaN where the others are of one side only: float64 [F]."""
        chosen = np.full(self._folds, np.nan)
        judged = np.flatnonzero(self._counts.all(axis=1))
        best = self._best(judged)
        limits = {}
        for fold, (gain, true, false) in best.items():
            members, others = (int(self._counts[fold, side]) for side in (INSIDE, OUTSIDE))
            chosen[fold] = np.inf
            if gain > 0:
                limits[fold] = gain - doubt_of_gain(true, false, members, others)
        for fold, threshold in self._middle(limits).items():
            chosen[fold] = threshold
        return chosen

    def _best(self, judged: np.ndarray) -> dict[int, tuple[int, int, int]]:
        """Of each fold the largest gain, at the highest of equal thresholds, and who is called there."""
        best: dict[int, tuple[int, int, int]] = {int(fold): (0, 0, 0) for fold in judged}
        at_borders = {fold: int(self._at_borders(fold).max()) for fold in best}
        for chunk in reversed(range(self._scores.num_chunks)):
            # What can be no better than a border elsewhere need not be read.
            some = [fold for fold in best if self._most(chunk, fold) >= max(best[fold][0], at_borders[fold])]
            for fold, found in self._gains(chunk, some):
                top = int(np.argmax(found.gain)) if found.gain.size else -1
                if top >= 0 and found.gain[top] > best[fold][0]:
                    best[fold] = int(found.gain[top]), int(found.true[top]), int(found.false[top])
        return best

    def _middle(self, limits: dict[int, float]) -> dict[int, float]:
        """Of each fold the median of the thresholds whose gain reaches its limit."""
        good = {fold: np.zeros(self._scores.num_chunks, np.int64) for fold in limits}
        for chunk in reversed(range(self._scores.num_chunks)):
            some = [fold for fold, limit in limits.items() if self._most(chunk, fold) >= limit]
            for fold, found in self._gains(chunk, some):
                good[fold][chunk] = np.count_nonzero(found.theirs & (found.gain >= limits[fold]))
        middle = {}
        for fold, counts in good.items():
            place = int(counts.sum()) // 2
            above = np.cumsum(counts[::-1])
            after = int(np.searchsorted(above, place, side="right"))
            chunk = counts.size - 1 - after
            ((_, found),) = self._gains(chunk, [fold])
            as_good = np.flatnonzero(found.theirs & (found.gain >= limits[fold]))
            middle[fold] = float(self._chunk(chunk).values[as_good[place - (above[after] - counts[chunk])]])
        return middle

    def _at_borders(self, fold: int) -> np.ndarray:
        """The gains where chunks begin: int64 [C + 1]."""
        called, counts = self._called[:, fold], self._counts[fold]
        return called[:, INSIDE] * counts[OUTSIDE] - called[:, OUTSIDE] * counts[INSIDE]

    def _most(self, chunk: int, fold: int) -> int:
        """What no gain in a chunk can exceed: all its members called before any of its non-members."""
        members, others = self._counts[fold, INSIDE], self._counts[fold, OUTSIDE]
        return int(
            self._called[chunk, fold, INSIDE] * others - self._called[chunk + 1, fold, OUTSIDE] * members
        )

    def _gains(self, number: int, folds: list[int]) -> Iterator[tuple[int, _Gains]]:
        """What calling the others gains within a chunk, for each of some folds."""
        if not folds:
            return
        chunk = self._chunk(number)
        for fold in folds:
            if fold not in chunk.gains:
                above = self._called[number + 1, fold]
                true, false = (
                    chunk.all_called[side] - chunk.called[fold, side] + above[side]
                    for side in (INSIDE, OUTSIDE)
                )
                gain = true * self._counts[fold, OUTSIDE] - false * self._counts[fold, INSIDE]
                theirs = chunk.all_counts != chunk.counts[fold].sum(axis=0)
                chunk.gains[fold] = _Gains(true, false, gain, theirs)
            yield fold, chunk.gains[fold]

    def _chunk(self, number: int) -> _Chunk:
        """A chunk; the last one asked for is kept."""
        if number not in self._loaded:
            values, counts = self._scores.counts(number)
            called = np.cumsum(counts, axis=1).reshape(self._folds, 2, -1)
            counts = counts.reshape(called.shape)
            everyone = counts.sum(axis=(0, 1)), called.sum(axis=0)
            self._loaded = {number: _Chunk(values, counts, called, *everyone, {})}
        return self._loaded[number]
