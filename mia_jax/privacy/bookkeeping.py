"""Gradient norms of every record, and a weighted sum of the gradients, in one backward pass.

The pass differentiates with respect to the pre-activations alone. From what entered a weight, a [L, in],
and the gradient of its pre-activation, g [L, out], follows the record's gradient aᵀg, whose squared norm
is also the sum of (aaᵀ)∘(ggᵀ): the smaller of the two is computed, and no record's gradient is kept.
Goodfellow 2015, arXiv:1510.01799; Li et al. 2022, arXiv:2110.05679; Bu et al. 2023, arXiv:2210.00038.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mia_jax.losses import Loss
from mia_jax.models.base import Model
from mia_jax.models.taps import Dense, Lookup, Path, Scale, Tap
from mia_jax.types import Array, Inputs, Key, Params

CANCELLATION = 1 / 256
"""The least that a norm from Gram matrices may be, as a part of the sum of its steps' norms.

Below it the Grams' rounding, in the squares, could make up much of the norm; what stands in its place is
larger, and so can only clip more.
"""


class Book(NamedTuple):
    """What one backward pass writes down for every record of a batch.

    taps: what entered each weight, {name: Tap with leading axis B}. slopes: the gradient of the record's
    loss with respect to each pre-activation, {name: [B, *shape]}.
    """

    taps: dict[str, Tap]
    slopes: dict[str, Array]


def book(model: Model, params: Params, x: Inputs, y: Array, keys: Key | None, loss: Loss) -> Book:
    """Run `model` forward and back over a batch. keys: [B] for dropout, or None for evaluation.

    Raises ValueError for a model without taps, and where its taps leave out a parameter or share one.
    """
    if model.taps is None:
        raise ValueError(
            'model.taps is None: method "bookkeeping" needs them; method "vmap" takes any model.'
        )
    taps = model.taps

    def one(x: Inputs, y: Array, key: Key | None) -> Book:
        def loss_of(shifts: dict[str, Array] | None) -> tuple[Array, dict[str, Tap]]:
            logits, noted = taps(params, x, shifts, key=key, train=key is not None)
            return loss(logits, y), noted

        value, noted = jax.eval_shape(lambda: loss_of(None))
        _check_coverage(params, noted)
        shifts = {name: jnp.zeros(tap.shape, value.dtype) for name, tap in noted.items()}
        _, pull, noted = jax.vjp(loss_of, shifts, has_aux=True)
        return Book(noted, pull(jnp.ones((), value.dtype))[0])

    return jax.vmap(one)(x, y, keys)


def squared_norms(params: Params, written: Book) -> Array:
    """The squared L2 norm of each record's whole gradient: [B]."""
    leaves = _leaves(params)
    squares = [
        square for name, tap in written.taps.items() for square in _squares(tap, written.slopes[name], leaves)
    ]
    return sum(squares[1:], start=squares[0])


def weighted_sum(params: Params, written: Book, weights: Array, used: Array) -> Params:
    """The sum of the records' gradients, each times its weight [B]; those not `used` [B] never enter it."""
    leaves = _leaves(params)
    sums: dict[Path, Array] = {}
    for name, tap in written.taps.items():
        slope = _where(used, written.slopes[name] * _beside(weights, written.slopes[name]))
        sums |= _sums(tap, slope, used, leaves)
    return jax.tree.unflatten(jax.tree.structure(params), [sums[path] for path in leaves])


def _squares(tap: Tap, slope: Array, leaves: dict[Path, Array]) -> list[Array]:
    """The squared norms [B] of the gradients that one tap gives."""
    slope = _with_steps(slope)
    if isinstance(tap, Lookup):
        return [_table_square(_rows(tap, leaves), slope)]
    if isinstance(tap, Scale):
        of_scale, of_bias = jnp.sum(_with_steps(tap.entered) * slope, 1), jnp.sum(slope, 1)
        return [jnp.sum(of_scale**2, -1), jnp.sum(of_bias**2, -1)]
    entered = _entered(tap, leaves)
    squares = [_kernel_square(entered, slope)]
    if tap.bias is not None and not _is_whole(tap, leaves):
        squares.append(jnp.sum(jnp.sum(slope[..., _columns(tap, leaves[tap.bias])], 1) ** 2, -1))
    return squares


def _kernel_square(entered: Array, slope: Array) -> Array:
    """The squared norm [B] of the gradient of the kernels that share a pre-activation."""
    steps, height, width = entered.shape[1], entered.shape[2], slope.shape[2]
    if steps == 1:
        return jnp.sum(entered**2, (1, 2)) * jnp.sum(slope**2, (1, 2))
    if steps * (height + width) >= height * width:
        return jnp.sum(_exact("bli,blo->bio", entered, slope) ** 2, (1, 2))
    narrow, wide = (entered, slope) if height < width else (slope, entered)
    return _gram_square(narrow, wide)


def _gram_square(narrow: Array, wide: Array) -> Array:
    """The squared norm [B] by the Gram matrices [B, L, L] of both sides, the wider one's left unformed."""
    gram = _exact("bli,bmi->blm", narrow, narrow)
    square = jnp.sum(_exact("blm,bmo->blo", gram, wide) * wide, (1, 2))
    of_steps = jnp.sum(jnp.sqrt(jnp.diagonal(gram, axis1=1, axis2=2) * jnp.sum(wide**2, 2)), 1)
    return jnp.maximum(square, (CANCELLATION * of_steps) ** 2)


