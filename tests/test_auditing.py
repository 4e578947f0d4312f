"""Bounds on epsilon: never above the truth more often than stated, and not needlessly low."""

import math

import numpy as np
import pytest
from scipy import stats

from mia_jax.auditing import (
    epsilon_ceiling,
    epsilon_lower_bound,
    gaussian_epsilon,
    gaussian_mu_lower_bound,
    one_run_epsilon,
)

DELTA = 1e-5


def share_above(truth, draw, *, worlds=600, seed=0, delta=DELTA, **options):
    """How often the bound exceeds the truth, and its mean."""
    rng = np.random.default_rng(seed)
    bounds = [epsilon_lower_bound(*draw(rng), delta=delta, **options) for _ in range(worlds)]
    return np.mean(np.array(bounds) > truth), np.mean(bounds)


def allowed(confidence, worlds=600):
    """The share of false alarms that chance may make of the stated one (one in 10,000 worlds more)."""
    return stats.binom.ppf(0.9999, worlds, 1 - confidence) / worlds


def normal_scores(shift, size):
    def draw(rng):
        member = rng.random(size) < 0.5
        return rng.normal(size=size) + shift * member, member

    return draw


def randomised_response(epsilon, size):
    """A bit that tells the truth with probability e^eps / (1 + e^eps): exactly eps-DP."""

    def draw(rng):
        member = rng.random(size) < 0.5
        honest = rng.random(size) < 1 / (1 + math.exp(-epsilon))
        return member == honest, member

    return draw


@pytest.mark.parametrize("confidence", [0.95, 0.7])
@pytest.mark.parametrize("size", [16, 64, 257])
def test_false_alarms_on_noise_are_no_more_than_stated(size, confidence):
    above, _ = share_above(0.0, normal_scores(0.0, size), confidence=confidence)
    assert above <= allowed(confidence)


@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.01])
@pytest.mark.parametrize("size", [32, 64, 1000])
@pytest.mark.parametrize("thresholds", [None, (0.0,)], ids=["ranks", "fixed"])
def test_false_alarms_on_noise_are_rare_for_any_number_of_trials_and_delta(size, delta, thresholds):
    above, _ = share_above(0.0, normal_scores(0.0, size), worlds=200, delta=delta, thresholds=thresholds)
    assert above <= allowed(0.95, 200)


