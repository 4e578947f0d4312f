"""SAM against NumPy in float64, and its limits: no radius, no direction, no batch, other devices and chunks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax import keys
from mia_jax.config import Config, ConfigError, DpSgdConfig, TrainingConfig
from mia_jax.defences import batches_of, dp_sgd
from mia_jax.models import Model
from mia_jax.parallel import model_mesh
from mia_jax.training import Plan, hyper_of
from mia_jax.training.segment import epoch_order, initialise, step
from mia_jax.training.shadow import all_models, compile_programs, programs_of, recipe_of
from mia_jax.training.sharpness import sharpness_aware

SEED, RATE, RADIUS = 3, 0.2, 0.3


def _init(key, x):
    return {"w": 0.5 * jax.random.normal(key, (x.size, 3)), "b": jnp.zeros(3)}


LOGISTIC = Model(_init, lambda params, x, *, key=None, train=False: x @ params["w"] + params["b"])


def config_of(radius=RADIUS):
    """One step with all members, of plain SGD."""
    return TrainingConfig(batch_size=10, epochs=1, optimizer="sgd", learning_rate=RATE, sam_radius=radius)


def moving_config(radius=RADIUS):
    """Three epochs of small batches, with momentum and weight decay."""
    return TrainingConfig(
        epochs=3,
        batch_size=4,
        optimizer="momentum",
        learning_rate=RATE,
        momentum=0.8,
        weight_decay=0.05,
        sam_radius=radius,
    )


def at_radius(config, radii):
    """The hyperparameters of five models with radii of their own, or one for all."""
    values = hyper_of(config, 5)
    return values._replace(sam_radius=jnp.broadcast_to(jnp.asarray(radii, jnp.float32), (5,)))


def gradient_by_hand(params, x, y):
    """The gradient of the mean cross-entropy of multinomial logistic regression, float64; 0 of no records."""
    if not len(y):
        return {name: np.zeros_like(leaf) for name, leaf in params.items()}
    logits = x.astype(np.float64) @ params["w"] + params["b"]
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    slope = (share / share.sum(axis=1, keepdims=True) - np.eye(3)[y]) / len(y)
    return {"w": x.T.astype(np.float64) @ slope, "b": slope.sum(axis=0)}


def sharp_by_hand(params, x, y, radius):
    """Foret et al., algorithm 1, lines 4 to 6: the gradient at w + radius * g / |g|."""
    here = gradient_by_hand(params, x, y)
    norm = np.sqrt(sum((leaf**2).sum() for leaf in here.values()))
    if norm == 0:
        return here
    return gradient_by_hand({n: w + radius * here[n] / norm for n, w in params.items()}, x, y)


def train_by_hand(data, membership, config, k, start, *, momentum=0.0, in_place=False):
    """One model's parameters after every epoch, from its parameters before the first step."""
    recipe = recipe_of(LOGISTIC, membership, config)._replace(in_place=in_place)
    ones = all_models(keys.roots(SEED), membership, hyper_of(config, len(membership.member)))
    one = jax.tree.map(lambda leaf: leaf[k], ones)
    params = {name: np.asarray(leaf, np.float64) for name, leaf in start.items()}
    speed = {name: np.zeros_like(leaf) for name, leaf in params.items()}
    history = []
    for epoch in range(config.epochs):
        for position, valid in zip(*map(np.asarray, epoch_order(recipe, one, epoch)), strict=True):
            rows = membership.indices[k][position[valid]]
            if not (rows.size or in_place):
                continue
            slope = sharp_by_hand(params, data.pool.x[rows], data.pool.y[rows], config.sam_radius)
            speed = {name: slope[name] + momentum * speed[name] for name in params}
            params = {n: w - RATE * (speed[n] + config.weight_decay * w) for n, w in params.items()}
        history.append(params)
    return history


def of_model(trained, k, checkpoint=-1):
    return jax.tree.map(lambda leaf: leaf[k], trained.checkpoints[checkpoint][1].params)


def assert_is_the_loop(trained, k, expected):
    for number, params in enumerate(expected):
        for name, values in params.items():
            found = of_model(trained, k, number + 1)[name]
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=3e-6, err_msg=f"{name} of {k}")


def test_one_step_is_that_of_the_paper(train, dataset, five):
    """Radii of their own in one program, a last one of 0 for the plain gradient."""
    radii = (0.01, RADIUS, 1.0, 5.0, 0.0)
    trained = train(LOGISTIC, five, config_of(), (0, 1), hyper=at_radius(config_of(), radii))
    for k, radius in enumerate(radii):
        start = of_model(trained, k, 0)
        expected = train_by_hand(dataset, five, config_of(radius=radius), k, start)
        assert_is_the_loop(trained, k, expected)
        plain = train_by_hand(dataset, five, config_of(radius=0.0), k, start)[0]
        assert (np.abs(plain["w"] - expected[0]["w"]).max() > 1e-4) == (radius > 0)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.slow
