"""The exact ROC of all entries of a table, however many: its area, its steps and its order statistics."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from mia_jax.statistics.sorted_scores import SortedScores

OUTSIDE, INSIDE = 0, 1
"""The labels of non-members and of members."""


class Step(NamedTuple):
    """A point of a ROC: its number, 0 where nobody is called; who is called falsely and truly; the threshold."""

    number: int
    false: int
    true: int
    threshold: float


class _Steps(NamedTuple):
    """The steps of a chunk from the largest score down, [S] each: thresholds, who is called falsely and truly,
    and the FPRs.
    """

    thresholds: np.ndarray
    false: np.ndarray
    true: np.ndarray
    fprs: np.ndarray


_HALF = 2**31
"""A number's part below it, times counts of fewer than 2^32 in all, is exact in int64."""


def _exact_dot(many: np.ndarray, counts: np.ndarray) -> int:
    """The sum of products, exact where int64 would overflow: int64 [S] each, below 2^61 and of a sum below 2^32."""
    high, low = np.divmod(many, _HALF)
    return int(high @ counts) * _HALF + int(low @ counts)


class PooledRoc:
    """A ROC read off sorted scores of non-members (label 0) and members (label 1)."""

    def __init__(self, scores: SortedScores) -> None:
        self.scores = scores
        self.others, self.members = (int(count) for count in scores.totals)
        self._kept = -1, _Steps(*[np.empty(0)] * 4)

    @functools.cached_property
    def area(self) -> float:
        """The probability that a member outscores a non-member, ties one half; there must be both."""
        return self._survey[0] / (2.0 * self.members * self.others)

    def at_fpr(self, fpr: float) -> tuple[Step, float]:
        """The last point whose FPR is at most `fpr`, the first one at least, and the threshold of the next.

        The last point has no next: it is given itself.
        """
        before = Step(0, 0, 0, np.inf)
        last = -1
        for chunk in range(self.scores.num_chunks - 1, -1, -1):
            if not self._survey[1][chunk]:
                continue
            if (self.others - self.scores.below[chunk, OUTSIDE]) / self.others > fpr:
                break
            last = chunk
        else:
            lowest = self._steps(last)
            return self._step(last, lowest.thresholds.size - 1), float(lowest.thresholds[-1])
        within = self._steps(chunk)
        allowed = int(np.searchsorted(within.fprs, fpr, side="right"))
        if allowed:
            before = self._step(chunk, allowed - 1)
        elif last >= 0:
            before = self._step(last, int(self._survey[1][last]) - 1)
        return before, float(self._steps(chunk).thresholds[allowed])

    def steps_at(self, fprs: np.ndarray) -> list[Step]:
        """The points that are the last at any of these FPRs, each once, from (0, 0) to (1, 1)."""
        found = {0: Step(0, 0, 0, np.inf)}
        for fpr in [*fprs.tolist(), 1.0]:
            step, _ = self.at_fpr(fpr)
            found[step.number] = step
        return [found[number] for number in sorted(found)]

    @property
    def smallest_fpr(self) -> float:
        """The smallest FPR above 0."""
        highest = int(np.flatnonzero(np.diff(self.scores.below[:, OUTSIDE]))[-1])
        return int(self.scores.run(highest, OUTSIDE).counts[-1]) / self.others

    def quantile(self, share: float) -> float:
        """A quantile of all scores, interpolated linearly between its two neighbours."""
        place = (self.members + self.others - 1) * share
        low = int(np.floor(place))
        ends = [self._ranked(low), self._ranked(min(low + 1, self.members + self.others - 1))]
        # A quantile of two values is NumPy's own interpolation.
        return float(np.quantile(ends, place - low))

    def called(self, threshold: float) -> tuple[int, int]:
        """How many non-members and members have a score >= threshold."""
        return self.others - self.below(threshold, OUTSIDE), self.members - self.below(threshold, INSIDE)

    def below(self, score: float, label: int) -> int:
        """How many entries of a label are below a score."""
        chunk = int(np.searchsorted(self.scores.borders, score, side="right"))
        run = self.scores.run(chunk, label)
        inside = int(run.counts[: int(np.searchsorted(run.values, score))].sum())
        return int(self.scores.below[chunk, label]) + inside

    @functools.cached_property
    def _survey(self) -> tuple[int, np.ndarray]:
        """Twice the pairs in the right order, and the number of distinct scores of each chunk [C]."""
        pairs, distinct = 0, np.zeros(self.scores.num_chunks, np.int64)
        for chunk in range(self.scores.num_chunks):
            inside, outside = (self.scores.run(chunk, label) for label in (INSIDE, OUTSIDE))
            before = np.concatenate([[0], np.cumsum(outside.counts)]) + self.scores.below[chunk, OUTSIDE]
            at = np.searchsorted(outside.values, inside.values)
            tied = np.append(outside.values, np.nan)[at] == inside.values
            pairs += _exact_dot(before[at] + before[at + tied], inside.counts)
            distinct[chunk] = inside.values.size + outside.values.size - np.count_nonzero(tied)
        return pairs, distinct

    def _steps(self, chunk: int) -> _Steps:
        """The steps of a chunk; the last one asked for is kept."""
        if chunk != self._kept[0]:
            values, counts = self.scores.counts(chunk)
            above = self.scores.totals - self.scores.below[chunk + 1]
            called = np.cumsum(counts, axis=1) + above[:, None]
            false = called[OUTSIDE]
            self._kept = chunk, _Steps(values, false, called[INSIDE], false / max(self.others, 1))
        return self._kept[1]

    def _step(self, chunk: int, number: int) -> Step:
        """One step of a chunk."""
        steps = self._steps(chunk)
        above = int(self._survey[1][chunk + 1 :].sum())
        called = int(steps.false[number]), int(steps.true[number])
        return Step(1 + above + number, *called, float(steps.thresholds[number]))

    def _ranked(self, rank: int) -> float:
        """The score with so many entries before it in rising order."""
        below = self.scores.below.sum(axis=1)
        chunk = int(np.searchsorted(below, rank, side="right")) - 1
        values, counts = self.scores.counts(chunk)
        up_to = np.cumsum(counts.sum(axis=0)[::-1]) + below[chunk]
        return float(values[::-1][np.searchsorted(up_to, rank, side="right")])
