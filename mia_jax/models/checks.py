"""What a person's own model must give, looked at without computing anything."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from mia_jax.models.base import Model
from mia_jax.types import Inputs


def check_model(model: Model, x: Inputs, num_classes: int) -> None:
    """Refuse a model whose parameters cannot be trained, or whose logits are not one for each class (ValueError).

    x: one record. What the model's own functions raise is not caught: their trace says most.
    """
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda: x))
    _check(model, structure, tuple(leaves), num_classes)


@functools.lru_cache  # a model is looked at once for records of one shape, however often it is trained
def _check(model: Model, structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...], num_classes: int) -> None:
    """Of records of a structure and the shapes of its leaves."""
    x = jax.tree.unflatten(structure, leaves)
    params = jax.eval_shape(model.init, jax.random.key(0), x)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"init gives params{jax.tree_util.keystr(path)} of dtype {leaf.dtype}: every leaf must be an array of "
                "floats; keep what is not trained out of the parameters."
            )
    logits = jax.eval_shape(lambda params, x: model.apply(params, x), params, x)
    shape = getattr(logits, "shape", None)
    if shape != (num_classes,):
        given = f"a {type(logits).__name__}" if shape is None else f"an array of shape {shape}"
        raise ValueError(
            f"apply gives {given} for one record: it must give logits of shape ({num_classes},), one for each class of "
            "the data, without an axis for a batch."
        )
