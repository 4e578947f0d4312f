"""Sharpness-aware minimisation: the gradient is taken where the loss nearby is highest.

Foret et al. 2021, arXiv:2010.01412, equations 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from mia_jax.types import Array, Params


def sharpness_aware(gradient: Callable[[Params], Params], params: Params, radius: Array) -> Params:
    """The gradient at params + radius * g / |g|, where g is the gradient at `params` and |g| its L2 norm.

    gradient: params -> pytree like them, of one batch and the same random draws at both calls. radius:
    scalar >= 0; 0 is the plain gradient. Where g vanishes, or is not finite, there is no direction, and it
    is taken at `params`.
    """
    here = gradient(params)
    norm = optax.global_norm(here)
    length = jnp.where(
        jnp.isfinite(norm) & (norm > 0), radius / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny), 0.0
    )
    # Not length * here alone: 0 times infinity would be no number.
    moved = jax.tree.map(lambda w, g: w + jnp.where(length > 0, length * g, 0.0), params, here)
    return gradient(moved)
