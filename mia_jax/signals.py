"""What a model says of a record, from its logits.

All five signals are computed from logits, where margins beyond float32's log-probabilities are
still told apart (a float32 log-probability saturates at a margin of about 17).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mia_jax.types import Array, Signals


def scaled_logit(logits: Array, y: Array) -> Array:
    """The margin z_y - logsumexp_{j != y} z_j, equal to log(p_y / (1 - p_y)).

    logits: [..., C]; y: int [...]. Returns [...]. Raises ValueError for labels of another shape or kind.
    Carlini et al. 2022, section VI-A.
    """
    logits, y = jnp.asarray(logits), jnp.asarray(y)
    if not logits.ndim:
        raise ValueError("logits has shape (): it must be [..., C], one entry for each class.")
    if y.shape != logits.shape[:-1] or not jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(
            f"y is {y.dtype} of shape {y.shape}: it must be integers of shape {logits.shape[:-1]}, one label for each "
            "row of logits."
        )
    is_label = jax.nn.one_hot(y, logits.shape[-1], dtype=bool)
    others = jax.nn.logsumexp(jnp.where(is_label, -jnp.inf, logits), axis=-1)
    return jnp.take_along_axis(logits, y[..., None], axis=-1)[..., 0] - others


def from_logits(logits: Array, y: Array) -> Signals:
    """All signals of records with logits [..., C] and labels int [...]; every field is [...].

    modified_entropy is Mentr = -(1 - p_y) log p_y - sum_{i != y} p_i log(1 - p_i), Song & Mittal
    2021, equation 7; smaller where the model is surely right.
    """
    logits, y = jnp.asarray(logits), jnp.asarray(y)
    margin = scaled_logit(logits, y)
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    probs = jnp.exp(log_probs)
    top = jnp.argmax(logits, axis=-1)
    return Signals(
        log_prob=-jax.nn.softplus(-margin),
        scaled_logit=margin,
        entropy=-jnp.sum(probs * log_probs, axis=-1),
        modified_entropy=_modified_entropy(logits, probs, y, top, margin),
        correct=(top == y).astype(logits.dtype),
    )


def _modified_entropy(logits: Array, probs: Array, y: Array, top: Array, margin: Array) -> Array:
    """Mentr [...], with log(1 - p) taken from logits where p may be close to 1."""
    # Only the largest probability can round to 1: its complement comes from its own margin.
    log_rest_of_top = -jax.nn.softplus(scaled_logit(logits, top))
    is_top, is_label = (jax.nn.one_hot(c, logits.shape[-1], dtype=bool) for c in (top, y))
    log_rest = jnp.where(is_top, log_rest_of_top[..., None], jnp.log1p(-jnp.where(is_top, 0.0, probs)))
    others = jnp.where(is_label, 0.0, probs * log_rest)
    return jax.nn.sigmoid(-margin) * jax.nn.softplus(-margin) - jnp.sum(others, axis=-1)
