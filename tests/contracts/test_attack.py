"""What every attack of the catalogue keeps to."""

import numpy as np
import pytest

from mia_jax.attacks import Observations, catalogue
from mia_jax.config import AttacksConfig

ATTACKS = catalogue(AttacksConfig())
K, N, Z = 24, 30, 50


def world(shift, seed=0):
    """Observations of members whose margin is larger by `shift`."""
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < 0.5
    logit = rng.normal(size=(K, N)) + shift * member
    population = rng.normal(size=(K, Z))
    log_prob, population = (-np.logaddexp(0, -values) for values in (logit, population))
    return Observations(
        member, np.ones(K, bool), log_prob=log_prob, scaled_logit=logit, population_log_prob=population
    )


def auc_of(scores, member):
    from mia_jax.metrics import auc

    known = ~np.isnan(scores)
    return auc(scores[known], member[known])


@pytest.fixture(params=sorted(ATTACKS))
def attack(request):
    return ATTACKS[request.param]


def test_larger_means_member(attack):
    seen = world(shift=3.0)
    assert auc_of(attack.score(seen), seen.member) > 0.9


def test_noise_gives_half(attack):
    values = [auc_of(attack.score(w), w.member) for w in (world(0.0, seed) for seed in range(20))]
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values, ddof=1) / np.sqrt(len(values))


def test_own_membership_does_not_enter_the_score(attack):
    """Lying about one target's membership changes no score of that target."""
    seen = world(1.0)
    lied = seen.member.copy()
    lied[5] = ~lied[5]
    np.testing.assert_allclose(attack.score(seen)[5], attack.score(seen._replace(member=lied))[5], rtol=1e-9)


def test_invalid_models_are_nobodys_reference_and_get_nan(attack):
    seen = world(1.0)
    valid = np.arange(K) != 7
    scores = attack.score(seen._replace(valid=valid))
    poisoned = [np.array(values) for values in (seen.log_prob, seen.scaled_logit, seen.population_log_prob)]
    for values in poisoned:
        values[7] = np.nan
    fields = dict(zip(("log_prob", "scaled_logit", "population_log_prob"), poisoned, strict=True))
    again = attack.score(seen._replace(valid=valid, **fields))
    assert np.isnan(scores[7]).all()
    assert np.isfinite(scores[valid]).all()
    np.testing.assert_array_equal(scores, again)


def test_excluded_models_are_no_references(attack):
    seen = world(1.0)
    twin = np.arange(K) ^ 1
    exclude = twin[:, None] == np.arange(K)[None, :]
    changed = np.array(seen.scaled_logit)
    changed[3] += 100.0
    log_prob = -np.logaddexp(0, -changed)
    before = attack.score(seen._replace(exclude=exclude))
    after = attack.score(seen._replace(exclude=exclude, scaled_logit=changed, log_prob=log_prob))
    np.testing.assert_allclose(before[2], after[2], rtol=1e-9, err_msg="target 2 must not see its twin, 3")


def test_inputs_stay_as_they_are(attack):
    seen = world(1.0)
    copies = {name: np.array(values) for name, values in seen._asdict().items() if values is not None}
    attack.score(seen)
    for name, before in copies.items():
        np.testing.assert_array_equal(before, getattr(seen, name))


def test_words_for_readers_are_there(attack):
    assert attack.threat_model.endswith(".")
    assert attack.source
    assert attack.title != attack.name


def test_names_are_those_the_config_allows():
    import typing

    from mia_jax.config import AttackName

    assert set(ATTACKS) == set(typing.get_args(AttackName)) - {"all"}
