"""Recurrent models: vanilla RNN, LSTM and GRU, read out at the last valid step.

The cells are written out, one matrix product for the input and one for the state, so that every
pre-activation is in sight. The input's product stays inside the scan: measured faster on CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mia_jax.models.base import Model
from mia_jax.models.linen import Reader, as_model
from mia_jax.models.taps import Dense, Recorder
from mia_jax.types import Array, Inputs

State = tuple[Array, ...]

STEPS_AT_ONCE = 4
"""Steps of a record in one turn of the loop on an accelerator, where every turn costs kernel launches."""

Weights = dict[str, Array]
"""input: [D, gates * H]. recurrent: [H, gates * H]. bias: [gates * H]. recurrent_bias: [H], GRU only."""


class Cell(NamedTuple):
    """One recurrent cell. gates: blocks of width H in its matrices. parts: arrays in its state.

    step(weights, state, x [D]) -> state, whose first part is the output h [H]. update(state, *z) ->
    state, from the pre-activations z [gates * H]: one sum of both sides, or (GRU) the input's side and
    the state's. bias(hidden) -> the initial bias [gates * H].
    """

    gates: int
    parts: int
    step: Callable[[Weights, State, Array], State]
    update: Callable[..., State]
    bias: Callable[[int], Array]


def vanilla_step(weights: Weights, state: State, x: Array) -> State:
    """h' = tanh(W x + U h + b). Elman 1990."""
    (h,) = state
    return vanilla_update(state, x @ weights["input"] + h @ weights["recurrent"] + weights["bias"])


def vanilla_update(state: State, z: Array) -> State:
    """h' = tanh(z)."""
    return (jnp.tanh(z),)


def lstm_step(weights: Weights, state: State, x: Array) -> State:
    """Gates i, f, g, o in this order. Hochreiter & Schmidhuber 1997, with Gers et al.'s forget gate."""
    h, _ = state
    return lstm_update(state, x @ weights["input"] + h @ weights["recurrent"] + weights["bias"])


def lstm_update(state: State, z: Array) -> State:
    """The LSTM's next state from the pre-activations of its gates."""
    _, c = state
    i, f, g, o = jnp.split(z, 4)
    c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def gru_step(weights: Weights, state: State, x: Array) -> State:
    """Gates r, z, n in this order, the reset applied after the product. Cho et al. 2014."""
    (h,) = state
    of_input = x @ weights["input"] + weights["bias"]
    return gru_update(state, of_input, h @ weights["recurrent"], weights["recurrent_bias"])


def gru_update(state: State, of_input: Array, of_state: Array, recurrent_bias: Array | float = 0.0) -> State:
    """The GRU's next state. recurrent_bias: what the state's side of n still lacks."""
    (h,) = state
    x_r, x_z, x_n = jnp.split(of_input, 3)
    h_r, h_z, h_n = jnp.split(of_state, 3)
    z = nn.sigmoid(x_z + h_z)
    n = jnp.tanh(x_n + nn.sigmoid(x_r + h_r) * (h_n + recurrent_bias))
    return ((1.0 - z) * n + z * h,)


def _lstm_bias(hidden: int) -> Array:
    """Zeros, and 1 for the forget gate (Jozefowicz et al. 2015)."""
    return jnp.zeros(4 * hidden).at[hidden : 2 * hidden].set(1.0)


CELLS = {
    "rnn": Cell(1, 1, vanilla_step, vanilla_update, lambda hidden: jnp.zeros(hidden)),
    "lstm": Cell(4, 2, lstm_step, lstm_update, _lstm_bias),
    "gru": Cell(3, 1, gru_step, gru_update, lambda hidden: jnp.zeros(3 * hidden)),
}


