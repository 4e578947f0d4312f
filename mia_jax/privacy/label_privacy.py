"""Label differential privacy: random labels for true ones, as rows of probabilities.

Features are taken to be public, labels are not: neighbours differ in the label of one record. A mechanism is
epsilon-DP if no entry of a column is more than e^epsilon times another one of that column.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mia_jax.validation import as_numbers, check_number, check_whole

if TYPE_CHECKING:
    import dp_accounting

    from mia_jax.types import Array

SUM_ERROR = 1e-4
"""What rounding to float32 may do to the sum of a prior over many classes."""

TIE = 1e-12
"""Relative difference up to which two probabilities of the true label are the same."""


def randomized_response_probabilities(num_classes: int, epsilon: float) -> np.ndarray:
    """k-ary randomised response, float64 [C, C], row: true label; the true one with e^epsilon the odds of each other.

    epsilon: at least 0, infinite: the identity. Warner 1965; Kairouz, Oh & Viswanath 2014. Raises
    ValueError for fewer than 1 class and a negative epsilon.
    """
    _check(num_classes, epsilon)
    kept, other = _odds(num_classes, epsilon)
    return np.where(np.eye(num_classes, dtype=bool), kept, other)


def rr_with_prior_probabilities(prior: Array, epsilon: float) -> np.ndarray:
    """Randomised response among the k likeliest labels, float64 [C, C], row: true label.

    prior: [C], the public probability of each label, in sum 1; zeros are allowed. A true label among the k
    is answered as by k-ary randomised response, another one by any of the k with the same probability.
    Ghazi et al. 2021, arXiv:2102.06062, algorithms 1 (RRTop-k) and 2 (RRWithPrior): k makes the
    probability of the true label under the prior the largest, which no epsilon-DP mechanism exceeds
    (theorem 3); of equal ones the largest k, so that an infinite epsilon is the identity, and of equally
    likely labels the first. Raises ValueError for a prior that is none and a negative epsilon.
    """
    likely = _as_prior(prior)
    num_classes = likely.size
    _check(num_classes, epsilon)
    falling = np.argsort(-likely, kind="stable")
    kept = np.array([_odds(k, epsilon)[0] for k in range(1, num_classes + 1)])
    right = kept * np.cumsum(likely[falling])  # [C], the probability of the true label by k
    k = int(np.flatnonzero(right >= right.max() * (1.0 - TIE))[-1]) + 1
    rows = np.zeros((num_classes, num_classes))
    top = falling[:k]
    rows[:, top] = 1.0 / k
    rows[np.ix_(top, top)] = randomized_response_probabilities(k, epsilon)
    return rows


def label_event(num_classes: int, epsilon: float) -> dp_accounting.DpEvent:
    """The event of one draw of every label by `randomized_response_probabilities`, under REPLACE_ONE of a label.

    `rr_with_prior_probabilities` costs at most what this does for its k (the columns that are not zero): to
    its rows it adds only their average. At epsilon 0, and for one class, nothing happened. Raises ValueError
    as `randomized_response_probabilities` does.
    """
    from dp_accounting import dp_event

    _check(num_classes, epsilon)
    _, other = _odds(num_classes, epsilon)
    redrawn = (
        num_classes * other
    )  # dp-accounting's noise parameter: how often a label is drawn from all of them
    # Its accountants refuse 1, where nothing is said of the label at all.
    return dp_event.RandomizedResponseDpEvent(redrawn, num_classes) if redrawn < 1 else dp_event.NoOpDpEvent()


def _odds(num_classes: int, epsilon: float) -> tuple[float, float]:
    """The probability of the true label and of each other one; e^-epsilon, as e^epsilon overflows."""
    away = math.exp(-epsilon)
    return 1.0 / (1.0 + (num_classes - 1) * away), away / (1.0 + (num_classes - 1) * away)


def _as_prior(prior: Array) -> np.ndarray:
    """A prior in float64 [C] (`ValueError`)."""
    likely = as_numbers("prior", prior)
    if likely.ndim != 1 or not likely.size:
        raise ValueError(f"prior has shape {likely.shape}: it must be [C], one probability of each label.")
    if not np.all(likely >= 0):
        worst = int(np.argmax(~(likely >= 0)))
        raise ValueError(f"prior[{worst}] is {likely[worst]}: it must be at least 0.")
    if not abs(likely.sum() - 1.0) <= SUM_ERROR:
        raise ValueError(f"prior adds up to {likely.sum():g}: it must add up to 1; divide it by its sum.")
    return likely


def _check(num_classes: int, epsilon: float) -> None:
    """Refuse what is no number of classes and no epsilon."""
    check_whole("num_classes", num_classes, 1)
    check_number("epsilon", epsilon, lambda epsilon: epsilon >= 0, "be at least 0, infinite for true labels")
