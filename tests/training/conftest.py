"""A small world to train in: few records, a plain JAX model, and a call that gathers all segments."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax import keys
from mia_jax.config import TrainingConfig
from mia_jax.membership import padded_indices
from mia_jax.models import Model
from mia_jax.parallel import model_mesh
from mia_jax.training import Plan, Segment, train_shadow_models
from mia_jax.types import Dataset, Membership, Records

FEATURES, HIDDEN, CLASSES, KEPT = 4, 6, 3, 0.75


def _init(key, x):
    first, second = jax.random.split(key)
    return {
        "in": jax.random.uniform(first, (x.size, HIDDEN), minval=-0.7, maxval=0.7),
        "bias": jnp.zeros(HIDDEN),
        "out": jax.random.uniform(second, (HIDDEN, CLASSES), minval=-0.7, maxval=0.7),
    }


def _apply(params, x, *, key=None, train=False):
    return jnp.tanh(x @ params["in"] + params["bias"]) @ params["out"]


def _apply_with_dropout(params, x, *, key=None, train=False):
    hidden = jnp.tanh(x @ params["in"] + params["bias"])
    if train:
        hidden = jnp.where(jax.random.bernoulli(key, KEPT, hidden.shape), hidden / KEPT, 0.0)
    return hidden @ params["out"]


@pytest.fixture(scope="session")
def tiny() -> Model:
    """One hidden layer of tanh, in plain JAX."""
    return Model(_init, _apply)


@pytest.fixture(scope="session")
def tiny_dropout() -> Model:
    """The same with dropout, so that its training depends on every random key."""
    return Model(_init, _apply_with_dropout)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """N=20, Z=6 and 5 test records of 4 features in 3 classes."""
    rng = np.random.default_rng(11)

    def part(size):
        features = rng.normal(size=(size, FEATURES)).astype(np.float32)
        return Records(features, rng.integers(0, CLASSES, size).astype(np.int32))

    return Dataset(part(20), part(6), part(5), CLASSES, 0, {})


def _membership_of(member) -> Membership:
    member = np.asarray(member, bool)
    width = int(member.sum(axis=1).max())
    return Membership(member, *padded_indices(member, width), np.full(len(member), -1, np.int32))


@pytest.fixture(scope="session")
def membership_of() -> Callable[..., Membership]:
    """The membership of hand-made rows, bool [K, N]."""
    return _membership_of


@pytest.fixture(scope="session")
def draw() -> Callable[..., Membership]:
    """`num_models` models that each hold 10 of 20 records; more models keep the first ones."""

    def draw(num_models: int, size: int = 10, records: int = 20) -> Membership:
        rng = np.random.default_rng(5)
        return _membership_of(
            [np.isin(np.arange(records), rng.permutation(records)[:size]) for _ in range(num_models)]
        )

    return draw


@pytest.fixture(scope="session")
def ragged() -> Membership:
    """Five models with 3, 12, 5, 9 and 1 members: in batches of 4, some batches are empty."""
    rng = np.random.default_rng(2)
    return _membership_of([np.isin(np.arange(20), rng.permutation(20)[:size]) for size in (3, 12, 5, 9, 1)])


@pytest.fixture(scope="session")
def adam() -> TrainingConfig:
    """Three steps an epoch, the last of them short, under a schedule that moves."""
    return TrainingConfig(epochs=4, batch_size=4, schedule="cosine", warmup_epochs=1, learning_rate=0.05)


class Trained(NamedTuple):
    """What a training yielded: its segments, and [T] of (observed, state) with all K models together."""

    segments: list[Segment]
    checkpoints: list[Any]

    @property
    def params(self) -> Any:
        """Parameters at the last checkpoint, [K, ...]."""
        return self.checkpoints[-1][1].params

    @property
    def observed(self) -> Any:
        """What was observed at the last checkpoint, [K, ...]."""
        return self.checkpoints[-1][0]


def _together(segments: Sequence[Segment]) -> list[Any]:
    numbers = sorted({segment.checkpoint for segment in segments})
    rows = [[(s.observed, s.state) for s in segments if s.checkpoint == number] for number in numbers]
    return [jax.tree.map(lambda *leaves: np.concatenate(leaves), *row) for row in rows]


@pytest.fixture(scope="session")
def train(dataset) -> Callable[..., Trained]:
    """Train in chunks of five on two devices, one model at a time, and gather everything."""

    def train(model, membership, training, epochs, *, devices=2, seed=3, data=dataset, **options):
        options = {"sizes": Plan(5, 1), "mesh": model_mesh(jax.devices()[:devices])} | options
        segments = list(
            train_shadow_models(model, data, membership, training, epochs, keys.roots(seed), **options)
        )
        return Trained(segments, _together(segments))

    return train


@pytest.fixture(scope="session")
def five(draw) -> Membership:
    """The membership of five models."""
    return draw(5)


@pytest.fixture(scope="session")
def whole(train, tiny_dropout, five, adam) -> Trained:
    """Five models in one chunk on two devices, from start to end, seen after epochs 1, 2 and 4."""
    return train(tiny_dropout, five, adam, (1, 2, 4))


@pytest.fixture(scope="session")
def schedule_shape() -> Callable[..., float]:
    """The learning rate's shape as textbooks write it, its peak 1, in plain floats."""

    def schedule_shape(schedule: str, step: int, total: int, warmup: int) -> float:
        if step < warmup:
            return step / warmup
        passed = (step - warmup) / (total - warmup)
        half_turn = (1.0 + math.cos(math.pi * passed)) / 2
        return {"constant": 1.0, "linear": 1.0 - passed, "cosine": half_turn}[schedule]

    return schedule_shape


@pytest.fixture(scope="session")
def assert_same_bits() -> Callable[[Any, Any], None]:
    """Two pytrees hold the same arrays, bit for bit."""

    def assert_same_bits(actual, expected):
        assert jax.tree.structure(actual) == jax.tree.structure(expected)
        for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            one, other = np.asarray(one), np.asarray(other)
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            # Bits, not values: 0.0 and -0.0 differ here, and a NaN equals itself.
            same = one.tobytes() == other.tobytes()
            assert same, f"arrays of shape {one.shape} differ by up to {np.abs(one - other).max()}"

    return assert_same_bits
