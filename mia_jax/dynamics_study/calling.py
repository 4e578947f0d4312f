"""Who is called a member at each checkpoint of a trained run: an attack's scores, and its decision.

One checkpoint is read and scored at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mia_jax import dynamics
from mia_jax.attacks import Attack, Observations, chosen
from mia_jax.config import AttackName
from mia_jax.dynamics.rates import Calls
from mia_jax.identity import RunError
from mia_jax.run_directory import RunDirectory
from mia_jax.study import observing
from mia_jax.study.attacking import scores_of

Pair = tuple[np.ndarray, np.ndarray]
"""Calls and where they are known, bool [K, N] each."""


class NotPlacedError(RunError):
    """A family of which no record can be placed on the plane; the message says why."""


class Judge(NamedTuple):
    """Who calls records members. fpr: 0 calls at a score of 0 and above, else by a threshold set on other models."""

    attack: Attack
    fpr: float

    @property
    def who(self) -> str:
        """The attack and its decision, in words."""
        decision = f"at an FPR of {self.fpr:g}" if self.fpr else "where its score is at least 0"
        return f"{self.attack.name}, {decision}"


class Followed(NamedTuple):
    """One family of a run. member: bool [K, N], of the pool's own records. twin: int [K]. valid: bool [K],
    the models that are fit at every checkpoint. never: bool [N], records that no model may hold.
    """

    run: RunDirectory
    family: str
    member: np.ndarray
    twin: np.ndarray
    valid: np.ndarray
    never: np.ndarray


def follow(run: RunDirectory, family: str) -> Followed:
    """One family of a trained run, ready to be followed (`RunError` where its training is not finished)."""
    run.segments(family).check_complete()
    drawn = run.membership()
    member = np.asarray(drawn.member)[:, observing.columns(run.config, "pool")]
    fit = [observing.usable_models(run, family, number) for number in range(len(run.epochs))]
    return Followed(
        run, family, member, np.asarray(drawn.twin), np.all(fit, axis=0), observing.never_members(run)
    )


def judge(run: RunDirectory, family: str, name: AttackName, fpr: float) -> Judge:
    """The attack of that name, with the run's constants; refused where its arrays were not recorded (`RunError`)."""
    one = chosen(dataclasses.replace(run.config.attacks, names=(name,)))[0]
    there = [observing.available(run, family, number) for number in range(len(run.epochs))]
    lacking = sorted(one.needs - frozenset.intersection(*there))
    if lacking:
        raise RunError(
            f"config.dynamics names {name}, which at every checkpoint needs "
            f"{' and '.join(map(observing.missing, lacking))}; record it, or name another attack."
        )
    return Judge(one, fpr)


def calls_at(
    followed: Followed,
    judge: Judge,
    checkpoint: int,
    *,
    member: np.ndarray | None = None,
    half: np.ndarray | None = None,
) -> Pair:
    """The calls of one checkpoint. member: bool [K, N], instead of the true one. half: bool [K], of a split whose
    halves are kept apart: no call of one depends on the other.
    """
    seen = observing.observations(
        followed.run, followed.family, checkpoint, judge.attack.needs, valid=followed.valid
    )
    if member is not None:
        seen = seen._replace(member=member)
    if half is None:
        return _calls(judge, seen, followed.never)
    called, known = np.zeros(followed.member.shape, bool), np.zeros(followed.member.shape, bool)
    for part in (half, ~half):
        called[part], known[part] = _calls(judge, observing.of_models(seen, part), followed.never)
    return called, known


def _calls(judge: Judge, seen: Observations, never: np.ndarray) -> Pair:
    """The calls of these models, which are one another's references."""
    scores = scores_of(judge.attack, seen, never)
    if not judge.fpr:
        return dynamics.calls_at_zero(scores)
    return dynamics.calls_at_fpr(scores, seen.member, judge.fpr, valid=seen.valid, exclude=seen.exclude)


def calls(
    followed: Followed, judge: Judge, *, member: np.ndarray | None = None, half: np.ndarray | None = None
) -> tuple[Calls, Calls]:
    """The calls of all checkpoints and where they are known, two iterators to be read side by side."""
    pairs = (
        calls_at(followed, judge, number, member=member, half=half)
        for number in range(len(followed.run.epochs))
    )
    return _side_by_side(pairs)


def _side_by_side(pairs: Iterator[Pair]) -> tuple[Iterator[np.ndarray], Iterator[np.ndarray]]:
    """The firsts and the seconds of pairs; of each only what the other has not come to yet is held."""
    # itertools.tee lets go of what was read in blocks of 57: that may be all checkpoints.
    waiting: tuple[collections.deque[np.ndarray], ...] = (collections.deque(), collections.deque())

    def read(which: int) -> Iterator[np.ndarray]:
        while True:
            if not waiting[which]:
                pair = next(pairs, None)
                if pair is None:
                    return
                for queue, part in zip(waiting, pair, strict=True):
                    queue.append(part)
                del pair, part
            yield waiting[which].popleft()

    return read(0), read(1)
