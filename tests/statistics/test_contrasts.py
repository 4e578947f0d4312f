"""Estimates that carry their influence: against the functions for pairs, numerical derivatives and simulated worlds."""

import numpy as np
import pytest
from scipy import stats

from mia_jax import metrics
from mia_jax.statistics import contrasts
from mia_jax.statistics.clustering import Spread
from mia_jax.statistics.contrasts import Whole


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    member = rng.random((12, 30)) < 0.5
    scores = rng.normal(size=(2, 12, 30)) + member
    return scores, member


def test_a_difference_is_that_of_the_function_for_pairs(table):
    scores, member = table
    for a, b in (scores, np.where(np.arange(30) < 4, np.nan, scores)):
        for twin in (None, np.arange(12) ^ 1):
            ours = contrasts.less(contrasts.measured_auc(a, member), contrasts.measured_auc(b, member))
            found = contrasts.interval(contrasts.whole(ours, twin), 0.9)
            np.testing.assert_allclose(found, metrics.auc_difference(a, b, member, 0.9, twin), rtol=1e-9)


def test_balanced_accuracy_is_that_of_its_interval(table):
    (scores, _), member = table
    scores = np.where(np.arange(30) == 3, np.nan, scores)
    called = scores > 0.4
    ours = contrasts.measured_accuracy(called, scores, member)
    value, (low, high) = metrics.balanced_accuracy_interval(called, scores, member)
    assert ours.value == pytest.approx(value)
    # The interval of a share is symmetric as a logit: its width there is twice the quantile times error over v (1 - v).
    width = np.log(high / (1 - high)) - np.log(low / (1 - low))
    error = contrasts.whole(ours).spread
    reach = stats.t.ppf(0.975, error.degrees) * error.error
    assert width == pytest.approx(2 * reach / (value * (1 - value)))


def test_among_is_the_same_as_missing_elsewhere(table):
    (scores, _), member = table
    some = np.arange(30) % 3 == 0
    ours = contrasts.measured_auc(scores, member, some)
    blank = contrasts.measured_auc(np.where(some, scores, np.nan), member)
    np.testing.assert_allclose(ours.influence, blank.influence, atol=1e-15)
    assert ours.value == pytest.approx(metrics.auc(scores[:, some], member[:, some]))


def weighted(x, y, among, weights, level):
    """What y is where x reaches the level, shares of weighted entries: written out once more."""
    xs, ys = ([np.sum(weights * v * among) / np.sum(weights * among) for v in values] for values in (x, y))
    for place in range(1, len(xs)):
        if min(xs[place:]) >= level:
            way = (level - xs[place - 1]) / (xs[place] - xs[place - 1])
            return ys[place - 1] + way * (ys[place] - ys[place - 1])
    raise AssertionError


def test_influence_at_a_level_is_the_derivative_by_an_entrys_weight():
    """An influence value is what a little more weight of its entry does to the estimate."""
    rng = np.random.default_rng(1)
    x = np.sort(rng.random((4, 5, 6)), axis=0)
    y = rng.random((4, 5, 6))
    among = rng.random((5, 6)) < 0.7
    at = [contrasts.measured_mean(values, among) for values in x]
    of = [contrasts.measured_mean(values, among) for values in y]
    level = 0.55
    found = contrasts.at_level(at, of, level)
    assert found is not None
    assert found.value == pytest.approx(weighted(x, y, among, np.ones((5, 6)), level))
    for k, n in np.ndindex(5, 6):
        step = np.zeros((5, 6))
        step[k, n] = 1e-5
        more, fewer = (weighted(x, y, among, 1 + sign * step, level) for sign in (1, -1))
        assert found.influence[k, n] == pytest.approx((more - fewer) / 2e-5, abs=1e-7)


def test_levels_that_are_not_crossed_give_nothing():
    assert contrasts.reaches([0.2, 0.4], 0.5) is None
    assert contrasts.reaches([0.2, 0.4], 0.1) is None
    assert contrasts.reaches([0.2, 0.2, 0.4, 0.1, 0.5], 0.3) == (3, pytest.approx(0.5))
    assert contrasts.reaches([0.2, 0.4, 0.3], 0.35) is None
    assert contrasts.reaches([0.2, 0.4], 0.4) == (0, 1.0)


def test_average_of_independent_tables():
    """Against the textbook's sum of variances, and Welch's degrees for two tables."""
    one, two = Whole(0.3, Spread(0.02, 7.0), 8), Whole(0.1, Spread(0.04, 11.0), 12)
    found = contrasts.averaged([one, two])
    assert found.value == pytest.approx(0.2)
    assert found.spread.error == pytest.approx(np.sqrt(0.02**2 + 0.04**2) / 2)
    assert found.spread.degrees == pytest.approx((4 + 16) ** 2 / (16 / 7 + 256 / 11))
    assert found.fewest == 20
    alone = contrasts.averaged([one])
    assert (alone.value, *alone.spread, alone.fewest) == pytest.approx((0.3, 0.02, 7.0, 8))


def test_heterogeneity_of_two_tables_is_the_z_test():
    one, two = Whole(0.3, Spread(0.02, 7.0), 8), Whole(0.25, Spread(0.04, 11.0), 12)
    z = 0.05 / np.hypot(0.02, 0.04)
    assert contrasts.heterogeneity([one, two]) == pytest.approx(2 * stats.norm.sf(z))
    assert contrasts.heterogeneity([one]) is None
    assert contrasts.heterogeneity([one, two._replace(spread=Spread(0.0, 3.0))]) is None


TARGETS, RECORDS = 32, 60


def noisy_curve(rng, among, slope):
    """y = .3 + slope x where x reaches .5, both seen through effects of targets and records and through noise."""
    points = []
    for x in (0.2, 0.5, 0.8):
        effect = 0.05 * rng.normal(size=(TARGETS, 1)) + 0.08 * rng.normal(size=(1, RECORDS))
        noise = 0.2 * rng.normal(size=(2, TARGETS, RECORDS))
        seen = (x + effect + noise[0], 0.3 + slope * x + effect + noise[1])
        points.append([contrasts.measured_mean(values, among) for values in seen])
    return contrasts.at_level(*zip(*points, strict=True), 0.5)


def test_intervals_at_a_level_cover():
    """The difference of two families' y where their x reach a level."""
    covered, worlds = 0, 400
    for world in range(worlds):
        rng = np.random.default_rng(world)
        among = rng.random((TARGETS, RECORDS)) < 0.5
        a, b = (noisy_curve(rng, among, slope) for slope in (0.6, 0.5))
        found = contrasts.interval(contrasts.whole(contrasts.less(a, b)), 0.95)
        covered += found.low <= (0.6 - 0.5) * 0.5 <= found.high
    # Four standard errors of a share of .95.
    assert abs(covered / worlds - 0.95) < 4 * np.sqrt(0.95 * 0.05 / worlds)


def test_refusals(table):
    (scores, _), member = table
    with pytest.raises(ValueError, match="among holds no entry"):
        contrasts.measured_mean(scores, np.zeros_like(member))
    with pytest.raises(ValueError, match="one table"):
        contrasts.less(contrasts.measured_auc(scores, member), contrasts.measured_auc(scores[:6], member[:6]))
    with pytest.raises(ValueError, match="tables is empty"):
        contrasts.averaged([])
