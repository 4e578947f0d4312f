"""Gaussian noise for a pytree, drawn as `jax.random.normal` draws it and several times faster on a CPU.

For a small model the noise is the dearest part of a private step. JAX keeps the rounds of its generator
in a loop over whole arrays there; written out, they stay in registers.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from mia_jax.keys import check_key
from mia_jax.types import Array, Key, Params

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)
BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


def gaussian_noise(key: Key, tree: Params, stddev: Array | float) -> Params:
    """A pytree like `tree` of independent normal entries of mean 0 and standard deviation `stddev`.

    key: one key, used for nothing else. stddev: a scalar, may be traced; 0 gives zeros. All leaves come
    from one stream, the float32 numbers that `jax.random.normal(key, (entries of the whole tree,))` gives,
    in the order of the leaves; no entry depends on another. As any float32 noise, it is a rounding of the
    normal law: its tails end near 5.4 standard deviations, and differential privacy is claimed for the
    real-valued mechanism. Raises ValueError for what is not one key.
    """
    check_key("key", key)
    if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape:
        raise ValueError(f"key has shape {key.shape}: it must be one key, of shape ().")
    leaves, structure = jax.tree.flatten(tree)
    stream = _standard_normal(key, sum(leaf.size for leaf in leaves))
    noises, first = [], 0
    for leaf in leaves:
        noise = stddev * jnp.reshape(stream[first : first + leaf.size], leaf.shape)
        noises.append(noise.astype(leaf.dtype))
        first += leaf.size
    return jax.tree.unflatten(structure, noises)


def _standard_normal(key: Key, count: int) -> Array:
    """`jax.random.normal(key, (count,))`, bit for bit where the key is of Threefry's kind."""
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return jax.random.normal(key, (count,))
    # 23 random bits as a number in [1, 2), then in (-1, 1), then through the normal quantile.
    unit = jax.lax.bitcast_convert_type((_bits(key, count) >> 9) | np.uint32(0x3F800000), jnp.float32) - 1.0
    low = -BELOW_ONE
    return np.float32(math.sqrt(2)) * jax.lax.erf_inv(jnp.maximum(low, unit * (1 - low) + low))


def _bits(key: Key, count: int) -> Array:
    """`jax.random.bits(key, (count,))`: entry n is Threefry of the number n, its two words joined."""
    first_word, second_word = jax.random.key_data(key)
    # A loop, because XLA would otherwise draw the bits anew in every place that reads the noise.
    parts = 2 if jax.default_backend() == "cpu" else 1
    size = -(-count // parts)

    def part(first: Array) -> Array:
        numbers = first + jax.lax.iota(jnp.uint32, size)
        left, right = _threefry(first_word, second_word, jnp.zeros(size, jnp.uint32), numbers)
        return left ^ right

    return jnp.reshape(jax.lax.map(part, jnp.arange(parts, dtype=jnp.uint32) * np.uint32(size)), -1)[:count]


def _threefry(key_0: Array, key_1: Array, left: Array, right: Array) -> tuple[Array, Array]:
    """Threefry-2x32 of 20 rounds, on two words of each counter. Salmon et al. 2011."""
    words = (key_0, key_1, key_0 ^ key_1 ^ PARITY)
    left, right = left + words[0], right + words[1]
    for group in range(5):
        for by in ROTATIONS[group % 2]:
            left = left + right
            right = left ^ ((right << np.uint32(by)) | (right >> np.uint32(32 - by)))
        left = left + words[(group + 1) % 3]
        right = right + words[(group + 2) % 3] + np.uint32(group + 1)
    return left, right
