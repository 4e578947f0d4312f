"""Hyperparameters that travel with each model: schedules, sweeps in one program, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mia_jax import defences
from mia_jax.config import TrainingConfig
from mia_jax.training import hyper_of
from mia_jax.training.hyper import learning_rate_shape, optimizer_of

SWEPT = {
    "learning_rate": ("adam", [0.001, 0.01, 0.05, 0.1, 0.2]),
    "momentum": ("momentum", [0.0, 0.3, 0.5, 0.9, 0.99]),
    "weight_decay": ("adamw", [0.0, 0.01, 0.1, 0.5, 1.0]),
}


def with_values(config, **fields):
    """The config's hyperparameters for five models, some of them replaced."""
    arrays = {field: jnp.full(5, value) if np.ndim(value) == 0 else value for field, value in fields.items()}
    return hyper_of(config, 5)._replace(
        **{field: jnp.asarray(value, jnp.float32) for field, value in arrays.items()}
    )


def of_model(trained, k):
    return jax.tree.map(lambda leaf: leaf[k], trained.checkpoints)


@pytest.fixture
def config_of():
    """The configs of the loop oracle's programs, so that nothing new is compiled for them."""

    def config_of(optimizer):
        schedule, warmup = {"sgd": ("constant", 0), "momentum": ("linear", 1), "adamw": ("linear", 0)}.get(
            optimizer, ("cosine", 2)
        )
        return TrainingConfig(
            epochs=3,
            batch_size=4,
            optimizer=optimizer,
            learning_rate=0.05,
            schedule=schedule,
            warmup_epochs=warmup,
        )

    return config_of


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_schedule_is_the_textbook_shape_at_every_step(schedule_shape, schedule, warmup):
    config = TrainingConfig(epochs=5, schedule=schedule, warmup_epochs=warmup, learning_rate=7.0)
    steps = np.arange(5 * 3)
    expected = [schedule_shape(schedule, step, 15, 3 * warmup) for step in steps]
    actual = jax.vmap(learning_rate_shape(config, 3))(steps)
    np.testing.assert_allclose(np.broadcast_to(actual, steps.shape), expected, atol=1e-6)


def test_hyper_of_repeats_the_values_of_the_config():
    config = TrainingConfig(learning_rate=0.5, momentum=0.25, weight_decay=2.0)
    for values, expected in zip(hyper_of(config, 3)[:3], (0.5, 0.25, 2.0), strict=True):
        assert values.dtype == jnp.float32
        np.testing.assert_array_equal(values, np.full(3, expected, np.float32))


@pytest.mark.parametrize(
    "field",
    ["learning_rate", *(pytest.param(f, marks=pytest.mark.slow) for f in ("momentum", "weight_decay"))],
)
def test_a_sweep_in_one_call_is_one_call_for_each_value(
    train, tiny, five, config_of, assert_same_bits, field
):
    optimizer, values = SWEPT[field]
    config = config_of(optimizer)
    swept = train(tiny, five, config, (3,), hyper=with_values(config, **{field: values}))
    alone = train(tiny, five, config, (3,), hyper=with_values(config, **{field: values[3]}))
    assert_same_bits(of_model(swept, 3), of_model(alone, 3))
    assert len(np.unique(swept.params["out"].reshape(5, -1), axis=0)) == 5


def test_learning_rate_zero_leaves_the_parameters_as_they_were(
    train, tiny, five, config_of, assert_same_bits
):
    config = config_of("adam")
    trained = train(tiny, five, config, (0, 3), hyper=with_values(config, learning_rate=0.0))
    assert_same_bits(trained.checkpoints[0][1].params, trained.params)


