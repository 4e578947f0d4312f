"""The sum of clipped gradients, each of one record: what DP-SGD adds its noise to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from mia_jax.losses import Loss, cross_entropy
from mia_jax.models.base import Model
from mia_jax.privacy import bookkeeping
from mia_jax.types import Array, Inputs, Key, Params
from mia_jax.validation import check_number, check_whole

Method = Literal["auto", "vmap", "bookkeeping"]
METHODS = ("auto", "vmap", "bookkeeping")


def clipped_gradient_sum(
    model: Model,
    params: Params,
    x: Inputs,
    y: Array,
    mask: Array,
    clip_norm: Array | float,
    *,
    loss: Loss = cross_entropy,
    method: Method = "auto",
    keys: Key | None = None,
    microbatch: int = 0,
) -> tuple[Params, Array]:
    """The sum over a batch of each record's gradient, scaled to a norm of at most `clip_norm`.

    x: [B, ...] or Ragged; y: [B]; mask: bool [B], which records count. keys: [B], one dropout key for each
    record, for training mode; None is evaluation mode. clip_norm: an L2 norm over all parameters
    together, may be traced; infinite is the plain sum. loss: (logits [C], y) -> scalar.
    method: "vmap" makes each record's gradient, for any model; "bookkeeping" only its norm
    (`mia_jax.privacy.bookkeeping`), for models with `taps`; "auto" the latter where there are taps.
    microbatch: so many records side by side, one such block after another, up to the last one that counts;
    0: all at once. Put the records that count first: blocks behind them cost nothing.

    Returns the sum, a pytree like `params`, and the norms [B] before clipping, 0 where masked.
    Raises ValueError for a mask that is not bool [B], a clip_norm that is not above 0, a negative
    microbatch, an unknown method, and for "bookkeeping" where taps are missing or leave out a parameter.

    Guarantees. The sum changes by at most clip_norm in L2 norm when one record is added, removed or masked
    out, and by at most 2 clip_norm when one is replaced; up to float32 rounding. That holds for a loss of one
    record (no batch normalisation) and for a mask and a number of records that are themselves not secret.

    ================================  ==============================  ====================
    record                            contributes                     its norm
    ================================  ==============================  ====================
    norm <= clip_norm                 its gradient as it is           the norm
    norm > clip_norm                  its gradient clip_norm / norm   the norm
    masked, whatever is in it         exactly 0                       0
    gradient 0                        0                               0
    gradient not finite               exactly 0                       inf or nan
    its square overflows float32      exactly 0                       inf
    ================================  ==============================  ====================

    Abadi et al. 2016, arXiv:1607.00133, algorithm 1.
    """
    _check(y, mask, clip_norm, method, microbatch)
    if method == "auto":
        method = "vmap" if model.taps is None else "bookkeeping"
    gradients = _by_vmap if method == "vmap" else _by_bookkeeping

    def of_block(x: Inputs, y: Array, mask: Array, keys: Key | None) -> tuple[Params, Array]:
        norms, weighted_sum = gradients(model, params, x, y, keys, loss)
        weights, used = _weights(norms, mask, clip_norm)
        return weighted_sum(weights, used), jnp.where(mask, norms, 0.0)

    if not microbatch or microbatch >= mask.shape[0]:
        return of_block(x, y, mask, keys)
    return _block_by_block(of_block, params, (x, y, mask, keys), microbatch)


def check_method(method: str) -> None:
    """Refuse what is no way of clipping (ValueError)."""
    if method not in METHODS:
        raise ValueError(f"method is {method!r}: it must be one of {', '.join(map(repr, METHODS))}.")


def _check(y: Array, mask: Array, clip_norm: Array | float, method: str, microbatch: int) -> None:
    """Raise ValueError for arguments that cannot be meant."""
    kind, shape = jnp.result_type(mask).name, jnp.shape(mask)
    if (kind, shape) != ("bool", jnp.shape(y)):
        raise ValueError(f"mask is {kind} {shape}: it must be bool {jnp.shape(y)}, one for each record.")
    check_method(method)
    if not isinstance(clip_norm, jax.core.Tracer):
        check_number("clip_norm", clip_norm, lambda norm: np.all(np.asarray(norm) > 0), "be above 0")
    check_whole("microbatch", microbatch, 0, " (0: the whole batch at once)")


def _weights(norms: Array, mask: Array, clip_norm: Array | float) -> tuple[Array, Array]:
    """The factor of each record's gradient [B], and which gradients may enter the sum [B]."""
    # Written so that a clip_norm of nan gives nan, and an infinite one divides nothing.
    return jnp.where(norms <= clip_norm, 1.0, clip_norm / norms), mask & jnp.isfinite(norms)


