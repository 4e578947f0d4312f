"""Random keys as data: named roots folded from one seed, then one key per model by its number.

A model's keys depend on the seed, the root's name and the model's own number alone, so that more
models can be added to an old run without changing the ones that are there.
"""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

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
    """The roots that belong to `seed`. Raises ValueError for what is no whole number."""
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise ValueError(f"seed is {seed!r}: it must be a whole number.")
    key = jax.random.key(seed)
    return Roots(*(jax.random.fold_in(key, number) for number in range(len(Roots._fields))))


def check_key(name: str, key: Any) -> None:
    """Refuse a number or nothing in the place of a random key (ValueError)."""
    if not hasattr(key, "dtype"):
        raise ValueError(f"{name} is {key!r}: it must be a random key of JAX, as jax.random.key(0).")


def per_model(root: Key, models: Array) -> Key:
    """One key for each model number of `models`, int [K]: keys [K]. Raises ValueError for a root that is no key."""
    check_key("root", root)
    return jax.vmap(lambda model: jax.random.fold_in(root, model))(jnp.asarray(models))
