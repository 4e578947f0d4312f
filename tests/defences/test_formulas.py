"""Every slot of a defence against the formula of its paper, on one record: no training."""

import dp_accounting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mia_jax.defences import (
    Defence,
    Happened,
    chain,
    fast_gradient_sign,
    l1,
    l2,
    l2_norm,
    label_smoothing,
    parameter_noise,
    randomised_labels,
)
from mia_jax.losses import cross_entropy
from mia_jax.types import Ragged

HAPPENED = Happened(8, 6)
DRAWS = 20_000


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    of_cell, of_out = (rng.normal(size=size).astype(np.float32) for size in ((3, 4), 5))
    return {"recurrent_0": {"kernel": of_cell}, "out": of_out}


# Penalties


@pytest.mark.parametrize(
    ("defence", "expected"),
    [
        (l2, lambda theta: np.sum(theta**2)),
        (l2_norm, lambda theta: np.linalg.norm(theta)),
        (l1, lambda theta: np.sum(np.abs(theta))),
    ],
    ids=["l2", "l2_norm", "l1"],
)
@pytest.mark.parametrize("pattern", ["", "recurrent"])
def test_penalties_are_norms_of_the_parameters_that_match(params, defence, expected, pattern):
    one = defence(pattern)
    theta = params["recurrent_0"]["kernel"].ravel()
    if not pattern:
        theta = np.append(theta, params["out"])
    found = one.penalty(params, {one.names[0]: 0.3})
    assert found == pytest.approx(0.3 * expected(theta), rel=1e-5)


@pytest.mark.parametrize("defence", [l2, l2_norm, l1])
def test_penalties_have_no_slope_at_zero(defence):
    zeros = {"a": jnp.zeros(3), "b": jnp.zeros((2, 2))}
    slope = jax.grad(lambda theta: defence().penalty(theta, {defence().names[0]: 1.0}))(zeros)
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, np.zeros(leaf.shape)), slope)


# Labels and losses


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_label_smoothing_is_the_cross_entropy_of_a_softer_label(share):
    logits, y = np.array([0.5, -1.0, 2.0, 0.1]), 2
    soft = (1.0 - share) * np.eye(4)[y] + share / 4
    loss = label_smoothing().loss(cross_entropy, {"label_smoothing": share})
    expected = -soft @ (logits - special.logsumexp(logits))
    assert loss(jnp.asarray(logits), y) == pytest.approx(expected, rel=1e-5)


def drawn_labels(rows, y):
    keys = jax.random.split(jax.random.key(3), DRAWS)
    label = randomised_labels().label
    strengths = {"label_rows": jnp.asarray(rows, jnp.float32)}
    return np.asarray(jax.vmap(lambda key: label(key, jnp.int32(y), strengths))(keys))


@pytest.mark.parametrize("y", [0, 1, 2])
def test_labels_are_drawn_from_the_row_of_the_true_one(y):
    rows = np.array([[0.7, 0.2, 0.1], [0.05, 0.5, 0.45], [0.0, 0.4, 0.6]])
    found = np.bincount(drawn_labels(rows, y), minlength=3) / DRAWS
    assert found.size == 3
    assert (np.abs(found - rows[y]) <= 4 * np.sqrt(rows[y] * (1 - rows[y]) / DRAWS)).all()


def test_a_row_that_falls_short_of_one_by_rounding_still_names_a_label_that_can_come_out():
    found = np.bincount(drawn_labels([[0.3, 0.2, 0.0]] * 3, 0), minlength=3) / DRAWS
    np.testing.assert_allclose(found, [0.6, 0.4, 0.0], atol=0.015)


def test_labels_that_never_come_out_are_none_of_the_events():
    """Half of two labels, and none of the third: e^epsilon is 3, so a label is drawn from both at 1/2."""
    rows = np.array([[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.5, 0.5, 0.0]])
    (event,) = randomised_labels().events
    found = event(HAPPENED, {"label_rows": rows, "label_epsilon": np.log(3.0)})
    assert found.unit == "label"
    assert found.event.num_buckets == 2
    assert found.event.noise_parameter == pytest.approx(0.5)


# Inputs


def loss_of_a_line(x):
    return jnp.sum(jnp.array([2.0, -3.0, 0.0]) * x)


def test_inputs_move_up_the_loss_by_the_radius():
    x = np.array([0.1, 0.2, 0.3])
    moved = fast_gradient_sign().inputs(loss_of_a_line, x, {"radius": 0.25})
    np.testing.assert_allclose(moved, [0.35, -0.05, 0.3], rtol=1e-6)


def test_what_stands_behind_a_ragged_records_end_stays():
    x = Ragged(np.array([0.1, 0.2, 0.3, 0.4]), np.int32(2))
    counted = np.arange(4) < 2
    moved = fast_gradient_sign().inputs(lambda x: jnp.sum(x.values * counted), x, {"radius": 0.5})
    np.testing.assert_allclose(moved.values, [0.6, 0.7, 0.3, 0.4], rtol=1e-6)
    assert moved.length == 2


def test_a_slope_that_is_not_finite_has_no_direction():
    x = np.array([0.0, 1.0])
    moved = fast_gradient_sign().inputs(lambda x: jnp.sum(jnp.sqrt(x)), x, {"radius": 0.5})
    np.testing.assert_allclose(moved, [0.0, 1.5])


# Releases


def test_noise_on_parameters_is_added_to_those_that_match(params):
    wide = jax.tree.map(lambda leaf: np.tile(leaf, 2000), params)
    released = parameter_noise("out").release(jax.random.key(1), wide, {"sigma": 0.3})
    np.testing.assert_array_equal(released["recurrent_0"]["kernel"], wide["recurrent_0"]["kernel"])
    noise = np.asarray(released["out"] - wide["out"])
    assert np.std(noise) == pytest.approx(0.3, rel=0.03)
    assert abs(np.mean(noise)) < 4 * 0.3 / np.sqrt(noise.size)


def test_noise_on_parameters_promises_what_their_sensitivity_is_bounded_by():
    (of_all,), (of_some,) = parameter_noise().events, parameter_noise("out").events
    bounded, nothing = {"sigma": 3.0, "sensitivity": 2.0}, dp_accounting.NonPrivateDpEvent()
    assert of_all(HAPPENED, bounded).event == dp_accounting.GaussianDpEvent(1.5)
    assert of_all(HAPPENED, {"sigma": 3.0}).event == nothing
    assert of_some(HAPPENED, bounded).event == nothing  # the others are released as they are


# Chains


def test_losses_of_a_chain_wrap_each_other_in_the_order_given():
    def changed(name, change):
        return Defence((name,), loss=lambda loss, strengths: lambda logits, y: change(loss(logits, y)))

    both = chain(changed("double", lambda value: 2.0 * value), changed("more", lambda value: value + 1.0))
    assert both.loss(lambda logits, y: 5.0, {})(None, None) == 11.0


def test_a_chain_says_all_that_happened():
    both = chain(randomised_labels(), l2(), parameter_noise())
    assert both.events == (*randomised_labels().events, *parameter_noise().events)