WeightedSum = Callable[[Array, Array], Params]
"""Of gradients of records: their sum with weights [B], of those that are used (bool [B]) alone."""


def _by_vmap(
    model: Model, params: Params, x: Inputs, y: Array, keys: Key | None, loss: Loss
) -> tuple[Array, WeightedSum]:
    """The norms [B] of all records' gradients, made side by side, and what sums them."""

    def gradient(x: Inputs, y: Array, key: Key | None) -> Params:
        train = key is not None
        return jax.grad(lambda params: loss(model.apply(params, x, key=key, train=train), y))(params)

    gradients = jax.vmap(gradient)(x, y, keys)
    norms = jnp.sqrt(sum(jnp.sum(_flat(leaf) ** 2, 1) for leaf in jax.tree.leaves(gradients)))

    def weighted_sum(weights: Array, used: Array) -> Params:
        def total(leaf: Array) -> Array:
            rows = jnp.where(used[:, None], _flat(leaf) * weights[:, None], 0.0)
            return jnp.reshape(jnp.sum(rows, 0), leaf.shape[1:])

        return jax.tree.map(total, gradients)

    return norms, weighted_sum


def _by_bookkeeping(
    model: Model, params: Params, x: Inputs, y: Array, keys: Key | None, loss: Loss
) -> tuple[Array, WeightedSum]:
    """The norms [B] of all records' gradients without any of them, and what sums them."""
    written = bookkeeping.book(model, params, x, y, keys, loss)
    norms = jnp.sqrt(bookkeeping.squared_norms(params, written))
    return norms, functools.partial(bookkeeping.weighted_sum, params, written)


def _block_by_block(
    of_block: Callable[..., tuple[Params, Array]],
    params: Params,
    batch: tuple[Inputs, Array, Array, Key | None],
    size: int,
) -> tuple[Params, Array]:
    """The clipped sum over blocks of `size` records, up to the last that holds a record that counts."""
    mask = batch[2]
    count = mask.shape[0]
    blocks = -(-count // size)
    # The last block reaches back over records already counted, and masks them.
    starts = jnp.minimum(jnp.arange(blocks) * size, count - size)
    last = jnp.max(jnp.where(mask, jnp.arange(count) + 1, 0))

    def add(number: Array, carry: tuple[Params, Array]) -> tuple[Params, Array]:
        total, norms = carry
        start = starts[number]
        x, y, valid, keys = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), batch)
        fresh = start + jnp.arange(size) >= number * size
        part, of_part = of_block(x, y, valid & fresh, keys)
        kept = jax.lax.dynamic_slice_in_dim(norms, start, size)
        norms = jax.lax.dynamic_update_slice_in_dim(norms, jnp.where(fresh, of_part, kept), start, 0)
        return jax.tree.map(jnp.add, total, part), norms

    start = jax.tree.map(jnp.zeros_like, params), jnp.zeros(count)
    return jax.lax.fori_loop(0, (last + size - 1) // size, add, start)


def _flat(leaf: Array) -> Array:
    """[B, ...] as [B, entries]."""
    return jnp.reshape(leaf, (leaf.shape[0], -1))
