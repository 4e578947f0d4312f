"""Who is called a member at each checkpoint of a trained run: an attack's scores, and its decision.

One checkpoint is read and scored at a time, block after block of records, so that memory does not grow with
their number, and hardly with that of records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from mia_jax import dynamics
from mia_jax.attacks import Attack, Blocks, Observations, chosen, leaving_out, of_records
from mia_jax.config import AttackName
from mia_jax.dynamics import Bits
from mia_jax.dynamics.rates import rates, sides
from mia_jax.runs.identity import RunError
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.study import observing
from mia_jax.study.scoring import enough
from mia_jax.types import Membership


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


class Called(NamedTuple):
    """Neighbouring records, who is called a member of them, and where that is known: bool [K, n] each."""

    records: slice
    calls: np.ndarray
    known: np.ndarray


class Followed(NamedTuple):
    """One family of a run. member: bool [K, N], of the pool's own records. twin: int [K]. valid: bool [K],
    the models that are fit at every checkpoint. never: bool [N], records that no model may hold. drawn: the
    run's membership.
    """

    run: RunDirectory
    family: str
    member: np.ndarray
    twin: np.ndarray
    valid: np.ndarray
    never: np.ndarray
    drawn: Membership


def follow(run: RunDirectory, family: str) -> Followed:
    """One family of a trained run, ready to be followed (`RunError` where its training is not finished)."""
    run.segments(family).check_complete()
    drawn = run.membership(lists=False)
    member = np.asarray(drawn.member)[:, observing.columns(run.config, "pool")]
    fit = [observing.fitness(run, family, number, drawn=drawn).usable for number in range(len(run.epochs))]
    never = observing.never_members(run)
    return Followed(run, family, member, np.asarray(drawn.twin), np.all(fit, axis=0), never, drawn)


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
) -> Iterator[Called]:
    """The calls of one checkpoint, block after block of records. member: bool [K, N], instead of the true one.
    half: bool [K], of a split whose halves are kept apart: no call of one depends on the other.
    """
    blocks = observing.blocks(
        followed.run,
        followed.family,
        checkpoint,
        judge.attack.needs,
        followed.valid,
        drawn=followed.drawn,
    )
    if member is not None:
        blocks = _with_member(blocks, member)
    parts = [np.ones(len(followed.member), bool)] if half is None else [half, ~half]
    decisions = [_decision(judge, _of_models(blocks, part), followed.never) for part in parts]
    for records in blocks.parts:
        seen = blocks.read(records, None)
        called, known = (np.zeros(np.shape(seen.member), bool) for _ in range(2))
        for part, decide in zip(parts, decisions, strict=True):
            called[part], known[part] = decide(records, observing.of_models(seen, part))
        yield Called(records, called, known)


def rates_at(
    followed: Followed,
    judge: Judge,
    checkpoint: int,
    *,
    member: np.ndarray | None = None,
    half: np.ndarray | None = None,
) -> np.ndarray:
    """FPR and TPR at one checkpoint, by all models, [1, 2, N], or by each of the halves, [2, 2, N]; others as
    for `calls_at`.
    """
    held = followed.member if member is None else member
    parts = [np.ones(len(held), bool)] if half is None else [half, ~half]
    found = np.empty((len(parts), 2, held.shape[1]))
    for records, called, known in calls_at(followed, judge, checkpoint, member=member, half=half):
        for by, part in zip(found, parts, strict=True):
            by[:, records] = rates(called[part], sides(held[part, records], known[part]))
    return found


def bits_at(followed: Followed, judge: Judge, checkpoint: int) -> tuple[Bits, Bits]:
    """The calls of one checkpoint and where they are known, [K, N] each."""
    shape = (followed.member.shape[0], followed.member.shape[1])
    called, known = Bits(shape), Bits(shape)
    for records, here, there in calls_at(followed, judge, checkpoint):
        called.write(records, here)
        known.write(records, there)
    return called, known


def _decision(
    judge: Judge, blocks: Blocks, never: np.ndarray
) -> Callable[[slice, Observations], tuple[np.ndarray, np.ndarray]]:
    """How a block of these models' records is called, who are one another's references."""
    seen = blocks.first()
    valid, exclude = np.asarray(seen.valid), seen.exclude
    left = leaving_out(blocks, never)
    possible = enough(valid) and bool(left.parts)
    fitted = judge.attack.fit(left) if possible else None

    def score(records: slice, seen: Observations) -> np.ndarray:
        scores, kept = np.full(np.shape(seen.member), np.nan), ~never[records]
        if possible and kept.any():
            scores[:, kept] = judge.attack.judge(seen if kept.all() else of_records(seen, kept), fitted)
        return scores

    if not judge.fpr:
        return lambda records, seen: dynamics.calls_at_zero(score(records, seen))

    def scored() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for records in blocks.parts:
            seen = blocks.read(records, None)
            yield score(records, seen), np.asarray(seen.member)

    found = dynamics.thresholds(scored, valid.size, judge.fpr, valid=valid, exclude=exclude)
    return lambda records, seen: found.calls(score(records, seen))


def _with_member(blocks: Blocks, member: np.ndarray) -> Blocks:
    """The blocks with another membership, bool [K, N]."""
    return blocks._replace(
        read=lambda records, fields: blocks.read(records, fields)._replace(member=member[:, records])
    )


def _of_models(blocks: Blocks, models: np.ndarray) -> Blocks:
    """The blocks of some models alone, bool [K]."""
    if models.all():
        return blocks
    return blocks._replace(
        read=lambda records, fields: observing.of_models(blocks.read(records, fields), models)
    )
