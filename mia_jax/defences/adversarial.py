"""Adversarial training: every record is moved a little against the model before it is learned."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from mia_jax.defences.base import Defence, RecordLoss, Strengths, strength
from mia_jax.types import Array, Inputs, Ragged


@functools.lru_cache
def fast_gradient_sign() -> Defence:
    """Inputs x + strengths["radius"] * sign of the loss's gradient in x, for records of features.

    One step in the L-infinity ball, at the parameters and with the dropout of the same training step
    (Goodfellow, Shlens & Szegedy 2015, section 4). What stands behind a ragged record's end has no
    gradient and stays. With radius 0 the inputs are those of plain training, bit for bit.
    """

    def inputs(loss: RecordLoss, x: Inputs, strengths: Strengths) -> Inputs:
        values = x.values if isinstance(x, Ragged) else x

        def of_values(values: jax.Array) -> Array:
            return loss(x._replace(values=values) if isinstance(x, Ragged) else values)

        slope = jax.grad(of_values)(jnp.asarray(values))
        # A slope that is not finite has no direction.
        way = jnp.where(jnp.isfinite(slope), jnp.sign(slope), 0.0)
        moved = jax.lax.stop_gradient(values + strength(strengths, "radius") * way)
        return x._replace(values=moved) if isinstance(x, Ragged) else moved

    return Defence(("adversarial",), inputs=inputs)
