"""Every attack without learning, as `--attacks` runs it: on noise, on a signal, and on what must not enter."""

import functools

import numpy as np
import pytest

from mia_jax.attacks import (
    class_calibration,
    difficulty,
    embedding_norm,
    enhanced,
    likelihood_ratio,
    metric_threshold,
    recorded,
    relative,
)
from mia_jax.attacks.base import Observations
from mia_jax.config import AttacksConfig

MODULES = (
    metric_threshold,
    class_calibration,
    likelihood_ratio,
    relative,
    enhanced,
    difficulty,
    embedding_norm,
    recorded,
)
ATTACKS = {
    one.name + end: one
    for end, config in (
        ("", AttacksConfig(lira_fewest=4)),
        ("-other", AttacksConfig(lira_fewest=4, lira_centre="median", embedding_density="kde", folds=2)),
    )
    for module in MODULES
    for one in module.attacks(config)
    if not end or module in (class_calibration, likelihood_ratio, embedding_norm)
}
K, N, Z, Q, C, WORLDS = 8, 60, 40, 2, 2, 30
OF_POOL = (
    "log_prob",
    "scaled_logit",
    "entropy",
    "modified_entropy",
    "correct",
    "query_log_prob",
    "query_scaled_logit",
    "gradient_norm",
    "adversarial_distance",
    "embedding_norm",
)


def fixed_size(rng):
    """Each model draws half of the records, independently of the others."""
    return np.argsort(rng.random((K, N)), axis=1) < N // 2, None


def bernoulli(rng):
    return rng.random((K, N)) < 0.4, None


def paired(rng):
    """Models 2i and 2i + 1 hold complementary halves, and neither is a reference for the other."""
    member = np.repeat(fixed_size(rng)[0][::2], 2, axis=0)
    member[1::2] = ~member[1::2]
    return member, (np.arange(K) ^ 1)[:, None] == np.arange(K)[None, :]


def balanced_records(rng):
    """Each record is in exactly half of the models: the others' counts give the target's membership away."""
    return np.argsort(rng.random((K, N)), axis=0) < K // 2, None


def observed(rng, design, shift):
    """Records of different hardness, models of different skill, and members `shift` further on."""
    member, exclude = design(rng)
    margin = rng.normal(0, 1.5, N) + rng.normal(0, 0.5, (K, 1)) + rng.normal(size=(K, N)) + shift * member
    queried = margin[:, :, None] + 0.3 * rng.normal(size=(K, N, Q))
    population = rng.normal(0, 1.5, Z) + rng.normal(size=(K, Z))
    return Observations(
        member,
        exclude=exclude,
        log_prob=-np.logaddexp(0, -margin),
        scaled_logit=margin,
        entropy=np.logaddexp(0, -margin),
        modified_entropy=np.logaddexp(0, 1 - margin),
        correct=(margin + rng.normal(size=(K, N)) > 0) * 1.0,
        query_log_prob=-np.logaddexp(0, -queried),
        query_scaled_logit=queried,
        gradient_norm=np.exp(-0.3 * margin),
        adversarial_distance=np.maximum(margin, 0.0),
        embedding_norm=np.exp(0.2 * margin),
        labels=rng.permutation(np.arange(N) % C),
        population_log_prob=-np.logaddexp(0, -population),
        population_scaled_logit=population,
    )


@functools.cache
def worlds(design, shift):
    """The same worlds for every attack."""
    rng = np.random.default_rng(0)
    return [observed(rng, design, shift) for _ in range(WORLDS)]


@pytest.fixture(params=sorted(ATTACKS))
def attack(request):
    return ATTACKS[request.param]


@pytest.mark.parametrize("design", [fixed_size, bernoulli, paired])
def test_noise_gives_half(attack, design, mean_target_auc):
    aucs = [mean_target_auc(attack.score(seen), seen.member) for seen in worlds(design, 0.0)]
    error = np.std(aucs, ddof=1) / np.sqrt(WORLDS)
    assert np.mean(aucs) == pytest.approx(0.5, abs=4 * error)
    assert error < 0.011  # else the line above would accept anything


@pytest.mark.parametrize("design", [fixed_size, bernoulli, paired])
def test_a_signal_is_found(attack, design, mean_target_auc):
    aucs = [mean_target_auc(attack.score(seen), seen.member) for seen in worlds(design, 2.0)[:4]]
    assert np.mean(aucs) > 0.6


def test_this_harness_would_notice_a_design_that_leaks(mean_target_auc):
    lira = ATTACKS["lira_online"]
    aucs = [mean_target_auc(lira.score(seen), seen.member) for seen in worlds(balanced_records, 0.0)]
    assert abs(np.mean(aucs) - 0.5) > 6 * np.std(aucs, ddof=1) / np.sqrt(WORLDS)


def test_the_targets_own_membership_does_not_enter(attack):
    seen = worlds(bernoulli, 2.0)[0]
    lied = seen.member.copy()
    lied[5] = ~lied[5]
    before, after = (attack.score(seen._replace(member=member))[5] for member in (seen.member, lied))
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_an_invalid_model_might_say_anything(attack):
    seen = worlds(bernoulli, 2.0)[0]._replace(valid=np.arange(K) != 6)
    poisoned = {name: np.array(getattr(seen, name)) for name in (*OF_POOL, "member")}
    poisoned |= {
        name: np.array(getattr(seen, name)) for name in seen._fields if name.startswith("population_l")
    }
    for name, values in poisoned.items():
        values[6] = ~values[6] if name == "member" else np.nan
    before, after = attack.score(seen), attack.score(seen._replace(**poisoned))
    np.testing.assert_array_equal(before, after)
    assert np.isnan(before[6]).all()
    assert np.isfinite(np.delete(before, 6, 0)).mean() > 0.5


def test_an_excluded_model_does_not_enter(attack):
    seen = worlds(paired, 2.0)[0]
    changed = {name: np.array(getattr(seen, name)) for name in OF_POOL}
    for values in changed.values():
        values[3] *= 3.0
    changed |= {"member": seen.member.copy()}
    changed["member"][3] = ~changed["member"][3]
    before, after = attack.score(seen)[2], attack.score(seen._replace(**changed))[2]
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_inputs_stay_as_they_are(attack):
    seen = worlds(paired, 2.0)[1]._replace(valid=np.arange(K) != 4)
    copies = {name: np.array(values) for name, values in seen._asdict().items() if values is not None}
    attack.score(seen)
    for name, before in copies.items():
        np.testing.assert_array_equal(before, getattr(seen, name))


def test_single_precision_is_taken_as_it_is(attack):
    seen = worlds(bernoulli, 2.0)[2]
    single = {name: getattr(seen, name).astype(np.float32) for name in OF_POOL}
    single |= {
        name: getattr(seen, name).astype(np.float32)
        for name in seen._fields
        if name.startswith("population_l")
    }
    double = {name: values.astype(np.float64) for name, values in single.items()}
    np.testing.assert_array_equal(
        attack.score(seen._replace(**single)), attack.score(seen._replace(**double))
    )
    assert attack.score(seen).dtype == np.float64


def test_who_holds_what_is_said(attack):
    assert attack.threat_model.startswith("The attacker holds the record")
    assert attack.threat_model.endswith(".")
    assert attack.source
    assert attack.title[0].isupper() or attack.title.startswith("LiRA")
    assert attack.needs <= set(Observations._fields)
