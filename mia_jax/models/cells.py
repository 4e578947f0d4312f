"""The cells of recurrent models: vanilla RNN, LSTM and GRU, as functions of weights, state and one step.

They are written out, one matrix product for the input and one for the state, so that every pre-activation is in
sight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from mia_jax.types import Array

State = tuple[Array, ...]

Weights = Mapping[str, Array]
"""input: [D, gates * H]. recurrent: [H, gates * H]. bias: [gates * H]. recurrent_bias: [H], GRU only. The biases
may be left out."""


class Cell(NamedTuple):
    """One recurrent cell. gates: blocks of width H in its matrices. parts: arrays in its state.

    step(weights, state, x [D]) -> state, whose first part is the output h [H]. update(state, *z) ->
    state, from the pre-activations z [gates * H]: one sum of both sides, or (GRU) the input's side and
    the state's. bias(hidden) -> the initial bias [gates * H]. Without biases all but weights may have axes
    before the last.
    """

    gates: int
    parts: int
    step: Callable[[Weights, State, Array], State]
    update: Callable[..., State]
    bias: Callable[[int], Array]


def vanilla_step(weights: Weights, state: State, x: Array) -> State:
    """h' = tanh(W x + U h + b). Elman 1990."""
    (h,) = state
    return vanilla_update(state, biased(x @ weights["input"] + h @ weights["recurrent"], weights))


def vanilla_update(state: State, z: Array) -> State:
    """h' = tanh(z)."""
    return (jnp.tanh(z),)


def lstm_step(weights: Weights, state: State, x: Array) -> State:
    """Gates i, f, g, o in this order. Hochreiter & Schmidhuber 1997, with Gers et al.'s forget gate."""
    h, _ = state
    return lstm_update(state, biased(x @ weights["input"] + h @ weights["recurrent"], weights))


def lstm_update(state: State, z: Array) -> State:
    """The LSTM's next state from the pre-activations of its gates."""
    _, c = state
    i, f, g, o = jnp.split(z, 4, axis=-1)
    c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def gru_step(weights: Weights, state: State, x: Array) -> State:
    """Gates r, z, n in this order, the reset applied after the product. Cho et al. 2014."""
    (h,) = state
    of_input = biased(x @ weights["input"], weights)
    return gru_update(state, of_input, h @ weights["recurrent"], weights.get("recurrent_bias"))


def gru_update(state: State, of_input: Array, of_state: Array, recurrent_bias: Array | None = None) -> State:
    """The GRU's next state. recurrent_bias: what the state's side of n still lacks, if anything."""
    (h,) = state
    x_r, x_z, x_n = jnp.split(of_input, 3, axis=-1)
    h_r, h_z, h_n = jnp.split(of_state, 3, axis=-1)
    z = nn.sigmoid(x_z + h_z)
    n = jnp.tanh(x_n + nn.sigmoid(x_r + h_r) * (h_n if recurrent_bias is None else h_n + recurrent_bias))
    return ((1.0 - z) * n + z * h,)


def biased(z: Array, weights: Weights) -> Array:
    """The pre-activations with their bias, where the cell has one."""
    return z + weights["bias"] if "bias" in weights else z


def _lstm_bias(hidden: int) -> Array:
    """Zeros, and 1 for the forget gate (Jozefowicz et al. 2015)."""
    return jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(1.0)


CELLS = {
    "rnn": Cell(1, 1, vanilla_step, vanilla_update, lambda hidden: jnp.zeros(hidden)),
    "lstm": Cell(4, 2, lstm_step, lstm_update, _lstm_bias),
    "gru": Cell(3, 1, gru_step, gru_update, lambda hidden: jnp.zeros(3 * hidden)),
}
