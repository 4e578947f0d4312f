"""From a Flax Linen module of one record to a `Model`, and how modules read a record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mia_jax.models.base import Model
from mia_jax.models.taps import Recorder, Tap
from mia_jax.types import Array, Inputs, Key, Ragged


def as_model(module: nn.Module, *, sequential: bool = False, layered: bool = False) -> Model:
    """The `Model` of a module with `__call__(x, train)` -> [C] and `embed(x, train)` -> [E].

    sequential: it has `every_step(x)` -> [L, C] too; layered: `every_layer(x)` -> tuple of [E_i]. Its weights
    belong to `nn.Dense`, `nn.Embed`, `Affine` or a `TappedLayer`, each called once; any other use of them is
    not in its taps.
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

    def layers(params: Any, x: Inputs) -> tuple[jax.Array, ...]:
        return tuple(map(jnp.asarray, module.apply({"params": params}, x, method="every_layer")))

    def taps(
        params: Any,
        x: Inputs,
        shifts: dict[str, Array] | None,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, dict[str, Tap]]:
        recorder = Recorder(shifts)
        with nn.intercept_methods(_recording(recorder)):
            logits = apply(params, x, key=key, train=train)
        return logits, recorder.taps

    return Model(init, apply, embed, taps, steps if sequential else None, layers if layered else None)


class Affine(nn.Module):
    """A learned scale, first 1, and bias, first 0, for every channel of the last axis."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., Ch] -> [..., Ch]."""
        shape = (1,) * (x.ndim - 1) + (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        return x * jnp.reshape(scale, shape) + jnp.reshape(bias, shape)


@runtime_checkable
class TappedLayer(Protocol):
    """A layer over the steps of a record, with weights of its own, that records its taps itself."""

    def tapped(self, recorder: Recorder, steps: Array, length: Array | None) -> tuple[Array, Array]:
        """The same as `__call__(steps, length)`, its pre-activations passed through the recorder."""
        ...


def _recording(recorder: Recorder) -> Callable[..., Any]:
    """What Flax calls in place of every module's method: the method, seen by the recorder."""

    def intercept(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> Any:
        module = context.module
        if context.method_name != "__call__":
            if isinstance(module, nn.Dense | nn.Embed) and context.method_name != "setup":
                raise ValueError(
                    f"{'/'.join(module.path)}.{context.method_name} uses weights that book-keeping does not see: clip "
                    'with method "vmap".'
                )
            return method(*args, **kwargs)
        if isinstance(module, TappedLayer):
            return module.tapped(recorder, *args, **kwargs)
        out, path = method(*args, **kwargs), module.path
        name = "/".join(path)
        if isinstance(module, nn.Dense):
            bias = (*path, "bias") if module.use_bias else None
            return recorder.dense(name, out, {(*path, "kernel"): args[0]}, bias=bias)
        if isinstance(module, Affine):
            return recorder.scale(name, out, args[0], (*path, "scale"), (*path, "bias"))
        if isinstance(module, nn.Embed):
            # Flax broadcasts a table of one row, whatever the ids are.
            ids = args[0] if module.num_embeddings > 1 else jnp.zeros_like(args[0])
            return recorder.lookup(name, out, (*path, "embedding"), ids)
        return out

    return intercept


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
