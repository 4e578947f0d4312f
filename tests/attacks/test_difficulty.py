"""Difficulty calibration against a loop, by hand, and where hardness hides membership."""

import numpy as np
import pytest
from scipy.stats import norm

from mia_jax.attacks.base import Observations
from mia_jax.attacks.difficulty import attacks, difficulty_calibration
from mia_jax.config import AttacksConfig

K, N = 9, 12


def draw(seed=0):
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < 0.5
    return rng.normal(0, 30, N) + member + rng.normal(size=(K, N)), member


def naive(signal, member, exclude, valid):
    scores = np.full((K, N), np.nan)
    for k, n in np.ndindex(K, N):
        others = [j for j in range(K) if j != k and valid[j] and not exclude[k, j] and not member[j, n]]
        if valid[k] and others:
            scores[k, n] = signal[k, n] - np.mean([signal[j, n] for j in others])
    return scores


def test_scores_by_hand():
    signal = np.array([[3.0], [1.0], [2.0], [10.0]])
    member = np.array([[True], [False], [False], [True]])
    scores = difficulty_calibration(signal, member)
    np.testing.assert_allclose(scores[:, 0], [1.5, -1.0, 1.0, 8.5])


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_scores_are_the_loop(share):
    signal, member = draw()
    rng = np.random.default_rng(1)
    exclude, valid = rng.random((K, K)) < share, np.arange(K) != 3
    signal[3] = np.nan
    actual = difficulty_calibration(signal, member, exclude=exclude, valid=valid)
    np.testing.assert_allclose(actual, naive(signal, member, exclude, valid), rtol=1e-9, atol=1e-9)


def test_a_record_without_out_references_is_nan():
    signal, member = draw(2)
    member[:, 5] = np.arange(K) != 4  # the only OUT model is no reference for itself
    scores = difficulty_calibration(signal, member)
    assert np.flatnonzero(np.isnan(scores[:, 5])).tolist() == [4]


def test_the_choice_calibrates_the_log_probability():
    signal, member = draw(3)
    exclude, valid = np.eye(K, dtype=bool)[::-1], np.arange(K) != 1
    seen = Observations(member, valid, exclude, log_prob=signal)
    (one,) = attacks(AttacksConfig())
    np.testing.assert_array_equal(
        one.score(seen), difficulty_calibration(signal, member, exclude=exclude, valid=valid)
    )
    assert one.needs == {"log_prob"}


def test_where_hardness_hides_membership_calibration_finds_it(auc_of):
    rng = np.random.default_rng(4)
    member = rng.random((64, 200)) < 0.5
    signal = rng.normal(0, 40, 200) + 2.0 * member + rng.normal(size=(64, 200))
    assert auc_of(signal, member) == pytest.approx(0.5, abs=0.05)
    # The mean of 32 references adds 1/32 to the noise's variance.
    expected = norm.cdf(2.0 / np.sqrt(2 * (1 + 1 / 31.5)))
    assert auc_of(difficulty_calibration(signal, member), member) == pytest.approx(expected, abs=0.012)
