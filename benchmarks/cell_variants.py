"""The gradient of a recurrent model's loss on one batch, written in several ways.

All but the shipped one go back through time by hand and keep what they need from the way forward, so that the
gradients of the weights are one product over all steps, after the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.shadow_work import FAMILIES
from mia_jax import models
from mia_jax.config import FamilyConfig
from mia_jax.losses import cross_entropy
from mia_jax.types import Array, Dataset, Params, Records

LEARNING_RATE = 1e-3
Gradient = Callable[[Params], Params]


class Case(NamedTuple):
    """A family, its model and one batch: x [B, L, D], y [B]."""

    family: str
    model: models.Model
    params: Params
    x: Array
    y: Array


class Form(NamedTuple):
    """How a variant differs. hoisted: the input's product comes before the loop; joined: input and state
    are one product; by_tanh: the sigmoid through tanh; unroll: steps in one turn of the loop.
    """

    hoisted: bool = False
    joined: bool = False
    by_tanh: bool = False
    unroll: int = 1


class Layer(NamedTuple):
    """Weights [D, G H], [H, G H], biases [G H], [H] (the GRU's, inside its reset; else empty) and steps [L, B, D]."""

    input: Array
    recurrent: Array
    bias: Array
    inner: Array
    steps: Array

    @property
    def hidden(self) -> int:
        """H."""
        return self.recurrent.shape[0]


def case_of(family: str, batch_size: int) -> Case:
    """Random records of the family's shape, and a model of it."""
    of, draw = FAMILIES[family], np.random.default_rng(0)
    x = jnp.asarray(draw.standard_normal((batch_size, *of.record)), jnp.float32)
    y = jnp.asarray(draw.integers(0, of.num_classes, batch_size), jnp.int32)
    records = Records(np.asarray(x), np.asarray(y))
    dataset = Dataset(records, records, records, of.num_classes, 0, {})
    model = models.build(FamilyConfig(kind=of.kind, hidden=of.hidden), dataset)
    return Case(family, model, model.init(jax.random.key(0), x[0]), x, y)


def shipped(case: Case) -> Gradient:
    """The gradient that the package takes."""

    def loss(params: Params) -> Array:
        return jnp.mean(jax.vmap(lambda x, y: cross_entropy(case.model.apply(params, x), y))(case.x, case.y))

    return jax.grad(loss)


def variants(case: Case) -> dict[str, Gradient]:
    """Every variant by name; a joined product is none of the GRU's, whose reset comes between."""
    length = case.x.shape[1]
    forms = {
        "weights' gradients after the loop": Form(),
        "the same, input's product before it": Form(hoisted=True),
        "the same, input and state in one product": Form(joined=True),
        "the same, unrolled by 4": Form(unroll=4),
        "the same, unrolled fully": Form(unroll=length),
        "the same, sigmoid through tanh": Form(by_tanh=True),
        "the same, sigmoid through tanh, input's product before": Form(hoisted=True, by_tanh=True),
    }
    if case.family == "gru":
        forms = {name: form for name, form in forms.items() if not form.joined}
    if case.family == "rnn":
        forms = {name: form for name, form in forms.items() if not form.by_tanh}
    return {name: by_hand(case, form) for name, form in forms.items()}


def difference(expected: Params, found: Params) -> float:
    """How far two gradients are apart, relative to the largest entry of each array."""
    pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(a).max()) for a, b in pairs)


def descent(gradient: Gradient, count: int) -> Gradient:
    """So many steps against the gradient: each of other parameters, so that none can be left out."""

    def loop(params: Params) -> Params:
        def body(_: Array, params: Params) -> Params:
            return jax.tree.map(lambda a, b: a - LEARNING_RATE * b, params, gradient(params))

        return lax.fori_loop(0, count, body, params)

    return loop


def by_hand(case: Case, form: Form) -> Gradient:
    """The gradient with its way back written out."""
    backward = {"rnn": _rnn, "gru": _gru, "lstm": _lstm}[case.family]

    def head_loss(head: Params, h: Array) -> Array:
        logits = h @ head["kernel"] + head["bias"][None]
        return jnp.mean(jax.vmap(cross_entropy)(logits, case.y))

    def gradient(params: Params) -> Params:
        of = params["recurrent_0"]
        inner = of.get("recurrent_bias", jnp.zeros(0))
        layer = Layer(of["input"], of["recurrent"], of["bias"], inner, jnp.swapaxes(case.x, 0, 1))
        last, back = backward(layer, form)
        head, dh = jax.grad(head_loss, argnums=(0, 1))(params["head"], last)
        return {"recurrent_0": back(dh), "head": head}

    return gradient


Backward = tuple[Array, Callable[[Array], Params]]


def _entering(layer: Layer, form: Form) -> Array:
    """What enters the loop: the input's products [L, B, G H], or the input itself."""
    return layer.steps @ layer.input + layer.bias[None, None] if form.hoisted else layer.steps


