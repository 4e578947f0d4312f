"""Models with different numbers of members: batches that are short, or empty, are no steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax import keys
from mia_jax.config import TrainingConfig
from mia_jax.defences.base import Batch
from mia_jax.losses import cross_entropy
from mia_jax.training import hyper_of
from mia_jax.training.segment import batch_loss, initialise, step
from mia_jax.training.shadow import all_models, recipe_of


def one_of(membership, config, k=0):
    ones = all_models(keys.roots(3), membership, hyper_of(config, len(membership.member)))
    return jax.tree.map(lambda leaf: leaf[k], ones)


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_an_empty_batch_leaves_the_state_untouched(tiny, dataset, ragged, assert_same_bits, optimizer):
    config = TrainingConfig(batch_size=4, optimizer=optimizer, weight_decay=0.1)
    recipe, one = recipe_of(tiny, ragged, config), one_of(ragged, config)
    pool = jax.tree.map(jnp.asarray, dataset.pool)

    @jax.jit
    def move(state, valid):
        return step(recipe, state, one, pool, jnp.int32(0), jnp.arange(4), valid)

    # One real step first: momentum and moments are then not zero, and would move the parameters.
    moving = move(initialise(recipe, pool.x[0], one), np.ones(4, bool))
    assert_same_bits(move(moving, np.zeros(4, bool)), moving)


def test_what_stands_in_a_padded_place_counts_for_nothing(tiny, dataset, ragged):
    pool = jax.tree.map(jnp.asarray, dataset.pool)
    params = tiny.init(jax.random.key(0), pool.x[0])
    valid = jnp.asarray([True, True, False, True])
    keys_of_records = jax.random.split(jax.random.key(1), 4)

    @jax.jit
    @jax.value_and_grad
    def loss(params, rows):
        batch = Batch(pool.x[rows], pool.y[rows], valid, keys_of_records)
        return batch_loss(tiny, cross_entropy, params, batch)

    one, other = (loss(params, np.asarray([3, 4, hidden, 6])) for hidden in (5, 9))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    losses = [-jax.nn.log_softmax(tiny.apply(params, pool.x[n]))[pool.y[n]] for n in (3, 4, 6)]
    np.testing.assert_allclose(one[0], np.mean(losses), rtol=1e-6)