def test_with_momentum_weight_decay_and_empty_batches(train, dataset, ragged, in_place):
    config = moving_config()
    trained = train(LOGISTIC, ragged, config, (0, 1, 2, 3), in_place=in_place)
    for k in range(5):
        start = of_model(trained, k, 0)
        expected = train_by_hand(dataset, ragged, config, k, start, momentum=0.8, in_place=in_place)
        assert_is_the_loop(trained, k, expected)


@pytest.mark.slow
def test_an_empty_batch_leaves_the_state_untouched(dataset, ragged, assert_same_bits):
    config = moving_config()
    recipe = recipe_of(LOGISTIC, ragged, config)
    ones = all_models(keys.roots(SEED), ragged, hyper_of(config, 5))
    one = jax.tree.map(lambda leaf: leaf[0], ones)
    pool = jax.tree.map(jnp.asarray, dataset.pool)

    @jax.jit
    def move(state, valid):
        return step(recipe, state, one, pool, jnp.int32(0), jnp.arange(4), valid)

    moving = move(initialise(recipe, pool.x[0], one), np.ones(4, bool))
    assert_same_bits(move(moving, np.zeros(4, bool)), moving)


def test_without_a_radius_nothing_of_it_is_in_the_program(train, five, monkeypatch, assert_same_bits):
    """Whatever radius the models carry, none is looked at."""

    def never(*_):
        raise AssertionError("a sharpness-aware gradient was asked for")

    monkeypatch.setattr("mia_jax.training.segment.sharpness_aware", never)
    monkeypatch.setattr("mia_jax.training.shadow.programs_of", compile_programs)
    plain = config_of(radius=0.0)
    assert plain == TrainingConfig(batch_size=10, epochs=1, optimizer="sgd", learning_rate=RATE)
    one, other = (train(LOGISTIC, five, plain, (1,), hyper=at_radius(plain, r)) for r in (0.0, 9.0))
    assert_same_bits(one.checkpoints, other.checkpoints)
    with pytest.raises(AssertionError, match="a sharpness-aware gradient was asked for"):
        train(LOGISTIC, five, config_of(), (1,))


@pytest.mark.parametrize("radius", [0.0, 1e-6])
@pytest.mark.slow
def test_near_no_radius_it_is_plain_training(train, tiny_dropout, five, adam, whole, radius):
    """With dropout, so both gradients of a step must drop the same units."""
    sharp = dataclasses.replace(adam, sam_radius=0.1)
    near = train(tiny_dropout, five, sharp, (1, 2, 4), hyper=at_radius(sharp, radius))
    far = train(tiny_dropout, five, sharp, (1, 2, 4))
    for name, values in whole.params.items():
        np.testing.assert_allclose(near.params[name], values, rtol=2e-3, atol=2e-4, err_msg=name)
    assert np.abs(far.params["out"] - whole.params["out"]).max(axis=(1, 2)).min() > 1e-2


def test_radii_of_their_own_are_one_program_and_each_its_own_training(train, ragged, assert_same_bits):
    config, other = moving_config(), moving_config(radius=0.05)
    mesh = model_mesh(jax.devices()[:2])
    compiled = [programs_of(recipe_of(LOGISTIC, ragged, one), mesh, 1) for one in (config, other)]
    assert compiled[0] is compiled[1]
    assert programs_of(recipe_of(LOGISTIC, ragged, moving_config(radius=0.0)), mesh, 1) is not compiled[0]
    mixed = train(
        LOGISTIC, ragged, config, (0, 1, 2, 3), hyper=at_radius(config, [0.05, RADIUS, 0.05, RADIUS, 0.0])
    )
    wide, narrow = (train(LOGISTIC, ragged, one, (0, 1, 2, 3)) for one in (config, other))
    for k, alone in ((0, narrow), (1, wide), (2, narrow), (3, wide)):
        assert_same_bits(of_model(mixed, k), of_model(alone, k))
        assert (of_model(wide, k)["w"] != of_model(narrow, k)["w"]).any()


@pytest.mark.slow
def test_devices_chunks_and_interruptions_change_no_bit(train, tiny_dropout, five, adam, assert_same_bits):
    sharp, epochs = dataclasses.replace(adam, sam_radius=0.1), (1, 2, 4)
    whole = train(tiny_dropout, five, sharp, epochs)
    cut = train(tiny_dropout, five, sharp, epochs, devices=1, sizes=Plan(3, 1))
    assert len(cut.segments) == 6
    assert_same_bits(cut.checkpoints, whole.checkpoints)
    leaves = jax.tree.leaves(whole.segments[1].state)
    rest = train(tiny_dropout, five, sharp, epochs, resume=lambda start, stop: (1, leaves))
    assert_same_bits(rest.checkpoints, whole.checkpoints[2:])


# The gradient alone