def _orthogonal_blocks(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    """One orthogonal matrix for each gate, side by side: [H, gates * H]."""
    hidden, width = shape
    keys = jax.random.split(key, width // hidden)
    blocks = [nn.initializers.orthogonal()(k, (hidden, hidden), dtype) for k in keys]
    return jnp.concatenate(blocks, axis=1)


class RecurrentLayer(nn.Module):
    """One cell scanned over the steps of a record."""

    cell: Literal["rnn", "lstm", "gru"]
    hidden: int

    @nn.compact
    def __call__(self, steps: Array, length: Array | None) -> tuple[Array, Array]:
        """Steps [L, D] -> outputs at every step [L, H] and at the last valid one [H]."""
        cell = CELLS[self.cell]
        width = cell.gates * self.hidden
        weights = {
            "input": self.param("input", nn.initializers.glorot_uniform(), (steps.shape[-1], width)),
            "recurrent": self.param("recurrent", _orthogonal_blocks, (self.hidden, width)),
            "bias": self.param("bias", lambda _: cell.bias(self.hidden)),
        }
        if self.cell == "gru":
            weights["recurrent_bias"] = self.param("recurrent_bias", nn.initializers.zeros, (self.hidden,))
        return self._scan(lambda state, x: cell.step(weights, state, x), steps, length, steps.dtype)

    def tapped(self, recorder: Recorder, steps: Array, length: Array | None) -> tuple[Array, Array]:
        """As `__call__`, with the pre-activations of all steps recorded."""
        cell, weights, name = CELLS[self.cell], self.variables["params"], "/".join(self.path)
        shape = (len(steps), cell.gates * self.hidden)
        names = [name, f"{name}/state"] if self.cell == "gru" else [name]
        shifts = tuple(recorder.shift(tap, shape, steps.dtype) for tap in names)

        def advance(state: State, now: tuple[Array, tuple[Array, ...]]) -> State:
            x, shifts = now
            of_input, of_state = x @ weights["input"], state[0] @ weights["recurrent"]
            if self.cell == "gru":
                late = jnp.pad(weights["recurrent_bias"], (2 * self.hidden, 0))
                z = (of_input + weights["bias"], of_state + late)
            else:
                z = (of_input + of_state + weights["bias"],)
            return cell.update(state, *jax.tree.map(jnp.add, z, shifts))

        outputs, last = self._scan(advance, (steps, shifts), length, steps.dtype)
        before = jnp.concatenate([jnp.zeros((1, self.hidden), outputs.dtype), outputs[:-1]])
        self._note(recorder, name, steps, before)
        return outputs, last

    def _note(self, recorder: Recorder, name: str, steps: Array, before: Array) -> None:
        """Note what entered the layer's weights: its steps [L, D], and its outputs one step earlier [L, H]."""
        *parents, own = self.path
        paths = {leaf: (*parents, own, leaf) for leaf in self.variables["params"]}
        shape = (len(steps), CELLS[self.cell].gates * self.hidden)
        if self.cell == "gru":
            recorder.note(name, Dense((steps,), (paths["input"],), shape, paths["bias"]))
            state = Dense((before,), (paths["recurrent"],), shape, paths["recurrent_bias"], 2 * self.hidden)
            recorder.note(f"{name}/state", state)
        else:
            kernels = (paths["input"], paths["recurrent"])
            recorder.note(name, Dense((steps, before), kernels, shape, paths["bias"]))

    def _scan(
        self, advance: Callable[[State, Any], State], inputs: Any, length: Array | None, dtype: Any
    ) -> tuple[Array, Array]:
        """The outputs at every step [L, H] and at the last valid one [H]; the state stands still after it."""

        def step(state: State, inputs: tuple[Array, Any]) -> tuple[State, Array]:
            t, now = inputs
            new = advance(state, now)
            if length is not None:
                new = tuple(jnp.where(t < length, n, old) for n, old in zip(new, state, strict=True))
            return new, new[0]

        cell = CELLS[self.cell]
        on_cpu = jax.default_backend() == "cpu"
        if not on_cpu and cell.gates > 1:
            # A GPU waits for memory: to compute the gates again costs less than to keep and read them.
            step = jax.checkpoint(step, prevent_cse=False)
        start = (jnp.zeros(self.hidden, dtype),) * cell.parts
        steps = jnp.arange(jax.tree.leaves(inputs)[0].shape[0])
        unroll = 1 if on_cpu else STEPS_AT_ONCE
        last, outputs = jax.lax.scan(step, start, (steps, inputs), unroll=unroll)
        return outputs, last[0]


class _Recurrent(nn.Module):
    """Recurrent layers and a linear read-out of the last valid output."""

    cell: Literal["rnn", "lstm", "gru"]
    hidden: int
    layers: int
    num_classes: int
    dropout: float
    vocabulary_size: int
    embedding: int
    steps: int

    def setup(self) -> None:
        """Name the layers."""
        self.reader = Reader(self.vocabulary_size, self.embedding, self.steps)
        self.recurrent = [RecurrentLayer(self.cell, self.hidden) for _ in range(self.layers)]
        self.drop = nn.Dropout(self.dropout)
        self.head = nn.Dense(self.num_classes)

    def embed(self, x: Inputs, train: bool) -> Array:
        """The last layer's output at the last valid step [hidden]."""
        return self._outputs(x, train)[1][-1]

    def every_step(self, x: Inputs) -> Array:
        """Logits after every step [L, C]; those after a ragged record's last step repeat it."""
        return self.head(self._outputs(x, False)[0])

    def every_layer(self, x: Inputs) -> tuple[Array, ...]:
        """Every layer's output at the last valid step [hidden]."""
        return self._outputs(x, False)[1]

    def _outputs(self, x: Inputs, train: bool) -> tuple[Array, tuple[Array, ...]]:
        """The last layer's outputs at every step [L, hidden], and every layer's at the last valid one [hidden]."""
        outputs, length = self.reader(x)
        lasts = []
        for layer in self.recurrent:
            outputs, last = layer(outputs, length)
            outputs, last = (self.drop(part, deterministic=not train) for part in (outputs, last))
            lasts.append(last)
        return outputs, tuple(lasts)

    def __call__(self, x: Inputs, train: bool) -> Array:
        """Logits [C]."""
        return self.head(self.embed(x, train))


def recurrent(
    cell: Literal["rnn", "lstm", "gru"],
    *,
    num_classes: int,
    hidden: int = 64,
    layers: int = 1,
    dropout: float = 0.0,
    vocabulary_size: int = 0,
    embedding: int = 16,
    steps: int = 0,
) -> Model:
    """A recurrent classifier: `layers` layers of `cell` of width `hidden`, and a linear read-out.

    A record [L, ...] is read along its first axis, or cut into `steps`; token ids
    (vocabulary_size > 0) are embedded; ragged records are read out at their own last step.
    Dropout follows every layer. The model's `steps` applies the read-out to the top layer's output at
    every step; after a ragged record's end the last valid one repeats.
    """
    module = _Recurrent(cell, hidden, layers, num_classes, dropout, vocabulary_size, embedding, steps)
    return as_model(module, sequential=True, layered=True)
