"""Changed versions of one record, about which a model is asked too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import jax
import jax.numpy as jnp

from mia_jax.config import ConfigError, Query
from mia_jax.types import Array, Inputs, Key, Ragged


def values_of(x: Inputs) -> Array:
    """A record's numbers without its length: [...]."""
    return jnp.asarray(x.values if isinstance(x, Ragged) else x)


def with_values(x: Inputs, values: Array) -> Inputs:
    """The record with other numbers in its place, its length kept."""
    return x._replace(values=values) if isinstance(x, Ragged) else values


def inside(x: Inputs) -> Array:
    """Which of a record's numbers stand before its end: bool, of the shape of `values_of(x)`."""
    values = values_of(x)
    if not isinstance(x, Ragged):
        return jnp.ones(values.shape, bool)
    steps = jnp.arange(values.shape[0]).reshape(-1, *(1,) * (values.ndim - 1))
    return jnp.broadcast_to(steps < x.length, values.shape)


def flip(x: Inputs) -> Inputs:
    """The record mirrored along its second axis (an image's columns), or its first if it has one only."""
    values = values_of(x)
    return with_values(x, jnp.flip(values, axis=min(1, values.ndim - 1)))


def shift(x: Inputs) -> Inputs:
    """The record moved by one along its first axis: zeros come first, and the last entry falls out."""
    values = values_of(x)
    moved = jnp.concatenate([jnp.zeros_like(values[:1]), values[:-1]])
    return with_values(x, jnp.where(inside(x), moved, values))


def noisy(x: Inputs, key: Key, deviation: float) -> Inputs:
    """The record with Gaussian noise of standard deviation `deviation` on all that is not padding."""
    values = values_of(x)
    noise = deviation * jax.random.normal(key, values.shape, values.dtype)
    return with_values(x, values + jnp.where(inside(x), noise, 0.0))


def versions(x: Inputs, queries: Sequence[Query], key: Key, *, noise: float) -> Inputs:
    """The record and its changed versions, in order: the record's axes after a leading axis Q = 1 + queries.

    x: one record of features. key: of the record; noise is drawn from it by the number of the query,
    so that it is the same for every model that is given the same key. noise: standard deviation, in
    units of the features. Raises ValueError for a query that is not there.
    """
    unknown = [query for query in queries if query not in get_args(Query)]
    if unknown:
        known = ", ".join(map(repr, get_args(Query)))
        raise ValueError(f"queries holds {unknown[0]!r}: it must hold names of {known}.")
    changed = [x]
    for number, query in enumerate(queries, start=1):
        if query == "flip":
            changed.append(flip(x))
        elif query == "shift":
            changed.append(shift(x))
        else:
            changed.append(noisy(x, jax.random.fold_in(key, number), noise))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *changed)


def check_features(x: Inputs, field: str, value: object, reason: str) -> None:
    """Refuse what has no meaning for token ids (`ConfigError`); x: inputs with any leading axes."""
    if not jnp.issubdtype(values_of(x).dtype, jnp.floating):
        raise ConfigError(f"{field} is {value!r}: records of this data are token ids, {reason}.")