def quadratic(size=5):
    """A random positive definite matrix, a start, and the gradient A w of w'Aw/2 as leaves of two shapes."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(size, size))
    matrix, start = root @ root.T + np.eye(size), rng.normal(size=size)

    def split(flat):
        return {"a": flat[:2].reshape(1, 2), "b": flat[2:]}

    def gradient(params):
        flat = jnp.concatenate([params["a"].reshape(-1), params["b"]])
        return split(jnp.asarray(matrix, jnp.float32) @ flat)

    return matrix, start, split, gradient


@pytest.mark.parametrize("radius", [0.0, 0.1, 3.0])
def test_of_a_quadratic_it_is_known_and_the_norm_is_of_all_leaves(radius):
    matrix, start, split, gradient = quadratic()
    here = matrix @ start
    expected = split(here + radius * matrix @ here / np.linalg.norm(here))
    params = split(jnp.asarray(start, jnp.float32))
    found = jax.jit(lambda params, radius: sharpness_aware(gradient, params, radius))(params, radius)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)


def test_mapped_over_models_each_has_its_own_direction_and_radius():
    _, start, split, gradient = quadratic()
    each = [split(jnp.asarray(start * factor, jnp.float32)) for factor in (1, -2, 3)]
    radii = jnp.asarray([0.0, 0.1, 3.0])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    mapped = jax.vmap(lambda one, radius: sharpness_aware(gradient, one, radius))(stacked, radii)
    for k, one in enumerate(each):
        alone = sharpness_aware(gradient, one, radii[k])
        for name in alone:
            np.testing.assert_allclose(mapped[name][k], alone[name], rtol=1e-5, atol=1e-5)


def place_of(slope, start, radius):
    """Where the gradient is taken in the end, if it is `slope` at the start: elsewhere it tells the place."""

    def gradient(params):
        here = jnp.all(jnp.stack([jnp.all(params[name] == start[name]) for name in start]))
        return {name: jnp.where(here, slope[name], params[name]) for name in params}

    return sharpness_aware(gradient, start, jnp.float32(radius))


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1.0, 1e6, 1e15])
def test_the_step_to_the_sharpest_place_has_the_radius_as_its_length(scale):
    start = {"a": jnp.zeros(2), "b": jnp.zeros((1, 1))}
    slope = {"a": jnp.asarray([scale, -2 * scale]), "b": jnp.full((1, 1), 2 * scale)}
    place = place_of(slope, start, 0.6)
    np.testing.assert_allclose(place["a"], [0.2, -0.4], rtol=1e-5)
    np.testing.assert_allclose(place["b"], [[0.4]], rtol=1e-5)


NONE = np.zeros(3, np.float32)
NO_DIRECTION = {
    "zero": (NONE, NONE),
    "infinite": (NONE, np.asarray([1.0, np.inf, 0.0], np.float32)),
    "not a number": (np.asarray([np.nan, 1.0, 0.0], np.float32), np.ones(3, np.float32)),
}


@pytest.mark.parametrize("case", NO_DIRECTION)
def test_without_a_direction_it_is_the_gradient_where_the_parameters_are(case):
    slope = dict(zip("ab", map(jnp.asarray, NO_DIRECTION[case]), strict=True))
    start = {"a": jnp.asarray([1.0, -2.0, 3.0]), "b": jnp.full(3, 1e30)}
    place = place_of(slope, start, 0.5)
    for name in "ab":
        np.testing.assert_array_equal(place[name], slope[name])


def test_a_model_that_diverges_leaves_the_others_alone(train, ragged, assert_same_bits):
    config, epochs = moving_config(), (0, 1, 2, 3)
    rates = jnp.full(5, RATE, jnp.float32).at[2].set(3e38)
    spoiled = train(LOGISTIC, ragged, config, epochs, hyper=hyper_of(config, 5)._replace(learning_rate=rates))
    whole, others = train(LOGISTIC, ragged, config, epochs), np.arange(5) != 2
    assert not np.isfinite(spoiled.params["w"][2]).all()
    assert_same_bits(*(jax.tree.map(lambda leaf: leaf[others], one.checkpoints) for one in (spoiled, whole)))


# Beside a private gradient


@pytest.mark.parametrize("private", [{"epsilon": 1.0}, {"noise_multiplier": 2.0}])
def test_a_config_with_dp_sgd_has_no_radius(private):
    with pytest.raises(ConfigError) as caught:
        Config(dp_sgd=DpSgdConfig(**private), training=TrainingConfig(sam_radius=0.05))
    assert str(caught.value).startswith("config.training.sam_radius is 0.05: DP-SGD is accounted for one ")
    assert Config(training=TrainingConfig(sam_radius=0.05)).training.sam_radius == 0.05
    Config(dp_sgd=DpSgdConfig(**private))


def test_a_private_training_has_no_radius(train, five):
    defence = dp_sgd(batches_of("poisson", num_examples=10, batch_size=4, steps=3))
    with pytest.raises(ValueError, match=r"sam_radius is 0\.3 beside dp_sgd: .* leave it at 0"):
        train(LOGISTIC, five, moving_config(), (1,), defence=defence)


@pytest.mark.parametrize("radius", [-0.1, float("nan"), float("inf"), "0.1"])
def test_a_radius_is_a_finite_number_from_0(radius):
    with pytest.raises(ConfigError, match=r"^TrainingConfig\.sam_radius is .*: it must be "):
        TrainingConfig(sam_radius=radius)
