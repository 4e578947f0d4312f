"""The attacks of a study: scores of every family, attack and checkpoint, from signals on disk."""

from __future__ import annotations

import numpy as np

from mia_jax import attacks as attack_library
from mia_jax import membership
from mia_jax.attacks import Observations
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
    valid = [observing.usable_models(run, family, number) for number in checkpoints]
    there = [observing.available(run, family, number) for number in checkpoints]
    for one in selection(run, family).attacks:
        unreadable = observing.unreadable(run, one.needs)
        possible = [number for number in checkpoints if one.needs <= there[number] and not unreadable]
        tell.say(f"attack {family}: {one.name}{' is left out: ' + unreadable if unreadable else ''}")
        run.forget_scores(family, one.name)
        for number in possible:
            seen = observing.observations(run, family, number, one.needs, valid=valid[number])
            run.write_scores(family, one.name, number, scores_of(one, seen, never))
        run.sign_scores(family, one.name, possible)


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
    scores = np.full(np.shape(seen.member), np.nan)
    if seen.valid is not None and np.sum(seen.valid) < FEWEST_MODELS:
        return scores
    if never is None or not never.any():
        return one.score(seen)
    scores[:, ~never] = one.score(observing.of_records(seen, ~never))
    return scores


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
