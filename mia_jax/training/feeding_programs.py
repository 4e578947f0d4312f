"""The compiled programs of a training whose records are fed in blocks.

They take the same steps as those of `mia_jax.training.programs`, on records that the host has gathered:
the order of the records is made on the devices, by the same functions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mia_jax.parallel import MODELS, WHOLE, over_models
from mia_jax.training.observe import Probe, observe, probe
from mia_jax.training.programs import KEPT, hashable, mapping
from mia_jax.training.segment import (
    OneModel,
    Recipe,
    TrainState,
    drawn_batch,
    epoch_order,
    last_seen,
    released,
    step_on,
)
from mia_jax.types import Array, Key, Records

Order = tuple[Array, Array]
"""The batches of one epoch: positions in each model's list, int32 [M, S, B], and which are valid, bool."""


class BlockPrograms(NamedTuple):
    """The compiled programs of one family, each over the M models of a chunk.

    order(ones, epoch) -> `Order`. advance(states, ones, order, records [M, W, B, …], epoch, first, count) ->
    states, and a sign of being done [M]: over `count` steps of the epoch, from its step `first` on.
    seen(states, ones, epoch) -> the step each record was last trained on, [M, N]. observe(width, signals=,
    logits=, probes=) -> the program (states, ones, records, epoch, keys) -> signals, logits and what the
    probes of these numbers measured, None where not asked for, of a block of records.
    """

    order: Callable[..., Order]
    advance: Callable[..., tuple[TrainState, Array]]
    seen: Callable[..., Array]
    observe: Callable[..., Callable[..., Any]]


def block_programs_of(
    recipe: Recipe, mesh: Mesh, models_together: int, pool_size: int, probes: tuple[Probe, ...] = ()
) -> BlockPrograms:
    """The programs of `compile_block_programs`, those of an equal recipe again."""
    if not hashable(recipe, probes):
        return compile_block_programs(recipe, mesh, models_together, pool_size, probes)
    return _kept_programs(recipe, mesh, models_together, pool_size, probes)


def compile_block_programs(
    recipe: Recipe, mesh: Mesh, models_together: int, pool_size: int, probes: Sequence[Probe] = ()
) -> BlockPrograms:
    """Jit the per-model functions, as `programs.compile_programs` does. pool_size: N."""
    mapped = mapping(recipe, mesh, models_together)

    def order(ones: OneModel, epoch: Array) -> Order:
        return mapped(lambda one: batches_of(recipe, one, epoch), ones)

    def move(
        states: TrainState,
        ones: OneModel,
        order: Order,
        records: Records,
        epoch: Array,
        first: Array,
        count: Array,
    ) -> tuple[TrainState, Array]:
        def one_model(state: TrainState, one: OneModel, order: Order, records: Records) -> Any:
            def one_step(place: Array, state: TrainState) -> TrainState:
                positions, valid = (leaf[first + place] for leaf in order)
                taken = jax.tree.map(lambda leaf: leaf[place], records)
                number = epoch * recipe.steps_per_epoch + first + place
                return step_on(recipe, state, one, taken, number, positions, valid)

            # The sign: the state's own memory is the next block's by the time somebody waits for this one.
            return jax.lax.fori_loop(0, count, one_step, state), first + count

        return mapped(one_model, states, ones, order, records)

    def seen(states: TrainState, ones: OneModel, epoch: Array) -> Array:
        def one_model(seen: Array | None, one: OneModel) -> Array:
            return last_seen(recipe, one, pool_size, epoch, seen)

        return mapped(one_model, states.seen, ones)

    @functools.cache
    def look_of(width: int, *, signals: bool, logits: bool, probed: tuple[int, ...]) -> Callable[..., Any]:
        wanted = [probes[number] for number in probed]

        def look(states: TrainState, ones: OneModel, records: Records, epoch: Array, keys: Key | None) -> Any:
            def one_model(state: TrainState, one: OneModel) -> Any:
                params = released(recipe, state.params, one, epoch)
                said, kept = None, None
                if signals:
                    said, kept = observe(recipe.model, params, records, logits=logits, width=width)
                return said, kept, probe(wanted, params, records, keys, width=width)

            return mapped(one_model, states, ones)

        return over_models(look, mesh, (MODELS, MODELS, WHOLE, WHOLE, WHOLE))

    return BlockPrograms(
        over_models(order, mesh, (MODELS, WHOLE)),
        over_models(move, mesh, (MODELS,) * 4 + (WHOLE,) * 3, donate=(0,)),
        over_models(seen, mesh, (MODELS, MODELS, WHOLE)),
        look_of,
    )


_kept_programs = functools.lru_cache(maxsize=KEPT)(compile_block_programs)


def batches_of(recipe: Recipe, one: OneModel, epoch: Array) -> Order:
    """One model's batches of an epoch as `segment.advance` has them: positions [S, B], and which are valid."""
    if not recipe.draws:
        return epoch_order(recipe, one, epoch)
    numbers = epoch * recipe.steps_per_epoch + jnp.arange(recipe.steps_per_epoch)
    return jax.lax.map(lambda number: drawn_batch(recipe, one, number), numbers)
