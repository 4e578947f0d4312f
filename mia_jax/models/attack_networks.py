"""The small networks that learned attacks train: one model each, so that what is compiled for it is kept."""

from __future__ import annotations

import functools

import flax.linen as nn

from mia_jax.models.base import Model
from mia_jax.models.linen import as_model
from mia_jax.models.rnn import recurrent
from mia_jax.types import Array


class _Layers(nn.Module):
    """ReLU layers of the given widths over a vector, and a linear read-out.

    dropped: how many of the first layers stand before the one dropout; 0 for none.
    """

    widths: tuple[int, ...]
    outputs: int
    dropped: int = 0
    dropout: float = 0.0

    def setup(self) -> None:
        """Name the layers."""
        self.dense = [nn.Dense(width) for width in self.widths]
        self.drop = nn.Dropout(self.dropout)
        self.head = nn.Dense(self.outputs)

    def embed(self, x: Array, train: bool) -> Array:
        """The last hidden layer."""
        for number, layer in enumerate(self.dense, start=1):
            x = nn.relu(layer(x))
            if number == self.dropped:
                x = self.drop(x, deterministic=not train)
        return x

    def __call__(self, x: Array, train: bool) -> Array:
        """The outputs [outputs]."""
        return self.head(self.embed(x, train))


@functools.cache
def membership_mlp() -> Model:
    """The shadow classifier of Yang, Gohari & Topcu 2021: 32-64-32-16 and two logits.

    Dropout of .2 follows the layer of 64. Reads one vector.
    """
    return as_model(_Layers((32, 64, 32, 16), 2, dropped=2, dropout=0.2))


@functools.cache
def membership_lstm() -> Model:
    """Its counterpart for sequences: an LSTM of 100 units, read out after its last step as two logits."""
    return recurrent("lstm", num_classes=2, hidden=100)


@functools.cache
def regression_mlp(outputs: int) -> Model:
    """Two ReLU layers of 64 from a vector of features to `outputs` numbers."""
    return as_model(_Layers((64, 64), outputs))
