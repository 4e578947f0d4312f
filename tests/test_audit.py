"""Audits with canaries: bounds that hold, that a perfect attack fills to the ceiling, and that null canaries do not."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from mia_jax.audit import audit_rows, joint_runs, many_runs, one_run
from mia_jax.auditing import epsilon_ceiling, epsilon_lower_bound, gaussian_epsilon, one_run_epsilon

DELTA = 1e-5
METHODS = ("joint_runs", "one_run_median", "one_run_first", "many_runs")


def allowed(worlds, share=0.05):
    """The false alarms that chance may make of the stated share (one in 10,000 times more)."""
    return stats.binom.ppf(0.9999, worlds, share) / worlds


def audits(draw, worlds=400, seed=0, **options):
    """The bounds of many worlds by method, [worlds] each. draw: rng -> (scaled_logit, member)."""
    rng = np.random.default_rng(seed)
    found = [audit_rows(*draw(rng), **({"delta": DELTA} | options)) for _ in range(worlds)]
    return {
        name: np.array([row["epsilon"] for rows in found for row in rows if row["method"] == name])
        for name in METHODS
    }


def null(models, canaries):
    """Canaries that differ, models that differ, and nothing that depends on a coin."""

    def draw(rng):
        phi = rng.normal(size=(models, canaries)) + 2 * rng.normal(size=canaries)
        return phi + rng.normal(size=(models, 1)), rng.random((models, canaries)) < 0.5

    return draw


def randomised_response(epsilon, models, canaries):
    """Every coin told truly with probability e^eps / (1 + e^eps): exactly eps-DP in each coin."""

    def draw(rng):
        member = rng.random((models, canaries)) < 0.5
        honest = rng.random(member.shape) < 1 / (1 + math.exp(-epsilon))
        return (member == honest) * 1.0, member

    return draw


def gaussian(shift, models, canaries):
    """Every coin told with normal noise: exactly shift-GDP in each coin."""

    def draw(rng):
        member = rng.random((models, canaries)) < 0.5
        return rng.normal(size=member.shape) + shift * member, member

    return draw


def separated(models, canaries, seed=0):
    """Members and non-members of every canary far apart, each canary at its own place."""
    rng = np.random.default_rng(seed)
    member = rng.random((models, canaries)) < 0.5
    phi = rng.normal(size=member.shape) + 200.0 * member + 5 * rng.normal(size=canaries)
    return phi, member


def by_method(*args, **options):
    return {row["method"]: row for row in audit_rows(*args, **({"delta": DELTA} | options))}


# Soundness


@pytest.mark.parametrize(
    ("models", "canaries", "options"),
    [
        (32, 16, {}),
        (8, 16, {}),
        pytest.param(64, 32, {}, marks=pytest.mark.slow),
        pytest.param(32, 15, {"guesses": 1.0}, marks=pytest.mark.slow),
        pytest.param(40, 32, {"confidence": 0.8}, marks=pytest.mark.slow),
    ],
)
def test_null_canaries_raise_no_more_false_alarms_than_stated(models, canaries, options):
    found = audits(null(models, canaries), **options)
    for name, bounds in found.items():
        if bounds.size:
            assert np.mean(bounds > 0) <= allowed(bounds.size, 1 - options.get("confidence", 0.95)), name
    assert found["joint_runs"].size == 400


@pytest.mark.parametrize(
    ("epsilon", "guesses"),
    [(2.0, 0.5), *(pytest.param(*p, marks=pytest.mark.slow) for p in ((0.5, 0.5), (2.0, 1.0)))],
)
def test_bounds_of_randomised_response_hold_and_are_not_idle(epsilon, guesses):
    found = audits(randomised_response(epsilon, 48, 20), delta=0.0, guesses=guesses)
    for name, bounds in found.items():
        assert bounds.size == 400
        assert np.mean(bounds > epsilon + 1e-9) <= allowed(400), name
    assert found["joint_runs"].mean() > (0.15 if epsilon == 0.5 else 1.3)
    if epsilon == 2.0:
        assert min(found["one_run_first"].mean(), found["many_runs"].mean()) > 0.3


@pytest.mark.parametrize("shift", [2.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_bounds_of_the_gaussian_mechanism_hold_and_are_not_idle(shift):
    truth = gaussian_epsilon(shift, delta=1e-4)
    found = audits(gaussian(shift, 64, 20), delta=1e-4)
    for name, bounds in found.items():
        assert bounds.size == 400
        assert np.mean(bounds > truth) <= allowed(400), name
    assert found["joint_runs"].mean() > 0.4 * shift
    assert shift == 1.0 or found["many_runs"].mean() > 0.4


def test_one_canary_in_each_of_many_models_is_the_classical_audit():
    found = audits(randomised_response(1.5, 256, 1), delta=0.0)
    assert found["one_run_first"].size == found["one_run_median"].size == found["joint_runs"].size == 0
    assert np.mean(found["many_runs"] > 1.5) <= allowed(400)
    assert found["many_runs"].mean() > 0.2


def test_models_that_fail_because_of_a_canary_do_not_turn_bounds_wrong():
    """A mechanism of epsilon 1 whose outputs are: failed, and two scores; among the finished it shows more than 1."""

    def draw(rng):
        member = rng.random((300, 1)) < 0.5
        high, low = (np.where(member, a, b) for a, b in ((0.01 * math.e, 0.01), (0.26, 0.26 * math.e)))
        said = rng.random(member.shape)
        return np.where(said < high, 1.0, np.where(said < high + low, 0.0, np.nan)), member

    found = audits(draw, delta=0.0)["many_runs"]
    assert found.size == 400
    assert np.mean(found > 1.0) <= allowed(400)


def test_twins_are_one_trial():
    phi, member = gaussian(2.0, 64, 8)(np.random.default_rng(1))
    twin = np.arange(64) ^ 1
    paired = many_runs(phi, member, delta=DELTA, twin=twin)
    assert paired == many_runs(phi[::2], member[::2], delta=DELTA)
    assert many_runs(phi, member, delta=DELTA, twin=np.full(64, -1)) == many_runs(phi, member, delta=DELTA)
    changed = np.where(np.arange(64)[:, None] % 2, -phi, phi)
    assert many_runs(changed, member, delta=DELTA, twin=twin) == paired


# Power


@pytest.mark.parametrize(("models", "canaries"), [(64, 32), (32, 17), (12, 20)])
def test_perfect_separation_reaches_exactly_the_ceiling(models, canaries):
    rows = by_method(*separated(models, canaries))
    assert set(rows) >= {"joint_runs", "one_run_median", "one_run_first"}
    for name, row in rows.items():
        few = models < 32 and name != "many_runs"  # too few references to know each canary's own place
        assert few or row["epsilon"] == row["ceiling"] > 0, name


def test_without_references_one_place_for_all_canaries_is_enough():
    rng = np.random.default_rng(4)
    member = rng.random((6, 20)) < 0.5
    for row in audit_rows(member + 0.1 * rng.random((6, 20)), member, delta=DELTA, guesses=0.3):
        assert row["epsilon"] == row["ceiling"] > 0


def test_ceilings_are_those_of_that_many_trials():
    phi, member = separated(64, 32)
    rows = by_method(phi, member, guesses=0.25, confidence=0.9)
    rules = {"delta": DELTA, "confidence": 0.9}
    assert rows["joint_runs"]["trials"] == 48 * 8
    assert rows["joint_runs"]["ceiling"] == one_run_epsilon(384, 384, num_canaries=48 * 32, **rules)
    assert (rows["one_run_first"]["trials"], rows["one_run_first"]["canaries"]) == (8, 32)
    assert rows["one_run_first"]["ceiling"] == one_run_epsilon(8, 8, num_canaries=32, **rules)
    each = pytest.approx(one_run_epsilon(8, 8, num_canaries=32, delta=DELTA, confidence=0.95), abs=1e-6)
    assert rows["one_run_median"]["ceiling"] == each
    inside = [int(column.sum()) for column in member[8:].T]
    assert rows["many_runs"]["trials"] == 56
    assert rows["many_runs"]["ceiling"] in [epsilon_ceiling(n, 56 - n, **rules) for n in inside]


def test_all_runs_together_prove_more_than_one():
    rows = by_method(*gaussian(4.0, 64, 32)(np.random.default_rng(0)))
    assert rows["joint_runs"]["epsilon"] > 2 * rows["one_run_first"]["epsilon"] > 0
    assert rows["joint_runs"]["ceiling"] > 5 > 2 > rows["many_runs"]["ceiling"]


# Against loops


def likelihood_ratios(phi, member, referring):
    """LiRA, online, one variance for each side: by loops over targets, canaries and references."""
    models, canaries = phi.shape
    scores = np.zeros(phi.shape)
    for k in range(models):
        own = [j for j in referring if j != k]
        fit = {}
        for side in (True, False):
            groups = [[phi[j, m] for j in own if member[j, m] == side] for m in range(canaries)]
            residuals = [v - np.mean(g) for g in groups if len(g) >= 2 for v in g]
            fit[side] = (groups, np.sqrt(np.mean(np.square(residuals))))
        for m in range(canaries):
            if all(len(fit[side][0][m]) >= 2 for side in (True, False)):
                logs = {
                    side: stats.norm.logpdf(phi[k, m], np.mean(groups[m]), sigma)
                    for side, (groups, sigma) in fit.items()
                }
                scores[k, m] = logs[True] - logs[False]
    return scores


def right_guesses(scores, member, half):
    """The guesses that are right, of the `half` highest and lowest of one model."""
    order = sorted(range(len(scores)), key=lambda m: scores[m])
    called = [(m, False) for m in order[:half]] + [(m, True) for m in order[-half:]]
    return sum(member[m] == guess for m, guess in called)


def test_joint_runs_against_loops():
    phi, member = gaussian(1.5, 36, 14)(np.random.default_rng(5))
    scores = likelihood_ratios(phi, member, range(9))
    correct = sum(right_guesses(scores[k], member[k], 3) for k in range(9, 36))
    expected = one_run_epsilon(correct, 27 * 6, num_canaries=27 * 14, delta=DELTA)
    assert expected > 0
    assert joint_runs(phi, member, delta=DELTA).epsilon == expected


def test_one_run_against_loops():
    phi, member = gaussian(3.0, 21, 40)(np.random.default_rng(6))
    scores = likelihood_ratios(phi, member, range(21))
    correct = [right_guesses(scores[k], member[k], 10) for k in range(21)]

    def bound(count, confidence):
        return one_run_epsilon(count, 20, num_canaries=40, delta=DELTA, confidence=confidence)

    found = one_run(phi, member, delta=DELTA)
    assert found["first"].epsilon == bound(correct[0], 0.95) > 0
    assert found["median"].epsilon == pytest.approx(np.median([bound(c, 0.975) for c in correct]), abs=1e-6)
    assert found["median"].epsilon > 0


def test_guesses_do_not_read_the_coins_they_are_made_on():
    """With all coins of the targets turned, right guesses are wrong: none is left that proves anything."""
    phi, member = separated(64, 32)
    turned = np.where(np.arange(64)[:, None] < 16, member, ~member)
    assert joint_runs(phi, turned, delta=DELTA).epsilon == 0
    first = np.where(np.arange(64)[:, None] < 1, ~member, member)
    assert one_run(phi, first, delta=DELTA)["first"].epsilon == 0


def test_the_canary_of_many_runs_is_chosen_on_other_models():
    """One canary of six tells: it is found on the first eighth, and the rest bound it."""
    rng = np.random.default_rng(2)
    member = rng.random((160, 6)) < 0.5
    phi = rng.normal(size=(160, 6))
    phi[:, 4] += 6.0 * member[:, 4]
    expected = epsilon_lower_bound(phi[20:, 4], member[20:, 4], delta=DELTA)
    assert many_runs(phi, member, delta=DELTA).epsilon == expected > 1
    phi[20:, 4] = rng.normal(size=140)
    assert many_runs(phi, member, delta=DELTA).epsilon == 0


# Rows


def test_rows_are_plain_and_name_what_they_are():
    rows = audit_rows(*gaussian(3.0, 40, 24)(np.random.default_rng(0)), delta=DELTA, valid=np.arange(40) != 7)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert [row["method"] for row in rows] == list(METHODS)
    for row in rows:
        assert row["relation"] == "add-or-remove"
        assert 0 <= row["epsilon"] <= row["ceiling"]
        assert (row["delta"], row["confidence"], row["diverged"]) == (DELTA, 0.95, 1)
        assert row["trials"] > 0 < row["canaries"]
        assert row["meaning"].endswith(".")
    assert len({row["meaning"] for row in rows}) == 4


def test_there_are_no_rows_where_nothing_can_be_proven():
    assert audit_rows(np.zeros((32, 0)), np.zeros((32, 0), bool), delta=DELTA) == []
    assert audit_rows(np.zeros((4, 1)), np.eye(4, 1, dtype=bool), delta=DELTA) == []
    rows = by_method(*gaussian(1.0, 64, 20)(np.random.default_rng(0)), delta=0.3)
    assert "joint_runs" not in rows


def test_models_that_are_not_usable_prove_nothing_and_keep_their_place():
    phi, member = separated(64, 32)
    whole = by_method(phi, member)
    broken = phi.copy()
    broken[[0, 20, 21], 3] = np.nan
    rows = by_method(broken, member)
    valid = np.ones(64, bool)
    valid[[0, 20, 21]] = False
    assert rows == by_method(phi, member, valid=valid)
    assert all(row["diverged"] == 3 for row in rows.values())
    for name in METHODS:
        assert (rows[name]["trials"], rows[name]["ceiling"]) == (
            whole[name]["trials"],
            whole[name]["ceiling"],
        )
    assert rows["one_run_first"]["epsilon"] == 0
    assert rows["one_run_median"] == whole["one_run_median"] | {"diverged": 3}
    missing = one_run_epsilon(48 * 16 - 2 * 16, 48 * 16, num_canaries=48 * 32, delta=DELTA)
    assert rows["joint_runs"]["epsilon"] == missing > 0
    assert all(row["epsilon"] == 0 for row in audit_rows(phi, member, delta=DELTA, valid=np.zeros(64, bool)))


def test_a_model_that_failed_scores_lowest_among_the_trials_of_many_runs():
    member = np.arange(64)[:, None] % 2 == 0
    phi, valid = np.where(member, -1.0, -5.0), np.ones(64, bool)
    valid[[20, 21, 23, 25]] = False  # one member and three others: 0, had nobody said otherwise, beats all
    scores = np.where(valid, phi[:, 0], -9.0)[8:]
    expected = epsilon_lower_bound(scores, member[8:, 0], delta=DELTA)
    assert many_runs(phi, member, delta=DELTA, valid=valid).epsilon == expected > 0


def test_tied_canaries_are_ranked_by_their_place_and_not_by_their_coins():
    """Without scores the first half of the canaries is called out and the second in, whoever is."""
    last = np.tile(np.arange(20) >= 10, (6, 1))
    right, wrong = (by_method(np.zeros((6, 20)), held, guesses=1.0)["joint_runs"] for held in (last, ~last))
    assert right["epsilon"] == right["ceiling"] > 0
    assert wrong["epsilon"] == 0


def test_references_are_asked_from_eight_on():
    def ranked_by(found):
        return "LiRA" in found.meaning, "the scaled logit" in found.meaning

    phi, member = gaussian(1.0, 33, 10)(np.random.default_rng(3))
    for models, asked in ((8, False), (9, True)):  # a model is no reference of its own
        found = one_run(phi[:models], member[:models], delta=DELTA)["first"]
        assert ranked_by(found) == (asked, not asked)
    for models, asked in ((31, False), (32, True)):
        assert ranked_by(joint_runs(phi[:models], member[:models], delta=DELTA)) == (asked, not asked)


def test_the_share_that_is_guessed_is_not_cut_short_by_rounding():
    phi, member = gaussian(1.0, 3, 100)(np.random.default_rng(4))
    assert 0.58 * 100 / 2 < 29  # in float64
    for guesses, made in ((0.58, 58), (0.59, 58), (0.001, 2), (1.0, 100)):
        assert one_run(phi, member, delta=DELTA, guesses=guesses)["first"].trials == made


def test_arrays_are_left_as_they_are():
    phi, member = separated(32, 8)
    phi[3] = np.nan
    before = phi.copy(), member.copy()
    audit_rows(phi, member, delta=DELTA)
    np.testing.assert_array_equal(phi, before[0])
    np.testing.assert_array_equal(member, before[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scaled_logit": np.zeros(3)}, r"scaled_logit has shape \(3,\): it must be \[K, M\]"),
        ({"member": np.zeros((8, 3), bool)}, r"member has shape \(8, 3\)"),
        ({"member": np.full((8, 4), 2)}, r"member\[0, 0\] is 2"),
        ({"valid": np.ones(3, bool)}, r"valid has shape \(3,\)"),
        ({"guesses": 0.0}, r"guesses is 0.0: it must lie in \(0, 1\]"),
        ({"guesses": 1.5}, "guesses is 1.5"),
        ({"twin": np.zeros(3, int)}, r"twin has shape \(3,\): it must have shape \(8,\)"),
        ({"delta": 1.0}, "delta is 1.0"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"confidence": 95}, "confidence is 95: it must lie in"),
        ({"delta": None}, "delta is None: it must lie in"),
        ({"twin": np.full(8, 0.5)}, "twin has dtype float64: it must hold integers"),
        ({"scaled_logit": np.full((8, 4), "a")}, "scaled_logit is no array of numbers"),
    ],
)
def test_what_is_wrong_is_named(change, words):
    arrays = {"scaled_logit": np.zeros((8, 4)), "member": np.eye(8, 4, dtype=bool), "delta": DELTA}
    with pytest.raises(ValueError, match=words):
        audit_rows(**(arrays | change))


# Real models


@pytest.fixture(scope="module")
def trained():
    """The canaries' scaled logits by epoch, [32, 32] each, and who holds them: MLPs on Gaussian classes."""
    from mia_jax import data, keys, membership
    from mia_jax.config import CanariesConfig, DataConfig, MembershipConfig, TrainingConfig
    from mia_jax.models.mlp import mlp
    from mia_jax.training import train_shadow_models

    source = DataConfig(
        source="synthetic:gaussian,classes=4,features=16,distance=3", pool_size=100, population_size=20
    )
    dataset = data.load(source, CanariesConfig(count=32))
    roots = keys.roots(0)
    design = MembershipConfig(num_models=32, train_size=50)
    drawn = membership.draw(roots.membership, design, 100, dataset.num_canaries)
    training = TrainingConfig(epochs=60, batch_size=16, learning_rate=1e-2)
    model = mlp(num_classes=4, hidden=32, layers=1)
    said = {0: [], 1: [], 60: []}
    for segment in train_shadow_models(model, dataset, drawn, training, (0, 1, 60), roots):
        said[segment.epoch].append(np.asarray(segment.observed.pool.scaled_logit)[:, 100:])
    return {epoch: np.concatenate(parts) for epoch, parts in said.items()}, np.asarray(drawn.member)[:, 100:]


@pytest.mark.slow
def test_overtrained_models_are_caught(trained):
    said, member = trained
    rows = by_method(said[60], member)
    assert rows["joint_runs"]["epsilon"] > 3
    assert rows["one_run_median"]["epsilon"] > 1
    assert rows["one_run_first"]["epsilon"] > 1
    assert rows["many_runs"]["epsilon"] > 0.3


@pytest.mark.slow
def test_untrained_models_are_not_and_other_coins_prove_nothing(trained):
    said, member = trained
    assert all(row["epsilon"] == 0 for row in by_method(said[0], member).values())
    assert all(row["epsilon"] < 0.5 for row in by_method(said[1], member).values())
    others = np.random.default_rng(1).random(member.shape) < 0.5
    assert all(row["epsilon"] == 0 for row in by_method(said[60], others).values())
