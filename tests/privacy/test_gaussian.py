"""The Gaussian mechanism in closed form, against its definition by integration and against itself."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from mia_jax.auditing import gaussian_epsilon
from mia_jax.privacy import (
    analytic_gaussian_epsilon,
    analytic_gaussian_sigma,
    nominal_gaussian_epsilon,
    random_dp_gamma,
)


def delta_by_integration(mu, epsilon):
    """The hockey-stick divergence of N(mu, 1) from N(0, 1), by quadrature."""
    crossing = epsilon / mu + mu / 2

    def excess(x):
        return stats.norm.pdf(x - mu) - np.exp(epsilon) * stats.norm.pdf(x)

    return integrate.quad(excess, crossing, crossing + 40, epsabs=1e-16, epsrel=1e-10)[0]


@pytest.mark.parametrize(
    ("sensitivity", "sigma", "delta"),
    [(1, 1, 1e-5), (0.3, 2, 1e-3), (2, 0.5, 1e-6), (5, 2, 0.2), (1, 20, 1e-8)],
)
def test_epsilon_gives_its_delta_by_integration(sensitivity, sigma, delta):
    epsilon = analytic_gaussian_epsilon(sensitivity, sigma, delta)
    assert delta_by_integration(sensitivity / sigma, epsilon) == pytest.approx(delta, rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.01, 1.0, 30.0, 1e4, 1e12])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.3])
@pytest.mark.parametrize("sensitivity", [1e-6, 1.0, 1e5])
def test_sigma_and_epsilon_are_inverse(sensitivity, epsilon, delta):
    sigma = analytic_gaussian_sigma(sensitivity, epsilon, delta)
    again = analytic_gaussian_epsilon(sensitivity, sigma, delta)
    assert again == pytest.approx(epsilon, rel=1e-7, abs=1e-11)


@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.3])
def test_zero_epsilon_is_a_total_variation_of_delta(delta):
    mu = 1.0 / analytic_gaussian_sigma(1.0, 0.0, delta)
    assert math.erf(mu / math.sqrt(8.0)) == pytest.approx(delta, rel=1e-4)
    assert analytic_gaussian_epsilon(0.99 * mu, 1.0, delta) == 0.0
    assert analytic_gaussian_epsilon(1.01 * mu, 1.0, delta) > 0.0


def test_limits():
    assert analytic_gaussian_epsilon(1.0, 0.0, 1e-5) == math.inf
    assert analytic_gaussian_epsilon(0.0, 0.0, 1e-5) == 0.0
    assert analytic_gaussian_sigma(0.0, 1.0, 1e-5) == 0.0
    assert analytic_gaussian_sigma(1.0, math.inf, 1e-5) == 0.0
    assert nominal_gaussian_epsilon(1.0, 0.0, 1e-5) == math.inf
    assert nominal_gaussian_epsilon(0.0, 0.0, 1e-5) == 0.0


def test_epsilon_falls_with_noise_and_with_delta():
    sigmas = np.geomspace(1e-3, 1e3, 60)
    epsilons = [analytic_gaussian_epsilon(1.0, sigma, 1e-5) for sigma in sigmas]
    assert all(np.diff(epsilons) < 0)
    deltas = np.geomspace(1e-300, 0.99, 60)
    assert all(np.diff([analytic_gaussian_epsilon(1.0, 0.1, delta) for delta in deltas]) < 0)


def test_audits_use_the_same_function():
    for mu in (0.0, 0.1, 3.0):
        assert gaussian_epsilon(mu, delta=1e-5) == analytic_gaussian_epsilon(mu, 1.0, 1e-5)


def test_nominal_formula_is_above_the_exact_epsilon_up_to_one_and_not_far_above():
    for delta in (1e-8, 1e-5, 1e-3):
        sigma = math.sqrt(2.0 * math.log(1.25 / delta))  # nominal epsilon 1
        assert nominal_gaussian_epsilon(1.0, sigma, delta) == pytest.approx(1.0)
        assert analytic_gaussian_epsilon(1.0, sigma, delta) < 1.0
    assert analytic_gaussian_epsilon(1.0, 0.05, 0.1) > nominal_gaussian_epsilon(1.0, 0.05, 0.1)


@pytest.mark.parametrize(
    ("samples", "gamma"), [(20, 0.323), (50, 0.217), (100, 0.160), (200, 0.117), (500, 0.077)]
)
def test_random_dp_gamma_is_the_published_one(samples, gamma):
    assert random_dp_gamma(samples) == pytest.approx(gamma, abs=5e-4)


@pytest.mark.parametrize(("gamma", "samples"), [(0.1, 285), (0.05, 1305)])
def test_samples_that_a_gamma_needs(gamma, samples):
    assert random_dp_gamma(samples) <= gamma < random_dp_gamma(samples - 1)


@pytest.mark.parametrize("samples", [2, 7, 300])
def test_random_dp_gamma_is_the_least_over_rho(samples):
    rho = np.linspace(1e-4, 1 - 1e-4, 200_001)
    least = np.min(rho + np.sqrt(np.log(1 / rho) / (2 * samples)))
    assert random_dp_gamma(samples) == pytest.approx(least, rel=1e-7)


def test_one_sample_promises_nothing():
    assert random_dp_gamma(1) == 1.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: analytic_gaussian_epsilon(-1, 1, 0.1),
            "sensitivity is -1: it must be finite and at least 0",
        ),
        (lambda: analytic_gaussian_epsilon(1, math.nan, 0.1), "sigma is nan"),
        (lambda: analytic_gaussian_epsilon(1, 1, 0.0), r"delta is 0.0: it must lie in \(0, 1\)"),
        (lambda: analytic_gaussian_sigma(1, -0.5, 0.1), "epsilon is -0.5: it must be at least 0"),
        (lambda: analytic_gaussian_sigma(math.inf, 1, 0.1), "sensitivity is inf"),
        (lambda: nominal_gaussian_epsilon(1, 1, 1.0), "delta is 1.0"),
        (lambda: random_dp_gamma(0), "num_samples is 0: it must be at least 1"),
        (lambda: random_dp_gamma(2.5), "num_samples is 2.5: it must be a whole number of at least 1"),
        (
            lambda: analytic_gaussian_epsilon("a", 1, 0.1),
            "sensitivity is 'a': it must be finite and at least 0",
        ),
        (lambda: analytic_gaussian_sigma(1, None, 0.1), "epsilon is None: it must be at least 0"),
        (lambda: nominal_gaussian_epsilon(1, 1, "x"), r"delta is 'x': it must lie in \(0, 1\)"),
    ],
)
def test_what_is_wrong_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
