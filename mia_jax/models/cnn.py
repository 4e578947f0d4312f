"""Small convolutional networks with group norm, of one record.

A 3x3 convolution is written as one matrix product over its nine shifts laid side by side: XLA's own runs an
order of magnitude slower on a CPU once it stands inside a scan, as every training step does, and a product is
what book-keeping clipping can read.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mia_jax.config import HeadKind
from mia_jax.models.base import Model, check_sizes
from mia_jax.models.images import ImageModule, blocks, check_head
from mia_jax.models.linen import Affine, as_model
from mia_jax.types import Array

GROUP = 8
"""The most channels that are normalised together."""

EPSILON = 1e-5
"""Added to the variance of a group, as by Wu & He 2018, arXiv:1803.08494."""


def patches(x: Array) -> Array:
    """The 3x3 neighbourhood of every pixel, zeros beyond the edge: [H, W, Ch] -> [H * W, 9 * Ch]."""
    height, width, channels = x.shape
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    shifts = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.reshape(jnp.concatenate(shifts, axis=-1), (height * width, 9 * channels))


def normalised(x: Array) -> Array:
    """Group norm of [..., Ch] without scale and bias: groups of channels get mean 0 and variance 1."""
    channels = x.shape[-1]
    flat = jnp.reshape(x, (-1, channels))
    centred = flat - _over_groups(jnp.mean(flat, 0))[None]
    variance = _over_groups(jnp.mean(centred**2, 0))
    return jnp.reshape(centred * jax.lax.rsqrt(variance + EPSILON)[None], x.shape)


def _over_groups(values: Array) -> Array:
    """The mean of its group in place of every channel's value [Ch]."""
    # A product costs what a reduction over [groups, ...] does, and takes groups of unequal size.
    return jnp.matmul(values, jnp.asarray(_averages(values.shape[0]), values.dtype), precision="highest")


def _averages(channels: int) -> np.ndarray:
    """The matrix [Ch, Ch] of means over groups of neighbouring channels, as equal in size as can be."""
    group = np.arange(channels) * -(-channels // GROUP) // channels
    same = group[:, None] == group[None, :]
    return same / same.sum(0)


def pooled(x: Array) -> Array:
    """The largest of every 2x2 pixels: [H, W, Ch] -> [H // 2, W // 2, Ch], as `blocks` cuts it."""
    return jnp.max(blocks(x), (1, 3))


class _CNN(ImageModule):
    """Convolutions in two halves, each pooled at its end."""

    def setup(self) -> None:
        """Name the convolutions."""
        super().setup()
        first = -(-self.layers // 2)
        widths = [self.hidden if layer < first else 2 * self.hidden for layer in range(self.layers)]
        # The norm takes a mean away and adds a bias of its own: one before it would do next to nothing.
        self.conv = [nn.Dense(width, use_bias=False) for width in widths]
        self.norm = [Affine() for _ in widths]
        self.pools = (first - 1, self.layers - 1)

    def maps(self, x: Array) -> list[Array]:
        """Every convolution's output, pooled where a half ends."""
        outputs: list[Array] = []
        for layer, (conv, norm) in enumerate(zip(self.conv, self.norm, strict=True)):
            z = norm(normalised(conv(patches(x))))
            z = jnp.reshape(z, (*x.shape[:2], -1))
            # The largest of the rectified is the rectified largest, and costs a quarter.
            x = nn.relu(pooled(z) if layer in self.pools else z)
            outputs.append(x)
        return outputs


def cnn(
    *,
    num_classes: int,
    hidden: int = 16,
    layers: int = 2,
    dropout: float = 0.0,
    head: HeadKind = "flat",
    head_width: int = 0,
) -> Model:
    """A convolutional network of `layers` 3x3 convolutions, each with group norm and ReLU, and a head.

    A record is an image [H, W, Ch], or [H, W] with one channel. The first half of the convolutions (the larger,
    where their number is odd) has `hidden` channels, the second 2 * hidden; the largest of every 2x2 pixels is
    kept at the end of each half, and an odd row or column at the edge left out. A side is never pooled below 2
    pixels. Groups are of at most 8 channels and as equal as can be. `head` and `head_width`: as in `FamilyConfig`.
    Raises ValueError for a head that is not there and for sizes that no model has.
    """
    check_sizes(num_classes, hidden, layers, dropout)
    check_head(head, head_width)
    return as_model(_CNN(hidden, layers, num_classes, dropout, head, head_width), layered=True)