def _product(layer: Layer, form: Form, entering: Array, h: Array) -> Array:
    """What a step adds up before its nonlinearities, [B, G H]."""
    if form.joined:
        weights = jnp.concatenate([layer.input, layer.recurrent])
        return jnp.concatenate([entering, h], 1) @ weights + layer.bias[None]
    if form.hoisted:
        return entering + h @ layer.recurrent
    return entering @ layer.input + h @ layer.recurrent + layer.bias[None]


def _sigmoid(form: Form, value: Array) -> Array:
    """The sigmoid, through tanh if asked for."""
    return 0.5 * jnp.tanh(0.5 * value) + 0.5 if form.by_tanh else jax.nn.sigmoid(value)


def _weights(layer: Layer, before: Array, dz: Array) -> Params:
    """Gradients of weights and bias, one product over all steps. before: states [L, B, H]; dz: [L, B, G H]."""
    ones = jnp.ones((*before.shape[:2], 1))
    entered = jnp.concatenate([layer.steps, before, ones], 2)
    joint = entered.reshape(-1, entered.shape[-1]).T @ dz.reshape(-1, dz.shape[-1])
    features = layer.input.shape[0]
    return {"input": joint[:features], "recurrent": joint[features:-1], "bias": joint[-1]}


def _start(layer: Layer) -> Array:
    """The state before the first step, [B, H]."""
    return jnp.zeros((layer.steps.shape[1], layer.hidden))


def _rnn(layer: Layer, form: Form) -> Backward:
    """The last state of an RNN, and what takes its gradient to those of the weights."""

    def step(h: Array, entering: Array) -> tuple[Array, tuple[Array, Array]]:
        new = jnp.tanh(_product(layer, form, entering, h))
        return new, (h, new)

    last, (before, after) = lax.scan(step, _start(layer), _entering(layer, form), unroll=form.unroll)

    def back(dh: Array) -> Params:
        def step(dh: Array, new: Array) -> tuple[Array, Array]:
            dz = dh * (1 - new * new)
            return dz @ layer.recurrent.T, dz

        _, dz = lax.scan(step, dh, after, reverse=True, unroll=form.unroll)
        return _weights(layer, before, dz)

    return last, back


def _lstm(layer: Layer, form: Form) -> Backward:
    """As `_rnn`, of an LSTM."""

    def step(state: tuple[Array, Array], entering: Array) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        h, c = state
        i, f, g, o = jnp.split(_product(layer, form, entering, h), 4, axis=1)
        i, f, o = (_sigmoid(form, gate) for gate in (i, f, o))
        g = jnp.tanh(g)
        new = f * c + i * g
        out = jnp.tanh(new)
        return (o * out, new), (h, c, i, f, g, o, out)

    start = _start(layer)
    (last, _), kept = lax.scan(step, (start, start), _entering(layer, form), unroll=form.unroll)

    def back(dh: Array) -> Params:
        def step(state: tuple[Array, Array], kept: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
            (dh, dc), (_, c, i, f, g, o, out) = state, kept
            dc = dc + dh * o * (1 - out * out)
            gates = (dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * out * o * (1 - o))
            dz = jnp.concatenate(gates, 1)
            return (dz @ layer.recurrent.T, dc * f), dz

        _, dz = lax.scan(step, (dh, start), kept, reverse=True, unroll=form.unroll)
        return _weights(layer, kept[0], dz)

    return last, back


def _gru(layer: Layer, form: Form) -> Backward:
    """As `_rnn`, of a GRU, whose new value's state is multiplied before it is added."""
    two = 2 * layer.hidden

    def step(h: Array, entering: Array) -> tuple[Array, tuple[Array, ...]]:
        a = entering if form.hoisted else entering @ layer.input + layer.bias[None]
        s = h @ layer.recurrent
        r, z = jnp.split(_sigmoid(form, a[:, :two] + s[:, :two]), 2, axis=1)
        q = s[:, two:] + layer.inner[None]
        n = jnp.tanh(a[:, two:] + r * q)
        return n + z * (h - n), (h, r, z, n, q)

    last, kept = lax.scan(step, _start(layer), _entering(layer, form), unroll=form.unroll)

    def back(dh: Array) -> Params:
        def step(dh: Array, kept: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
            h, r, z, n, q = kept
            dn = dh * (1 - z) * (1 - n * n)
            ds = jnp.concatenate([dn * q * r * (1 - r), dh * (h - n) * z * (1 - z), dn * r], 1)
            return ds @ layer.recurrent.T + dh * z, (ds, dn)

        _, (ds, dn) = lax.scan(step, dh, kept, reverse=True, unroll=form.unroll)
        # The new value's part differs for input and state: by the reset.
        da = jnp.concatenate([ds[..., :two], dn], 2).reshape(-1, two + layer.hidden)
        flat, before = ds.reshape(-1, two + layer.hidden), kept[0].reshape(-1, layer.hidden)
        return {
            "input": layer.steps.reshape(-1, layer.input.shape[0]).T @ da,
            "recurrent": before.T @ flat,
            "bias": da.sum(0),
            "recurrent_bias": flat[:, two:].sum(0),
        }

    return last, back