def _table_square(rows: Array, slope: Array) -> Array:
    """The squared norm [B] of a table's gradient: of the sums of the slopes over equal rows."""
    same = (rows[:, :, None] == rows[:, None, :]).astype(slope.dtype)
    sums = _exact("blm,bme->ble", same, slope)
    # Every row of the table stands here as often as the record names it.
    return jnp.sum(jnp.sum(sums**2, -1) / jnp.sum(same, -1), -1)


def _sums(tap: Tap, slope: Array, used: Array, leaves: dict[Path, Array]) -> dict[Path, Array]:
    """The gradients that one tap gives, summed over the batch, from slopes already weighted."""
    slope = _with_steps(slope)
    if isinstance(tap, Lookup):
        table = leaves[tap.table]
        rows = _rows(tap, leaves)
        return {tap.table: jnp.zeros_like(table).at[rows].add(slope, mode="drop")}
    if isinstance(tap, Scale):
        entered = _where(used, _with_steps(tap.entered))
        return {tap.scale: jnp.sum(entered * slope, (0, 1)), tap.bias: jnp.sum(slope, (0, 1))}
    entered = _where(used, _entered(tap, leaves))
    joint = _exact("bli,blo->io", entered, slope)
    sums, first = {}, 0
    for path in tap.kernels:
        height = leaves[path].shape[0]
        sums[path] = joint[first : first + height]
        first += height
    if tap.bias is not None:
        whole = _is_whole(tap, leaves)
        sums[tap.bias] = joint[first] if whole else jnp.sum(slope, (0, 1))[_columns(tap, leaves[tap.bias])]
    return sums


def _entered(tap: Dense, leaves: dict[Path, Array]) -> Array:
    """All that entered a pre-activation, side by side: [B, L, sum of in]; a column of ones for a whole bias."""
    parts = [_with_steps(a) for a in tap.inputs]
    if _is_whole(tap, leaves):
        parts.append(jnp.ones((*parts[0].shape[:2], 1), parts[0].dtype))
    return jnp.concatenate(parts, 2)


def _is_whole(tap: Dense, leaves: dict[Path, Array]) -> bool:
    """Whether the bias is added to every column."""
    return tap.bias is not None and leaves[tap.bias].shape[0] == tap.shape[-1]


def _exact(subscripts: str, left: Array, right: Array) -> Array:
    """A product in full float32 on any device: norms rounded to fewer bits would bound nothing."""
    return jnp.einsum(subscripts, left, right, precision="highest")


def _with_steps(values: Array) -> Array:
    """[B, ..., width] as [B, L, width]."""
    return jnp.reshape(values, (values.shape[0], math.prod(values.shape[1:-1]), values.shape[-1]))


def _rows(tap: Lookup, leaves: dict[Path, Array]) -> Array:
    """The rows of the table that each record names: [B, L]."""
    ids = jnp.reshape(tap.ids, (tap.ids.shape[0], -1))
    return jnp.where(ids < 0, ids + leaves[tap.table].shape[0], ids)


def _columns(tap: Dense, bias: Array) -> slice:
    """The columns of the pre-activation that the bias is added to."""
    return slice(tap.bias_start, tap.bias_start + bias.shape[0])


def _beside(weights: Array, values: Array) -> Array:
    """A weight for each record [B], shaped to multiply [B, ...]."""
    return jnp.reshape(weights, (-1, *[1] * (values.ndim - 1)))


def _where(used: Array, values: Array) -> Array:
    """The values [B, ...] of the records in use, zeros for the others."""
    return jnp.where(_beside(used, values), values, 0.0)


def _check_coverage(params: Params, taps: dict[str, Tap]) -> None:
    """Raise ValueError unless every parameter has its gradient from exactly one tap."""
    given = [path for tap in taps.values() for path in tap.leaves]
    leaves = set(_leaves(params))
    for paths, fault in (
        (leaves - set(given), "is in no tap"),
        ({path for path in given if given.count(path) > 1}, "is in more than one tap"),
        (set(given) - leaves, "is named by a tap and is no parameter"),
    ):
        if paths:
            name = "/".join(map(str, min(paths, key=str)))
            raise ValueError(
                f"the parameter {name} {fault}: model.taps must give the gradient of every parameter "
                'once; method "vmap" needs no taps.'
            )


def _leaves(params: Params) -> dict[Path, Array]:
    """The parameters by their paths, in the pytree's order."""
    with_paths, _ = jax.tree_util.tree_flatten_with_path(params)
    return {tuple(_plain(key) for key in path): leaf for path, leaf in with_paths}


def _plain(key: object) -> str | int:
    """One key of a pytree's path as a dict, a sequence or a NamedTuple has it."""
    for field in ("key", "idx", "name"):
        if hasattr(key, field):
            return getattr(key, field)
    raise ValueError(
        f"the parameters' key is {key!r}: it must be one of a dict, a sequence or a class's field."
    )
