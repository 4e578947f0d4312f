"""Enhanced MIA against loops over targets, records and references, by hand and in closed form."""

import numpy as np
import pytest
from scipy.stats import norm

from mia_jax.attacks import lira
from mia_jax.attacks.base import Observations
from mia_jax.attacks.enhanced import attacks, enhanced_population, enhanced_reference, enhanced_shadow
from mia_jax.config import AttacksConfig

K, N, Z = 8, 21, 13


def draw(seed=0):
    """Coarse signals, so that many tie."""
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < 0.5
    signal = np.round(rng.normal(0, 2, N) + member + rng.normal(size=(K, N)), 1)
    return signal, member, rng.integers(0, 3, N)


def twins(count):
    return (np.arange(count) ^ 1)[:, None] == np.arange(count)[None, :]


def naive_shadow(signal, member, labels=None, exclude=None, valid=None):
    exclude = np.zeros((K, K), bool) if exclude is None else exclude
    valid = np.ones(K, bool) if valid is None else valid
    scores = np.full((K, N), np.nan)
    for k, n in np.ndindex(K, N):
        others = [j for j in range(K) if j != k and valid[j] and not exclude[k, j]]
        records = [m for m in range(N) if labels is None or labels[m] == labels[n]]
        pool = [signal[j, m] for j in others for m in records if not member[j, m]]
        if valid[k] and pool:
            scores[k, n] = 1 - sum(value >= signal[k, n] for value in pool) / len(pool)
    return scores


GIVEN = [
    {},
    {"exclude": twins(K)},
    {"exclude": np.random.default_rng(1).random((K, K)) < 0.6},
    {"valid": np.arange(K) != 3},
    {"exclude": twins(K), "valid": np.arange(K) > 1},
]


# S: shadow models


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("given", GIVEN)
def test_shadow_scores_are_the_loop(given, by_class):
    signal, member, labels = draw()
    options = given | ({"labels": labels} if by_class else {})
    actual = enhanced_shadow(signal, member, **options)
    np.testing.assert_allclose(actual, naive_shadow(signal, member, **options), atol=1e-15)


def test_shadow_scores_by_hand():
    signal = np.array([[3.0, 1.0], [2.0, 5.0], [3.0, 4.0]])
    member = np.array([[True, False], [False, False], [False, True]])
    # Target 0 is held against {2, 5, 3}: of these 3 and 5 are at least 3, all at least 1.
    np.testing.assert_allclose(enhanced_shadow(signal, member)[0], [1 / 3, 0])
    # Target 2 against {1, 2, 5}: one is at least 3 and at least 4.
    np.testing.assert_allclose(enhanced_shadow(signal, member)[2], [2 / 3, 2 / 3])


def test_nothing_is_added_to_the_shares():
    signal, member, _ = draw(2)
    signal[0, :2] = 100.0, -100.0
    np.testing.assert_array_equal(enhanced_shadow(signal, member)[0, :2], [1.0, 0.0])


def test_a_target_without_non_members_to_be_held_against_is_nan():
    signal, member, labels = draw(3)
    member[1:, labels == 2] = True
    scores = enhanced_shadow(signal, member, labels=labels)
    assert np.isnan(scores[0, labels == 2]).all()
    assert np.isfinite(scores[0, labels != 2]).all()
    member[:] = True
    assert np.isnan(enhanced_shadow(signal, member)).all()


