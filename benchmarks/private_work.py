"""The private steps that all sides take: ours, with and without privacy, and jax-privacy's."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.shadow_work import FAMILIES, LEARNING_RATE
from mia_jax import keys, models
from mia_jax.config import Config, DataConfig, DpSgdConfig, FamilyConfig, MembershipConfig, TrainingConfig
from mia_jax.defences import Defence
from mia_jax.defences.base import Batch, PrivateGradient, Strengths
from mia_jax.defences.choice import Defended, chosen
from mia_jax.losses import Loss
from mia_jax.models import Model
from mia_jax.training.hyper import hyper_of
from mia_jax.training.segment import OneModel, Recipe, TrainState, drawn_batch, initialise, step
from mia_jax.types import Array, Dataset, Inputs, Key, Params, Records

NUM_RECORDS = 10_000
STEPS = 20
"""Steps of one call of a compiled program."""

FEW_STEPS = 4
"""The same of jax-privacy's, whose steps are long enough for a call to cost nothing beside them."""

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
        loops["jax_privacy"] = Loop(
            work, fixed._replace(defence=by_jax_privacy(fixed.defence)), steps=FEW_STEPS
        )
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
    """One model's training, which goes on for so many steps whenever it is called, in one compiled program."""

    def __init__(self, work: Work, defended: Defended, *, steps: int = STEPS) -> None:
        """Compile nothing yet: the first call does."""
        self.steps = steps
        config = _config(work, "shuffle").training
        recipe = Recipe(work.model, config, NUM_RECORDS, defence=defended.defence)
        roots = keys.roots(0)
        hyper = jax.tree.map(lambda values: values[0], hyper_of(config, 1, defended.strengths))
        everyone = np.arange(NUM_RECORDS, dtype=np.int32), np.ones(NUM_RECORDS, bool)
        one = OneModel(roots.init, roots.order, roots.dropout, *everyone, hyper, roots.noise)
        self._one, self._pool, self._rows = jax.device_put((one, work.dataset.pool, work.rows[:steps]))
        self._program = jax.jit(lambda *given: _advance(recipe, *given), donate_argnums=0)
        self._state = initialise(recipe, work.dataset.pool.x[0], self._one)
        self._taken = 0

    def __call__(self) -> None:
        """Take the next steps, and wait for them."""
        first = np.int32(self._taken)
        self._state = self._program(self._state, self._one, self._pool, self._rows, first)
        jax.block_until_ready(self._state)
        self._taken += self.steps


def _advance(
    recipe: Recipe, state: TrainState, one: OneModel, pool: Records, rows: Array, first: Array
) -> TrainState:
    """Take one step for each of the given rows [S, B], on them or on what a defence draws."""

    def one_step(state: TrainState, now: tuple[Array, Array]) -> tuple[TrainState, None]:
        number, positions = now
        valid = jnp.ones(positions.shape, bool)
        if recipe.draws:
            positions, valid = drawn_batch(recipe, one, number)
        return step(recipe, state, one, pool, number, positions, valid), None

    return jax.lax.scan(one_step, state, (first + jnp.arange(rows.shape[0]), rows))[0]


def by_jax_privacy(ours: Defence) -> Defence:
    """DP-SGD with jax-privacy's gradients and noise in the place of ours, in the same step."""
    from jax_privacy.noise_addition import gaussian_privatizer

    private = ours.gradient
    assert private is not None
    expected = private.batches.expected

    def gradient(
        model: Model, loss: Loss, params: Params, batch: Batch, key: Key, strengths: Strengths
    ) -> Params:
        # Both are fixed there: the clip norm and the noise's deviation.
        total = sum_by_jax_privacy(model, loss, params, batch.x, batch.y, CLIP_NORM)
        privatizer = gaussian_privatizer(stddev=CLIP_NORM * NOISE_MULTIPLIER, prng_key=key)
        noised, _ = privatizer.update(total, privatizer.init(params))
        return jax.tree.map(lambda leaf: leaf / expected, noised)

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
