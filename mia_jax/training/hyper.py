"""Hyperparameters that change no shape: traced values, one per model, so a sweep is one program."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from mia_jax.config import TrainingConfig
from mia_jax.types import Array

NO_STRENGTHS: Mapping[str, Any] = MappingProxyType({})


class Hyper(NamedTuple):
    """learning_rate: the schedule's peak. momentum: of "momentum". weight_decay: decoupled from the gradient.

    sam_radius: how far from the parameters the gradient is taken. strengths: of the defence, by name.
    Every array is float32 [K, …] over models, and without K inside one model's training.
    """

    learning_rate: Array
    momentum: Array
    weight_decay: Array
    sam_radius: Array
    strengths: dict[str, Array] = {}  # noqa: RUF012 (never written to)


def hyper_of(
    config: TrainingConfig, num_models: int, strengths: Mapping[str, ArrayLike] = NO_STRENGTHS
) -> Hyper:
    """The config's values and a defence's strengths, the same for each of K models."""

    def each(value: ArrayLike) -> Array:
        value = jnp.asarray(value, jnp.float32)
        return jnp.broadcast_to(value, (num_models, *value.shape))

    values = (config.learning_rate, config.momentum, config.weight_decay, config.sam_radius)
    return Hyper(*map(each, values), strengths={name: each(value) for name, value in strengths.items()})


def without_values(config: TrainingConfig) -> TrainingConfig:
    """The config with what `Hyper` carries set to 1 (a decay or radius of 0 stays 0): what is compiled.

    Sweeps over these values are then one program.
    """
    decays, sharp = float(config.weight_decay > 0), float(config.sam_radius > 0)
    momentum = TrainingConfig().momentum
    return dataclasses.replace(
        config, learning_rate=1.0, momentum=momentum, weight_decay=decays, sam_radius=sharp
    )


def learning_rate_shape(config: TrainingConfig, steps_per_epoch: int) -> optax.Schedule:
    """The schedule with peak 1: linear warm-up, then constant, cosine or linear to 0 at the end."""
    total = config.epochs * steps_per_epoch
    warmup = config.warmup_epochs * steps_per_epoch
    after = {
        "constant": optax.constant_schedule(1.0),
        "cosine": optax.cosine_decay_schedule(1.0, total - warmup),
        "linear": optax.linear_schedule(1.0, 0.0, total - warmup),
    }[config.schedule]
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, 1.0, warmup), after], [warmup])


def optimizer_of(
    config: TrainingConfig, hyper: Hyper, steps_per_epoch: int, own_steps: Array | None = None
) -> optax.GradientTransformation:
    """The optimizer of one model, its hyperparameters traced scalars.

    own_steps: the steps of this model's epoch, where it has fewer than the longest; its schedule
    then runs as much faster. The optimizer holds no key: noise and its keys belong to the per-model
    step, never to a closure here.
    """
    shape = learning_rate_shape(config, steps_per_epoch)

    def rate(count: ArrayLike) -> ArrayLike:
        place = count if own_steps is None else count * (steps_per_epoch / jnp.asarray(own_steps))
        return -hyper.learning_rate * shape(place)

    scale = optax.scale_by_schedule(rate)
    before = {
        "sgd": optax.identity(),
        "momentum": optax.trace(hyper.momentum),
        "adam": optax.scale_by_adam(),
        "adamw": optax.scale_by_adam(),
    }[config.optimizer]
    if config.optimizer == "adamw" or config.weight_decay:
        before = optax.chain(before, optax.add_decayed_weights(jnp.asarray(hyper.weight_decay)))
    return optax.chain(before, scale)
