"""Quantile regression: its losses are the textbook's, its scores keep their promise on fresh non-members."""

import logging

import jax
import numpy as np
import pytest
from scipy import stats

from mia_jax.attacks import Observations
from mia_jax.attacks.quantile import (
    LEVELS,
    attacks,
    bounded,
    gaussian_loss,
    normal_scores,
    pinball_loss,
    quantile_regression,
)
from mia_jax.config import AttacksConfig

# One shape for all: its program is compiled once for each kind.
K, N, Z, D = 4, 200, 200, 4
KEY = jax.random.key(5)
KINDS = ["gaussian", "pinball"]


def centre_of(features):
    """What a non-member's signal is centred on: records differ far more than membership moves them."""
    return 4.0 * features[:, 0] + 2.0 * np.abs(features[:, 1])


def spread_of(features):
    return np.exp(0.5 * features[:, 2])


def world(seed, shift=0.0, num_population=Z):
    """Members' signals are higher by `shift` of their own spread; everything is normal given the features."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(N, D)), rng.normal(size=(num_population, D))
    member = rng.random((K, N)) < 0.5
    own = centre_of(x) + spread_of(x) * (rng.normal(size=(K, N)) + shift * member)
    population = centre_of(z) + spread_of(z) * rng.normal(size=(K, num_population))
    return member, {
        "signal": own,
        "features": x,
        "population_signal": population,
        "population_features": z,
    }


# Losses and scores are the textbook's


def test_the_gaussian_loss_is_the_negative_log_density():
    rng = np.random.default_rng(0)
    for mean, log_sigma, y in rng.normal(size=(20, 3)):
        sigma = np.exp(4.0 * np.tanh(log_sigma / 4.0))
        expected = -stats.norm.logpdf(y, mean, sigma) - 0.5 * np.log(2 * np.pi)
        assert gaussian_loss(np.array([mean, log_sigma]), y) == pytest.approx(expected, rel=1e-5)


def test_sigma_is_bounded_and_near_0_what_the_network_says():
    assert np.abs(np.asarray(bounded(np.array([-1e6, 1e6])))).max() <= 4.0
    np.testing.assert_allclose(bounded(np.array([-0.1, 0.05])), [-0.1, 0.05], atol=1e-3)
    gradient = jax.grad(lambda s: gaussian_loss(np.array([0.0, 1.0]) * s, 1e4))(10.0)
    assert np.isfinite(gradient)


def test_the_pinball_loss_is_the_loop_over_quantiles():
    rng = np.random.default_rng(1)
    for y in rng.normal(size=10):
        said = rng.normal(size=len(LEVELS))
        expected = sum(
            level * (y - q) if y >= q else (1 - level) * (q - y)
            for level, q in zip(LEVELS, said, strict=True)
        )
        assert pinball_loss(said, y) == pytest.approx(expected, rel=1e-5)


def test_the_quantiles_of_a_sample_have_the_smallest_pinball_loss():
    sample = np.random.default_rng(2).normal(size=501)
    best = np.quantile(sample, LEVELS)
    mean_loss = jax.jit(lambda said: jax.vmap(lambda y: pinball_loss(said, y))(sample).mean())
    for number in range(len(LEVELS)):
        for step in (-0.2, 0.2):
            moved = best + step * (np.arange(len(LEVELS)) == number)
            assert mean_loss(moved) > mean_loss(best)


def test_normal_scores_are_numpys_interpolation_and_go_on_beyond():
    z = stats.norm.ppf(LEVELS)
    quantiles = np.sort(np.random.default_rng(3).normal(size=len(LEVELS)))
    y = np.linspace(quantiles[0], quantiles[-1], 50)
    np.testing.assert_allclose(normal_scores(y, quantiles), np.interp(y, quantiles, z), atol=1e-9)
    slope = (z[-1] - z[0]) / (quantiles[-1] - quantiles[0])
    far = normal_scores(np.array([quantiles[0] - 10.0, quantiles[-1] + 10.0]), quantiles)
    np.testing.assert_allclose(far, [z[0] - 10.0 * slope, z[-1] + 10.0 * slope])


def test_normal_scores_rise_whatever_the_quantiles():
    rng = np.random.default_rng(4)
    y = np.sort(rng.normal(0, 5, 300))
    for quantiles in (
        rng.normal(size=13),
        np.zeros(13),
        np.repeat([0.0, 1.0], [6, 7]),
        stats.norm.ppf(LEVELS),
    ):
        scores = normal_scores(y, np.tile(quantiles, (300, 1)))
        assert np.isfinite(scores).all()
        assert (np.diff(scores) >= -1e-12).all()
        outside = (y[1:] < quantiles.min()) | (y[:-1] > quantiles.max())
        assert (np.diff(scores)[outside] > 0).all()
        np.testing.assert_array_equal(scores, normal_scores(y, np.tile(quantiles[::-1], (300, 1))))
    np.testing.assert_allclose(scores[np.abs(y) < 2], y[np.abs(y) < 2], atol=0.05)  # the normal's own


# It finds what is there, and keeps its promise


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_close_to_the_best_there_is(kind, auc_of):
    member, given = world(5, shift=1.5)
    bayes = stats.norm.cdf(1.5 / np.sqrt(2))
    found = auc_of(quantile_regression(**given, key=KEY, kind=kind), member)
    assert bayes - 0.1 < found < bayes + 0.03
    assert auc_of(given["signal"], member) < found - 0.1  # one threshold for all records


@pytest.mark.parametrize("kind", KINDS)
def test_of_fresh_non_members_it_accuses_as_many_as_it_says(kind):
    _, given = world(6)
    scores = quantile_regression(**given, key=KEY, kind=kind)
    for level in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9):
        accused = (scores > stats.norm.ppf(1 - level)).mean()
        assert abs(accused - level) < 0.25 * np.sqrt(level * (1 - level))


@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_nothing_where_there_is_nothing(kind, mean_target_auc):
    aucs = []
    for seed in range(8):
        member, given = world(seed)
        scores = quantile_regression(**given, key=jax.random.key(seed), kind=kind)
        aucs.append(mean_target_auc(scores, member))
    error = np.std(aucs, ddof=1) / np.sqrt(len(aucs))
    assert abs(np.mean(aucs) - 0.5) < 4 * error
    assert error < 0.02


def test_features_that_say_nothing_do_no_harm(auc_of):
    member, given = world(7, shift=1.5)
    rng = np.random.default_rng(7)
    own, population = 1.5 * member + rng.normal(size=(K, N)), rng.normal(size=(K, Z))
    noise = given | {"signal": own, "population_signal": population}
    assert auc_of(quantile_regression(**noise, key=KEY), member) > auc_of(own, member) - 0.03


# Nothing enters that should not


@pytest.mark.parametrize("kind", KINDS)
def test_scores_rise_with_the_signal_far_beyond_the_population(kind):
    _, given = world(8)
    given["features"] = np.repeat(given["features"][:1], N, axis=0)
    given["signal"] = np.tile(np.linspace(-1e3, 1e3, N), (K, 1))
    assert (np.diff(quantile_regression(**given, key=KEY, kind=kind), axis=1) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_units_do_not_matter(kind):
    _, given = world(9)
    scores = quantile_regression(**given, key=KEY, kind=kind)
    given["signal"], given["population_signal"] = (
        64.0 * given[name] + 3.0 for name in ("signal", "population_signal")
    )
    given["features"], given["population_features"] = (
        0.25 * given[name] - 1.0 for name in ("features", "population_features")
    )
    np.testing.assert_allclose(quantile_regression(**given, key=KEY, kind=kind), scores, rtol=1e-3, atol=1e-3)


def test_a_feature_that_does_not_vary_in_the_population_is_left_out():
    _, given = world(10)
    given["population_features"][:, 3] = 7.0
    given["features"][:, 3] = 7.0
    scores = quantile_regression(**given, key=KEY)
    given["features"][:, 3] = 1e9
    np.testing.assert_array_equal(quantile_regression(**given, key=KEY), scores)


def test_features_far_from_the_population_count_as_five_deviations_away():
    _, given = world(19)
    known = given["population_features"][:, :2]
    given["features"][:, :2] = known.mean(axis=0) + [5.0, -5.0] * known.std(axis=0)
    edge = quantile_regression(**given, key=KEY)
    given["features"][:, :2] = 1e6, -1e6
    np.testing.assert_allclose(quantile_regression(**given, key=KEY), edge, rtol=1e-4)


def test_a_target_depends_on_its_own_signals_alone():
    _, given = world(11)
    scores = quantile_regression(**given, key=KEY)
    for name in ("signal", "population_signal"):
        given[name] = given[name].copy()
        given[name][2] *= -3.0
    np.testing.assert_array_equal(quantile_regression(**given, key=KEY)[[0, 1, 3]], scores[[0, 1, 3]])


def test_invalid_models_get_nan_and_may_hold_anything():
    _, given = world(12)
    valid = np.arange(K) != 2
    scores = quantile_regression(**given, key=KEY, valid=valid)
    for name in ("signal", "population_signal"):
        given[name] = given[name].copy()
        given[name][2] = np.nan
    np.testing.assert_array_equal(quantile_regression(**given, key=KEY, valid=valid), scores)
    np.testing.assert_array_equal(np.isnan(scores), np.repeat(~valid[:, None], N, axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_that_never_varies_gives_finite_scores(kind):
    _, given = world(13)
    given["population_signal"] = np.full((K, Z), 2.0)
    assert np.isfinite(quantile_regression(**given, key=KEY, kind=kind)).all()


def test_the_key_decides():
    _, given = world(14)
    one, again, other = (quantile_regression(**given, key=jax.random.key(n)) for n in (0, 0, 1))
    assert one.tobytes() == again.tobytes()
    assert (one != other).all()


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_second_checkpoint_nothing_is_compiled(kind, caplog):
    quantile_regression(**world(15)[1], key=KEY, kind=kind)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        quantile_regression(**world(16)[1], key=KEY, kind=kind, valid=np.arange(K) != 1)
    assert not [r for r in caplog.records if "Finished XLA compilation" in r.getMessage()]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "cauchy"}, "kind is 'cauchy': it must be one of 'gaussian', 'pinball'"),
        ({"features": np.zeros((N - 1, D))}, r"features has shape \(199, 4\): it must have shape \[200, 4\]"),
        ({"features": np.zeros((N, D + 1))}, r"features has shape \(200, 5\): it must have shape \[200, 4\]"),
        ({"population_features": np.zeros(Z)}, r"population_features has shape \(200,\)"),
        ({"features": np.full((N, D), np.inf)}, r"features\[0, 0\] is inf: features must be finite"),
        ({"signal": np.full((K, N), np.nan)}, r"signal\[0, 0\] is nan"),
        (
            {"population_signal": np.zeros((K, 9))},
            "population_signal has 9 records: it must have at least 10",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        quantile_regression(**(world(17)[1] | change), key=KEY)


def test_the_choice_takes_the_configs_kind_and_leaves_its_inputs_alone():
    member, given = world(18)
    (attack,) = attacks(AttacksConfig(quantile="pinball"))
    fields = {
        "scaled_logit": given["signal"],
        "features": given["features"],
        "population_scaled_logit": given["population_signal"],
        "population_features": given["population_features"],
    }
    assert attack.needs == set(fields)
    before = {name: values.copy() for name, values in fields.items()}
    scores = attack.score(Observations(member, key=KEY, **fields))
    np.testing.assert_array_equal(scores, quantile_regression(**given, key=KEY, kind="pinball"))
    for name, values in before.items():
        np.testing.assert_array_equal(fields[name], values)
