"""ReNet: recurrent networks that sweep an image along its rows and columns, of one record.

Visin et al. 2015, arXiv:1505.00393.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from mia_jax.config import HeadKind
from mia_jax.models.base import Model, check_sizes
from mia_jax.models.images import ImageModule, blocks, check_head
from mia_jax.models.linen import as_model
from mia_jax.models.rnn import RecurrentLayer
from mia_jax.types import Array


def patches(x: Array) -> Array:
    """The pixels of every 2x2 patch side by side: [H, W, Ch] -> [H // 2, W // 2, 4 * Ch], as `blocks` cuts it."""
    x = jnp.transpose(blocks(x), (0, 2, 1, 3, 4))
    return jnp.reshape(x, (*x.shape[:2], -1))


class _Sweep(nn.Module):
    """Two GRUs without biases over the first axis of a map, from either end: [L, R, D] -> [L, R, 2 * hidden]."""

    hidden: int

    def setup(self) -> None:
        """Name the directions."""
        self.there = RecurrentLayer("gru", self.hidden, bias=False)
        self.back = RecurrentLayer("gru", self.hidden, bias=False)

    def __call__(self, places: Array) -> Array:
        """Sweep all R lines at once."""
        there, _ = self.there(places, None)
        back, _ = self.back(jnp.flip(places, 0), None)
        return jnp.concatenate([there, jnp.flip(back, 0)], -1)


class _ReNet(ImageModule):
    """Layers that cut patches and sweep them along the rows, and then along the columns."""

    def setup(self) -> None:
        """Name the sweeps."""
        super().setup()
        self.recurrent_rows = [_Sweep(self.hidden) for _ in range(self.layers)]
        self.recurrent_columns = [_Sweep(self.hidden) for _ in range(self.layers)]

    def maps(self, x: Array) -> list[Array]:
        """The output of every layer: [H // 2, W // 2, 2 * hidden] of the one before."""
        outputs: list[Array] = []
        for along_rows, along_columns in zip(self.recurrent_rows, self.recurrent_columns, strict=True):
            swept = along_rows(jnp.swapaxes(patches(x), 0, 1))
            x = along_columns(jnp.swapaxes(swept, 0, 1))
            outputs.append(x)
        return outputs


def renet(
    *,
    num_classes: int,
    hidden: int = 32,
    layers: int = 1,
    dropout: float = 0.0,
    head: HeadKind = "flat",
    head_width: int = 0,
) -> Model:
    """A ReNet of `layers` layers with a head. Visin et al. 2015, arXiv:1505.00393.

    A record is an image [H, W, Ch], or [H, W] with one channel. A layer cuts it, or the map before, into patches of
    2x2 places (an odd row or column at the edge left out, a side of 3 or less not cut). A GRU without biases then
    sweeps every row of patches from the left and another from the right; two more sweep the columns of what these
    said, side by side. Each has `hidden` units, so that a layer's map is [H // 2, W // 2, 2 * hidden]. `head` and
    `head_width`: as in `FamilyConfig`. Raises ValueError for a head that is not there and for sizes that no model has.
    """
    check_sizes(num_classes, hidden, layers, dropout)
    check_head(head, head_width)
    return as_model(_ReNet(hidden, layers, num_classes, dropout, head, head_width), layered=True)
