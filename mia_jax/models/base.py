"""What the rest of the package knows of a model: pure functions of one record."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from mia_jax.types import Inputs
from mia_jax.validation import check_number, check_whole


class Model(NamedTuple):
    """A model as pure functions of one record; batches and many models are made by mapping it.

    init(key, x) -> params: x is one record, for its shape. apply(params, x, *, key=None,
    train=False) -> logits [C]: `key` drives dropout and is needed only where train is True.
    embed(params, x) -> [E]: the penultimate layer, where the model has one. steps(params, x) -> [L, C]:
    the logits after every step of a sequence, where the model reads one.
    taps(params, x, shifts, *, key=None, train=False) -> (logits [C], {name: Tap}): the same forward pass,
    each pre-activation z = a W + b with shifts[name] added (shifts None: nothing), and what entered the
    weights, so that gradient norms need no gradients. One's own is written with a
    `mia_jax.models.taps.Recorder`, which adds and notes; every parameter stands in exactly one tap:

        recorder = Recorder(shifts)
        z = recorder.dense("head", x @ params["W"] + params["b"], {("W",): x}, bias=("b",))
        return z, recorder.taps

    layers(params, x) -> tuple of [E_i]: what every hidden layer says of a record, from the first to the
    penultimate, flat, in evaluation; the last is `embed`'s where that is the last hidden layer.

    Records must not influence one another (no batch normalisation). Any library's init/apply pair
    of this form is a Model as it stands.
    """

    init: Callable[..., Any]
    apply: Callable[..., jax.Array]
    embed: Callable[..., jax.Array] | None = None
    taps: Callable[..., Any] | None = None
    steps: Callable[..., jax.Array] | None = None
    layers: Callable[..., tuple[jax.Array, ...]] | None = None


def check_sizes(num_classes: int, hidden: int, layers: int, dropout: float) -> None:
    """Refuse sizes that no model has (ValueError)."""
    for name, size in {"num_classes": num_classes, "hidden": hidden, "layers": layers}.items():
        check_whole(name, size, 1)
    check_number("dropout", dropout, lambda share: 0 <= share < 1, "lie in [0, 1)")


def count_parameters(model: Model, x: Inputs) -> int:
    """The number of parameters of `model` for a record like x, without computing anything."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
