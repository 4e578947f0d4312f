"""Multilayer perceptrons: the feed-forward side of every comparison."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from mia_jax.models.base import Model, check_sizes
from mia_jax.models.linen import Reader, as_model
from mia_jax.types import Array, Inputs


class _MLP(nn.Module):
    """ReLU layers over the whole record, flattened."""

    hidden: int
    layers: int
    num_classes: int
    dropout: float
    vocabulary_size: int
    embedding: int

    def setup(self) -> None:
        """Name the layers."""
        self.reader = Reader(self.vocabulary_size, self.embedding)
        self.dense = [nn.Dense(self.hidden) for _ in range(self.layers)]
        self.drop = nn.Dropout(self.dropout)
        self.head = nn.Dense(self.num_classes)

    def every_layer(self, x: Inputs, train: bool = False) -> tuple[Array, ...]:
        """Every hidden layer [hidden]."""
        steps, _ = self.reader(x)
        out, outputs = jnp.reshape(steps, -1), []
        for layer in self.dense:
            out = self.drop(nn.relu(layer(out)), deterministic=not train)
            outputs.append(out)
        return tuple(outputs)

    def embed(self, x: Inputs, train: bool) -> Array:
        """The last hidden layer [hidden]."""
        return self.every_layer(x, train)[-1]

    def __call__(self, x: Inputs, train: bool) -> Array:
        """Logits [C]."""
        return self.head(self.embed(x, train))


def mlp(
    *,
    num_classes: int,
    hidden: int = 128,
    layers: int = 1,
    dropout: float = 0.0,
    vocabulary_size: int = 0,
    embedding: int = 16,
) -> Model:
    """A multilayer perceptron of `layers` hidden ReLU layers of width `hidden`.

    A record of any shape is flattened; token ids (vocabulary_size > 0) are embedded first; padding
    of ragged records is zero. Dropout follows every hidden layer. Raises ValueError for sizes that no model has.
    """
    check_sizes(num_classes, hidden, layers, dropout)
    return as_model(_MLP(hidden, layers, num_classes, dropout, vocabulary_size, embedding), layered=True)
