"""The adversarial distance: exact where models are linear, found again by brute force elsewhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.models import Model, mlp
from mia_jax.probes.adversarial import adversarial_distance
from mia_jax.types import Ragged, Records

CLASSES, FEATURES = 4, 6


def linear(params, x, *, key=None, train=False):
    return jnp.reshape(x, -1) @ params["w"] + params["b"]


def hidden(activation, params, x, *, key=None, train=False):
    return activation(jnp.reshape(x, -1) @ params["in"] + params["bias"]) @ params["out"]


def distances(apply, params, records, steps=20):
    model = Model(lambda key, x: params, apply)
    one = functools.partial(adversarial_distance, model, params, steps=steps)
    return np.asarray(jax.jit(jax.vmap(one))(records))


def linear_params(seed, features=FEATURES, bias=1.0):
    rng = np.random.default_rng(seed)
    w, b = rng.normal(size=(features, CLASSES)), bias * rng.normal(size=CLASSES)
    return {"w": w.astype(np.float32), "b": b.astype(np.float32)}


def linear_distance(params, x, y):
    """min over j of (z_y - z_j) / ||w_y - w_j||, 0 where that is negative: float64."""
    w, b = (np.asarray(params[name], np.float64) for name in ("w", "b"))
    z = np.asarray(x, np.float64) @ w + b
    others = [j for j in range(w.shape[1]) if j != y]
    return max(0.0, min((z[y] - z[j]) / np.linalg.norm(w[:, y] - w[:, j]) for j in others))


@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_exact_on_linear_models_and_zero_where_wrong(scale, steps):
    rng = np.random.default_rng(1)
    x = (scale * rng.normal(size=(50, FEATURES))).astype(np.float32)
    y = rng.integers(0, CLASSES, 50)
    params = linear_params(2, bias=scale)
    expected = np.asarray([linear_distance(params, *record) for record in zip(x, y, strict=True)])
    found = distances(linear, params, Records(x, y), steps)
    assert found.dtype == np.float32
    assert 0.1 < (expected > 0).mean() < 0.9
    np.testing.assert_array_equal(found[expected == 0], 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_boundaries_far_beyond_the_record_are_reached_on_linear_models():
    params = linear_params(2) | {"b": np.asarray([5000.0, 0, 0, 0], np.float32)}
    x, y = np.full((1, FEATURES), 1e-3, np.float32), np.zeros(1, np.int32)
    assert linear_distance(params, x[0], 0) > 1000
    np.testing.assert_allclose(
        distances(linear, params, Records(x, y)), [linear_distance(params, x[0], 0)], rtol=1e-4
    )


def test_of_ragged_records_only_the_valid_steps_are_perturbed():
    rng = np.random.default_rng(3)
    x = Ragged(rng.normal(size=(4, 3, 2)).astype(np.float32), np.asarray([1, 2, 3, 3], np.int32))
    params = linear_params(4)

    def reads_padding_too(params, x, *, key=None, train=False):
        return linear(params, x.values)

    y = np.asarray([int(np.argmax(linear(params, values))) for values in x.values])
    found = distances(reads_padding_too, params, Records(x, y))
    for row, length in enumerate(x.length):
        # What may not be changed acts as a constant.
        free = np.arange(FEATURES) < 2 * length
        flat = x.values[row].reshape(-1)
        constant = params["b"] + flat[~free] @ params["w"][~free]
        expected = linear_distance({"w": params["w"][free], "b": constant}, flat[free], y[row])
        np.testing.assert_allclose(found[row], expected, rtol=1e-4)


@pytest.mark.parametrize("activation", [jnp.tanh, jax.nn.relu], ids=["tanh", "relu"])
def test_no_smaller_flip_exists_in_any_direction_and_most_distances_are_the_smallest(activation):
    rng = np.random.default_rng(3)
    shapes = {"in": (2, 12), "bias": (12,), "out": (12, CLASSES)}
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    apply = functools.partial(hidden, activation)
    x = (1.5 * rng.normal(size=(30, 2))).astype(np.float32)
    logits = jax.jit(jax.vmap(lambda x: apply(params, x)))
    y = np.asarray(logits(x)).argmax(axis=1)
    found = distances(apply, params, Records(x, y))
    # The plane is small enough to be looked at everywhere: 180 directions, radii 0.02 apart.
    angles, radii = np.linspace(0, 2 * np.pi, 180, endpoint=False), np.arange(0.02, 8, 0.02)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    disc = (radii[:, None, None] * circle).reshape(-1, 2).astype(np.float32)
    flips = np.stack([np.asarray(logits(record + disc)).argmax(axis=1) for record in x]) != y[:, None]
    flips = flips.reshape(30, len(radii), -1).any(axis=2)
    assert flips.any(axis=1).all()
    smallest = radii[flips.argmax(axis=1)]
    assert (found > smallest - 0.021).all()
    assert np.quantile((found - 0.02) / smallest, 0.75) < 1.05


def dead(params, x, *, key=None, train=False):
    return jax.nn.relu(x @ params["w"] - 1e6) + params["b"]


def constant(params, x, *, key=None, train=False):
    return params["b"]


def saturated(params, x, *, key=None, train=False):
    return 1e3 * jnp.tanh(1e3 * x @ params["w"]) + params["b"]


def overflowing(params, x, *, key=None, train=False):
    return jnp.exp(x @ params["w"]) + params["b"]


def undefined_far_away(params, x, *, key=None, train=False):
    return x @ params["w"] + params["b"] + jnp.where(jnp.sum(x**2) > 100.0, jnp.nan, 0.0)


@pytest.mark.parametrize("apply", [dead, constant, saturated, overflowing, undefined_far_away])
@pytest.mark.parametrize("steps", [1, 20, 300])
def test_always_finite(apply, steps):
    x = np.random.default_rng(5).normal(size=(20, FEATURES)).astype(np.float32)
    params = linear_params(6)
    y = np.asarray(jax.vmap(lambda x: apply(params, x))(x)).argmax(axis=1)
    found = distances(apply, params, Records(x, y), steps)
    assert np.isfinite(found).all()
    assert (found > 0).all()


def test_where_nothing_flips_it_is_how_far_the_search_went():
    params = linear_params(6)
    x, y = np.zeros((1, FEATURES), np.float32), np.asarray([params["b"].argmax()])
    # From the origin each step doubles the distance and adds one: 1, 3, 7, …
    for steps, reached in ((1, 1.0), (2, 3.0), (3, 7.0)):
        np.testing.assert_allclose(distances(constant, params, Records(x, y), steps), [reached], rtol=1e-5)


def test_ties_are_at_distance_zero_or_next_to_it():
    params = linear_params(7, bias=0.0)
    x = np.zeros((1, FEATURES), np.float32)
    first, other = (distances(linear, params, Records(x, np.asarray([y])))[0] for y in (0, 1))
    # The first of several largest logits is the prediction: right for class 0, and lost at once.
    assert 0 <= first < 1e-5
    assert other == 0.0


def test_records_do_not_wait_for_one_another():
    """Side by side some flip sooner than others: each must stay where it stopped."""
    model = mlp(num_classes=3, hidden=8)
    rng = np.random.default_rng(8)
    x = rng.normal(size=(12, FEATURES)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x[0])
    params = jax.tree.map(lambda leaf: 0.5 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
    y = np.asarray(jax.vmap(lambda x: model.apply(params, x))(x)).argmax(axis=1)
    y[:3] = (y[:3] + 1) % 3
    together = distances(model.apply, params, Records(x, y))
    one = jax.jit(functools.partial(adversarial_distance, model, params, steps=20))
    alone = [one(Records(x[n], y[n])) for n in range(12)]
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(together[:3], 0.0)
    assert (together[3:] > 0).all()
    assert np.median(together[3:]) < 5


def test_a_search_needs_a_step():
    model = mlp(num_classes=2, hidden=3)
    params = model.init(jax.random.key(0), jnp.ones(4))
    with pytest.raises(ValueError, match="steps is 0: it must be at least 1"):
        adversarial_distance(model, params, Records(jnp.ones(4), jnp.int32(0)), steps=0)
