"""Random labels: their definition, their guarantee, and that no other k would do better."""

import math

import numpy as np
import pytest
from dp_accounting import NeighboringRelation, pld

from mia_jax.privacy import label_event, randomized_response_probabilities, rr_with_prior_probabilities

PRIORS = [
    [0.25, 0.25, 0.25, 0.25],
    [0.1, 0.6, 0.05, 0.25],
    [0.5, 0.0, 0.5, 0.0, 0.0],
    [0.97, 0.01, 0.01, 0.01],
    [1.0],
]
EPSILONS = [0.0, 0.1, 1.0, 5.0, 900.0, math.inf]


def top_k(prior, k, epsilon):
    """RRTop-k as in the paper, label by label."""
    kept = sorted(range(len(prior)), key=lambda label: (-prior[label], label))[:k]
    rows = np.zeros((len(prior), len(prior)))
    for true in range(len(prior)):
        for out in kept:
            if true not in kept:
                rows[true, out] = 1 / k
            else:
                rows[true, out] = (math.exp(epsilon) if out == true else 1) / (math.exp(epsilon) + k - 1)
    return rows


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_rows_are_probabilities_and_no_column_tells_more_than_epsilon(prior, epsilon):
    for rows in (
        rr_with_prior_probabilities(np.array(prior), epsilon),
        randomized_response_probabilities(len(prior), epsilon),
    ):
        assert rows.dtype == np.float64
        assert np.all(rows >= 0)
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-12)
        if epsilon < 700:
            assert np.all(rows.max(axis=0) <= rows.min(axis=0) * math.exp(epsilon) * (1 + 1e-12))


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 5.0])
def test_with_prior_is_the_best_of_all_top_k(prior, epsilon):
    rows = rr_with_prior_probabilities(np.array(prior), epsilon)
    candidates = [top_k(prior, k, epsilon) for k in range(1, len(prior) + 1)]
    right = [float(np.array(prior) @ np.diag(one)) for one in candidates]
    assert np.array(prior) @ np.diag(rows) == pytest.approx(max(right), rel=1e-12)
    assert any(np.allclose(rows, one, rtol=1e-12) for one in candidates)


def test_few_classes_at_small_epsilon_are_the_likeliest_alone():
    rows = rr_with_prior_probabilities(np.array([0.1, 0.7, 0.2]), 0.0)
    np.testing.assert_array_equal(rows, [[0, 1, 0]] * 3)


def test_equal_prior_is_plain_randomised_response():
    for epsilon in EPSILONS:
        rows = rr_with_prior_probabilities(np.full(10, 0.1), epsilon)
        np.testing.assert_allclose(rows, randomized_response_probabilities(10, epsilon), rtol=1e-14)


@pytest.mark.parametrize("prior", PRIORS)
def test_infinite_epsilon_changes_no_label(prior):
    np.testing.assert_array_equal(rr_with_prior_probabilities(np.array(prior), math.inf), np.eye(len(prior)))
    np.testing.assert_array_equal(randomized_response_probabilities(len(prior), math.inf), np.eye(len(prior)))


def test_labels_without_a_prior_are_never_given_at_a_finite_epsilon():
    rows = rr_with_prior_probabilities(np.array([0.5, 0.0, 0.5, 0.0]), 8.0)
    assert np.all(rows[:, [1, 3]] == 0)
    np.testing.assert_array_equal(rows[1], [0.5, 0, 0.5, 0])


def test_prior_in_float32_is_taken():
    counts = np.random.default_rng(0).integers(1, 50, size=1000)
    prior = (counts / counts.sum()).astype(np.float32)
    np.testing.assert_allclose(rr_with_prior_probabilities(prior, 2.0).sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize(("classes", "epsilon"), [(2, 1.0), (10, 3.0), (5, 0.0)])
def test_event_costs_what_the_rows_say(classes, epsilon):
    accountant = pld.PLDAccountant(NeighboringRelation.REPLACE_ONE)
    accountant.compose(label_event(classes, epsilon))
    rows = randomized_response_probabilities(classes, epsilon)
    assert accountant.get_epsilon(0.0) == pytest.approx(epsilon, abs=2e-4)
    for smaller in (0.0, 0.5 * epsilon):
        delta = np.maximum(rows[0] - math.exp(smaller) * rows[1], 0.0).sum()
        assert accountant.get_delta(smaller) == pytest.approx(delta, rel=1e-3, abs=1e-12)


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_event_of_k_labels_covers_randomised_response_with_a_prior(epsilon):
    rows = rr_with_prior_probabilities(np.array([0.4, 0.3, 0.2, 0.05, 0.05]), epsilon)
    k = int(np.sum(rows.max(axis=0) > 0))
    assert k < 5
    accountant = pld.PLDAccountant(NeighboringRelation.REPLACE_ONE)
    accountant.compose(label_event(k, epsilon))
    for smaller in np.linspace(0, epsilon, 5):
        apart = rows[:, None] - math.exp(smaller) * rows[None]
        assert np.maximum(apart, 0.0).sum(axis=-1).max() <= accountant.get_delta(smaller) + 1e-9


def test_event_without_noise_is_not_private():
    accountant = pld.PLDAccountant(NeighboringRelation.REPLACE_ONE)
    accountant.compose(label_event(4, math.inf))
    assert accountant.get_epsilon(1e-5) == math.inf


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: rr_with_prior_probabilities(np.array([0.5, 0.4]), 1.0),
            "prior adds up to 0.9: it must add up to 1",
        ),
        (lambda: rr_with_prior_probabilities(np.array([1.5, -0.5]), 1.0), r"prior\[1\] is -0.5"),
        (lambda: rr_with_prior_probabilities(np.array([math.nan, 1.0]), 1.0), r"prior\[0\] is nan"),
        (lambda: rr_with_prior_probabilities(np.eye(2), 1.0), r"prior has shape \(2, 2\): it must be \[C\]"),
        (
            lambda: rr_with_prior_probabilities(np.array([1.0]), -1.0),
            "epsilon is -1.0: it must be at least 0",
        ),
        (lambda: randomized_response_probabilities(0, 1.0), "num_classes is 0: it must be at least 1"),
        (lambda: label_event(3, math.nan), "epsilon is nan"),
        (
            lambda: randomized_response_probabilities(2.5, 1.0),
            "num_classes is 2.5: it must be a whole number",
        ),
        (lambda: randomized_response_probabilities(3, "a"), "epsilon is 'a': it must be at least 0"),
        (lambda: rr_with_prior_probabilities(["a"], 1.0), "prior is no array of numbers"),
    ],
)
def test_what_is_wrong_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
