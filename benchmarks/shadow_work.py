"""The work that both sides do, our side of it, and what the machine could do at most."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mia_jax import keys, membership, models, training
from mia_jax.config import FamilyConfig, FamilyKind, MembershipConfig, TrainingConfig
from mia_jax.parallel import MODELS, model_mesh, over_models, place
from mia_jax.types import Dataset, Membership, Records

LEARNING_RATE = 1e-3
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
SMALLEST_DESIGN = 4
"""Models that a membership design has at least; smaller K take the first of them."""

SEGMENTS_BEFORE = 2
"""Segments of a chunk before its repeats: checkpoint 0 is compilation, checkpoint 1 a warm-up."""


class Family(NamedTuple):
    """One architecture. record: the shape of one record, [D] or [L, D]."""

    kind: FamilyKind
    record: tuple[int, ...]
    hidden: int
    num_classes: int

    @property
    def flop(self) -> int:
        """FLOP of the matrix products that train on one record once.

        A product counts three times, forward and for the gradients of both factors; those with the
        record itself count twice, since nobody needs its gradient.
        """
        steps, gates = (1, 1) if self.kind == "mlp" else (self.record[0], GATES[self.kind])
        of_record = steps * self.record[-1] * gates * self.hidden
        of_state = 0 if self.kind == "mlp" else steps * self.hidden * gates * self.hidden
        return 2 * (2 * of_record + 3 * of_state + 3 * self.hidden * self.num_classes)


FAMILIES = {
    "mlp": Family("mlp", (446,), 128, 30),
    "rnn": Family("rnn", (28, 28), 64, 10),
    "gru": Family("gru", (28, 28), 64, 10),
    "lstm": Family("lstm", (28, 28), 64, 10),
}


class Case(NamedTuple):
    """One row of the table: K models of a family, each trained for so many steps, so many times."""

    family: str
    num_models: int
    steps: int
    repeats: int


class Sizes(NamedTuple):
    """What all rows share. train_size: n of pool_size N. models_per_chunk, models_together: 0 lets
    the package choose.
    """

    batch_size: int
    train_size: int
    pool_size: int
    models_per_chunk: int
    models_together: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show each member once."""
        return -(-self.train_size // self.batch_size)

    def recording_share(self, steps: int) -> float:
        """Forward passes for recording after so many steps, relative to training's (3 a record); ours only."""
        return self.pool_size / (3 * self.batch_size * steps)


class Work(NamedTuple):
    """A case with its records and members."""

    case: Case
    sizes: Sizes
    model: models.Model
    dataset: Dataset
    members: Membership

    @property
    def epochs(self) -> int:
        """Epochs of one repeat."""
        return self.case.steps // self.sizes.steps_per_epoch

    @property
    def flop_per_step(self) -> int:
        """FLOP of the matrix products of one step of one model."""
        return self.sizes.batch_size * FAMILIES[self.case.family].flop


def work_of(case: Case, sizes: Sizes) -> Work:
    """Random records of the family's shape, and each model's own members.

    Raises ValueError where the steps are not whole epochs.
    """
    if case.steps % sizes.steps_per_epoch:
        raise ValueError(
            f"steps is {case.steps}: it must be a multiple of {sizes.steps_per_epoch}, one epoch."
        )
    family = FAMILIES[case.family]
    draw = np.random.default_rng(0)

    def records(size: int) -> Records:
        x = draw.standard_normal((size, *family.record)).astype(np.float32)
        return Records(x, draw.integers(0, family.num_classes, size).astype(np.int32))

    dataset = Dataset(records(sizes.pool_size), records(1), records(1), family.num_classes, 0, {})
    model = models.build(FamilyConfig(kind=family.kind, hidden=family.hidden), dataset)
    design = MembershipConfig(num_models=max(case.num_models, SMALLEST_DESIGN), train_size=sizes.train_size)
    drawn = membership.draw(jax.random.key(0), design, sizes.pool_size)
    return Work(case, sizes, model, dataset, Membership(*(leaf[: case.num_models] for leaf in drawn)))


def segments(work: Work) -> Iterator[tuple[float, training.Segment]]:
    """Train as a study does, chunk by chunk, and yield the seconds that each segment took.

    Checkpoints of a chunk: before training (the very first is nearly all compilation), after one
    epoch (warm-up), and then one at the end of every repeat.
    """
    checkpoints = (0, *(1 + work.epochs * repeat for repeat in range(work.case.repeats + 1)))
    config = TrainingConfig(
        epochs=checkpoints[-1],
        batch_size=work.sizes.batch_size,
        learning_rate=LEARNING_RATE,
        models_per_chunk=work.sizes.models_per_chunk,
        models_together=work.sizes.models_together,
    )
    began = time.perf_counter()
    for segment in training.train_shadow_models(
        work.model, work.dataset, work.members, config, checkpoints, keys.roots(0)
    ):
        yield time.perf_counter() - began, segment
        began = time.perf_counter()


def loss_and_gradient(work: Work, params: Any, rows: np.ndarray) -> tuple[float, Any]:
    """The mean loss of the records `rows`, and its gradient, in full float32."""
    x, y = work.dataset.pool.x[rows], work.dataset.pool.y[rows]

    def loss(params: Any) -> jax.Array:
        return jnp.mean(jax.vmap(lambda x, y: training.cross_entropy(work.model.apply(params, x), y))(x, y))

    with jax.default_matmul_precision("highest"):
        value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    return float(value), jax.tree.map(np.asarray, gradient)


def initial_params(work: Work) -> Any:
    """The parameters of one model."""
    return work.model.init(jax.random.key(1), work.dataset.pool.x[0])


def matmul_limit(size: int, repeats: int = 15) -> float:
    """FLOP/s of float32 matrix products [size, size], one at a time on each device; the best of a few.

    In JAX's default precision, as the training is: TF32 on a GPU that has it.
    """
    mesh = model_mesh()
    product = over_models(lambda a: a @ a, mesh, (MODELS,))
    # Random: a GPU multiplies ones faster than it would anything real.
    a = np.random.default_rng(0).standard_normal((mesh.size, size, size), np.float32)
    a = place(a, mesh, MODELS)
    product(a).block_until_ready()
    best = math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        product(a).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return mesh.size * 2 * size**3 / best
