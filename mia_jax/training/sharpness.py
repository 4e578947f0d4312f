"""Sharpness-aware minimisation: the gradient is taken where the loss nearby is highest.

Foret et al. 2021, arXiv:2010.01412, equations 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mia_jax.types import Array, Params


def sharpness_aware(gradient: Callable[[Params], Params], params: Params, radius: Array) -> Params:
    """The gradient at params + radius * g / |g|, where g is the gradient at `params` and |g| its L2 norm.

    gradient: params -> pytree like them, of one batch and the same random draws at both places. radius:
    scalar >= 0; 0 is the plain gradient. Where g vanishes, or is not finite, there is no direction, and it
    is taken at `params`.
    """

    def look(_: Array, found: tuple[Params, Params]) -> tuple[Params, Params]:
        slope = gradient(found[0])
        return _sharpest(params, slope, radius), slope

    # A loop, so that there is one gradient in the program: of two, the compiler shares parts, and which
    # parts, and so the rounding, depends on the number of devices.
    return jax.lax.fori_loop(0, 2, look, (params, jax.tree.map(jnp.zeros_like, params)))[1]


def _sharpest(params: Params, slope: Params, radius: Array) -> Params:
    """Where the loss is highest within `radius` of params, were it as `slope` says: equation 2."""
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(slope)))
    length = jnp.where(
        jnp.isfinite(norm) & (norm > 0), radius / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny), 0.0
    )
    # Not length * slope alone: 0 times infinity would be no number.
    return jax.tree.map(lambda w, g: w + jnp.where(length > 0, length * g, 0.0), params, slope)
