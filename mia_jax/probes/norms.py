"""Norms of what a record does inside a model: of its gradient, and of its embedding."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from mia_jax import signals
from mia_jax.models import Model
from mia_jax.types import Array, Params, Records
from mia_jax.validation import check_number


def gradient_norm(model: Model, params: Params, record: Records) -> Array:
    """The L2 norm of the gradient of the record's cross-entropy with respect to all parameters: a scalar.

    It is (1 - p_y) ||grad of the scaled logit||, and computed so: the cross-entropy's own gradient
    rounds to nothing where p_y rounds to 1. Nasr et al. 2019, arXiv:1812.00910 (white box).
    """

    def margin(params: Params) -> Array:
        return signals.scaled_logit(model.apply(params, record.x), record.y)

    value, slope = jax.value_and_grad(margin)(params)
    squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(slope))
    return jax.nn.sigmoid(-value) * jnp.sqrt(squares)


def embedding_norm(model: Model, params: Params, record: Records, *, p: float) -> Array:
    """The p-norm, p >= 1 or infinite, of the record's embedding in the penultimate layer: a scalar.

    Raises ValueError for a model without `embed` and for another p.
    """
    check_number("p", p, lambda p: p >= 1, "be at least 1 (inf is allowed)")
    if model.embed is None:
        raise ValueError("model.embed is None: embedding_norm needs a model with a penultimate layer.")
    sizes = jnp.abs(model.embed(params, record.x))
    largest = jnp.max(sizes)
    if math.isinf(p):
        return largest
    # Relative to the largest, so that no power leaves float32.
    return largest * jnp.sum((sizes / jnp.where(largest > 0, largest, 1.0)) ** p) ** (1.0 / p)
