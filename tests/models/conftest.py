"""The cells as textbooks write them: NumPy, float64, one step and one gate at a time."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from mia_jax.models import Model


def _sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def _gates(weights, count):
    """The blocks of width H in a layer's matrices: for each gate W, U and b."""
    blocks = (np.split(np.asarray(weights[name], np.float64), count, axis=-1) for name in WEIGHTS)
    return list(zip(*blocks, strict=True))


WEIGHTS = ("input", "recurrent", "bias")


def _rnn_layer(weights, steps):
    """Elman: h_t = tanh(W x_t + U h_{t-1} + b)."""
    [(W, U, b)] = _gates(weights, 1)
    h, outputs = np.zeros(len(b)), []
    for x in steps:
        h = np.tanh(W.T @ x + U.T @ h + b)
        outputs.append(h)
    return np.stack(outputs)


def _lstm_layer(weights, steps):
    """Hochreiter & Schmidhuber with a forget gate: c_t = f c_{t-1} + i g, h_t = o tanh(c_t)."""
    gates = _gates(weights, 4)
    h = c = np.zeros(len(gates[0][2]))
    outputs = []
    for x in steps:
        i, f, g, o = (W.T @ x + U.T @ h + b for W, U, b in gates)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs)


def _gru_layer(weights, steps):
    """Cho et al., the reset applied to the product: h_t = (1 - z) n + z h_{t-1}."""
    (W_r, U_r, b_r), (W_z, U_z, b_z), (W_n, U_n, b_n) = _gates(weights, 3)
    b_hn = np.asarray(weights["recurrent_bias"], np.float64)
    h, outputs = np.zeros(len(b_n)), []
    for x in steps:
        r = _sigmoid(W_r.T @ x + U_r.T @ h + b_r)
        z = _sigmoid(W_z.T @ x + U_z.T @ h + b_z)
        n = np.tanh(W_n.T @ x + b_n + r * (U_n.T @ h + b_hn))
        h = (1.0 - z) * n + z * h
        outputs.append(h)
    return np.stack(outputs)


_LAYERS = {"rnn": _rnn_layer, "lstm": _lstm_layer, "gru": _gru_layer}


def _dense(weights, x):
    return np.asarray(weights["kernel"], np.float64).T @ x + np.asarray(weights["bias"], np.float64)


def _by_hand(kind: str, params: Any, record: Any, layers: int) -> np.ndarray:
    """Logits [C] of a record of features, already cut to its own length; MLPs flatten it."""
    out = np.asarray(record, np.float64)
    if kind == "mlp":
        out = out.reshape(-1)
        for layer in range(layers):
            out = np.maximum(_dense(params[f"dense_{layer}"], out), 0.0)
        return _dense(params["head"], out)
    out = out.reshape(len(out), -1)
    for layer in range(layers):
        out = _LAYERS[kind](params[f"recurrent_{layer}"], out)
    return _dense(params["head"], out[-1])


@pytest.fixture(scope="session")
def by_hand() -> Callable[..., np.ndarray]:
    """by_hand(kind, params, record, layers) -> logits [C], from the equations."""
    return _by_hand


@pytest.fixture(scope="session")
def random_params() -> Callable[..., Any]:
    """random_params(model, record) -> parameters of the right shapes, none of them zero, in NumPy."""

    def random_params(model: Model, record: Any) -> Any:
        rng = np.random.default_rng(8)
        shapes = jax.eval_shape(model.init, jax.random.key(0), record)
        return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.6).astype(leaf.dtype), shapes)

    return random_params
