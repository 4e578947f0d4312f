"""A training by several processes: whose models are whose, and that nobody waits for the dead."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from mia_jax import __version__
from mia_jax import config as configs
from mia_jax.progress import Reporter
from mia_jax.runs.identity import JobError, flat
from mia_jax.runs.processes import Team, deal
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.runs.signs_of_life import RENEWALS, Seen, Sign, Watch, described
from mia_jax.training import Plan
from mia_jax.types import Dataset, Membership

ROOM = "processes"
"""Below a run directory: the signs of life of its processes."""

_MAY_DIFFER = ("data.source", "data.directory")
"""Where the records lie on each machine; that they are the same their fingerprint says."""


class Share(NamedTuple):
    """What one family's training is to a process: how models are cut up, and which chunks are its own."""

    plan: Plan
    chunks: list[tuple[int, int]]


class Work(NamedTuple):
    """What process 0 has decided: the run's config.json, the command's number, chunks of every process by family."""

    record: dict[str, Any]
    session: int
    plans: dict[str, list[Any]]
    dealt: dict[str, list[list[list[int]]]]

    def share(self, family: str, number: int) -> Share:
        """What a process does of a family."""
        own = [(start, stop) for start, stop in self.dealt[family][number]]
        return Share(Plan(*self.plans[family]), own)


def software() -> dict[str, Any]:
    """What all processes of a job must run on alike, by name."""
    devices = jax.local_devices()
    return {
        "mia_jax": __version__,
        "jax": jax.__version__,
        "device": f"{devices[0].platform} {devices[0].device_kind}",
    }


def facts(config: configs.Config, dataset: Dataset, drawn: Membership) -> dict[str, Any]:
    """What must be the same in all processes of a job, by name."""
    values = {
        name: value for name, value in flat(configs.to_mapping(config)).items() if name not in _MAY_DIFFER
    }
    member = np.packbits(np.asarray(drawn.member)).tobytes()
    return {
        **software(),
        **{f"config.{name}": str(value) for name, value in values.items()},
        "the data's fingerprint": dataset.facts["fingerprint"][:12],
        "the membership's hash": hashlib.sha256(member).hexdigest()[:12],
    }


def work_of(run: RunDirectory, plans: Mapping[str, Plan], count: int) -> Work:
    """Deal what is left of a run out to so many processes, evenly in every family."""
    dealt: dict[str, list[list[list[int]]]] = {}
    totals = [0] * count
    for family, plan in plans.items():
        segments = run.segments(family)
        chunks = segments.chunks(plan.models_per_chunk)
        loads = [(stop - start) * segments.segments_left(start, stop) for start, stop in chunks]
        dealt[family] = [[] for _ in range(count)]
        for chunk, load, process in zip(chunks, loads, deal(loads, count, totals), strict=True):
            dealt[family][process].append(list(chunk))
            totals[process] += load
    session = len(run.sessions()) - 1
    sizes = {family: list(plan) for family, plan in plans.items()}
    return Work(run.record, session, sizes, dealt)


