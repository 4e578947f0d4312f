"""Scores in order, however many: sorted in pieces, merged in chunks, on disk where they do not fit.

What is pooled over all entries of a table (ranks, curves, quantiles, thresholds) needs them in order,
not in place. A label says which of a few kinds an entry is of, such as member or not.
"""

from __future__ import annotations

import itertools
import tempfile
import weakref
from typing import NamedTuple

import numpy as np

from mia_jax.runs.store import StoreError

CHUNK = 2**17
"""Distinct scores of a chunk, all labels together, give or take a few pieces' ends."""

SPACING = 2**8
"""Every so many distinct scores of a sorted piece one may become the border of a chunk."""

IN_MEMORY = 2**25
"""Bytes above which sorted scores lie in a temporary file."""


class Run(NamedTuple):
    """Distinct scores, rising, and how often each occurs: float64 [S], int64 [S]."""

    values: np.ndarray
    counts: np.ndarray


class SortedScores:
    """The scores of every label in order, cut into C chunks at the same scores for all L labels.

    borders: float64 [C - 1], chunk c holds the scores in [borders[c - 1], borders[c]). below: int64
    [C + 1, L], entries of each label below every chunk, and in the last row all of them.
    """

    def __init__(self, borders: np.ndarray, pile: _Pile, pieces: list[list[_Piece]]) -> None:
        self.borders, self._pile, self._pieces = borders, pile, pieces
        entries = np.array([[piece.entries for piece in chunk] for chunk in pieces], np.int64)
        self.below = np.concatenate([np.zeros((1, entries.shape[1]), np.int64), np.cumsum(entries, axis=0)])

    @property
    def num_chunks(self) -> int:
        """The number of chunks C."""
        return len(self._pieces)

    @property
    def totals(self) -> np.ndarray:
        """The entries of each label: int64 [L]."""
        return self.below[-1]

    def run(self, chunk: int, label: int) -> Run:
        """One label's scores in a chunk."""
        return self._pile.read(self._pieces[chunk][label])

    def counts(self, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        """The distinct scores of a chunk, falling, and how often each label has each: [S], int64 [L, S]."""
        runs = [self.run(chunk, label) for label in range(self.totals.size)]
        values = np.unique(np.concatenate([run.values for run in runs]))
        counts = np.zeros((len(runs), values.size), np.int64)
        for row, run in zip(counts, runs, strict=True):
            row[values.size - 1 - np.searchsorted(values, run.values)] = run.counts
        return values[::-1], counts

    def twice_below(self, scores: np.ndarray, label: int) -> np.ndarray:
        """For each score twice the number of a label's entries below it, ties counting one half: int64 [m].

        scores: float64 [m], no NaN.
        """
        order = np.argsort(scores)
        rising = scores[order]
        ends = [0, *np.searchsorted(rising, self.borders).tolist(), rising.size]
        found = np.empty(rising.size, np.int64)
        for chunk, (start, stop) in enumerate(itertools.pairwise(ends)):
            if start < stop:
                found[start:stop] = self._twice_below(chunk, label, rising[start:stop])
        placed = np.empty_like(found)
        placed[order] = found
        return placed

    def _twice_below(self, chunk: int, label: int, rising: np.ndarray) -> np.ndarray:
        """The same of sorted scores that belong to a chunk."""
        piece, run = self._pieces[chunk][label], self.run(chunk, label)
        at = np.searchsorted(run.values, rising)
        tied = np.append(run.values, np.nan)[at] == rising
        if piece.counts_at < 0:  # each score once, as most often
            return 2 * (at + self.below[chunk, label]) + tied
        before = np.concatenate([[0], np.cumsum(run.counts)]) + self.below[chunk, label]
        return before[at] + before[at + tied]


class Sorter:
    """Takes scores in any order and of any number, label by label."""

    def __init__(self, num_labels: int) -> None:
        self._pile = _Pile()
        self._runs: list[list[_Piece]] = [[] for _ in range(num_labels)]
        self._sample: list[np.ndarray] = []

    def add(self, label: int, scores: np.ndarray) -> None:
        """Take scores [m] of a label, no NaN."""
        if scores.size:
            run = _counted(np.sort(scores), None)
            self._runs[label].append(self._pile.add(run))
            self._sample.append(run.values[SPACING // 2 :: SPACING].copy())  # a view would hold all

    def sorted(self) -> SortedScores:
        """All that was taken, in order."""
        sample = np.sort(np.concatenate([np.empty(0), *self._sample]))
        borders = np.unique(sample[CHUNK // SPACING :: CHUNK // SPACING])
        cut = [[(piece, self._ends(piece, borders)) for piece in runs] for runs in self._runs]
        merged = _Pile()
        chunks = [
            [
                self._merged([piece.part(int(ends[c]), int(ends[c + 1])) for piece, ends in runs], merged)
                for runs in cut
            ]
            for c in range(borders.size + 1)
        ]
        self._pile.close()
        return SortedScores(borders, merged, chunks)

    def _ends(self, piece: _Piece, borders: np.ndarray) -> np.ndarray:
        """Where a piece's parts between borders begin and end: int64 [C + 1], all that is kept of every one."""
        inner = np.searchsorted(self._pile.read(piece).values, borders)
        return np.concatenate([[0], inner, [piece.size]])

    def _merged(self, parts: list[_Piece], into: _Pile) -> _Piece:
        """One piece of several."""
        parts = [part for part in parts if part.size]
        runs = [self._pile.read(part) for part in parts]
        if len(runs) == 1:
            return into.add(runs[0])
        values = np.concatenate([np.empty(0), *(run.values for run in runs)])
        if all(part.counts_at < 0 for part in parts):
            return into.add(_counted(np.sort(values), None))
        order = np.argsort(values)
        counts = np.concatenate([run.counts for run in runs])
        return into.add(_counted(values[order], counts[order]))


class _Piece(NamedTuple):
    """Where a run lies: bytes from the beginning to its values and to its counts, -1 where all are 1."""

    values_at: int
    counts_at: int
    size: int
    entries: int

    def part(self, start: int, stop: int) -> _Piece:
        """Some of it; the number of its entries is not told."""
        counts_at = self.counts_at + 8 * start if self.counts_at >= 0 else -1
        return _Piece(self.values_at + 8 * start, counts_at, stop - start, -1)


class _Pile:
    """Runs one after another, in memory or in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._end = 0
        self._closing = weakref.finalize(self, self._file.close)

    def add(self, run: Run) -> _Piece:
        """Keep a run. Raises `StoreError` where there is no room."""
        single = run.counts.size == 0 or int(run.counts.max()) == 1
        values_at, counts_at = self._write(run.values), -1 if single else self._write(run.counts)
        return _Piece(values_at, counts_at, run.values.size, int(run.counts.sum()))

    def read(self, piece: _Piece) -> Run:
        """A run, or a part of one."""
        values = self._read(piece.values_at, piece.size, np.float64)
        if piece.counts_at < 0:
            return Run(values, np.ones(piece.size, np.int64))
        return Run(values, self._read(piece.counts_at, piece.size, np.int64))

    def close(self) -> None:
        """Give the room back; nothing can be read any more."""
        self._closing()

    def _write(self, array: np.ndarray) -> int:
        at = self._end
        try:
            self._file.seek(at)
            self._file.write(np.ascontiguousarray(array).view(np.uint8).data)
        except OSError as error:
            raise StoreError(
                f"could not sort scores in the folder of temporary files, {tempfile.gettempdir()}: {error.strerror}; "
                "free some space there, or name another folder in the environment variable TMPDIR."
            ) from None
        self._end += array.nbytes
        return at

    def _read(self, at: int, size: int, dtype: type) -> np.ndarray:
        self._file.seek(at)
        return np.frombuffer(self._file.read(8 * size), dtype)


def _counted(rising: np.ndarray, counts: np.ndarray | None) -> Run:
    """Sorted scores with equal ones made one. counts: int [m], how often each occurs; None: once."""
    starts = np.flatnonzero(np.append(np.ones(min(rising.size, 1), bool), rising[1:] != rising[:-1]))
    if counts is None:
        return Run(rising[starts], np.diff(np.append(starts, rising.size)))
    return Run(rising[starts], np.add.reduceat(counts, starts) if starts.size else counts)
