"""What a defence is: a change to the training or the release of a model, slot by slot."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from mia_jax.losses import Loss
from mia_jax.models.base import Model
from mia_jax.types import Array, Inputs, Key, Params

Strengths = Mapping[str, Array]
"""How strong a defence is, by name: traced values that change no shape, one of each for every model."""

RecordLoss = Callable[[Inputs], Array]
"""The loss of one record at the present parameters, as a function of its inputs."""

Sampling = Literal["poisson", "truncated_poisson", "shuffle"]


class Batches(NamedTuple):
    """How a gradient that is private wants its batches drawn; the accounting must be of the same kind.

    sampling: "poisson" and "truncated_poisson" draw each record at each step with probability
    expected / num_examples, keeping at most `physical` of them; "shuffle" shows each once an epoch.
    num_examples: n, the places for records, some of them perhaps empty. expected: the public number by
    which the sum of gradients is divided, whatever a batch really holds. room: more than are ever drawn.
    """

    sampling: Sampling
    num_examples: int
    expected: int
    physical: int
    room: int


class Batch(NamedTuple):
    """One step's records with their losses' randomness. x, y: [B, …]. valid: bool [B]. keys: [B]."""

    x: Inputs
    y: Array
    valid: Array
    keys: Key


class PrivateGradient(NamedTuple):
    """A gradient of its own making, instead of the one of the batch's mean loss.

    batches: how its batches are drawn. gradient(model, loss, params, batch, key, strengths) -> pytree: key is
    the step's own, for noise.
    """

    batches: Batches
    gradient: Callable[[Model, Loss, Params, Batch, Key, Strengths], Params]


class Happened(NamedTuple):
    """What of a training an event needs to know. num_examples: n, slots of each model. steps: taken in all."""

    num_examples: int
    steps: int


class Event(NamedTuple):
    """Something that protects. unit: what it hides, a whole "record" or its "label". event: a DpEvent."""

    unit: Literal["record", "label"]
    event: Any


class Defence(NamedTuple):
    """What is changed, slot by slot; a slot that is None changes nothing. All are pure functions.

    label(key, y, strengths) -> y: the label that one record is trained with, its key the same at every
    step. inputs(loss, x, strengths) -> x: the inputs one record is trained with, given its loss as a
    function of them. loss(loss, strengths) -> loss: of one record. penalty(params, strengths) -> scalar:
    added to the loss; never clipped as if it were a record's. gradient: how gradients are made private.
    release(key, params, strengths) -> params: what is shown instead of the trained parameters.
    events: what happened, for an accountant, each a function (happened, strengths) -> `Event`; none where
    nothing is promised.
    """

    names: tuple[str, ...] = ()
    label: Callable[[Key, Array, Strengths], Array] | None = None
    inputs: Callable[[RecordLoss, Inputs, Strengths], Inputs] | None = None
    loss: Callable[[Loss, Strengths], Loss] | None = None
    penalty: Callable[[Params, Strengths], Array] | None = None
    gradient: PrivateGradient | None = None
    release: Callable[[Key, Params, Strengths], Params] | None = None
    events: tuple[Callable[[Happened, Mapping[str, Any]], Event], ...] = ()


PLAIN = Defence()
"""No defence: every slot as it is."""


def strength(strengths: Strengths, name: str) -> Any:
    """The strength of that name. Raises ValueError where a defence reads one that is not given."""
    try:
        return strengths[name]
    except KeyError:
        raise no_strength(strengths, name) from None


def no_strength(strengths: Strengths, name: str, whose: str = "strengths") -> ValueError:
    """What is wrong where a defence reads a strength that is not given. whose: what holds the strengths."""
    there = ", ".join(map(repr, strengths)) or "none"
    return ValueError(
        f"{whose} has no {name!r}, which the defence reads: there are {there}; add it, in a training through hyper_of."
    )


ONE_ONLY = ("label", "inputs", "gradient", "release")
"""Slots that two defences cannot both claim: what came first would no longer be what it says."""


class DefenceError(ValueError):
    """Defences that cannot be joined; the message names them."""


@functools.lru_cache(maxsize=1024)  # the same defences are the same chain, and compile to one program
def chain(*defences: Defence) -> Defence:
    """Several defences as one: penalties add up, losses wrap each other in the order given.

    Raises DefenceError where two of them claim the labels, the inputs, the gradient or the release, or
    have the same name, and for what is no defence.
    """
    joined = PLAIN
    for one in defences:
        if not isinstance(one, Defence):
            raise DefenceError(f"{one!r} is no Defence: make it first, as with defences.l2().")
        joined = _join(joined, one)
    return joined


def _join(first: Defence, second: Defence) -> Defence:
    """Two defences as one."""
    for slot in ONE_ONLY:
        if getattr(first, slot) is not None and getattr(second, slot) is not None:
            raise DefenceError(
                f"{' and '.join((*first.names, *second.names))} cannot be joined: {slot} would be changed twice."
            )
    twice = set(first.names) & set(second.names)
    if twice:
        raise DefenceError(f"{sorted(twice)[0]} is given twice: a defence can be in a chain once.")
    merged = {slot: getattr(first, slot) or getattr(second, slot) for slot in ONE_ONLY}
    return Defence(
        names=(*first.names, *second.names),
        loss=_after(first.loss, second.loss),
        penalty=_sum(first.penalty, second.penalty),
        events=first.events + second.events,
        **merged,
    )


def _after(
    first: Callable[[Loss, Strengths], Loss] | None, second: Callable[[Loss, Strengths], Loss] | None
) -> Callable[[Loss, Strengths], Loss] | None:
    """The second wrapped around the first."""
    if first is None or second is None:
        return first or second
    return lambda loss, strengths: second(first(loss, strengths), strengths)


def _sum(
    first: Callable[[Params, Strengths], Array] | None, second: Callable[[Params, Strengths], Array] | None
) -> Callable[[Params, Strengths], Array] | None:
    """Both penalties together."""
    if first is None or second is None:
        return first or second
    return lambda params, strengths: first(params, strengths) + second(params, strengths)
