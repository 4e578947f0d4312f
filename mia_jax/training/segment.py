"""The training of one model from one checkpoint to the next, as pure functions to be mapped.

A segment is a loop over epochs with traced bounds, so every segment of a training is the same
compiled program, however far apart its checkpoints are.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import optax

from mia_jax.config import TrainingConfig
from mia_jax.defences.base import PLAIN, Batch, Defence, no_strength
from mia_jax.losses import Loss, cross_entropy
from mia_jax.models.base import Model
from mia_jax.training.batches import poisson, shuffled
from mia_jax.training.hyper import Hyper, optimizer_of
from mia_jax.training.sharpness import sharpness_aware
from mia_jax.types import Array, Inputs, Key, Params, Records


class TrainState(NamedTuple):
    """All that a model's training carries from step to step.

    seen: int32 [n], the step at which each record of its list was last drawn, -1 for never; None where
    the order of the epochs tells.
    """

    params: Params
    opt_state: Any
    seen: Array | None = None


class OneModel(NamedTuple):
    """What tells one model of a study from the others; with a leading axis K: all of them.

    init_key, order_key, dropout_key: its own keys. indices: int32 [n], its rows of the pool. mask: bool
    [n], False where `indices` is padding. hyper: its hyperparameters, scalars. noise_key, label_key,
    release_key: its own keys for what a defence draws.
    """

    init_key: Key
    order_key: Key
    dropout_key: Key
    indices: Array
    mask: Array
    hyper: Hyper
    noise_key: Key | None = None
    label_key: Key | None = None
    release_key: Key | None = None


class Recipe(NamedTuple):
    """What all models of a family share, and what is therefore fixed when the program is compiled.

    train_size: n, the longest list of members of any model. sizes_vary: some model has fewer, so
    that a batch of its last steps may be empty. in_place: a record's absence leaves a gap in the order of an
    epoch, and moves no other record; implied by a private gradient.
    """

    model: Model
    config: TrainingConfig
    train_size: int
    sizes_vary: bool = False
    loss: Loss = cross_entropy
    defence: Defence = PLAIN
    in_place: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show each member once; the last batch may be smaller."""
        return -(-self.train_size // self.config.batch_size)

    @property
    def draws(self) -> bool:
        """Whether every step draws its own batch, rather than taking its part of an epoch's order."""
        private = self.defence.gradient
        return private is not None and private.batches.sampling != "shuffle"

    @property
    def early_end(self) -> bool:
        """Whether a model with fewer members has fewer steps: how many it has must then not be private."""
        return self.sizes_vary and not self.in_place and self.defence.gradient is None


class _Strengths(dict[str, Any]):
    """A defence's strengths, which say what is missing."""

    def __missing__(self, name: str) -> NoReturn:
        raise no_strength(self, name, "hyper.strengths")


jax.tree_util.register_pytree_node(
    _Strengths,
    lambda strengths: (tuple(strengths.values()), tuple(strengths)),
    lambda names, values: _Strengths(zip(names, values, strict=True)),
)


def own_optimizer(recipe: Recipe, one: OneModel) -> optax.GradientTransformation:
    """The optimizer of one model."""
    own_steps = jnp.ceil(jnp.sum(one.mask) / recipe.config.batch_size) if recipe.early_end else None
    return optimizer_of(recipe.config, one.hyper, recipe.steps_per_epoch, own_steps)


def initialise(recipe: Recipe, x: Inputs, one: OneModel) -> TrainState:
    """The state of one model before its first step. x: one record, for shapes."""
    params = recipe.model.init(one.init_key, x)
    optimizer = own_optimizer(recipe, one)
    seen = jnp.full(one.mask.shape, -1, jnp.int32) if recipe.draws else None
    return TrainState(params, optimizer.init(params), seen)


def epoch_order(recipe: Recipe, one: OneModel, epoch: Array) -> tuple[Array, Array]:
    """The batches of one epoch: positions in `one.indices`, int32 [S, B], and which are valid, bool [S, B]."""
    config = recipe.config
    key = jax.random.fold_in(one.order_key, epoch if config.order == "shuffle" else 0)
    in_place = recipe.in_place or recipe.defence.gradient is not None
    return shuffled(key, one.mask, config.batch_size, in_place=in_place)


def drawn_batch(recipe: Recipe, one: OneModel, number: Array) -> tuple[Array, Array]:
    """The batch that step `number` draws: positions in `one.indices`, int32 [B], and which are valid, bool [B]."""
    assert recipe.defence.gradient is not None
    batches = recipe.defence.gradient.batches
    key = jax.random.fold_in(one.order_key, number)
    rate = batches.expected / batches.num_examples
    return poisson(key, one.mask, rate, batches.room, batches.physical)


def advance(
    recipe: Recipe, state: TrainState, one: OneModel, pool: Records, start: Array, stop: Array
) -> TrainState:
    """Train one model over the epochs start, …, stop - 1 (traced ints) of its training."""
    steps = recipe.steps_per_epoch

    def one_step(state: TrainState, batch: tuple[Array, ...]) -> tuple[TrainState, None]:
        number, *drawn = batch
        positions, valid = drawn or drawn_batch(recipe, one, number)
        return step(recipe, state, one, pool, number, positions, valid), None

    def epoch(number: Array, state: TrainState) -> TrainState:
        numbers = number * steps + jnp.arange(steps)
        order = () if recipe.draws else epoch_order(recipe, one, number)
        return jax.lax.scan(one_step, state, (numbers, *order))[0]

    return jax.lax.fori_loop(start, stop, epoch, state)


def step(
    recipe: Recipe,
    state: TrainState,
    one: OneModel,
    pool: Records,
    number: Array,
    positions: Array,
    valid: Array,
) -> TrainState:
    """One optimizer step on the records at `positions` [B] of the model's list, of which `valid` [B] count."""
    rows = one.indices[positions]
    records = jax.tree.map(lambda leaf: leaf[rows], pool)
    return step_on(recipe, state, one, records, number, positions, valid)


def step_on(
    recipe: Recipe,
    state: TrainState,
    one: OneModel,
    records: Records,
    number: Array,
    positions: Array,
    valid: Array,
) -> TrainState:
    """As `step`, with the records at `positions` already taken from the pool: [B]."""
    batch = defended_batch(recipe, state.params, one, records, number, positions, valid)
    if recipe.config.sam_radius:
        gradient = sharpness_aware(
            lambda params: gradient_of(recipe, params, one, batch, number), state.params, one.hyper.sam_radius
        )
    else:
        gradient = gradient_of(recipe, state.params, one, batch, number)
    optimizer = own_optimizer(recipe, one)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    seen = state.seen
    if seen is not None:
        seen = jnp.asarray(seen).at[jnp.where(valid, positions, seen.size)].set(number, mode="drop")
    new = TrainState(optax.apply_updates(state.params, updates), opt_state, seen)
    if recipe.early_end:
        new = jax.tree.map(lambda a, b: jnp.where(jnp.any(valid), a, b), new, state)
    return new


def defended_batch(
    recipe: Recipe,
    params: Params,
    one: OneModel,
    records: Records,
    number: Array,
    positions: Array,
    valid: Array,
) -> Batch:
    """The records [B] of a step as they are trained on: labels and inputs are the defence's."""
    defence, strengths = recipe.defence, _Strengths(one.hyper.strengths)
    x, y = records
    keys = jax.random.split(jax.random.fold_in(one.dropout_key, number), y.shape[0])
    if defence.label is not None:
        own = jax.vmap(lambda row: _own(one.label_key, row))(one.indices[positions])
        y = jax.vmap(lambda key, y: defence.label(key, y, strengths))(own, y)
    if defence.inputs is not None:
        loss = loss_of(recipe, one)

        def moved(x: Inputs, y: Array, key: Key) -> Inputs:
            def own_loss(x: Inputs) -> Array:
                return loss(recipe.model.apply(params, x, key=key, train=True), y)

            return defence.inputs(own_loss, x, strengths)

        x = jax.vmap(moved)(x, y, keys)
    return Batch(x, y, valid, keys)


def gradient_of(recipe: Recipe, params: Params, one: OneModel, batch: Batch, number: Array) -> Params:
    """The gradient of a step: of the batch's mean loss or the private one, and of the penalty."""
    defence, strengths = recipe.defence, _Strengths(one.hyper.strengths)
    loss = loss_of(recipe, one)
    if defence.gradient is None:
        gradient = jax.grad(lambda params: batch_loss(recipe.model, loss, params, batch))(params)
    else:
        key = _own(one.noise_key, number)
        gradient = defence.gradient.gradient(recipe.model, loss, params, batch, key, strengths)
    if defence.penalty is not None:
        more = jax.grad(lambda params: defence.penalty(params, strengths))(params)
        gradient = jax.tree.map(jnp.add, gradient, more)
    return gradient


def _own(key: Key | None, number: Array) -> Key:
    """A model's key of a step, record or epoch for what a defence draws."""
    if key is None:
        raise ValueError(
            "noise_key, label_key and release_key are None: a model whose defence draws needs them."
        )
    return jax.random.fold_in(key, number)


def loss_of(recipe: Recipe, one: OneModel) -> Loss:
    """The loss of one record, as the defence has it."""
    wrap = recipe.defence.loss
    return recipe.loss if wrap is None else wrap(recipe.loss, _Strengths(one.hyper.strengths))


def batch_loss(model: Model, loss: Loss, params: Params, batch: Batch) -> Array:
    """The mean loss of the valid records of a batch, 0 where there are none."""

    def one_loss(x: Inputs, y: Array, key: Key) -> Array:
        return loss(model.apply(params, x, key=key, train=True), y)

    losses = jax.vmap(one_loss)(batch.x, batch.y, batch.keys)
    return jnp.sum(jnp.where(batch.valid, losses, 0.0)) / jnp.maximum(jnp.sum(batch.valid), 1)


def released(recipe: Recipe, params: Params, one: OneModel, epoch: Array) -> Params:
    """What is shown after an epoch instead of the trained parameters, as the defence has it."""
    release = recipe.defence.release
    if release is None:
        return params
    return release(_own(one.release_key, epoch), params, _Strengths(one.hyper.strengths))


def last_seen(
    recipe: Recipe, one: OneModel, pool_size: int, epoch: Array, seen: Array | None = None
) -> Array:
    """The step at which each record was last trained on, before `epoch`: int32 [N], -1 for never.

    seen: int32 [n], of a training whose steps draw their own batches (`TrainState.seen`).
    """
    never = jnp.full(pool_size, -1, jnp.int32)
    if seen is not None:
        return never.at[jnp.where(one.mask, one.indices, pool_size)].set(seen, mode="drop")
    positions, valid = epoch_order(recipe, one, epoch - 1)
    steps = (epoch - 1) * recipe.steps_per_epoch + jnp.arange(positions.shape[0])
    rows = jnp.where(valid & (epoch > 0), one.indices[positions], pool_size)
    return never.at[rows].set(jnp.broadcast_to(steps[:, None], rows.shape).astype(jnp.int32), mode="drop")