def test_under_the_null_shadow_scores_of_non_members_are_uniform():
    rng = np.random.default_rng(4)
    scores = enhanced_shadow(rng.normal(size=(20, 500)), rng.random((20, 500)) < 0.5)
    np.testing.assert_allclose(np.quantile(scores, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)


# P: the population


def test_population_scores_are_the_loop():
    signal, _, _ = draw(5)
    population = np.round(np.random.default_rng(6).normal(0, 2, (K, Z)), 1)
    scores = enhanced_population(signal, population)
    for k, n in np.ndindex(K, N):
        assert scores[k, n] == pytest.approx(1 - np.mean([z >= signal[k, n] for z in population[k]]))


def test_population_of_the_target_alone_counts():
    signal, _, _ = draw(7)
    population = np.random.default_rng(8).normal(size=(K, Z))
    before = enhanced_population(signal, population)
    valid = np.arange(K) != 2
    population[2] = np.nan
    after = enhanced_population(signal, population, valid=valid)
    assert np.isnan(after[2]).all()
    np.testing.assert_array_equal(after[valid], before[valid])


def test_an_empty_population_is_refused():
    with pytest.raises(ValueError, match=r"population_signal has shape \(8, 0\)"):
        enhanced_population(np.zeros((K, N)), np.zeros((K, 0)))


# R: reference models


def test_reference_scores_are_one_less_alpha_of_offline_lira():
    signal, member, _ = draw(9)
    signal = signal + np.random.default_rng(0).normal(size=signal.shape)
    options = {"exclude": twins(K), "valid": np.arange(K) != 6, "missing": "nan"}
    distance = lira(signal, member, mode="offline", **options)
    alpha = norm.sf(distance)
    np.testing.assert_allclose(enhanced_reference(signal, member, **options), 1 - alpha, atol=1e-12)


def test_reference_scores_by_hand():
    signal = np.array([[2.0], [0.0], [2.0], [0.0], [2.0]])
    # Target 0 is one standard deviation above the mean of 0, 2, 0, 2.
    assert enhanced_reference(signal, np.zeros((5, 1), bool))[0, 0] == pytest.approx(norm.cdf(1.0))


def test_with_many_references_the_reference_score_is_phi_of_z():
    rng = np.random.default_rng(10)
    z = rng.normal(size=(1500, 3))
    scores = enhanced_reference([-2.0, 0.0, 7.0] + np.array([0.5, 1.0, 4.0]) * z, np.zeros(z.shape, bool))
    np.testing.assert_allclose(scores, norm.cdf(z), atol=0.035)


def test_too_few_references_raise_or_are_nan():
    signal, _, _ = draw(11)
    member = (np.arange(K)[:, None] + np.arange(N)) % 2 == 0
    member[:, 4] = True
    with pytest.raises(ValueError, match="record 4"):
        enhanced_reference(signal, member)
    assert np.isnan(enhanced_reference(signal, member, missing="nan")[:, 4]).all()


# The choices of --attacks


def test_every_choice_is_its_function():
    signal, member, _ = draw(12)
    rng = np.random.default_rng(13)
    signal = signal + rng.normal(size=signal.shape)
    population = rng.normal(size=(K, Z))
    options = {"exclude": twins(K), "valid": np.arange(K) != 6}
    seen = Observations(member, scaled_logit=signal, population_scaled_logit=population, **options)
    found = {one.name: one for one in attacks(AttacksConfig())}
    np.testing.assert_array_equal(
        found["enhanced_shadow"].score(seen), enhanced_shadow(signal, member, **options)
    )
    np.testing.assert_array_equal(
        found["enhanced_population"].score(seen),
        enhanced_population(signal, population, valid=options["valid"]),
    )
    scores = found["enhanced_reference"].score(seen)
    expected = enhanced_reference(signal, member, missing="nan", **options)
    np.testing.assert_allclose(-np.expm1(-scores), expected, atol=1e-12)
    assert [found[name].needs for name in sorted(found)] == [
        {"scaled_logit", "population_scaled_logit"},
        {"scaled_logit"},
        {"scaled_logit"},
    ]


def test_the_choice_tells_members_apart_that_one_less_alpha_ties():
    rng = np.random.default_rng(14)
    signal = rng.normal(size=(40, 2))
    signal[0] = 60.0, 90.0
    member = np.zeros((40, 2), bool)
    seen = Observations(member, scaled_logit=signal)
    assert (enhanced_reference(signal, member)[0] == 1.0).all()
    scores = next(one for one in attacks(AttacksConfig()) if one.name == "enhanced_reference").score(seen)
    assert scores[0, 0] < scores[0, 1] < np.inf
