"""Holm's procedure against its definition, and the rate of false claims it promises."""

import itertools

import numpy as np
import pytest

from mia_jax.statistics.multiple_testing import holm


def rejected(p_values, alpha):
    """The procedure itself: step down through the sorted values until one is too large."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    done = set()
    for place, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - place):
            break
        done.add(i)
    return done


def by_definition(p_values):
    """Adjusted p: the smallest alpha at which the procedure rejects, found among all that matter."""
    levels = sorted({min(1.0, p * k) for p in p_values for k in range(1, len(p_values) + 1)} | {1.0})
    return [
        next((alpha for alpha in levels if i in rejected(p_values, alpha * (1 + 1e-12))), 1.0)
        for i in range(len(p_values))
    ]


@pytest.mark.parametrize("seed", range(30))
def test_adjusted_values_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    values = rng.random(int(rng.integers(1, 9))) ** rng.choice([1, 4])
    if seed % 3 == 0:
        values = np.round(values, 1)  # ties
    np.testing.assert_allclose(holm(values), by_definition(list(values)), rtol=1e-12)


def test_a_worked_example():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_order_does_not_matter_and_nothing_shrinks():
    values = np.array([0.2, 0.001, 0.04, 0.04])
    for places in itertools.permutations(range(4)):
        np.testing.assert_allclose(holm(values[list(places)]), holm(values)[list(places)])
    assert (holm(values) >= values).all()


def test_missing_values_pass_through_and_do_not_count():
    adjusted = holm([0.02, np.nan, 0.01, np.nan])
    np.testing.assert_allclose(adjusted[[0, 2]], holm([0.02, 0.01]))
    assert np.isnan(adjusted[[1, 3]]).all()
    assert holm([]).shape == (0,)
    assert np.isnan(holm([np.nan])).all()


def test_any_shape_is_kept_and_the_argument_left_alone():
    values = np.array([[0.01, 0.02], [0.03, 0.9]])
    before = values.copy()
    np.testing.assert_allclose(holm(values).ravel(), holm(values.ravel()))
    np.testing.assert_array_equal(values, before)


def test_false_claims_are_as_rare_as_stated():
    rng = np.random.default_rng(0)
    false = np.mean([(holm(rng.random(10)) <= 0.05).any() for _ in range(4000)])
    assert abs(false - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize("value", [-0.1, 1.5, np.inf])
def test_values_that_are_no_probabilities_are_refused(value):
    with pytest.raises(ValueError, match=r"p_values\[1\] is .*must lie in \[0, 1\]"):
        holm([0.5, value])