@pytest.mark.parametrize(
    ("optimizer", "field", "plain"), [("momentum", "momentum", "sgd"), ("adamw", "weight_decay", "adam")]
)
def test_at_zero_an_optimizer_is_the_plain_one(optimizer, field, plain):
    start, gradients = jnp.asarray([1.0, -2.0]), jnp.asarray([[0.5, 0.1], [-0.3, 0.2], [0.7, -0.4]])

    def moved(name, **values):
        config = TrainingConfig(optimizer=name, learning_rate=0.1, **values)
        method = optimizer_of(config, jax.tree.map(lambda leaf: leaf[0], hyper_of(config, 1)), 3)
        params, state = start, method.init(start)
        for gradient in gradients:
            updates, state = method.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return params

    np.testing.assert_array_equal(moved(optimizer, **{field: 0.0}), moved(plain))
    assert (moved(optimizer, **{field: 0.5}) != moved(plain)).all()


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw"])
def test_weight_decay_is_decoupled_from_the_gradient_of_every_optimizer(name):
    config = TrainingConfig(optimizer=name, learning_rate=0.1, weight_decay=0.5)
    plain = TrainingConfig(optimizer="adam" if name == "adamw" else name, learning_rate=0.1)
    params, gradient = jnp.asarray([1.0, -2.0]), jnp.asarray([0.5, 0.1])
    steps = []
    for one in (config, plain):
        method = optimizer_of(one, jax.tree.map(lambda leaf: leaf[0], hyper_of(one, 1)), 3)
        steps.append(method.update(gradient, method.init(params), params)[0])
    np.testing.assert_allclose(steps[0], steps[1] - 0.1 * 0.5 * params, rtol=1e-6, atol=1e-8)


def test_the_schedule_of_a_model_with_fewer_steps_runs_as_much_faster():
    config = TrainingConfig(epochs=3, optimizer="sgd", learning_rate=1.0, schedule="linear")
    method = optimizer_of(config, jax.tree.map(lambda leaf: leaf[0], hyper_of(config, 1)), 4, jnp.float32(2))
    state, moved = method.init(jnp.zeros(())), []
    for _ in range(6):  # two steps an epoch, of which all others have four
        update, state = method.update(jnp.ones(()), state)
        moved.append(-float(update))
    np.testing.assert_allclose(moved, 1.0 - np.arange(6) / 6, rtol=1e-6)


def test_a_model_that_diverges_leaves_the_others_alone(
    train, tiny_dropout, five, adam, whole, assert_same_bits
):
    rates = np.full(5, adam.learning_rate, np.float32)
    rates[2] = 3e38
    trained = train(
        tiny_dropout,
        five,
        adam,
        (1, 2, 4),
        hyper=hyper_of(adam, 5)._replace(learning_rate=jnp.asarray(rates)),
    )
    others = np.arange(5) != 2
    assert_same_bits(of_model(trained, others), of_model(whole, others))
    for part in (trained.observed.pool, trained.observed.population, trained.observed.test):
        for name in ("log_prob", "scaled_logit", "entropy", "modified_entropy"):
            values = getattr(part, name)
            assert not np.isfinite(values[2]).any(), name
            assert np.isfinite(values[others]).all(), name


@pytest.mark.parametrize(
    ("defence", "missing"),
    [
        (defences.l2(), "l2"),
        (defences.parameter_noise(), "sigma"),
        (defences.label_smoothing(), "label_smoothing"),
    ],
)
def test_a_strength_that_is_missing_is_named(train, tiny, five, config_of, defence, missing):
    config = config_of("adamw")
    said = rf"hyper\.strengths has no '{missing}', which the defence reads: there are 'other'"
    with pytest.raises(ValueError, match=said):
        train(tiny, five, config, (3,), hyper=hyper_of(config, 5, {"other": 1.0}), defence=defence)


def test_strengths_are_a_tree_to_a_defence_of_ones_own(train, tiny, five, config_of):
    def penalty(params, strengths):
        doubled = jax.tree.map(lambda value: 2.0 * value, strengths)
        return doubled["l2"] * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    config = config_of("adamw")
    of_own = defences.Defence(names=("own",), penalty=penalty)
    own = train(tiny, five, config, (3,), hyper=hyper_of(config, 5, {"l2": 0.05}), defence=of_own)
    twice = train(tiny, five, config, (3,), hyper=hyper_of(config, 5, {"l2": 0.1}), defence=defences.l2())
    jax.tree.map(np.testing.assert_array_equal, own.checkpoints, twice.checkpoints)
