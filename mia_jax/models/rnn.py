"""Recurrent models: vanilla RNN, LSTM and GRU, read out at the last valid step.

The input's product stays inside the scan: measured faster on CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from mia_jax.models.base import Model, check_sizes
from mia_jax.models.cells import CELLS, State, biased
from mia_jax.models.linen import Reader, as_model
from mia_jax.models.taps import Dense, Recorder
from mia_jax.types import Array, Inputs

STEPS_AT_ONCE = 4
"""Steps of a record in one turn of the loop on an accelerator, where every turn costs kernel launches."""


def _orthogonal_blocks(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    """One orthogonal matrix for each gate, side by side: [H, gates * H]."""
    hidden, width = shape
    keys = jax.random.split(key, width // hidden)
    blocks = [nn.initializers.orthogonal()(k, (hidden, hidden), dtype) for k in keys]
    return jnp.concatenate(blocks, axis=1)


class RecurrentLayer(nn.Module):
    """One cell scanned over the steps of a record, or over many rows of steps at once.

    bias: without it the cell has none, and steps may have axes between the first and the last, one for each row.
    """

    cell: Literal["rnn", "lstm", "gru"]
    hidden: int
    bias: bool = True

    @nn.compact
    def __call__(self, steps: Array, length: Array | None) -> tuple[Array, Array]:
        """Steps [L, ..., D] -> outputs at every step [L, ..., H] and at the last valid one [..., H]."""
        cell = CELLS[self.cell]
        width = cell.gates * self.hidden
        weights = {
            "input": self.param("input", nn.initializers.glorot_uniform(), (steps.shape[-1], width)),
            "recurrent": self.param("recurrent", _orthogonal_blocks, (self.hidden, width)),
        }
        if self.bias:
            weights["bias"] = self.param("bias", lambda _: cell.bias(self.hidden))
            if self.cell == "gru":
                weights["recurrent_bias"] = self.param(
                    "recurrent_bias", nn.initializers.zeros, (self.hidden,)
                )
        return self._scan(lambda state, x: cell.step(weights, state, x), steps, steps, length)

    def tapped(self, recorder: Recorder, steps: Array, length: Array | None) -> tuple[Array, Array]:
        """As `__call__`, with the pre-activations of all steps recorded."""
        cell, weights, name = CELLS[self.cell], self.variables["params"], "/".join(self.path)
        shape = (*steps.shape[:-1], cell.gates * self.hidden)
        names = [name, f"{name}/state"] if self.cell == "gru" else [name]
        shifts = tuple(recorder.shift(tap, shape, steps.dtype) for tap in names)

        def advance(state: State, now: tuple[Array, tuple[Array, ...]]) -> State:
            x, shifts = now
            of_input, of_state = x @ weights["input"], state[0] @ weights["recurrent"]
            if self.cell != "gru":
                z = (biased(of_input + of_state, weights),)
            elif self.bias:
                late = jnp.pad(weights["recurrent_bias"], (2 * self.hidden, 0))
                z = (biased(of_input, weights), of_state + late)
            else:
                z = (of_input, of_state)
            return cell.update(state, *jax.tree.map(jnp.add, z, shifts))

        outputs, last = self._scan(advance, (steps, shifts), steps, length)
        before = jnp.concatenate([jnp.zeros((1, *outputs.shape[1:]), outputs.dtype), outputs[:-1]])
        self._note(recorder, name, steps, before)
        return outputs, last

    def _note(self, recorder: Recorder, name: str, steps: Array, before: Array) -> None:
        """Note what entered the weights: the steps [L, ..., D], and the outputs one step earlier [L, ..., H]."""
        *parents, own = self.path
        paths = {leaf: (*parents, own, leaf) for leaf in self.variables["params"]}
        shape, bias = (*steps.shape[:-1], CELLS[self.cell].gates * self.hidden), paths.get("bias")
        if self.cell == "gru":
            recorder.note(name, Dense((steps,), (paths["input"],), shape, bias))
            late = paths.get("recurrent_bias")
            state = Dense((before,), (paths["recurrent"],), shape, late, 2 * self.hidden if late else 0)
            recorder.note(f"{name}/state", state)
        else:
            kernels = (paths["input"], paths["recurrent"])
            recorder.note(name, Dense((steps, before), kernels, shape, bias))

    def _scan(
        self, advance: Callable[[State, Any], State], inputs: Any, steps: Array, length: Array | None
    ) -> tuple[Array, Array]:
        """The outputs of every step [L, ..., H] and of the last valid one [..., H], after which the state stands
        still. inputs: what `advance` takes at each of the steps [L, ..., D].
        """

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
        start = (jnp.zeros((*steps.shape[1:-1], self.hidden), steps.dtype),) * cell.parts
        unroll = 1 if on_cpu else STEPS_AT_ONCE
        last, outputs = jax.lax.scan(step, start, (jnp.arange(len(steps)), inputs), unroll=unroll)
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
    every step; after a ragged record's end the last valid one repeats. Raises ValueError for a cell that is not
    there and for sizes that no model has.
    """
    if cell not in ("rnn", "lstm", "gru"):
        raise ValueError(f"cell is {cell!r}: it must be one of 'rnn', 'lstm', 'gru'.")
    check_sizes(num_classes, hidden, layers, dropout)
    module = _Recurrent(cell, hidden, layers, num_classes, dropout, vocabulary_size, embedding, steps)
    return as_model(module, sequential=True, layered=True)
