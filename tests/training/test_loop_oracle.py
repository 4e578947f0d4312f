"""`train_shadow_models` against the loop one would write by hand: models, epochs, batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mia_jax import keys
from mia_jax.config import TrainingConfig
from mia_jax.training import hyper_of
from mia_jax.training.segment import epoch_order
from mia_jax.training.shadow import all_models, recipe_of

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, EPOCHS, BATCH, SEED = 0.05, 0.8, 0.3, 3, 4, 3
ROOTS = keys.roots(SEED)


def optimizer(name, learning_rate):
    return {
        "sgd": lambda: optax.sgd(learning_rate),
        "momentum": lambda: optax.sgd(learning_rate, momentum=MOMENTUM),
        "adam": lambda: optax.adam(learning_rate),
        "adamw": lambda: optax.adamw(learning_rate, weight_decay=WEIGHT_DECAY),
    }[name]()


@pytest.fixture(scope="module")
def gradient(tiny):
    """The gradient of the mean cross-entropy of a batch, compiled once for all tests."""

    def mean_cross_entropy(params, x, y):
        logits = jax.vmap(lambda record: tiny.apply(params, record))(x)
        log_probs = logits - jnp.log(jnp.sum(jnp.exp(logits), axis=-1, keepdims=True))
        return -jnp.mean(log_probs[jnp.arange(len(y)), y])

    return jax.jit(jax.grad(mean_cross_entropy))


def train_by_hand(model, gradient, schedule_shape, dataset, membership, config, k):
    """One model's parameters after every epoch, trained with plain float hyperparameters."""
    recipe = recipe_of(model, membership, config)
    ones = all_models(ROOTS, membership, hyper_of(config, len(membership.member)))
    one = jax.tree.map(lambda leaf: leaf[k], ones)
    steps = -(-int(membership.mask[k].sum()) // config.batch_size)
    total, warmup = config.epochs * steps, config.warmup_epochs * steps
    params = model.init(jax.random.fold_in(ROOTS.init, k), dataset.pool.x[0])
    state, number, history = optimizer(config.optimizer, 1.0).init(params), 0, []
    for epoch in range(config.epochs):
        positions, valid = epoch_order(recipe, one, epoch)
        for position, counted in zip(np.asarray(positions), np.asarray(valid), strict=True):
            rows = membership.indices[k][position[counted]]
            if not rows.size:
                continue
            rate = LEARNING_RATE * schedule_shape(config.schedule, number, total, warmup)
            grads = gradient(params, dataset.pool.x[rows], dataset.pool.y[rows])
            updates, state = optimizer(config.optimizer, rate).update(grads, state, params)
            params, number = optax.apply_updates(params, updates), number + 1
        history.append(params)
    return history


def assert_is_the_loop(trained, k, expected):
    for epoch, (_, state) in enumerate(trained.checkpoints):
        for field, values in expected[epoch].items():
            np.testing.assert_allclose(state.params[field][k], values, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "schedule", "warmup"),
    [("sgd", "constant", 0), ("momentum", "linear", 1), ("adam", "cosine", 2), ("adamw", "linear", 0)],
)
def test_training_is_the_plain_loop(
    train, tiny, gradient, schedule_shape, dataset, five, name, schedule, warmup
):
    config = TrainingConfig(
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=name,
        learning_rate=LEARNING_RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY if name == "adamw" else 0.0,
        schedule=schedule,
        warmup_epochs=warmup,
    )
    trained = train(tiny, five, config, tuple(range(1, EPOCHS + 1)), seed=SEED)
    for k in (0, 4):
        expected = train_by_hand(tiny, gradient, schedule_shape, dataset, five, config, k)
        assert_is_the_loop(trained, k, expected)


@pytest.mark.parametrize(("schedule", "warmup"), [("constant", 0), ("linear", 1)])
def test_with_members_of_different_numbers_too(
    train, tiny, gradient, schedule_shape, dataset, ragged, schedule, warmup
):
    config = TrainingConfig(
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        schedule=schedule,
        warmup_epochs=warmup,
    )
    trained = train(tiny, ragged, config, tuple(range(1, EPOCHS + 1)), seed=SEED)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained.checkpoints))
    for k in range(5):
        expected = train_by_hand(tiny, gradient, schedule_shape, dataset, ragged, config, k)
        assert_is_the_loop(trained, k, expected)


def test_optimizers_count_only_batches_that_hold_a_record(train, tiny, ragged):
    config = TrainingConfig(epochs=EPOCHS, batch_size=BATCH, learning_rate=LEARNING_RATE)
    trained = train(tiny, ragged, config, tuple(range(1, EPOCHS + 1)), seed=SEED)
    counts = [
        leaf for leaf in jax.tree.leaves(trained.checkpoints[-1][1].opt_state) if leaf.dtype == np.int32
    ]
    assert counts
    for count in counts:
        np.testing.assert_array_equal(count, EPOCHS * -(-ragged.member.sum(axis=1) // BATCH))
