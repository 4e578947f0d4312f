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

    mask: bool [n]. rate: the probability of each record. room: more than ever come. most: where more than
    that come, a uniformly random subset of so many is kept.

    The distances from one drawn place to the next are geometric, so that the work is that of the batch
    and not of all n. Their distribution is exact to the rounding of float32, about 1e-7 relatively.
    """
    for_places, for_subset = jax.random.split(key)
    # Small numbers keep their relative precision, and they decide about the short distances.
    part = jax.random.bits(for_places, (room,)).astype(jnp.float32) * jnp.float32(2.0**-32)
    part = jnp.minimum(part, jnp.float32(1.0 - 2.0**-24))
    beyond = jnp.float32(mask.size)
    skipped = jnp.minimum(jnp.floor(jnp.log1p(-part) / jnp.log1p(-jnp.float32(rate))), beyond)
    distance = skipped.astype(jnp.int32) + 1
    # Saturating, so that no sum overflows.
    places = jax.lax.associative_scan(lambda a, b: jnp.minimum(a + b, mask.size + 1), distance) - 1
    positions = jnp.minimum(places, mask.size - 1)
    valid = (places < mask.size) & mask[positions]
    if most >= room:
        return positions, valid
    luck = jnp.where(valid, jax.random.bits(for_subset, (room,)) >> 1, jnp.uint32(BEHIND))
    kept = jax.lax.top_k(~luck, most)[1]
    return positions[kept], valid[kept]
