"""What every attack of the catalogue keeps to, on a world that has every array an attack can ask for."""

import jax
import numpy as np
import pytest

from mia_jax import signals
from mia_jax.attacks import (
    Observations,
    catalogue,
    cut,
    difficulty_calibration,
    embedding_norm_likelihood,
    gathering,
    leaving_out,
    of_records,
    shadow_classifier,
)
from mia_jax.attacks.base import APART, RECORDS
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.metrics import auc

# Attacks that learn are given little to learn from: what is held here does not need them to be good.
ATTACKS = catalogue(AttacksConfig(classifier_rows=512, classifier_epochs=6, lira_fewest=4, folds=3))
K, N, Z, C, L, Q, T, D = 20, 48, 60, 2, 3, 2, 3, 4
LEARNED = {"shadow_classifier", "shadow_classifier_by_class", "shadow_classifier_steps", "loss_trajectory"}
NETWORKS = {*LEARNED, "quantile_regression"}
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


def in_blocks(attack, seen, width, never=None):
    """The scores of one block after another, and NaN for records that are `never` members."""
    never = np.zeros(np.shape(seen.member)[1], bool) if never is None else never
    blocks = leaving_out(cut(seen, width), never)
    fitted, scores = attack.fit(blocks), np.full(np.shape(seen.member), np.nan)
    for part in blocks.parts:
        found = attack.judge(blocks.read(part, None), fitted)
        assert found.dtype == np.float64
        scores[:, np.arange(scores.shape[1])[part][~never[part]]] = found
    return scores


def assert_same_but_for_rounding(attack, got, wanted):
    """Networks judge in float32, everything else is float64."""
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if attack.name in NETWORKS else {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(got, wanted, **tolerance)


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


def with_slow_networks(cases, quick):
    """Cases (name of an attack, …): networks compile anew for every length, and are slow but for those in `quick`."""
    return [
        pytest.param(*case, marks=[pytest.mark.slow] if case[0] in NETWORKS and case not in quick else [])
        for case in cases
    ]


WIDTHS = with_slow_networks(
    [(name, width) for name in sorted(ATTACKS) for width in (1, 13)], [(name, 13) for name in NETWORKS]
)
NAMES = with_slow_networks([(name,) for name in sorted(ATTACKS)], [("shadow_classifier_by_class",)])


@pytest.mark.parametrize(("name", "width"), WIDTHS)
def test_blocks_of_records_change_nothing_but_rounding(name, width):
    attack, seen = ATTACKS[name], world(1.0)
    twin = np.arange(K) ^ 1
    seen = seen._replace(valid=np.arange(K) != 7, exclude=twin[:, None] == np.arange(K)[None, :])
    assert_same_but_for_rounding(attack, in_blocks(attack, seen, width), attack.score(seen))


@pytest.mark.parametrize("name", NAMES)
def test_records_that_are_left_out_leave_the_others_as_they_would_be_alone(name):
    attack, seen, never = ATTACKS[name], world(1.0), np.isin(np.arange(N), [0, 3, *range(13, 26), 47])
    scores = in_blocks(attack, seen, 13, never)
    assert np.isnan(scores[:, never]).all()
    assert_same_but_for_rounding(attack, scores[:, ~never], attack.score(of_records(seen, ~never)))


def test_a_fit_to_a_part_of_the_records_does_not_depend_on_the_blocks(attack, monkeypatch):
    monkeypatch.setattr(gathering, "ENTRIES_FITTED", K * 20)
    seen = world(1.0)
    assert_same_but_for_rounding(attack, in_blocks(attack, seen, 13), attack.score(seen))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_fitted_does_not_grow_with_the_records(name, monkeypatch):
    monkeypatch.setattr(gathering, "ENTRIES_FITTED", K * 20)
    attack, seen = ATTACKS[name], world(1.0)
    twice = Observations(**{name: twofold(name, value) for name, value in seen._asdict().items()})
    sizes = [size_of(attack.fit(cut(one, 16))) for one in (seen, twice)]
    assert sizes[1] <= max(1.5 * sizes[0], sizes[0] + 8 * K)


def twofold(name, value):
    """An array of the pool with all records once more."""
    if value is None or name in APART:
        return value
    return np.concatenate([value, value], axis=RECORDS.get(name, 1))


def size_of(fitted):
    """The bytes of all arrays in what was fitted."""
    if isinstance(fitted, dict):
        return sum(map(size_of, fitted.values()))
    if isinstance(fitted, (tuple, list)):
        return sum(map(size_of, fitted))
    return getattr(fitted, "nbytes", 0)


def test_words_for_readers_are_there(attack):
    assert attack.threat_model.endswith(".")
    assert attack.source
    assert attack.title != attack.name
    assert attack.needs <= set(Observations._fields)


def test_names_are_those_the_config_allows():
    import typing

    assert set(ATTACKS) == set(typing.get_args(AttackName)) - {"all"}


def test_arrays_that_are_not_there_are_named(attack):
    member = np.arange(12).reshape(4, 3) % 2 == 0
    with pytest.raises(
        ValueError, match=rf"(is|are) None: the attack {attack.name} reads .*; give all of these to"
    ):
        attack.score(Observations(member, None, None, None))


def test_what_is_no_membership_and_no_key_is_refused():
    scores, member = np.zeros((4, 3)), np.arange(12).reshape(4, 3) % 2 == 0
    with pytest.raises(ValueError, match=r"^member has shape \(4,\): it must be \[K, N\]"):
        embedding_norm_likelihood(scores, np.arange(4))
    with pytest.raises(
        ValueError, match=r"^key is 0: it must be a random key of JAX, as jax\.random\.key\(0\)"
    ):
        shadow_classifier(np.zeros((4, 3, 2)), np.zeros(3, int), member, key=0, folds=2, epochs=1)
    with pytest.raises(ValueError, match=r"^signal is no array of numbers"):
        difficulty_calibration(np.full((4, 3), "a"), member)