@pytest.mark.parametrize("size", [32, 64, 1000])
def test_false_alarms_of_mu_and_of_one_run_are_rare(size):
    rng = np.random.default_rng(11)
    mus = [gaussian_mu_lower_bound(*normal_scores(0.0, size)(rng)) for _ in range(200)]
    assert np.mean(np.array(mus) > 0) <= allowed(0.95, 200)
    right = rng.binomial(size // 4, 0.5, 200)
    ones = [one_run_epsilon(int(c), size // 4, num_canaries=size, delta=DELTA) for c in right]
    assert np.mean(np.array(ones) > 0) <= allowed(0.95, 200)


@pytest.mark.slow
@pytest.mark.parametrize("delta", [1e-5, 0.01])
@pytest.mark.parametrize("size", [32, 64, 1000])
@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_no_bound_of_the_gaussian_mechanism_exceeds_the_truth(size, delta, shift):
    truth = gaussian_epsilon(shift, delta=delta)
    above, _ = share_above(truth, normal_scores(shift, size), worlds=300, delta=delta)
    assert above <= allowed(0.95, 300)
    rng = np.random.default_rng(12)
    mus = np.array([gaussian_mu_lower_bound(*normal_scores(shift, size)(rng)) for _ in range(300)])
    assert np.mean(mus > shift) <= allowed(0.95, 300)
    assert np.mean([one_run_of_extremes(rng, size, shift, delta) > truth for _ in range(300)]) <= allowed(
        0.95, 300
    )


def one_run_of_extremes(rng, size, shift, delta):
    """One model's canaries, each noisily seen; the quarter with the most telling scores is guessed."""
    scores, member = normal_scores(shift, size)(rng)
    order, each = np.argsort(scores), size // 8
    right = int(member[order[-each:]].sum() + (~member[order[:each]]).sum())
    return one_run_epsilon(right, 2 * each, num_canaries=size, delta=delta)


@pytest.mark.parametrize("values", [2, 5])
def test_tied_scores_raise_no_false_alarms(values):
    def draw(rng):
        return rng.integers(0, values, 64).astype(float), rng.random(64) < 0.5

    above, _ = share_above(0.0, draw)
    assert above <= allowed(0.95)


@pytest.mark.parametrize("size", [64, 1024])
def test_bound_of_the_gaussian_mechanism_holds_and_is_not_idle(size):
    shift = 2.0
    truth = gaussian_epsilon(shift, delta=DELTA)
    above, mean = share_above(truth, normal_scores(shift, size), worlds=300)
    assert above <= allowed(0.95, 300)
    assert mean > (0.7 if size == 64 else 2.0)


@pytest.mark.parametrize("size", [32, 64, 1000])
@pytest.mark.parametrize("delta", [0.0, 0.01])
def test_bound_of_randomised_response_holds_for_few_trials(size, delta):
    above, _ = share_above(1.0, randomised_response(1.0, size), worlds=300, delta=delta)
    assert above <= allowed(0.95, 300)


def test_two_rates_pay_for_both_readings_of_a_threshold():
    """1 - TPR and 1 - FPR have the ends of TPR and FPR: each of two rates may be wrong half the time."""
    inside, outside = np.arange(100) < 90, np.arange(100) < 20  # of 100 members 90 are called, of others 20
    member = np.repeat([True, False], 100)
    bound = epsilon_lower_bound(np.r_[inside, outside], member, delta=0.0)
    tpr = stats.beta.ppf(0.025, 90, 11)
    fpr = stats.beta.ppf(0.975, 21, 80)
    assert bound == pytest.approx(max(np.log(tpr / fpr), np.log((1 - fpr) / (1 - tpr))))


def test_threshold_at_a_rank_has_the_bound_of_that_order_statistic():
    """All members lie between the 3rd and 4th largest of 1,000 others: the 4th one's FPR is Beta(4, 997)."""
    scores = np.r_[np.full(16, 0.5), [1.0, 2.0, 3.0], -np.arange(997.0)]
    member = np.arange(1016) < 16
    risk = 0.05 / (2 * (5 + 3))  # ranks 1, 4, 16, 64, 256 of the others, 1, 4, 16 of the members
    expected = np.log(risk ** (1 / 16) / stats.beta.isf(risk, 4, 997))
    assert epsilon_lower_bound(scores, member, delta=0.0) == pytest.approx(expected)


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_bound_of_randomised_response_holds_and_comes_close(epsilon):
    above, mean = share_above(epsilon, randomised_response(epsilon, 2000), worlds=300)
    assert above <= allowed(0.95, 300)
    assert mean > 0.6 * epsilon


def test_decisions_may_be_given_as_scores_with_their_threshold():
    rng = np.random.default_rng(0)
    decisions, member = randomised_response(1.0, 500)(rng)
    as_scores = epsilon_lower_bound(decisions * 1.0, member, delta=0.0, thresholds=[0.5])
    assert as_scores == epsilon_lower_bound(decisions, member, delta=0.0)
    assert as_scores > 0


def test_both_kinds_of_error_are_used():
    """Non-members that are surely told: no FPR shows it, the share of missed members does."""
    member = np.arange(400) < 200
    scores = np.where(member, 1.0, np.r_[np.zeros(200), np.full(100, 2.0), np.full(100, -5.0)])
    assert epsilon_lower_bound(scores, member, delta=0.0) > 2.0


def test_perfect_attack_reaches_the_ceiling_and_no_more():
    member = np.arange(64) < 32
    ceiling = epsilon_ceiling(32, 32, delta=DELTA)
    assert epsilon_lower_bound(member * 1.0 + np.linspace(0, 0.1, 64), member, delta=DELTA) == ceiling
    assert 1.4 < ceiling < 2.2
    assert 4.0 < epsilon_ceiling(512, 512, delta=DELTA) < 4.9


def test_bounds_do_not_depend_on_the_scale_of_scores():
    scores, member = normal_scores(2.0, 200)(np.random.default_rng(1))
    bound = epsilon_lower_bound(scores, member, delta=DELTA)
    assert bound == epsilon_lower_bound(np.exp(scores), member, delta=DELTA)
    assert bound > epsilon_lower_bound(scores, member, delta=DELTA, confidence=0.999)
    assert bound > epsilon_lower_bound(scores, member, delta=0.05)


def test_mu_bound_holds_for_the_gaussian_mechanism():
    rng = np.random.default_rng(2)
    bounds = [gaussian_mu_lower_bound(*normal_scores(1.5, 300)(rng)) for _ in range(300)]
    assert np.mean(np.array(bounds) > 1.5) <= allowed(0.95, 300)
    assert np.mean(bounds) > 0.8


def test_gaussian_epsilon_inverts_its_delta():
    for mu in (0.1, 1.0, 3.0):
        epsilon = gaussian_epsilon(mu, delta=DELTA)
        delta = stats.norm.cdf(-epsilon / mu + mu / 2) - math.exp(epsilon) * stats.norm.cdf(
            -epsilon / mu - mu / 2
        )
        assert delta == pytest.approx(DELTA, rel=1e-6)
    assert gaussian_epsilon(0.0, delta=DELTA) == 0.0


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_gaussian_epsilon_is_that_of_an_accountant(mu):
    """The Gaussian mechanism of sensitivity 1 and noise 1 / mu is exactly mu-GDP."""
    from dp_accounting import dp_event, pld

    accountant = pld.PLDAccountant()
    accountant.compose(dp_event.GaussianDpEvent(1 / mu))
    assert gaussian_epsilon(mu, delta=DELTA) == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-3)


def one_run_by_hand(correct, guesses, canaries, epsilon, delta):
    """The probability of theorem 5.2, term by term."""
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    pmf = [math.comb(guesses, k) * q**k * (1 - q) ** (guesses - k) for k in range(guesses + 1)]

    def tail(v):
        return sum(pmf[max(v, 0) :])

    steepest = max(((tail(correct - i) - tail(correct)) / i for i in range(1, correct + 1)), default=0.0)
    return tail(correct) + 2 * canaries * delta * steepest


@pytest.mark.parametrize(
    ("correct", "guesses", "canaries", "delta"),
    [(90, 100, 100, 0.0), (90, 100, 1000, 1e-5), (60, 60, 200, 1e-5), (75, 100, 100, 1e-3)],
)
def test_one_run_bound_is_where_the_theorem_puts_it(correct, guesses, canaries, delta):
    epsilon = one_run_epsilon(correct, guesses, num_canaries=canaries, delta=delta)
    assert epsilon > 0
    assert one_run_by_hand(correct, guesses, canaries, epsilon, delta) == pytest.approx(0.05, rel=1e-5)


def test_one_run_bound_holds_for_randomised_response():
    rng = np.random.default_rng(3)
    correct = rng.binomial(200, 1 / (1 + math.exp(-1.0)), 400)
    bounds = np.array([one_run_epsilon(int(c), 200, num_canaries=200, delta=0.0) for c in correct])
    assert np.mean(bounds > 1.0) <= allowed(0.95, 400)
    assert np.mean(bounds) > 0.5


def test_one_run_bound_of_chance_is_nothing():
    assert one_run_epsilon(50, 100, num_canaries=100, delta=DELTA) == 0.0
    assert one_run_epsilon(0, 0, num_canaries=100, delta=DELTA) == 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: one_run_epsilon(5, 4, num_canaries=9, delta=0.0),
            "are 5, 4, 9: none must be larger than the next",
        ),
        (lambda: epsilon_lower_bound([1.0], [True], delta=0.0), "member marks only members, 1 of them"),
        (lambda: epsilon_lower_bound([1.0, np.nan], [1, 0], delta=0.0), r"scores\[1\] is NaN"),
        (
            lambda: epsilon_lower_bound([[1.0, 2.0]], [[1, 0]], delta=0.0),
            r"must be \[M\], one of each independent",
        ),
        (
            lambda: epsilon_lower_bound([1.0, 2.0], [1, 0], delta=1.0),
            r"delta is 1.0: it must lie in \[0, 1\)",
        ),
        (lambda: epsilon_lower_bound([1.0, 2.0], [1, 0], delta=0.0, confidence=1.0), "confidence is 1.0"),
        (lambda: gaussian_epsilon(-1.0, delta=0.1), "mu is -1.0"),
        (lambda: gaussian_epsilon("a", delta=0.1), "mu is 'a': it must be finite and at least 0"),
        (
            lambda: epsilon_lower_bound([1.0, 2.0], [1, 0], delta=None),
            r"delta is None: it must lie in \[0, 1\)",
        ),
        (lambda: epsilon_lower_bound(["a", "b"], [1, 0], delta=0.0), "scores is no array of numbers"),
        (
            lambda: epsilon_lower_bound([1.0, 2.0], [1, 0], delta=0.0, thresholds=1.0),
            "thresholds is 1.0: it must hold",
        ),
        (lambda: epsilon_ceiling("a", 5, delta=0.0), "num_members is 'a': it must be a whole number"),
        (lambda: epsilon_ceiling(5, -1, delta=0.0), "num_others is -1: it must be at least 1"),
        (
            lambda: one_run_epsilon(2.5, 5, num_canaries=9, delta=0.0),
            "num_correct is 2.5: it must be a whole number",
        ),
    ],
)
def test_what_is_wrong_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_no_threshold_at_all_is_refused():
    with pytest.raises(ValueError, match=r"thresholds is \[\]: it must hold at least one"):
        epsilon_lower_bound(np.arange(8.0), np.arange(8) > 3, delta=0.0, thresholds=[])
