"""The private steps that all sides take, ours and jax-privacy's, and whether the sides clip to the same sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.shadow_work import FAMILIES, LEARNING_RATE
from benchmarks.torch_workers import TOLERANCE, DisagreementError, as_torch
from mia_jax import keys, models
from mia_jax.config import Config, DataConfig, DpSgdConfig, FamilyConfig, MembershipConfig, TrainingConfig
from mia_jax.defences import Defence
from mia_jax.defences.base import Batch, PrivateGradient, Strengths
from mia_jax.defences.choice import Defended, chosen
from mia_jax.losses import Loss, cross_entropy
from mia_jax.models import Model
from mia_jax.models.taps import Dense, Tap
from mia_jax.privacy import clipped_gradient_sum
from mia_jax.training.hyper import hyper_of
from mia_jax.training.segment import OneModel, Recipe, TrainState, drawn_batch, initialise, step
from mia_jax.types import Array, Dataset, Inputs, Key, Params, Records

NUM_RECORDS = 10_000
STEPS = 20
"""Steps of one call of a compiled program."""

CLIP_NORM = 1.0
NOISE_MULTIPLIER = 1.0


class Case(NamedTuple):
    """One row of the table."""

    family: str
    batch_size: int


class Work(NamedTuple):
    """A case with its model, its records, and the batches of every call: rows of the pool [STEPS, B]."""

    case: Case
    model: Model
    dataset: Dataset
    rows: np.ndarray


def work_of(case: Case) -> Work:
    """Random records of the family's shape."""
    family, draw = FAMILIES[case.family], np.random.default_rng(0)
    x = draw.standard_normal((NUM_RECORDS, *family.record)).astype(np.float32)
    pool = Records(x, draw.integers(0, family.num_classes, NUM_RECORDS).astype(np.int32))
    dataset = Dataset(pool, pool, pool, family.num_classes, 0, {})
    model = models.build(FamilyConfig(kind=family.kind, hidden=family.hidden), dataset)
    rows = draw.permutation(NUM_RECORDS)[: STEPS * case.batch_size]
    return Work(case, model, dataset, rows.reshape(STEPS, -1).astype(np.int32))


def sides(work: Work, *, jax_privacy: bool) -> dict[str, Loop]:
    """What runs in JAX, by name: our step without privacy, ours with fixed and with Poisson batches, jax-privacy's."""
    fixed = _defended(work, "shuffle")
    loops = {
        "plain": Loop(work, Defended()),
        "private": Loop(work, fixed),
        "poisson": Loop(work, _defended(work, "poisson")),
    }
    if jax_privacy:
        loops["jax_privacy"] = Loop(work, fixed._replace(defence=by_jax_privacy(fixed.defence)))
    return loops


def _defended(work: Work, sampling: Any) -> Defended:
    """DP-SGD as a config has it, everything else left open."""
    return chosen(_config(work, sampling), work.dataset, NUM_RECORDS)


def _config(work: Work, sampling: Any) -> Config:
    """A study of 10,000 members with DP-SGD."""
    return Config(
        data=DataConfig(pool_size=2 * NUM_RECORDS),
        membership=MembershipConfig(train_size=NUM_RECORDS),
        training=TrainingConfig(batch_size=work.case.batch_size, learning_rate=LEARNING_RATE),
        dp_sgd=DpSgdConfig(noise_multiplier=NOISE_MULTIPLIER, clip_norm=CLIP_NORM, sampling=sampling),
    )


class Loop:
    """One model's training, which goes on for `STEPS` steps whenever it is called, in one compiled program."""

    steps = STEPS

    def __init__(self, work: Work, defended: Defended) -> None:
        """Compile nothing yet: the first call does."""
        config = _config(work, "shuffle").training
        recipe = Recipe(work.model, config, NUM_RECORDS, defence=defended.defence)
        roots = keys.roots(0)
        hyper = jax.tree.map(lambda values: values[0], hyper_of(config, 1, defended.strengths))
        everyone = np.arange(NUM_RECORDS, dtype=np.int32), np.ones(NUM_RECORDS, bool)
        one = OneModel(roots.init, roots.order, roots.dropout, *everyone, hyper, roots.noise)
        self._one, self._pool, self._rows = jax.device_put((one, work.dataset.pool, work.rows))
        self._program = jax.jit(lambda *given: _advance(recipe, *given), donate_argnums=0)
        self._state = initialise(recipe, work.dataset.pool.x[0], self._one)
        self._taken = 0

    def __call__(self) -> None:
        """Take the next steps, and wait for them."""
        first = np.int32(self._taken)
        self._state = self._program(self._state, self._one, self._pool, self._rows, first)
        jax.block_until_ready(self._state)
        self._taken += STEPS


def _advance(
    recipe: Recipe, state: TrainState, one: OneModel, pool: Records, rows: Array, first: Array
) -> TrainState:
    """Take `STEPS` steps, on the given rows [STEPS, B] or on what a defence draws."""

    def one_step(state: TrainState, now: tuple[Array, Array]) -> tuple[TrainState, None]:
        number, positions = now
        valid = jnp.ones(positions.shape, bool)
        if recipe.draws:
            positions, valid = drawn_batch(recipe, one, number)
        return step(recipe, state, one, pool, number, positions, valid), None

    return jax.lax.scan(one_step, state, (first + jnp.arange(STEPS), rows))[0]


def by_jax_privacy(ours: Defence) -> Defence:
    """DP-SGD with jax-privacy's gradients and noise in the place of ours, in the same step."""
    from jax_privacy.noise_addition import gaussian_privatizer

    private = ours.gradient
    assert private is not None

    def gradient(
        model: Model, loss: Loss, params: Params, batch: Batch, key: Key, strengths: Strengths
    ) -> Params:
        # Both are fixed there: the clip norm and the noise's deviation.
        total = sum_by_jax_privacy(model, loss, params, batch.x, batch.y, CLIP_NORM)
        privatizer = gaussian_privatizer(stddev=CLIP_NORM * NOISE_MULTIPLIER, prng_key=key)
        noised, _ = privatizer.update(total, privatizer.init(params))
        return jax.tree.map(lambda leaf: leaf / private.batches.expected, noised)

    return Defence(("jax_privacy",), gradient=PrivateGradient(private.batches, gradient))


def sum_by_jax_privacy(
    model: Model, loss: Loss, params: Params, x: Inputs, y: Array, clip_norm: float
) -> Params:
    """The sum of clipped gradients as jax-privacy makes it."""
    from jax_privacy.clipping import clipped_grad

    def one_loss(params: Params, x: Inputs, y: Array) -> Array:
        return loss(model.apply(params, x), y)

    clipped = clipped_grad(one_loss, l2_clip_norm=clip_norm, batch_argnums=(1, 2), keep_batch_dim=False)
    total = clipped(params, x, y)
    assert not isinstance(total, tuple)
    return total


# The check before anything is timed.


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


def check_jax_privacy(work: Work) -> float:
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

    def apply(params: Params, x: Inputs, *, key: Key | None = None, train: bool = False) -> Array:
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
