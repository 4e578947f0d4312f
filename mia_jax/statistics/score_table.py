"""Scores target by record, wherever they are: an array, or blocks of what is on disk.

Whatever is pooled over a table reads it in blocks of whole targets, whatever belongs to one record in
blocks of records; nothing holds all of a table that is not an array already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, cast, runtime_checkable

import numpy as np

from mia_jax.types import Array
from mia_jax.validation import as_numbers

AT_ONCE = 2**22
"""Entries [k, N] of a block of targets: working memory is a few dozen bytes for each. One target at least."""


@runtime_checkable
class ScoreTable(Protocol):
    """Scores [K, N], larger = more likely a member, NaN where missing."""

    @property
    def shape(self) -> tuple[int, int]:
        """K and N."""
        ...

    def rows(self, models: slice) -> np.ndarray:
        """The scores of some targets: float64 [k, N]."""
        ...

    def columns(self, records: slice) -> np.ndarray:
        """The scores of some records: float64 [K, n]."""
        ...


class WholeTable:
    """A table that is an array [K, N] of numbers. Raises ValueError for other shapes."""

    def __init__(self, scores: Array) -> None:
        self._scores = as_numbers("scores", scores, keep=True)
        if self._scores.ndim != 2:
            raise ValueError(
                f"scores have shape {self._scores.shape}: they must be [K, N], target by record."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """K and N."""
        return cast(tuple[int, int], self._scores.shape)

    def rows(self, models: slice) -> np.ndarray:
        """The scores of some targets: float64 [k, N]."""
        return np.asarray(self._scores[models], np.float64)

    def columns(self, records: slice) -> np.ndarray:
        """The scores of some records: float64 [K, n]."""
        return np.asarray(self._scores[:, records], np.float64)


class ReadTable:
    """A table that is read when asked for. read: of some targets and records, numbers [k, n]."""

    def __init__(self, shape: tuple[int, int], read: Callable[[slice, slice], np.ndarray]) -> None:
        self._shape, self._read = shape, read

    @property
    def shape(self) -> tuple[int, int]:
        """K and N."""
        return self._shape

    def rows(self, models: slice) -> np.ndarray:
        """The scores of some targets: float64 [k, N]."""
        return np.asarray(self._read(models, slice(0, self._shape[1])), np.float64)

    def columns(self, records: slice) -> np.ndarray:
        """The scores of some records: float64 [K, n]."""
        return np.asarray(self._read(slice(0, self._shape[0]), records), np.float64)


class KnownToBoth:
    """A table without the entries that another one, of the same shape, lacks."""

    def __init__(self, scores: ScoreTable, other: ScoreTable) -> None:
        if scores.shape != other.shape:
            raise ValueError(f"scores have shapes {scores.shape} and {other.shape}: they must be the same.")
        self._scores, self._other = scores, other

    @property
    def shape(self) -> tuple[int, int]:
        """K and N."""
        return self._scores.shape

    def rows(self, models: slice) -> np.ndarray:
        """The scores of some targets: float64 [k, N]."""
        return np.where(np.isnan(self._other.rows(models)), np.nan, self._scores.rows(models))

    def columns(self, records: slice) -> np.ndarray:
        """The scores of some records: float64 [K, n]."""
        return np.where(np.isnan(self._other.columns(records)), np.nan, self._scores.columns(records))


def as_table(scores: Array | ScoreTable) -> ScoreTable:
    """The table that `scores` is or becomes. Raises ValueError for an array that is not [K, N]."""
    return scores if isinstance(scores, ScoreTable) else WholeTable(scores)


def blocks_of_targets(cluster: np.ndarray, num_records: int) -> Iterator[np.ndarray]:
    """The targets in blocks of about `AT_ONCE` entries, those of one cluster in one block: int [k] each.

    cluster: int [K], the number of each target's cluster.
    """
    order = np.argsort(cluster, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(cluster[order]) != 0))
    most = max(1, AT_ONCE // max(1, num_records))
    begin = 0
    for start, stop in zip(starts, np.append(starts[1:], order.size), strict=True):
        if stop - begin > most and start > begin:
            yield order[begin:start]
            begin = start
    if order.size:
        yield order[begin:]


def rows_of(table: ScoreTable, models: np.ndarray) -> np.ndarray:
    """The scores of some targets, int [k], in their order: float64 [k, N]."""
    neighbours = np.split(models, np.flatnonzero(np.diff(models) != 1) + 1)
    parts = [table.rows(slice(int(some[0]), int(some[-1]) + 1)) for some in neighbours]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
