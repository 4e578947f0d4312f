"""The attacks of a study: scores of every family, attack and checkpoint, from signals on disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mia_jax import attacks as attack_library
from mia_jax import membership
from mia_jax.blocks import records_at_once
from mia_jax.config import Config
from mia_jax.progress import Reporter, Silent
from mia_jax.runs.identity import RunError
from mia_jax.runs.processes import ALONE, Team
from mia_jax.runs.run_directory import RunDirectory
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
    if team.count > 1:
        _attack_together(run, tell, team)
        return
    _check(run)
    for family, possible in _possible(run, tell).items():
        for task, turn, scorer in _tasks(run, family, possible, team.job, tell):
            run.forget_scores(family, task.attack.name)
            _score(run, task, turn, scorer, 0, 1)
            run.sign_scores(family, task.attack.name, task.checkpoints, job=team.job)


def _attack_together(run: RunDirectory, tell: Reporter, team: Team) -> None:
    """The same by several processes: nobody begins before the old scores are gone, all are signed in the end."""

    def begin() -> Possible:
        _check(run)
        for family in run.config.families:
            for one in selection(run, family).attacks:
                run.forget_scores(family, one.name)
        return _possible(run, tell)

    def score(possible: Possible, number: int, tell: Reporter) -> None:
        for family, checkpoints in possible.items():
            for task, turn, scorer in _tasks(run, family, checkpoints, team.job, tell):
                _score(run, task, turn, scorer, number, team.count)

    with side_by_side(team, run, "attack", begin, tell) as work:
        score(work.agreed, team.number, tell)
    for number, reason in work.lost.items():
        tell.say(f"attack: {reason}: its part is done here")
        # Where files hold what is written, the dead hold theirs for ever.
        run.store.release("scores/")
        score(work.agreed, number, Silent())
    if team.number == 0:
        for family, checkpoints in work.agreed.items():
            for name, numbers in checkpoints.items():
                run.sign_scores(family, name, numbers, job=team.job)


def _check(run: RunDirectory) -> None:
    """Refuse what cannot be attacked as asked (`RunError`, `ConfigError`), and write down what is asked."""
    check_references(run.config, int(observing.never_members(run).sum()))
    for family in run.config.families:
        run.segments(family).check_complete()
    check_possible(run)
    _check_readable(run)
    run.keep_config()
    run.keep_session(environment())


Possible = dict[str, dict[str, list[int]]]
"""By family and attack, the numbers of the checkpoints at which it can be run."""


def _possible(run: RunDirectory, tell: Reporter) -> Possible:
    """What can be scored here; says what is left out."""
    found: Possible = {}
    for family in run.config.families:
        for name, reason in skipped(run, family).items():
            tell.say(f"attack {family}: {name} is left out, it {reason}")
        there = [observing.available(run, family, number) for number in range(len(run.epochs))]
        found[family] = {}
        for one in selection(run, family).attacks:
            unreadable = observing.unreadable(run, one.needs)
            if unreadable:
                tell.say(f"attack {family}: {one.name} is left out: {unreadable}")
            found[family][one.name] = [
                number for number, fields in enumerate(there) if one.needs <= fields and not unreadable
            ]
    return found


def _tasks(
    run: RunDirectory, family: str, possible: dict[str, list[int]], job: str, tell: Reporter
) -> Iterator[tuple[Task, int, Family]]:
    """What is to be scored of a family, one attack after another, with its turn and the family's scorer."""
    turns: dict[Any, int] = {}
    selected = selection(run, family).attacks
    scorer = Family(run, family, selected, job)
    for one in selected:
        if possible[one.name]:
            tell.say(f"attack {family}: {one.name}")
        # Whoever makes a fit for one attack has the same records of another that needs the same.
        shares = one.fit if one.learns else one.name
        yield Task(one, possible[one.name]), turns.setdefault(shares, len(turns)), scorer
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
                f"attack {name} cannot be done, for it {impossible[0][name]}: train with that recorded, in another "
                '--workdir, or name other attacks ("all": every one that is possible).'
            )
