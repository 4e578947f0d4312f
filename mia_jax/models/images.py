"""What models of images share: blocks of 2x2 pixels, and the head over the last map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import flax.linen as nn
import jax.numpy as jnp

from mia_jax.config import HeadKind
from mia_jax.types import Array
from mia_jax.validation import check_whole


def blocks(x: Array) -> Array:
    """An image or a map cut into 2x2 places: [H, W, Ch] -> [H // 2, 2, W // 2, 2, Ch].

    An odd row or column at the edge is left out; a side of 3 or less is not cut, and its 2s are 1s.
    """
    height, width, channels = x.shape
    tall, wide = (2 if side > 3 else 1 for side in (height, width))
    x = x[: height // tall * tall, : width // wide * wide]
    return jnp.reshape(x, (height // tall, tall, width // wide, wide, channels))


def check_head(head: str, head_width: int) -> None:
    """Refuse a head that is not there, and a dense one without a width (ValueError)."""
    if head not in get_args(HeadKind):
        raise ValueError(f"head is {head!r}: it must be one of {', '.join(map(repr, get_args(HeadKind)))}.")
    check_whole("head_width", head_width, 1 if head == "dense" else 0, f' with head "{head}"')


class ImageModule(nn.Module):
    """A model of one image: maps of its own making, read by a head.

    A subclass has `setup`, which calls this one's, and `maps`. head_kind: what is made of the last map, "flat": all of
    it, "pooled": the mean over its places, "dense": all of it and then a ReLU layer of width head_width. A linear
    read-out ends every head, and dropout stands before it.
    """

    hidden: int
    layers: int
    num_classes: int
    dropout: float
    head_kind: HeadKind
    head_width: int

    def setup(self) -> None:
        """Name the layers of the head."""
        if self.head_kind == "dense":
            self.dense = nn.Dense(self.head_width)
        self.drop = nn.Dropout(self.dropout)
        self.head = nn.Dense(self.num_classes)

    def maps(self, x: Array) -> Sequence[Array]:
        """The output [H_i, W_i, Ch_i] of every layer on an image [H, W, Ch]."""
        raise NotImplementedError

    def every_layer(self, x: Array) -> tuple[Array, ...]:
        """Every map, flat; the last as the head takes it; and the head's own layer."""
        if x.ndim not in (2, 3):
            raise ValueError(f"x has shape {x.shape}: it must be one image, [H, W] or [H, W, channels].")
        *before, last = self.maps(x if x.ndim == 3 else x[..., None])
        outputs = [jnp.reshape(one, -1) for one in before]
        outputs.append(jnp.mean(last, (0, 1)) if self.head_kind == "pooled" else jnp.reshape(last, -1))
        if self.head_kind == "dense":
            outputs.append(nn.relu(self.dense(outputs[-1])))
        return tuple(outputs)

    def embed(self, x: Array, train: bool) -> Array:
        """What the read-out sees [E]."""
        return self.drop(self.every_layer(x)[-1], deterministic=not train)

    def __call__(self, x: Array, train: bool) -> Array:
        """Logits [C]."""
        return self.head(self.embed(x, train))
