"""The compiled programs of one family of models: each a function of one model, mapped over those of a chunk."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from mia_jax.parallel import MODELS, WHOLE, over_models
from mia_jax.training.observe import Probe, observe, probe
from mia_jax.training.precision import in_precision
from mia_jax.training.segment import (
    OneModel,
    Recipe,
    TrainState,
    advance,
    initialise,
    last_seen,
    released,
)
from mia_jax.types import Array, Inputs, Key, Records, Signals

KEPT = 32
"""Compiled programs that are kept."""


class Programs(NamedTuple):
    """The compiled programs of one family, each over the M models of a chunk.

    initialise(ones, x) -> states. advance(states, ones, pool, start, stop) -> states, over the epochs start,
    …, stop - 1. observe, observe_logits(states, ones, parts, epoch, keys) -> the parts' signals, steps last
    seen, logits of the first two parts, what was probed.
    """

    initialise: Callable[..., TrainState]
    advance: Callable[..., TrainState]
    observe: Callable[..., Any]
    observe_logits: Callable[..., Any]


def programs_of(recipe: Recipe, mesh: Mesh, models_together: int, probes: tuple[Probe, ...] = ()) -> Programs:
    """The programs of `compile_programs`, those of an equal recipe again: a sweep compiles once."""
    if not hashable(recipe, probes):
        return compile_programs(recipe, mesh, models_together, probes)
    return _kept_programs(recipe, mesh, models_together, probes)


def hashable(*values: Any) -> bool:
    """Whether programs of these can be kept; those of a person's own model may not be."""
    try:
        hash(values)
    except TypeError:
        return False
    return True


def compile_programs(
    recipe: Recipe, mesh: Mesh, models_together: int, probes: Sequence[Probe] = ()
) -> Programs:
    """Jit the per-model functions, mapped over a chunk and spread over the mesh's devices.

    Compilation happens at the first call; its time does not depend on the number of models. Without
    probes there is nothing of them in any program.
    """
    mapped = mapping(recipe, mesh, models_together)
    # On several CPU devices the QR factors of many matrices at once, which orthogonal weights come from, can
    # wait for one another without end; one model after another is no slower there.
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    initialised = mapping(recipe, mesh, 1) if on_cpu else mapped

    def init(ones: OneModel, x: Inputs) -> TrainState:
        return initialised(lambda one: initialise(recipe, x, one), ones)

    def move(states: TrainState, ones: OneModel, pool: Records, start: Array, stop: Array) -> TrainState:
        return mapped(lambda state, one: advance(recipe, state, one, pool, start, stop), states, ones)

    def look(
        states: TrainState,
        ones: OneModel,
        parts: tuple[Records, ...],
        epoch: Array,
        keys: Key | None,
        *,
        logits: bool,
    ) -> tuple[tuple[Signals, ...], Array, tuple[Array, ...], dict[str, Array]]:
        wanted = [one for one in probes if logits or not one.with_logits]

        def one_model(state: TrainState, one: OneModel) -> Any:
            seen = last_seen(recipe, one, parts[0].y.shape[0], epoch, state.seen)
            params = released(recipe, state.params, one, epoch)
            said = tuple(observe(recipe.model, params, part, logits=logits) for part in parts)
            kept = tuple(z for _, z in said[:2] if z is not None)
            return tuple(s for s, _ in said), seen, kept, probe(wanted, params, parts[0], keys)

        return mapped(one_model, states, ones)

    look_specs = (MODELS, MODELS, WHOLE, WHOLE, WHOLE)
    return Programs(
        over_models(init, mesh, (MODELS, WHOLE)),
        over_models(move, mesh, (MODELS, MODELS, WHOLE, WHOLE, WHOLE), donate=(0,)),
        over_models(lambda *args: look(*args, logits=False), mesh, look_specs),
        over_models(lambda *args: look(*args, logits=True), mesh, look_specs),
    )


def mapping(recipe: Recipe, mesh: Mesh, models_together: int) -> Callable[..., Any]:
    """What maps a function of one model over a device's own: (function, arguments with leading axis M) -> results."""
    platform = mesh.devices.flat[0].platform
    # A plain loop where one model is mapped at a time: batching by one costs on CPU.
    batch_size = models_together if models_together > 1 else None

    def mapped(function: Callable[..., Any], *per_model_args: Any) -> Any:
        def each(args: Any) -> Any:
            return jax.lax.map(lambda args: function(*args), args, batch_size=batch_size)

        return in_precision(each, recipe.config.matmul_precision, platform)(per_model_args)

    return mapped


_kept_programs = functools.lru_cache(maxsize=KEPT)(compile_programs)
