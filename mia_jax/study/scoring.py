"""Scores of attacks block after block of records, dealt out to processes.

Blocks need nothing of each other but what was fitted to all records, so who scores them changes no number. A process
is dealt whole files of scores: no two write the same one.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mia_jax.attacks import Attack, Blocks, Observations, cut, leaving_out
from mia_jax.blocks import records_at_once
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.study import observing

FEWEST_MODELS = 4
"""Usable models below which nothing is attacked."""


class Task(NamedTuple):
    """One attack, and the numbers of the checkpoints at which it can be run."""

    attack: Attack
    checkpoints: list[int]


class Part(NamedTuple):
    """What is scored by one process in one go: some records, whole files of scores, at one checkpoint."""

    checkpoint: int
    records: slice


def dealt(
    checkpoints: Sequence[int], num_records: int, size: int, number: int, count: int, turn: int = 0
) -> list[Part]:
    """What process `number` of `count` scores of a task: neighbouring files of `size` records, as many for each.

    A fit is made by whoever has records of its checkpoint, so that few make the same one. turn: of the task, so that
    whoever has less of one has not less of all.
    """
    files, place = -(-num_records // size), (number + turn) % count
    first, last = (len(checkpoints) * files * end // count for end in (place, place + 1))
    found = []
    for row, checkpoint in enumerate(checkpoints):
        start, stop = (min(max(end - row * files, 0), files) for end in (first, last))
        if start < stop:
            found.append(Part(checkpoint, slice(start * size, min(stop * size, num_records))))
    return found


class Family:
    """A family of a run, to be scored with several attacks by a job of this name."""

    def __init__(self, run: RunDirectory, family: str, attacks: Iterable[Attack], job: str) -> None:
        self._run, self._family, self._job = run, family, job
        self._drawn, self._never = run.membership(lists=False), observing.never_members(run)
        self._fits = _Fits(attacks)
        self._fitness = functools.cache(
            lambda number: observing.fitness(run, family, number, drawn=self._drawn)
        )

    def score(self, one: Attack, part: Part) -> None:
        """Score a part's records and write that down."""
        valid = self._valid(one, part.checkpoint)
        blocks = observing.blocks(
            self._run, self._family, part.checkpoint, one.needs, valid, self._never, drawn=self._drawn
        )
        found: Iterator[tuple[slice, np.ndarray]] = iter(())
        if enough(valid) and blocks.parts:
            fitted = self._fits.of(one, part.checkpoint, blocks)
            found = _scored(one, _within(blocks, part.records), fitted, self._never)
        for first, scores in _by_file(found, valid.size, part.records):
            self._run.write_scores(
                self._family, one.name, part.checkpoint, scores, first_record=first, job=self._job
            )

    def done(self, one: Attack) -> None:
        """That nothing more is scored with an attack."""
        self._fits.forget(one)

    def _valid(self, one: Attack, checkpoint: int) -> np.ndarray:
        """The models that are fit to be attacked: bool [K]."""
        valid = self._fitness(checkpoint).usable
        if "trajectory" in one.needs:
            earlier = [self._fitness(number).finite for number in range(checkpoint + 1)]
            valid = valid & np.all(earlier, axis=0)
        return valid


class _Fits:
    """What attacks fitted at each checkpoint, kept while another that fits the very same is to come."""

    def __init__(self, attacks: Iterable[Attack]) -> None:
        self._left = collections.Counter(one.fit for one in attacks)
        self._kept: dict[tuple[Any, int], Any] = {}

    def of(self, one: Attack, checkpoint: int, blocks: Blocks) -> Any:
        """What an attack fits to these blocks of a checkpoint."""
        place = one.fit, checkpoint
        fitted = self._kept.pop(place) if place in self._kept else one.fit(blocks)
        if self._left[one.fit] > 1:
            self._kept[place] = fitted
        return fitted

    def forget(self, one: Attack) -> None:
        """That an attack is done."""
        self._left[one.fit] -= 1
        if self._left[one.fit] < 1:
            self._kept = {place: fitted for place, fitted in self._kept.items() if place[0] != one.fit}


def scores_of(one: Attack, seen: Observations, never: np.ndarray | None = None) -> np.ndarray:
    """One attack's scores [K, N]; all NaN with too few models that are fit to be attacked.

    never: bool [N], records that no model may hold; they have no score, and what an attack is fitted to holds
    none of them: they would stand among the non-members alone.
    """
    num_models, num_records = np.shape(seen.member)
    scores = np.full((num_models, num_records), np.nan)
    if seen.valid is not None and not enough(np.asarray(seen.valid)):
        return scores
    never = np.zeros(num_records, bool) if never is None else never
    blocks = leaving_out(cut(seen), never)
    if blocks.parts:
        for part, found in _scored(one, blocks, one.fit(blocks), never):
            scores[:, part] = found
    return scores


def enough(valid: np.ndarray) -> bool:
    """Whether so many models are fit that anything is attacked. valid: bool [K]."""
    return bool(np.sum(valid) >= FEWEST_MODELS)


def _within(blocks: Blocks, records: slice) -> Blocks:
    """The blocks of some records: whole files, which no block reaches across."""
    return blocks._replace(
        parts=[part for part in blocks.parts if records.start <= part.start < records.stop]
    )


def _scored(
    one: Attack, blocks: Blocks, fitted: Any, never: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Block after block its records and their scores [K, N'], NaN for those that are `never` members."""

    def judge(part: slice) -> np.ndarray:
        try:
            own = one.judge(blocks.read(part, None), fitted)
        except ValueError as error:
            if part.start:
                raise ValueError(f"{error} (Records are counted from {part.start} on.)") from None
            raise
        scores = np.full((len(own), part.stop - part.start), np.nan)
        scores[:, ~never[part]] = own
        return scores

    return ((part, judge(part)) for part in blocks.parts)


def _by_file(
    found: Iterator[tuple[slice, np.ndarray]], num_models: int, records: slice
) -> Iterator[tuple[int, np.ndarray]]:
    """The scores of some records as they are stored, first records and [K, N']: no file is written twice.

    records: whole files. NaN where none are found.
    """
    size = records_at_once(num_models)
    part, scores = next(found, (None, np.empty(0)))
    for first in range(records.start, records.stop, size):
        file = np.full((num_models, min(size, records.stop - first)), np.nan)
        while part is not None and part.start < first + size:
            file[:, part.start - first : part.stop - first] = scores
            part, scores = next(found, (None, np.empty(0)))
        yield first, file
