"""What every attack of the catalogue keeps to, on a world that has every array an attack can ask for."""

import jax
import numpy as np
import pytest

from mia_jax import signals
from mia_jax.attacks import Observations, catalogue
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.metrics import auc

# Attacks that learn are given little to learn from: what is held here does not need them to be good.
ATTACKS = catalogue(AttacksConfig(classifier_rows=512, classifier_epochs=6, lira_fewest=4, folds=3))
K, N, Z, C, L, Q, T, D = 20, 48, 60, 2, 3, 2, 3, 4
LEARNED = {"shadow_classifier", "shadow_classifier_by_class", "shadow_classifier_steps", "loss_trajectory"}
FAINT = {"correctness", "correctness_by_class", "quantile_regression"}
"""They see one bit of the signal, or have too few records to learn from."""


def world(shift, seed=0):
    """Observations of members whose label's logit is larger by `shift`."""
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < 0.5
    labels = np.arange(N) % C

    def outputs(hold, y, *more):
        z = rng.normal(size=(*hold.shape, *more, C)).astype(np.float32)
        hold = hold.reshape(*hold.shape, *(1,) * len(more))
        y = np.broadcast_to(y[:, None] if more else y, z.shape[:-1])
        np.put_along_axis(
            z, y[..., None], np.take_along_axis(z, y[..., None], -1) + shift * hold[..., None], -1
        )
        return z, signals.from_logits(z, y)._asdict()

    logits, said = outputs(member, labels)
    _, others = outputs(np.zeros((K, Z), bool), np.arange(Z) % C)
    steps, _ = outputs(member, labels, L)
    _, queried = outputs(member, labels, Q)
    told = [outputs(member, labels)[1]["log_prob"] for _ in range(T)]
    said, others, queried = (
        {name: np.asarray(values) for name, values in one.items()} for one in (said, others, queried)
    )
    faint = rng.normal(size=(3, K, N)) + shift * member
    return Observations(
        member,
        valid=np.ones(K, bool),
        key=jax.random.key(seed),
        **said,
        logits=logits,
        step_logits=steps,
        trajectory=np.stack(told, axis=1),
        query_log_prob=queried["log_prob"],
        query_scaled_logit=queried["scaled_logit"],
        gradient_norm=np.exp(-faint[0]),
        adversarial_distance=np.logaddexp(0, faint[1]),
        embedding_norm=np.exp(faint[2]),
        labels=labels,
        features=rng.normal(size=(N, D)),
        population_log_prob=others["log_prob"],
        population_scaled_logit=others["scaled_logit"],
        population_features=rng.normal(size=(Z, D)),
    )


def auc_of(scores, member):
    known = ~np.isnan(scores)
    return auc(scores[known], member[known])


def changed(seen, model, change):
    """The same observations with every array of one model changed."""
    fields = {}
    for name, values in seen._asdict().items():
        if name not in ("member", "valid", "exclude", "key", "labels", "features", "population_features"):
            fields[name] = np.array(values)
            fields[name][model] = change(fields[name][model])
    return seen._replace(**fields)


@pytest.fixture(params=sorted(ATTACKS))
def attack(request):
    return ATTACKS[request.param]


def test_larger_means_member(attack):
    seen = world(shift=4.0)
    assert auc_of(attack.score(seen), seen.member) > (0.55 if attack.name in FAINT else 0.85)


def test_noise_gives_half(attack):
    count = 6 if attack.name in LEARNED else 20
    values = [auc_of(attack.score(w), w.member) for w in (world(0.0, seed) for seed in range(count))]
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
    again = attack.score(changed(seen, 7, lambda values: np.full_like(values, np.nan))._replace(valid=valid))
    assert np.isnan(scores[7]).all()
    assert np.isfinite(scores[valid]).all()
    np.testing.assert_array_equal(scores, again)


def test_excluded_models_are_no_references(attack):
    seen = world(1.0)
    twin = np.arange(K) ^ 1
    seen = seen._replace(exclude=twin[:, None] == np.arange(K)[None, :])
    before = attack.score(seen)
    after = attack.score(changed(seen, 3, lambda values: values[::-1]))
    np.testing.assert_allclose(before[2], after[2], rtol=1e-9, err_msg="target 2 must not see its twin, 3")


def test_inputs_stay_as_they_are(attack):
    seen = world(1.0)
    copies = {name: np.array(v) for name, v in seen._asdict().items() if v is not None and name != "key"}
    attack.score(seen)
    for name, before in copies.items():
        np.testing.assert_array_equal(before, getattr(seen, name))


def test_the_same_key_gives_the_same_scores(attack):
    seen = world(1.0)
    np.testing.assert_array_equal(attack.score(seen), attack.score(seen))


def test_an_attack_reads_what_it_says_it_needs_and_nothing_else(attack):
    seen = world(1.0)
    kept = {"member", "valid", "exclude", "key", *attack.needs}
    fewer = seen._replace(**{name: None for name in seen._fields if name not in kept})
    np.testing.assert_array_equal(attack.score(seen), attack.score(fewer))


def test_words_for_readers_are_there(attack):
    assert attack.threat_model.endswith(".")
    assert attack.source
    assert attack.title != attack.name
    assert attack.needs <= set(Observations._fields)


def test_names_are_those_the_config_allows():
    import typing

    assert set(ATTACKS) == set(typing.get_args(AttackName)) - {"all"}
