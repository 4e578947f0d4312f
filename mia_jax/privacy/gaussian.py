"""The Gaussian mechanism in closed form, and sensitivities that are measured instead of proved.

Float64 on the host; nothing here needs an accountant. A release is value + N(0, sigma^2 I), and the value
moves by at most `sensitivity` (L2 norm) between neighbours, whatever relation makes them neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from scipy import optimize, special

from mia_jax.validation import check_number, check_whole

CERTAIN = 10.0
"""Phi(10) is 1 in float64: no delta below 1 asks for more."""


def analytic_gaussian_epsilon(sensitivity: float, sigma: float, delta: float) -> float:
    """The exact epsilon at delta in (0, 1) of one Gaussian release, sigma its standard deviation.

    Balle & Wang 2018, theorem 8: delta(epsilon) = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 -
    epsilon/mu) with mu = sensitivity/sigma. Infinite without noise, 0 without sensitivity. Raises
    ValueError for a negative or infinite sensitivity or sigma and for another delta.
    """
    _check_least("sensitivity", sensitivity)
    _check_least("sigma", sigma)
    _check_delta(delta)
    if sensitivity == 0:
        return 0.0
    mu = math.inf if sigma == 0 else sensitivity / sigma
    if math.isinf(mu):
        return math.inf
    # The search is for t = mu/2 - epsilon/mu, so that neither a large nor a small mu cancels digits.
    highest = min(mu / 2, CERTAIN)
    if _delta(highest, mu - highest) <= delta:
        return 0.0
    t = _root(lambda t: _delta(t, mu - t) - delta, float(special.ndtri(delta)), highest)
    return max(0.0, mu * (mu / 2 - t))


def analytic_gaussian_sigma(sensitivity: float, epsilon: float, delta: float) -> float:
    """The smallest standard deviation that gives (epsilon, delta) to one Gaussian release.

    epsilon: at least 0, infinite: no noise. Balle & Wang 2018, algorithm 1. Raises ValueError as
    `analytic_gaussian_epsilon` does, and for a negative epsilon.
    """
    _check_least("sensitivity", sensitivity)
    _check_delta(delta)
    check_number("epsilon", epsilon, lambda epsilon: epsilon >= 0, "be at least 0")
    if sensitivity == 0 or math.isinf(epsilon):
        return 0.0

    def other(t: float) -> float:
        return math.sqrt(t * t + 2.0 * epsilon)  # mu/2 + epsilon/mu, where t = mu/2 - epsilon/mu

    t = _root(lambda t: _delta(t, other(t)) - delta, float(special.ndtri(delta)), CERTAIN)
    # mu = t + other(t), without the cancellation of a negative t.
    return sensitivity / (t + other(t)) if t >= 0 else sensitivity * (other(t) - t) / (2.0 * epsilon)


def nominal_gaussian_epsilon(sensitivity: float, sigma: float, delta: float) -> float:
    """sensitivity * sqrt(2 ln(1.25/delta)) / sigma: the classical formula, a guarantee only up to epsilon 1.

    Above 1 it is a nominal label that papers print, not a bound (Dwork & Roth 2014, theorem A.1; Balle
    & Wang 2018, section 2.3): `analytic_gaussian_epsilon` is the guarantee. Raises ValueError as that does.
    """
    _check_least("sensitivity", sensitivity)
    _check_least("sigma", sigma)
    _check_delta(delta)
    if sensitivity == 0:
        return 0.0
    return math.inf if sigma == 0 else sensitivity * math.sqrt(2.0 * math.log(1.25 / delta)) / sigma


def random_dp_gamma(num_samples: int) -> float:
    """The probability gamma with which the largest of m sampled sensitivities may be too small, at its best rho.

    num_samples: m >= 1 independent draws of a pair of neighbouring data sets. With noise for the largest
    sensitivity seen, the release is (epsilon, delta)-DP for all but a share gamma of the pairs that the same
    law draws: random differential privacy. Rubinstein & Alda 2017 (ICML), the maximum of m samples: rho =
    exp(W_{-1}(-1/(4m))/2), gamma = rho + sqrt(ln(1/rho)/(2m)). W_{-1} is real for every m >= 1; at m = 1
    the sum passes 1, and 1.0 is returned: nothing is promised. Raises ValueError for fewer than 1 sample.
    """
    check_whole("num_samples", num_samples, 1)
    log_rho = float(special.lambertw(-1.0 / (4.0 * num_samples), k=-1).real) / 2.0
    return min(1.0, math.exp(log_rho) + math.sqrt(-log_rho / (2.0 * num_samples)))


def _delta(t: float, other: float) -> float:
    """Phi(t) - e^epsilon Phi(-other), where epsilon = (other^2 - t^2)/2 and -t <= other."""
    # e^epsilon phi(other) = phi(t): what is left are two Mills ratios, and nothing can overflow.
    ratio = special.erfcx(other / math.sqrt(2.0)) / special.erfcx(-t / math.sqrt(2.0))
    return float(special.ndtr(t) * (1.0 - ratio))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where an increasing function crosses 0."""
    root: Any = optimize.brentq(function, low, high, xtol=1e-14, rtol=1e-14)
    return float(root)


def _check_least(name: str, value: float) -> None:
    """Refuse what is negative or not finite."""
    check_number(name, value, lambda value: 0 <= value < math.inf, "be finite and at least 0")


def _check_delta(delta: float) -> None:
    """Refuse a delta outside (0, 1)."""
    check_number("delta", delta, lambda delta: 0 < delta < 1, "lie in (0, 1)")
