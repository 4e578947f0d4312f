"""Random keys as data: named roots folded from one seed, then one key per model by its number.

A model's keys depend on the seed, the root's name and the model's own number alone, so that more
models can be added to an old run without changing the ones that are there.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mia_jax.types import Array, Key


class Roots(NamedTuple):
    """One independent key for each source of randomness of a study.

    A root is known by its place: new ones are added at the end, or every old run would change.
    """

    membership: Key
    init: Key
    order: Key
    dropout: Key
    attack: Key
    noise: Key
    label: Key
    release: Key


def roots(seed: int) -> Roots:
    """The roots that belong to `seed`."""
    key = jax.random.key(seed)
    return Roots(*(jax.random.fold_in(key, number) for number in range(len(Roots._fields))))


def per_model(root: Key, models: Array) -> Key:
    """One key for each model number of `models`, int [K]: keys [K]."""
    return jax.vmap(lambda model: jax.random.fold_in(root, model))(jnp.asarray(models))
