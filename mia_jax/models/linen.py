"""From a Flax Linen module of one record to a `Model`, and how modules read a record."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mia_jax.models.base import Model
from mia_jax.types import Array, Inputs, Key, Ragged


def as_model(module: nn.Module, *, sequential: bool = False) -> Model:
    """The `Model` of a module with `__call__(x, train)` -> [C] and `embed(x, train)` -> [E].

    sequential: it has `every_step(x)` -> [L, C] too.
    """

    def init(key: Key, x: Inputs) -> Any:
        return module.init(key, x, False)["params"]

    def apply(params: Any, x: Inputs, *, key: Key | None = None, train: bool = False) -> jax.Array:
        rngs = {} if key is None else {"dropout": key}
        return jnp.asarray(module.apply({"params": params}, x, train, rngs=rngs))

    def embed(params: Any, x: Inputs) -> jax.Array:
        return jnp.asarray(module.apply({"params": params}, x, False, method="embed"))

    def steps(params: Any, x: Inputs) -> jax.Array:
        return jnp.asarray(module.apply({"params": params}, x, method="every_step"))

    return Model(init, apply, embed, steps=steps if sequential else None)


class Reader(nn.Module):
    """Reads one record as steps of features, [L, D], with padding set to zero.

    vocabulary_size: above 0 where records are token ids, which are then embedded. steps: cut a
    record into so many steps; 0 keeps its own first axis.
    """

    vocabulary_size: int
    embedding: int
    steps: int = 0

    @nn.compact
    def __call__(self, x: Inputs) -> tuple[Array, Array | None]:
        """Return the steps [L, D] and their number, an int scalar, where records are ragged."""
        values, length = (x.values, x.length) if isinstance(x, Ragged) else (x, None)
        if self.vocabulary_size:
            values = nn.Embed(self.vocabulary_size, self.embedding, name="embedding")(values)
        values = as_steps(values, self.steps)
        if length is not None:
            values = jnp.where((jnp.arange(values.shape[0]) < length)[:, None], values, 0.0)
        return values, length


def as_steps(values: Array, steps: int) -> Array:
    """A record as [L, D]: cut into `steps` (zeros at the end), or along its own first axis."""
    if not steps:
        return jnp.reshape(values, (values.shape[0], -1))
    flat = jnp.reshape(values, -1)
    width = -(-flat.size // steps)
    return jnp.reshape(jnp.pad(flat, (0, steps * width - flat.size)), (steps, width))
