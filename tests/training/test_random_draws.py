"""The key a model sees in training: another one for every model, step and record of a batch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax import keys
from mia_jax.config import TrainingConfig
from mia_jax.defences.base import Batch
from mia_jax.losses import cross_entropy
from mia_jax.models import Model
from mia_jax.training import hyper_of
from mia_jax.training.segment import batch_loss
from mia_jax.training.shadow import all_models

DRAWS = 8


def _apply(params, x, *, key=None, train=False):
    """Logits whose gradient is proportional to what was drawn from the key."""
    drawn = jax.random.uniform(key, (DRAWS,)) if train else jnp.ones(DRAWS)
    return jnp.stack([params["w"] @ drawn, jnp.zeros(()), jnp.zeros(())])


@pytest.fixture(scope="module")
def shows_its_draws():
    return Model(lambda key, x: {"w": jnp.zeros(DRAWS)}, _apply)


def test_draws_differ_between_models_and_steps(train, shows_its_draws, membership_of):
    # One record each and no schedule: every epoch is one step, which moves w along what was drawn.
    one_record = membership_of(np.eye(20, dtype=bool)[[4, 4, 4, 7, 7]])
    config = TrainingConfig(epochs=3, batch_size=1, optimizer="sgd", learning_rate=0.5)
    trained = train(shows_its_draws, one_record, config, (0, 1, 2, 3))
    weights = np.stack([state.params["w"] for _, state in trained.checkpoints])
    moves = np.diff(weights, axis=0).reshape(-1, DRAWS)
    directions = moves / np.linalg.norm(moves, axis=-1, keepdims=True)
    cosines = [abs(a @ b) for a, b in itertools.combinations(directions, 2)]
    assert len(directions) == 15
    assert max(cosines) < 0.9999


def test_draws_differ_between_the_records_of_a_batch(shows_its_draws):
    # At w = 0 the gradients of these labels cancel exactly where all records draw the same.
    x, y = jnp.zeros((3, 1)), jnp.asarray([0, 1, 2])
    params = {"w": jnp.zeros(DRAWS)}
    batch = Batch(x, y, jnp.ones(3, bool), jax.random.split(jax.random.key(0), 3))

    @jax.jit
    @jax.grad
    def gradient_of(params):
        return batch_loss(shows_its_draws, cross_entropy, params, batch)

    assert np.abs(gradient_of(params)["w"]).max() > 0.01


SOURCES = ("init", "order", "dropout", "noise", "label", "release")


def test_keys_of_the_sources_of_randomness_are_all_different(five, adam):
    data = [
        jax.random.key_data(k)
        for ones in [all_models(keys.roots(seed), five, hyper_of(adam, 5)) for seed in (0, 1)]
        for k in (getattr(ones, f"{name}_key") for name in SOURCES)
    ]
    rows = np.concatenate([np.asarray(d).reshape(5, -1) for d in data])
    assert len(np.unique(rows, axis=0)) == 10 * len(SOURCES)


def test_a_models_keys_depend_on_its_own_number_alone():
    root = keys.roots(5).order
    few, many = (jax.random.key_data(keys.per_model(root, np.arange(k))) for k in (3, 50))
    np.testing.assert_array_equal(many[:3], few)
    chosen = jax.random.key_data(keys.per_model(root, np.asarray([40, 2])))
    np.testing.assert_array_equal(chosen, many[np.asarray([40, 2])])
