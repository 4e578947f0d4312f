"""The training of one model from one checkpoint to the next, as pure functions to be mapped.

A segment is a loop over epochs with traced bounds, so every segment of a training is the same
compiled program, however far apart its checkpoints are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mia_jax.config import TrainingConfig
from mia_jax.models.base import Model
from mia_jax.training.hyper import Hyper, optimizer_of
from mia_jax.types import Array, Inputs, Key, Params, Records

Loss = Callable[[Array, Array], Array]


class TrainState(NamedTuple):
    """All that a model's training carries from step to step."""

    params: Params
    opt_state: Any


class OneModel(NamedTuple):
    """What tells one model of a study from the others; with a leading axis K: all of them.

    init_key, order_key, dropout_key: its own keys. indices: int32 [n], its rows of the pool.
    mask: bool [n], False where `indices` is padding. hyper: its hyperparameters, scalars.
    """

    init_key: Key
    order_key: Key
    dropout_key: Key
    indices: Array
    mask: Array
    hyper: Hyper


def cross_entropy(logits: Array, y: Array) -> Array:
    """The loss of one record, nats. logits: [C]; y: int."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)


class Recipe(NamedTuple):
    """What all models of a family share, and what is therefore fixed when the program is compiled.

    train_size: n, the longest list of members of any model. sizes_vary: some model has fewer, so
    that a batch of its last steps may be empty.
    """

    model: Model
    config: TrainingConfig
    train_size: int
    sizes_vary: bool = False
    loss: Loss = cross_entropy

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show each member once; the last batch may be smaller."""
        return -(-self.train_size // self.config.batch_size)


def own_optimizer(recipe: Recipe, one: OneModel) -> optax.GradientTransformation:
    """The optimizer of one model."""
    own_steps = jnp.ceil(jnp.sum(one.mask) / recipe.config.batch_size) if recipe.sizes_vary else None
    return optimizer_of(recipe.config, one.hyper, recipe.steps_per_epoch, own_steps)


def initialise(recipe: Recipe, x: Inputs, one: OneModel) -> TrainState:
    """The state of one model before its first step. x: one record, for shapes."""
    params = recipe.model.init(one.init_key, x)
    optimizer = own_optimizer(recipe, one)
    return TrainState(params, optimizer.init(params))


def epoch_order(recipe: Recipe, one: OneModel, epoch: Array) -> tuple[Array, Array]:
    """The batches of one epoch: positions in `one.indices`, int32 [S, B], and which are valid, bool [S, B]."""
    config = recipe.config
    key = jax.random.fold_in(one.order_key, epoch if config.order == "shuffle" else 0)
    bits = jax.random.bits(key, one.mask.shape) >> 1
    # What is padding sorts behind every member, so that only the last batches are short.
    order = jnp.argsort(jnp.where(one.mask, bits, jnp.uint32(2**32 - 1)))
    short = recipe.steps_per_epoch * config.batch_size - order.size
    positions = jnp.pad(order, (0, short)).reshape(-1, config.batch_size)
    valid = jnp.pad(one.mask[order], (0, short)).reshape(-1, config.batch_size)
    return positions, valid


def advance(
    recipe: Recipe, state: TrainState, one: OneModel, pool: Records, start: Array, stop: Array
) -> TrainState:
    """Train one model over the epochs start, …, stop - 1 (traced ints) of its training."""
    steps = recipe.steps_per_epoch

    def epoch(number: Array, state: TrainState) -> TrainState:
        positions, valid = epoch_order(recipe, one, number)
        batches = (number * steps + jnp.arange(steps), one.indices[positions], valid)
        return jax.lax.scan(
            lambda state, batch: (step(recipe, state, one, pool, *batch), None), state, batches
        )[0]

    return jax.lax.fori_loop(start, stop, epoch, state)


def step(
    recipe: Recipe, state: TrainState, one: OneModel, pool: Records, number: Array, rows: Array, valid: Array
) -> TrainState:
    """One optimizer step on the records `rows` [B], of which `valid` [B] count; none: no step."""
    x, y = jax.tree.map(lambda leaf: leaf[rows], (pool.x, pool.y))
    key = jax.random.fold_in(one.dropout_key, number)
    gradient = jax.grad(lambda params: batch_loss(recipe, params, x, y, valid, key))(state.params)
    optimizer = own_optimizer(recipe, one)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    new = TrainState(optax.apply_updates(state.params, updates), opt_state)
    if recipe.sizes_vary:
        new = jax.tree.map(lambda a, b: jnp.where(jnp.any(valid), a, b), new, state)
    return new


def batch_loss(recipe: Recipe, params: Params, x: Inputs, y: Array, valid: Array, key: Key) -> Array:
    """The mean loss of the valid records of a batch, 0 where there are none."""

    def one_loss(x: Inputs, y: Array, key: Key) -> Array:
        return recipe.loss(recipe.model.apply(params, x, key=key, train=True), y)

    losses = jax.vmap(one_loss)(x, y, jax.random.split(key, y.shape[0]))
    return jnp.sum(jnp.where(valid, losses, 0.0)) / jnp.maximum(jnp.sum(valid), 1)


def last_seen(recipe: Recipe, one: OneModel, pool_size: int, epoch: Array) -> Array:
    """The step at which each record was last trained on, before `epoch`: int32 [N], -1 for never."""
    positions, valid = epoch_order(recipe, one, epoch - 1)
    steps = (epoch - 1) * recipe.steps_per_epoch + jnp.arange(positions.shape[0])
    rows = jnp.where(valid & (epoch > 0), one.indices[positions], pool_size)
    never = jnp.full(pool_size, -1, jnp.int32)
    return never.at[rows].set(jnp.broadcast_to(steps[:, None], rows.shape).astype(jnp.int32), mode="drop")
