"""The attacks of a study: scores of every family, attack and checkpoint, from signals on disk."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mia_jax import attacks as attack_library
from mia_jax import membership
from mia_jax.attacks import Blocks, Observations, leaving_out
from mia_jax.blocks import records_at_once
from mia_jax.config import Config
from mia_jax.identity import RunError
from mia_jax.progress import Reporter, Silent
from mia_jax.run_directory import RunDirectory
from mia_jax.study import observing
from mia_jax.study.environment import environment

FEWEST_MODELS = 4
"""Usable models below which nothing is attacked."""


def attack(run: RunDirectory, *, tell: Reporter | None = None) -> None:
    """Score every family of a trained run with the config's attacks, at every checkpoint.

    An attack whose arrays were not recorded is left out by name; one that the config names and that
    is possible for no family is refused (`RunError`).
    """
    tell = tell or Silent()
    never = observing.never_members(run)
    check_references(run.config, int(never.sum()))
    for family in run.config.families:
        run.segments(family).check_complete()
    check_possible(run)
    _check_readable(run)
    run.keep_config()
    run.keep_session(environment())
    for family in run.config.families:
        _attack_family(run, family, tell)


def _attack_family(run: RunDirectory, family: str, tell: Reporter) -> None:
    """Score one family's models with every attack that is possible, one attack after another.

    Each attack's old scores stay until it begins, and its new ones count once all are written.
    """
    for name, reason in skipped(run, family).items():
        tell.say(f"attack {family}: {name} is left out, it {reason}")
    checkpoints, never = range(len(run.epochs)), observing.never_members(run)
    drawn = run.membership(lists=False)
    fit = [observing.fitness(run, family, number, drawn=drawn) for number in checkpoints]
    there = [observing.available(run, family, number) for number in checkpoints]
    selected = selection(run, family).attacks
    fits = _Fits(selected)
    for one in selected:
        unreadable = observing.unreadable(run, one.needs)
        possible = [number for number in checkpoints if one.needs <= there[number] and not unreadable]
        tell.say(f"attack {family}: {one.name}{' is left out: ' + unreadable if unreadable else ''}")
        run.forget_scores(family, one.name)
        for number in possible:
            valid = fit[number].usable
            if "trajectory" in one.needs:
                valid = valid & np.all([earlier.finite for earlier in fit[: number + 1]], axis=0)
            blocks = observing.blocks(run, family, number, one.needs, valid, never, drawn=drawn)
            found: Iterator[tuple[slice, np.ndarray]] = iter(())
            if enough(valid) and blocks.parts:
                found = _scored(one, blocks, fits.of(one, number, blocks), never)
            for first, scores in _by_file(found, len(valid), never.size):
                run.write_scores(family, one.name, number, scores, first_record=first)
        run.sign_scores(family, one.name, possible)
        fits.forget(one)


class _Fits:
    """What attacks fitted at each checkpoint, kept while another that fits the very same is to come."""

    def __init__(self, selected: Sequence[attack_library.Attack]) -> None:
        self._left = collections.Counter(one.fit for one in selected)
        self._kept: dict[tuple[Any, int], Any] = {}

    def of(self, one: attack_library.Attack, checkpoint: int, blocks: Blocks) -> Any:
        """What an attack fits to these blocks of a checkpoint."""
        place = one.fit, checkpoint
        fitted = self._kept.pop(place) if place in self._kept else one.fit(blocks)
        if self._left[one.fit] > 1:
            self._kept[place] = fitted
        return fitted

    def forget(self, one: attack_library.Attack) -> None:
        """That an attack is done."""
        self._left[one.fit] -= 1


def _scored(
    one: attack_library.Attack, blocks: Blocks, fitted: Any, never: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Block after block its records and their scores [K, N'], NaN for those that are `never` members."""
    for part in blocks.parts:
        try:
            own = one.judge(blocks.read(part, None), fitted)
        except ValueError as error:
            if part.start:
                raise ValueError(f"{error} (Records are counted from {part.start} on.)") from None
            raise
        scores = np.full((len(own), part.stop - part.start), np.nan)
        scores[:, ~never[part]] = own
        yield part, scores


def _by_file(
    found: Iterator[tuple[slice, np.ndarray]], num_models: int, num_records: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The scores as they are stored, first records and [K, N']: no file is written twice. NaN where none are found."""
    size = records_at_once(num_models)

    def empty(first: int) -> np.ndarray:
        return np.full((num_models, min(size, num_records - first)), np.nan)

    first, file = 0, empty(0)
    for part, scores in found:
        if part.start >= first + size:
            yield first, file
            first = part.start // size * size
            file = empty(first)
        file[:, part.start - first : part.stop - first] = scores
    yield first, file


def _check_readable(run: RunDirectory) -> None:
    """Refuse a named attack that needs the records themselves where they are gone (`RunError`)."""
    for one in attack_library.chosen(run.config.attacks):
        unreadable = observing.unreadable(run, one.needs)
        if unreadable and one.name in run.config.attacks.names:
            raise RunError(unreadable)


def scores_of(one: attack_library.Attack, seen: Observations, never: np.ndarray | None = None) -> np.ndarray:
    """One attack's scores [K, N]; all NaN with too few models that are fit to be attacked.

    never: bool [N], records that no model may hold; they have no score, and what an attack is fitted to holds
    none of them: they would stand among the non-members alone.
    """
    num_models, num_records = np.shape(seen.member)
    scores = np.full((num_models, num_records), np.nan)
    if seen.valid is not None and not enough(np.asarray(seen.valid)):
        return scores
    never = np.zeros(num_records, bool) if never is None else never
    blocks = leaving_out(attack_library.cut(seen), never)
    if blocks.parts:
        for part, found in _scored(one, blocks, one.fit(blocks), never):
            scores[:, part] = found
    return scores


def enough(valid: np.ndarray) -> bool:
    """Whether so many models are fit that anything is attacked. valid: bool [K]."""
    return bool(np.sum(valid) >= FEWEST_MODELS)


def selection(run: RunDirectory, family: str) -> attack_library.Selection:
    """The config's attacks that are possible for a family at one checkpoint at least."""
    checkpoints = range(len(run.epochs))
    there = frozenset().union(*(observing.available(run, family, number) for number in checkpoints))
    return attack_library.select(run.config.attacks, there)


def skipped(run: RunDirectory, family: str) -> dict[str, str]:
    """The config's attacks that are not possible for a family, and why."""
    lacking = selection(run, family).lacking
    return {name: f"needs {' and '.join(map(observing.missing, fields))}" for name, fields in lacking.items()}


def check_references(config: Config, num_without: int = 0) -> None:
    """Refuse attacks for which the design is likely to leave too few references (`ConfigError`).

    num_without: records that no model is trained on.
    """
    sides = frozenset().union(*(one.sides for one in attack_library.chosen(config.attacks)))
    membership.check_references(config.membership, config.data.pool_size - num_without, sides)


def check_possible(run: RunDirectory) -> None:
    """Refuse attacks that the config names and no family can be attacked with (`RunError`)."""
    impossible = [skipped(run, family) for family in run.config.families]
    for name in run.config.attacks.names:
        if all(name in reasons for reasons in impossible):
            raise RunError(
                f"config.attacks.names holds {name}, which {impossible[0][name]}; train with it recorded, in another "
                '--workdir, or name other attacks ("all": every one that is possible).'
            )
