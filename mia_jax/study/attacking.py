"""The attacks of a study: scores of every family, attack and checkpoint, from signals on disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mia_jax import attacks as attack_library
from mia_jax import membership
from mia_jax.blocks import records_at_once
from mia_jax.config import Config
from mia_jax.identity import RunError
from mia_jax.processes import ALONE, Team
from mia_jax.progress import Reporter, Silent
from mia_jax.run_directory import RunDirectory
from mia_jax.study import observing
from mia_jax.study.environment import environment
from mia_jax.study.scoring import Family, Task, dealt
from mia_jax.study.together import side_by_side


def attack(run: RunDirectory, *, tell: Reporter | None = None, team: Team = ALONE) -> None:
    """Score every family of a trained run with the config's attacks, at every checkpoint.

    An attack whose arrays were not recorded is left out by name; one that the config names and that
    is possible for no family is refused (`RunError`). Alone, an attack's old scores stay until it begins; its new
    ones count once all are written.

    team: the processes of this job, all of which call this alike with the same run. Each scores files of its own,
    process 0 those of whoever died, too; the others return once theirs are written. `JobError` in those where
    process 0 does not begin.
    """
    tell = tell or Silent()
    never = observing.never_members(run)
    check_references(run.config, int(never.sum()))
    for family in run.config.families:
        run.segments(family).check_complete()
    check_possible(run)
    _check_readable(run)
    if team.number == 0:
        run.keep_config()
        run.keep_session(environment())
    if team.count == 1:
        for task, turn, scorer in _tasks(run, tell):
            run.forget_scores(task.family, task.attack.name)
            _score(run, task, turn, scorer, 0, 1)
            run.sign_scores(task.family, task.attack.name, task.checkpoints)
        return
    _attack_together(run, tell, team)


def _attack_together(run: RunDirectory, tell: Reporter, team: Team) -> None:
    """The same by several processes: nobody begins before the old scores are gone, all are signed in the end."""

    def begin() -> None:
        for family in run.config.families:
            for one in selection(run, family).attacks:
                run.forget_scores(family, one.name)

    with side_by_side(team, run, "attack", begin, tell) as lost:
        for task, turn, scorer in _tasks(run, tell):
            _score(run, task, turn, scorer, team.number, team.count)
    for number in lost:
        tell.say(f"attack: process {number} has ended early, and its part is done here")
        for task, turn, scorer in _tasks(run, Silent()):
            _score(run, task, turn, scorer, number, team.count)
    if team.number == 0:
        for task, _, _ in _tasks(run, Silent()):
            run.sign_scores(task.family, task.attack.name, task.checkpoints)


def _tasks(run: RunDirectory, tell: Reporter) -> Iterator[tuple[Task, int, Family]]:
    """What is to be scored, one attack after another, with its turn and its family's scorer; says what is left out."""
    turns: dict[Any, int] = {}
    for family in run.config.families:
        for name, reason in skipped(run, family).items():
            tell.say(f"attack {family}: {name} is left out, it {reason}")
        there = [observing.available(run, family, number) for number in range(len(run.epochs))]
        selected = selection(run, family).attacks
        scorer = Family(run, family, selected)
        for one in selected:
            unreadable = observing.unreadable(run, one.needs)
            tell.say(f"attack {family}: {one.name}{' is left out: ' + unreadable if unreadable else ''}")
            possible = [
                number for number, fields in enumerate(there) if one.needs <= fields and not unreadable
            ]
            # Whoever makes a fit for one attack has the same records of another that needs the same.
            shares = one.fit if one.learns else one.name
            yield Task(family, one, possible), turns.setdefault(shares, len(turns)), scorer
            scorer.done(one)


def _score(run: RunDirectory, task: Task, turn: int, scorer: Family, number: int, count: int) -> None:
    """Score what one of so many processes is dealt of a task."""
    records, size = run.config.data.pool_size, records_at_once(run.config.membership.num_models)
    for part in dealt(task.checkpoints, records, size, number, count, turn):
        scorer.score(task.attack, part)


def _check_readable(run: RunDirectory) -> None:
    """Refuse a named attack that needs the records themselves where they are gone (`RunError`)."""
    for one in attack_library.chosen(run.config.attacks):
        unreadable = observing.unreadable(run, one.needs)
        if unreadable and one.name in run.config.attacks.names:
            raise RunError(unreadable)


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
