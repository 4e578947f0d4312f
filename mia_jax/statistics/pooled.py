"""A table of scores and its membership as one experiment: what pools all entries, read block by block.

Nothing here depends on how many targets are read together but the last bits of sums.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from mia_jax.statistics.clustering import Clustered, Spread, pairs
from mia_jax.statistics.pooled_roc import INSIDE, OUTSIDE, PooledRoc
from mia_jax.statistics.roc import one_side
from mia_jax.statistics.score_table import ScoreTable, as_table, blocks_of_targets, rows_of
from mia_jax.statistics.sorted_scores import Sorter
from mia_jax.types import Array
from mia_jax.validation import as_mask


class Block(NamedTuple):
    """Some targets: their numbers and clusters int [k], scores [k, N], where there is one on either side."""

    models: np.ndarray
    cluster: np.ndarray
    scores: np.ndarray
    inside: np.ndarray
    outside: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Where there is a score: bool [k, N]."""
        return self.inside | self.outside


class _Seen(NamedTuple):
    """The sorted scores; the targets and the records that have a score, and the entries."""

    roc: PooledRoc
    targets: int
    records: int


class Pooled:
    """Scores [K, N], NaN where missing, their membership bool [K, N] and the twins int [K], -1: none."""

    def __init__(self, scores: Array | ScoreTable, member: Array, twin: Array | None = None) -> None:
        self.table = as_table(scores)
        self.held = as_mask("member", member, self.table.shape)
        self.cluster = pairs(self.table.shape[0], twin)

    def blocks(self) -> Iterator[Block]:
        """All targets in blocks."""
        for models in blocks_of_targets(self.cluster, self.table.shape[1]):
            scores = rows_of(self.table, models)
            missing = np.isnan(scores)
            held = self.held[models]
            yield Block(models, self.cluster[models], scores, held & ~missing, ~held & ~missing)

    @property
    def roc(self) -> PooledRoc:
        """All scores in order."""
        return self._seen.roc

    @property
    def targets(self) -> int:
        """How many targets have a score at all."""
        return self._seen.targets

    @property
    def fewest(self) -> int:
        """The targets or the records that have a score at all, whichever are fewer."""
        return min(self._seen.targets, self._seen.records)

    @property
    def entries(self) -> int:
        """How many scores there are."""
        return self.roc.members + self.roc.others

    @property
    def both_sides(self) -> bool:
        """Whether some members and some non-members have scores."""
        return bool(self.roc.members and self.roc.others)

    def require_both_sides(self) -> None:
        """Refuse scores of members alone or of non-members alone (`ValueError`)."""
        if not self.both_sides:
            raise one_side(self.roc.members, self.entries)

    def spreads(self, influences: Callable[[Block], Iterable[np.ndarray]]) -> list[Spread]:
        """The standard errors of estimates, in one reading; see the function `spreads`."""
        return spreads(influences, self)

    def auc_influence(self, block: Block) -> np.ndarray:
        """Influence of every entry of some targets on the pooled AUC: [k, N], 0 without a score.

        DeLong, DeLong & Clarke-Pearson 1988.
        """
        members, others, value = self.roc.members, self.roc.others, self.roc.area
        influence = np.zeros(block.scores.shape)
        below = self.roc.scores.twice_below(block.scores[block.inside], OUTSIDE)
        influence[block.inside] = (below / (2.0 * others) - value) / members
        below = self.roc.scores.twice_below(block.scores[block.outside], INSIDE)
        influence[block.outside] = (1.0 - below / (2.0 * members) - value) / others
        return influence

    @functools.cached_property
    def auc_spread(self) -> Spread:
        """The standard error of the pooled AUC."""
        return self.spreads(lambda block: [self.auc_influence(block)])[0]

    @functools.cached_property
    def _seen(self) -> _Seen:
        """What one reading of all scores tells."""
        sorter, targets, records = Sorter(2), 0, np.zeros(self.table.shape[1], bool)
        for block in self.blocks():
            sorter.add(INSIDE, block.scores[block.inside])
            sorter.add(OUTSIDE, block.scores[block.outside])
            targets += int(block.known.any(axis=1).sum())
            records |= block.known.any(axis=0)
        return _Seen(PooledRoc(sorter.sorted()), targets, int(records.sum()))


def spreads(influences: Callable[..., Iterable[np.ndarray]], *tables: Pooled) -> list[Spread]:
    """The standard errors of estimates from tables with scores of the same targets and records.

    influences: of the same targets in each table, [k, N] for each estimate, one after another.
    """
    found: list[Clustered] = []
    for number, blocks in enumerate(zip(*(table.blocks() for table in tables), strict=True)):
        known = blocks[0].known
        for estimate, influence in enumerate(influences(*blocks)):
            if not number:
                found.append(Clustered(known.shape[1]))
            found[estimate].add(influence, known, blocks[0].cluster)
    return [sums.spread() for sums in found]


def called_influence(called: np.ndarray, side: np.ndarray, share: float, count: int) -> np.ndarray:
    """Influence of every entry of some targets on the share called on one side: [k, N], 0 elsewhere.

    called, side: bool [k, N]. share, count: of all entries of that side, how many are called, and their number.
    """
    return np.where(side, np.where(called, (1.0 - share) / count, -share / count), 0.0)
