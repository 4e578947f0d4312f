"""Penalties on parameters and softer labels: defences that promise nothing, and may help.

Strengths are traced, so that all of them, 0 included, are one program. Weight decay belongs to the
optimizer (`TrainingConfig.weight_decay`), dropout to the model (`FamilyConfig.dropout`).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from mia_jax.defences.base import Defence, Strengths, strength
from mia_jax.defences.parameters import selected
from mia_jax.losses import Loss
from mia_jax.types import Array, Params


@functools.lru_cache
def l2(parameters: str = "") -> Defence:
    """Penalty strengths["l2"] * ||theta||^2 on the parameters whose path matches."""

    def penalty(params: Params, strengths: Strengths) -> Array:
        return strength(strengths, "l2") * _squares(params, parameters)

    return Defence(("l2",), penalty=penalty)


@functools.lru_cache
def l2_norm(parameters: str = "") -> Defence:
    """Penalty strengths["l2_norm"] * ||theta||, the norm not squared; its gradient at 0 is 0.

    The form in the artifact of Yang, Gohari & Topcu 2023, which penalises recurrent weights.
    """

    def penalty(params: Params, strengths: Strengths) -> Array:
        squares = _squares(params, parameters)
        nonzero = squares > 0
        return strength(strengths, "l2_norm") * jnp.where(
            nonzero, jnp.sqrt(jnp.where(nonzero, squares, 1.0)), 0.0
        )

    return Defence(("l2_norm",), penalty=penalty)


@functools.lru_cache
def l1(parameters: str = "") -> Defence:
    """Penalty strengths["l1"] * sum |theta|; its gradient at 0 is 0."""

    def penalty(params: Params, strengths: Strengths) -> Array:
        # Not jnp.abs: its gradient at 0 is 1, and would push what stands at 0 (a new bias) off it.
        size = sum(jnp.sum(leaf * jnp.sign(leaf)) for leaf in _leaves(params, parameters))
        return strength(strengths, "l1") * size

    return Defence(("l1",), penalty=penalty)


@functools.lru_cache
def label_smoothing() -> Defence:
    """The label's loss mixed with the mean loss of all C labels, in shares 1 - s and s.

    s = strengths["label_smoothing"]. With cross-entropy that is its loss against (1 - s) one-hot + s / C.
    Szegedy et al. 2016, section 7.
    """

    def soften(loss: Loss, strengths: Strengths) -> Loss:
        share = strength(strengths, "label_smoothing")

        def softened(logits: Array, y: Array) -> Array:
            every = jax.vmap(loss, in_axes=(None, 0))(logits, jnp.arange(logits.shape[-1]))
            return (1.0 - share) * loss(logits, y) + share * jnp.mean(every)

        return softened

    return Defence(("label_smoothing",), loss=soften)


def _leaves(params: Params, pattern: str) -> list[Array]:
    """The selected leaves."""
    chosen = selected(params, pattern)
    return [leaf for leaf, wanted in zip(jax.tree.leaves(params), chosen, strict=True) if wanted]


def _squares(params: Params, pattern: str) -> Array:
    """The squared norm of the selected leaves together."""
    return sum((jnp.sum(leaf**2) for leaf in _leaves(params, pattern)), start=jnp.float32(0.0))
