"""Worlds whose place on the plane is known in closed form: constant, random and perfect attacks, Gaussian shifts."""

import functools

import numpy as np
import pytest
from scipy import stats

from mia_jax import dynamics
from mia_jax.attacks import lira

TIMES = np.array([0.0, 1.0, 3.0, 7.0])


def balanced(rng, models, records):
    """Membership in which exactly half of the models hold each record: rates are of models / 2 trials."""
    return np.argsort(rng.random((models, records)), axis=0) < models // 2


def far(z, trials, rate):
    """By how many of their own standard errors mean and variance of z-scores miss what they should be.

    z: of independent records, (share - rate) / standard error. It is nearly N(0, 1), but not quite: shares are
    discrete, and the error has two of each outcome added. So mean and variance are those of the binomial, and
    their standard errors over records too.
    """
    count = np.arange(trials + 1)
    chance = stats.binom(trials, rate).pmf(count)
    centred = (count + 2.0) / (trials + 4.0)
    values = (count / trials - rate) / np.sqrt(centred * (1 - centred) / trials)
    mean = np.sum(chance * values)
    second, fourth = (np.sum(chance * (values - mean) ** power) for power in (2, 4))
    assert abs(mean) < 0.2
    assert 0.8 < second < 1.1
    return (
        (np.mean(z) - mean) / np.sqrt(second / z.size),
        (np.var(z) - second) / np.sqrt((fourth - second**2) / z.size),
    )


@pytest.mark.parametrize("called", [False, True])
def test_a_constant_attack_stays_in_its_corner_of_the_diagonal(called):
    member = balanced(np.random.default_rng(0), 10, 30)
    calls = np.full((10, 4, 30), called)
    fpr, tpr = dynamics.plane(calls, member)
    assert (fpr == called).all()
    assert (tpr == called).all()
    assert (dynamics.encoding_speed(fpr, tpr, TIMES) == 0).all()
    assert dynamics.center_displacement(dynamics.center_of_mass(fpr, tpr)) == 0
    np.testing.assert_array_equal(dynamics.spatial_entropy(fpr, tpr), np.zeros(4))
    np.testing.assert_array_equal(dynamics.clustering_index(fpr, tpr), np.full(4, 400.0))
    assert (dynamics.states(dynamics.vulnerability(fpr, tpr)) == 0).all()


def test_an_attack_that_changes_its_mind_runs_along_the_diagonal_and_exposes_nobody():
    member = balanced(np.random.default_rng(0), 10, 30)
    calls = np.zeros((10, 4, 30), bool)
    calls[:, 2:] = True
    fpr, tpr = dynamics.plane(calls, member)
    speed = dynamics.encoding_speed(fpr, tpr, TIMES)
    np.testing.assert_allclose(speed, np.repeat([[0.0], [np.sqrt(2) / 2], [0.0]], 30, axis=1))
    assert (dynamics.signed_speed(tpr - fpr, TIMES) == 0).all()
    assert dynamics.center_displacement(dynamics.center_of_mass(fpr, tpr)) == pytest.approx(np.sqrt(2))


@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_random_calls_lie_on_the_diagonal_within_their_errors(rate):
    rng = np.random.default_rng(1)
    member = balanced(rng, 200, 2000)
    calls = rng.random((200, 1, 2000)) < rate
    found = dynamics.plane(calls, member)
    for side, error in zip(found, dynamics.plane_errors(*found, member), strict=True):
        # Fixed seeds: two figures and two sides of three worlds, none beyond four of its errors.
        assert np.abs(far((side[0] - rate) / error[0], 100, rate)).max() < 4


def test_a_perfect_memoriser_is_in_the_corner_from_its_checkpoint_on_and_a_null_before():
    rng = np.random.default_rng(2)
    member = balanced(rng, 100, 500)
    scores = rng.normal(size=(100, 4, 500))
    scores[:, 2:] = np.where(member, 1.0, -1.0)[:, None] * rng.exponential(size=(100, 2, 500))
    calls, known = zip(*(dynamics.calls_at_zero(scores[:, t]) for t in range(4)), strict=True)
    fpr, tpr = dynamics.plane(iter(calls), member, iter(known))
    assert (fpr[2:] == 0).all()
    assert (tpr[2:] == 1).all()
    for side, error in zip((fpr, tpr), dynamics.plane_errors(fpr, tpr, member), strict=True):
        for t in range(2):
            assert np.abs(far((side[t] - 0.5) / error[t], 50, 0.5)).max() < 4
    assert dynamics.transition_matrix(tpr - fpr)[-1][2].tolist() == [0, 0, 1]
    entry = dynamics.entry_into_highest(tpr - fpr)
    assert (entry.peak, entry.peak_interval) == (1.0, 1)


MU = np.array([0.5, 1.0, 2.0, 3.0])
"""The shift of members' scaled logits at each checkpoint."""


def gaussian_shift(seed, models=200, records=1000):
    """Scaled logits N(mu, 1) of members and N(0, 1) of others, new noise at each checkpoint: [K, T, N], [K, N]."""
    rng = np.random.default_rng(seed)
    member = balanced(rng, models, records)
    return rng.normal(size=(models, MU.size, records)) + MU[:, None] * member[:, None], member


@pytest.fixture(scope="module")
def shifted():
    """The plane of a Gaussian shift by the true likelihood ratio: FPR, TPR, membership."""
    signal, member = gaussian_shift(3)
    ratio = stats.norm.logpdf(signal, MU[:, None]) - stats.norm.logpdf(signal)
    return *dynamics.plane(ratio >= 0, member), member


