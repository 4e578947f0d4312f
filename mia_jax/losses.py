"""The loss of one record, as training and privacy both use it."""

from __future__ import annotations

from collections.abc import Callable

import optax

from mia_jax.types import Array

Loss = Callable[[Array, Array], Array]
"""(logits [C], y) -> scalar: the loss of one record."""


def cross_entropy(logits: Array, y: Array) -> Array:
    """The loss of one record, nats. logits: [C]; y: int."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)