def divided(plan: Plan, num_models: int, processes: int, devices: int) -> Plan:
    """A plan whose chunks are as many for every process; nobody is without where there are models enough.

    devices: of a process; chunks are multiples of them where that leaves a chunk for everybody.
    """
    chunks = -(-num_models // plan.models_per_chunk)
    even = -(-num_models // min(-(-chunks // processes) * processes, num_models))
    size = -(-even // devices) * devices
    if -(-num_models // size) < min(processes, num_models):
        size = even
    return plan._replace(
        models_per_chunk=size, models_together=min(plan.models_together, -(-size // devices))
    )


@contextmanager
def at_work(team: Team, run: RunDirectory, tell: Reporter) -> Iterator[None]:
    """Train within this; it ends once all processes of the job have, and what they did is whole.

    Whoever finishes waits for process 0, who waits for all. Raises `JobError` in those that are left where one
    has died or failed and models are missing.
    """
    if team.count == 1:
        yield
        return
    with _signed(team, run, team.job) as sign:
        sign.say({"state": "working"})
        yield
        sign.say({"state": "finished"})
        if team.number:
            _await_models(team, run)
        else:
            ended = _others_ended(team, run, team.job, tell)
            if unfinished := _unfinished(run):
                raise JobError(_sentence([_ended(*one) for one in ended.items()], unfinished))
        sign.say({"state": "complete"})


class Joint(NamedTuple):
    """What several processes do side by side. agreed: what process 0 has decided, which can be written as JSON.

    lost: in process 0, in the end, the processes that did not finish, by number, and in words how they ended.
    """

    agreed: Any
    lost: dict[int, str]


@contextmanager
def side_by_side(
    team: Team, run: RunDirectory, what: str, begin: Callable[[], Any], tell: Reporter
) -> Iterator[Joint]:
    """Do one's own part of a work within this, once process 0 has begun; in process 0 it ends when all have ended.

    what: the work's name. begin: what process 0 does and decides before anybody works. Raises `JobError` where
    process 0 does not begin.
    """
    job = f"{team.job}-{what}"
    with _signed(team, run, job) as sign:
        if team.number:
            first = _await_first(team, run, job, ("preparing",))
            if first.says is None or _state(first) in ("preparing", "failed"):
                raise JobError(f"there is nothing to {what}: {_ended(0, first)}.")
            agreed = first.says["agreed"]
        else:
            agreed = begin()
        work = Joint(agreed, {})
        sign.say({"state": "working", **({} if team.number else {"agreed": agreed})})
        yield work
        sign.say({"state": "finished"})
        if not team.number:
            ended = _others_ended(team, run, job, tell)
            work.lost.update({number: _ended(number, seen) for number, seen in ended.items()})


@contextmanager
def _signed(team: Team, run: RunDirectory, job: str) -> Iterator[Sign]:
    """Give signs of life within this; an error is left as the last word."""
    sign = Sign(run.store, _entry(job, team.number), {"state": "preparing"}, silence=team.silence)
    sign.begin()
    try:
        yield sign
    except BaseException as error:
        sign.say({"state": "failed", "reason": str(error) or type(error).__name__})
        raise
    finally:
        sign.end()


def _others_ended(team: Team, run: RunDirectory, job: str, tell: Reporter) -> dict[int, Seen]:
    """Wait until every other process has ended one way or another; those that did not finish, by their numbers."""
    names = {_entry(job, number): number for number in range(1, team.count)}
    watch = Watch(run.store, list(names), silence=team.silence)
    told = False
    while True:
        seen = watch.look()
        alive = [sign for sign in seen.values() if _at_it(sign) and sign.silent < team.silence]
        if not alive:
            return {
                names[name]: sign for name, sign in seen.items() if _at_it(sign) or _state(sign) == "failed"
            }
        if not told:
            tell.say(f"waiting for {len(alive)} of {team.count} processes")
            told = True
        time.sleep(_pause(team))


def _await_first(team: Team, run: RunDirectory, job: str, states: tuple[str, ...]) -> Seen:
    """The sign of process 0 once it is in none of these states any more, or has fallen silent."""
    name = _entry(job, 0)
    watch = Watch(run.store, [name], silence=team.silence)
    while _state(sign := watch.look()[name]) in states and sign.silent < team.silence:
        time.sleep(_pause(team))
    return sign


def _await_models(team: Team, run: RunDirectory) -> None:
    """Wait until process 0 says that all models are there (`JobError` if it says something else, or nothing)."""
    sign = _await_first(team, run, team.job, ("preparing", "working", "finished"))
    if _state(sign) != "complete" and (unfinished := _unfinished(run)):
        raise JobError(_sentence([_ended(0, sign)], unfinished))


def _unfinished(run: RunDirectory) -> dict[str, int]:
    """The number of models that are not finished, by family, where there are any."""
    now = run.reopened()
    total = run.config.membership.num_models
    left = {family: total - now.segments(family).models_finished() for family in run.config.families}
    return {family: count for family, count in left.items() if count}


def _sentence(ended: list[str], unfinished: Mapping[str, int]) -> str:
    """What has ended and what is missing."""
    missing = " and ".join(f"{count} models of family {family}" for family, count in unfinished.items())
    who = "; ".join(ended) or "every process has ended"
    return (
        f"{missing} are not finished: {who}; what was finished is kept: run the same command again, with as many "
        "processes as you like."
    )


def _ended(number: int, sign: Seen) -> str:
    """How a process ended."""
    if sign.says is None:
        return f"process {number} has never been seen in the run directory, which all processes must share"
    if _state(sign) == "failed":
        return f"process {number} has failed ({str(sign.says.get('reason')).rstrip('.')})"
    return f"process {number} ({described(sign.says)}) has not been heard of for {sign.silent:.0f} s"


def _state(sign: Seen) -> str:
    """What a process says of itself: preparing (as does one that was not seen yet), working, finished, complete
    or failed.
    """
    return "preparing" if sign.says is None else sign.says["state"]


def _at_it(sign: Seen) -> bool:
    """Whether a process says that it has not finished."""
    return _state(sign) in ("preparing", "working")


def _entry(job: str, number: int) -> str:
    """The name of a process's sign of life."""
    return f"{ROOM}/{job}/{number:04d}.json"


def _pause(team: Team) -> float:
    """Seconds between two looks."""
    return min(2.0, team.silence / RENEWALS)
