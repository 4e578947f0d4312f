"""Which records a step trains on: shuffled epochs, and independent draws at every step."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mia_jax.types import Array, Key

BEHIND = 2**32 - 1
"""Sorts behind every random number of 31 bits."""


def shuffled(key: Key, mask: Array, batch_size: int, *, in_place: bool = False) -> tuple[Array, Array]:
    """The batches of one epoch: positions int32 [S, B] in a list of n, and which are valid, bool [S, B].

    mask: bool [n], False where the list has no record. Such places come last, so that only the last
    batches are short; with in_place each keeps the place in the order that a record would have, so that
    the absence of one moves no other.
    """
    bits = jax.random.bits(key, mask.shape) >> 1
    order = jnp.argsort(bits if in_place else jnp.where(mask, bits, jnp.uint32(BEHIND)))
    short = -order.size % batch_size
    positions = jnp.pad(order, (0, short)).reshape(-1, batch_size)
    valid = jnp.pad(mask[order], (0, short)).reshape(-1, batch_size)
    return positions, valid


def poisson(key: Key, mask: Array, rate: float, room: int, most: int) -> tuple[Array, Array]:
    """One batch to which every record comes independently: positions int32 [most], and which are valid, bool [most].

    mask: bool [n]. rate: the probability of each record, exact to 2^-32. room: more than ever come; the first
    are kept. most: where more than that come, a uniformly random subset of so many is kept. Those that
    are valid stand first.
    """
    for_places, for_subset = jax.random.split(key)
    drawn = mask
    if rate < 1.0:
        drawn = mask & (jax.random.bits(for_places, mask.shape) < jnp.uint32(round(rate * 2.0**32)))
    counts = jnp.cumsum(drawn)
    positions = jnp.minimum(jnp.searchsorted(counts, jnp.arange(1, room + 1)), mask.size - 1)
    valid = jnp.arange(room) < counts[-1]
    if most >= room:
        return positions, valid
    luck = jnp.where(valid, jax.random.bits(for_subset, (room,)) >> 1, jnp.uint32(BEHIND))
    kept = jax.lax.top_k(~luck, most)[1]
    return positions[kept], valid[kept]
