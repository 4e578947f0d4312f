"""Whether all sides clip to the same sum: what is checked before any private step is timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.private_work import Work, sum_by_jax_privacy
from benchmarks.torch_workers import TOLERANCE, DisagreementError, as_torch
from mia_jax.losses import cross_entropy
from mia_jax.models import Model
from mia_jax.models.taps import Dense, Tap
from mia_jax.privacy import clipped_gradient_sum
from mia_jax.types import Array, Inputs, Key, Params


class Expected(NamedTuple):
    """One batch's clipped sum as ours makes it. params, total: {torch's name: array}. rows: of the pool [B]."""

    params: dict[str, np.ndarray]
    total: dict[str, np.ndarray]
    rows: np.ndarray
    clip_norm: float


def expected(work: Work) -> Expected:
    """Our sum at parameters that torch's module can have, clipped to the median norm of the batch's records."""
    recurrent = work.case.family != "mlp"
    model = with_two_biases(work.model) if recurrent else work.model
    params, rows = _some_params(model, work), work.rows[0]
    total, clip_norm = _our_sum(model, params, work)
    return Expected(_as_torch(params), _as_torch(total), rows, clip_norm)


def jax_privacy_apart(work: Work) -> float:
    """How far jax-privacy's clipped sum is from ours, relative to the largest entry of each array."""
    params, pool = _some_params(work.model, work), work.dataset.pool
    total, clip_norm = _our_sum(work.model, params, work)
    x, y = pool.x[work.rows[0]], pool.y[work.rows[0]]
    theirs = sum_by_jax_privacy(work.model, cross_entropy, params, x, y, clip_norm)
    return apart(_by_path(total), _by_path(theirs))


def apart(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """The largest difference, relative to the largest entry of each array; above 1e-4 a `DisagreementError`."""
    if set(ours) != set(theirs):
        raise DisagreementError(f"Ours has the parameters {sorted(ours)}, theirs {sorted(theirs)}.")
    found = {name: float(np.abs(ours[name] - a).max() / np.abs(a).max()) for name, a in theirs.items()}
    for name, difference in found.items():
        if not difference <= TOLERANCE:  # nan is no agreement
            raise DisagreementError(f"{name} differs by {difference:.1e}, allowed is {TOLERANCE:.0e}.")
    return max(found.values())


def _some_params(model: Model, work: Work) -> Params:
    """Parameters none of which is 0."""
    params = model.init(jax.random.key(1), work.dataset.pool.x[0])
    leaves, structure = jax.tree.flatten(params)
    draws = jax.random.split(jax.random.key(2), len(leaves))
    moved = [leaf + 0.1 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, draws, strict=True)]
    return jax.tree.unflatten(structure, moved)


def _our_sum(model: Model, params: Params, work: Work) -> tuple[Params, float]:
    """The clipped sum of the first batch, and the clip norm: half of the records are above it."""
    rows = work.rows[0]
    x, y, mask = work.dataset.pool.x[rows], work.dataset.pool.y[rows], np.ones(rows.size, bool)
    _, norms = clipped_gradient_sum(model, params, x, y, mask, np.inf)
    clip_norm = float(np.median(norms))
    return clipped_gradient_sum(model, params, x, y, mask, clip_norm)[0], clip_norm


def with_two_biases(model: Model) -> Model:
    """A recurrent model with torch's redundant second bias, which enters the norms: "second" [1, gates * H]."""

    def init(key: Key, x: Inputs) -> Params:
        params = dict(model.init(key, x))
        layer = dict(params["recurrent_0"])
        layer.pop("recurrent_bias", None)
        return {**params, "recurrent_0": {**layer, "second": jnp.zeros((1, layer["bias"].size))}}

    def apply(params: Params, x: Inputs, *, key: Key | None = None, train: bool = False) -> jax.Array:
        return model.apply(_one_bias(params), x, key=key, train=train)

    def taps(
        params: Params,
        x: Inputs,
        shifts: dict[str, Array] | None,
        *,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[Array, dict[str, Tap]]:
        assert model.taps is not None
        logits, noted = model.taps(_one_bias(params), x, shifts, key=key, train=train)
        name = "recurrent_0/state" if _is_gru(params) else "recurrent_0"
        one = noted[name]
        # A bias is a weight of what is always 1.
        inputs = (*one.inputs, jnp.ones((one.shape[0], 1)))
        kernels = (*one.kernels, ("recurrent_0", "second"))
        bias = None if _is_gru(params) else one.bias
        return logits, {**noted, name: Dense(inputs, kernels, one.shape, bias)}

    return Model(init, apply, taps=taps)


def _is_gru(params: Params) -> bool:
    """Whether there are three gates."""
    recurrent = params["recurrent_0"]["recurrent"]
    return recurrent.shape[1] == 3 * recurrent.shape[0]


def _one_bias(params: Params) -> Params:
    """The same model's parameters with one bias, and the GRU's recurrent one."""
    layer = dict(params["recurrent_0"])
    second = layer.pop("second")[0]
    if _is_gru(params):
        hidden = layer["recurrent"].shape[0]
        layer["recurrent_bias"] = second[2 * hidden :]
        second = jnp.concatenate([second[: 2 * hidden], jnp.zeros(hidden)])
    layer["bias"] = layer["bias"] + second
    return {**params, "recurrent_0": layer}


def _by_path(params: Params) -> dict[str, np.ndarray]:
    """Parameters under the names of their paths."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _as_torch(params: Params) -> dict[str, np.ndarray]:
    """Parameters under torch's names, in its layout; the second bias is its own."""
    named = as_torch(params)
    second = params.get("recurrent_0", {}).get("second")
    if second is not None:
        named["cell.bias_hh_l0"] = np.asarray(second)[0]
    return named