def test_a_gaussian_shift_is_where_its_closed_form_says(shifted):
    fpr, tpr, member = shifted
    errors = dynamics.plane_errors(fpr, tpr, member)
    for t, mu in enumerate(MU):
        for side, error, rate in zip((fpr, tpr), errors, stats.norm.cdf([-mu / 2, mu / 2]), strict=True):
            assert np.abs(far((side[t] - rate) / error[t], 100, rate)).max() < 4


def test_the_center_of_a_gaussian_shift_goes_the_way_of_its_closed_form(shifted):
    fpr, tpr, member = shifted
    low, high = stats.norm.cdf([-MU / 2, MU / 2])
    error = np.sqrt(low * high / member.sum())  # of one coordinate: all calls are independent
    center = dynamics.center_of_mass(fpr, tpr)
    assert (np.abs(center - np.stack([low, high], axis=1)) < 4 * error[:, None]).all()
    way = np.sqrt(2) * (high[-1] - high[0])
    assert abs(dynamics.center_displacement(center) - way) < 4 * np.hypot(error[0], error[-1])
    assert abs(dynamics.center_path_length(center) - way) < 4 * np.sqrt(2) * error.sum()  # straight
    signed = dynamics.speed_curve(dynamics.signed_speed(tpr - fpr, TIMES))
    noise = np.sqrt(2) * np.hypot(error[1:], error[:-1]) / np.diff(TIMES)
    assert (np.abs(signed - 2 * np.diff(high) / np.diff(TIMES)) < 4 * noise).all()


def test_the_speed_of_a_gaussian_shift_is_that_of_noisy_points(shifted):
    """A step of true length d with noise of deviation s along both axes is Rice distributed."""
    fpr, tpr, _ = shifted
    high = stats.norm.cdf(MU / 2)
    variance = high * (1 - high) / 100
    speed = dynamics.encoding_speed(fpr, tpr, TIMES)
    for interval, own in enumerate(speed):
        step, length = np.sqrt(2) * (high[interval + 1] - high[interval]), np.diff(TIMES)[interval]
        noise = np.sqrt(variance[interval] + variance[interval + 1])
        law = stats.rice(step / noise, scale=noise / length)
        assert law.mean() > step / length  # the noise lengthens it
        # Normal noise stands for binomial of 100 trials: under a hundredth of the law's deviation.
        allowed = law.std() * (4 / np.sqrt(own.size) + 0.01)
        assert abs(own.mean() - law.mean()) < allowed


def test_leave_one_out_lira_with_many_models_is_close_to_the_closed_form():
    """It knows neither mean: 300 references a side miss the middle by .04, which costs less than .01 of rate."""
    signal, member = gaussian_shift(4, models=600, records=60)
    scores = np.stack([lira(signal[:, t], member, variance="global") for t in range(MU.size)], axis=1)
    calls, known = scores >= 0, ~np.isnan(scores)
    assert known.all()
    center = dynamics.center_of_mass(*dynamics.plane(calls, member, known))
    closed = stats.norm.cdf([-MU / 2, MU / 2]).T
    error = np.sqrt(closed[:, 0] * closed[:, 1] / member.sum())[:, None]
    assert (np.abs(center - closed) < 0.01 + 4 * error).all()
    assert dynamics.center_displacement(center) == pytest.approx(
        np.sqrt(2) * (closed[-1, 1] - closed[0, 1]), abs=0.03
    )


def is_uniform(ranks, values):
    """Whether ranks 0 … values - 1 are as uniform as chance lets them be (chi-square, one in a thousand)."""
    return stats.chisquare(np.bincount(ranks, minlength=values)).pvalue > 1e-3


def mean_speed(calls, known, member):
    curve = dynamics.speed_curve(dynamics.encoding_speed(*dynamics.plane(calls, member, known), TIMES))
    return dynamics.speed_summary(curve, TIMES).mean


def lira_calls(signal, member):
    scores = np.stack([lira(signal[:, t], member, variance="global") for t in range(TIMES.size)], axis=1)
    return scores >= 0, ~np.isnan(scores)


def rank_in_null_world(seed, exposed=0.0):
    """The rank of LiRA's speed among those of permuted memberships, 0 … 7. exposed: what members gain."""
    rng = np.random.default_rng(seed)
    member = balanced(rng, 24, 40)
    signal = rng.normal(size=(24, 1, 40)) + rng.normal(size=(24, TIMES.size, 40))
    signal += exposed * np.arange(TIMES.size)[:, None] * member[:, None]
    floor = dynamics.refitted_speed_noise_floor(
        functools.partial(lira_calls, signal), member, TIMES, rng, permutations=7
    )
    means = dynamics.speed_summary(floor, TIMES).mean
    return int(np.sum(means < mean_speed(*lira_calls(signal, member), member)))


def test_in_null_worlds_the_rank_of_lira_among_refitted_permutations_is_uniform():
    assert is_uniform([rank_in_null_world(seed) for seed in range(120)], 8)


def test_ranks_are_not_uniform_where_something_is_memorised():
    """Or the test above would pass whatever it is given."""
    assert not is_uniform([rank_in_null_world(seed, exposed=0.7) for seed in range(40)], 8)


def test_in_null_worlds_the_rank_of_unfitted_calls_among_reordered_ones_is_uniform():
    ranks = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        member = balanced(rng, 16, 30)
        signal = rng.normal(size=(16, 1, 30)) + rng.normal(size=(16, TIMES.size, 30))
        calls = signal > np.linspace(-0.5, 1, TIMES.size)[:, None]
        floor = dynamics.speed_noise_floor(calls, member, TIMES, rng, permutations=7)
        ranks.append(int(np.sum(dynamics.speed_summary(floor, TIMES).mean < mean_speed(calls, None, member))))
    assert is_uniform(ranks, 8)
