"""RMIA on several queries of a record: the average of what each says alone."""

import numpy as np
import pytest

from mia_jax.attacks.base import Observations
from mia_jax.attacks.relative import attacks, rmia
from mia_jax.config import AttacksConfig

K, N, Z, Q = 10, 7, 23, 3


def draw(seed):
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < 0.5
    margin = rng.normal(0, 2, (N, 1)) + member[:, :, None] + rng.normal(size=(K, N, Q))
    population = rng.normal(0, 2, Z) + rng.normal(size=(K, Z))
    return -np.logaddexp(0, -margin), member, -np.logaddexp(0, -population)


def naive(log_prob, member, population, target, record, query, offline_scale):
    """One score from the definition, in probabilities."""
    others = [k for k in range(K) if k != target]

    def mixture(values, sides):
        if offline_scale is not None:
            return ((1 + offline_scale) * np.mean(values[sides[1]]) + 1 - offline_scale) / 2
        return sum(np.mean(values[side]) for side in sides) / len(sides)

    own = np.exp(log_prob[:, record, query])
    inside = [k for k in others if member[k, record]]
    outside = [k for k in others if not member[k, record]]
    ratio = own[target] / mixture(own, (inside, outside))
    won = 0
    for z in range(Z):
        other = np.exp(population[:, z])
        won += ratio >= other[target] / mixture(other, (others, others))
    return won / Z


@pytest.mark.parametrize("offline_scale", [None, 0.3])
def test_every_query_is_scored_and_the_scores_averaged(offline_scale):
    log_prob, member, population = draw(0)
    member[:2], member[2:4] = True, False
    actual = rmia(log_prob, member, population, offline_scale=offline_scale)
    for k, n in np.ndindex(K, N):
        each = [naive(log_prob, member, population, k, n, q, offline_scale) for q in range(Q)]
        assert actual[k, n] == pytest.approx(np.mean(each), abs=1e-9)


@pytest.mark.parametrize("offline_scale", [None, 0.3])
def test_one_query_is_the_plain_score(offline_scale):
    log_prob, member, population = draw(1)
    plain = rmia(log_prob[:, :, 0], member, population, offline_scale=offline_scale)
    np.testing.assert_array_equal(
        rmia(log_prob[:, :, :1], member, population, offline_scale=offline_scale), plain
    )


def test_what_cannot_be_scored_is_nan_with_queries_too():
    log_prob, member, population = draw(2)
    member[:, 1] = True
    valid = np.arange(K) != 4
    log_prob[4], population[4] = np.nan, np.nan
    scores = rmia(log_prob, member, population, valid=valid)
    assert np.isnan(scores[:, 1]).all()
    assert np.isnan(scores[4]).all()


def test_shapes_that_hold_nothing_are_refused():
    log_prob, member, population = draw(3)
    with pytest.raises(ValueError, match=r"log_prob has shape \(10, 7, 0\)"):
        rmia(log_prob[:, :, :0], member, population)
    with pytest.raises(ValueError, match=r"population_log_prob has shape \(10, 0\)"):
        rmia(log_prob, member, population[:, :0])


def test_every_choice_is_the_function_with_the_configs_constants():
    log_prob, member, population = draw(4)
    config = AttacksConfig(rmia_gamma=1.2, rmia_offline_scale=0.6)
    seen = Observations(
        member, log_prob=log_prob[:, :, 0], query_log_prob=log_prob, population_log_prob=population
    )
    found = {one.name: one for one in attacks(config)}
    assert set(found) == {f"rmia_{mode}{end}" for mode in ("online", "offline") for end in ("", "_queries")}
    for name, one in found.items():
        queried = name.endswith("_queries")
        assert one.needs == {"query_log_prob" if queried else "log_prob", "population_log_prob"}
        expected = rmia(
            log_prob if queried else log_prob[:, :, 0],
            member,
            population,
            gamma=1.2,
            offline_scale=0.6 if "offline" in name else None,
        )
        np.testing.assert_array_equal(one.score(seen), expected)
