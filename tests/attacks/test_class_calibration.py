"""Class-wise calibration in folds against the public one-target functions, called target by target."""

import numpy as np
import pytest

from mia_jax.attacks import class_thresholds, privacy_risk_score
from mia_jax.attacks.base import Observations, folds
from mia_jax.attacks.class_calibration import attacks, metric_by_class, risk_by_class
from mia_jax.attacks.metric_threshold import METRICS, best_threshold, observed_scores
from mia_jax.config import AttacksConfig

K, N, C = 9, 40, 3


def draw(seed=0, shift=1.0):
    """Coarse scores of at most 0, so that many tie; three classes of different hardness."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(N) % C)
    member = rng.random((K, N)) < 0.45
    score = -rng.gamma(2.0, 1.0, (K, N)) * (1 + labels) + shift * member * labels
    return np.round(np.minimum(score, -0.1), 1) - 0.05, member, labels


def twins(count):
    return (np.arange(count) ^ 1)[:, None] == np.arange(count)[None, :]


def of_other_folds(target, num_folds, exclude=None, valid=None):
    fold = folds(K, num_folds, exclude)
    return (fold != fold[target]) & (np.ones(K, bool) if valid is None else valid)


def threshold_by_hand(inside, outside):
    best, best_right = None, -1
    for v in [*inside, *outside]:
        right = sum(s >= v for s in inside) * len(outside) + sum(s < v for s in outside) * len(inside)
        if right > best_right:
            best, best_right = v, right
    return best


GIVEN = [{}, {"num_folds": 2}, {"num_folds": 9}, {"exclude": "twins"}, {"valid": np.arange(K) != 4}]


def options_of(given):
    return given | ({"exclude": twins(10)[:K, :K]} if "exclude" in given else {})


# Thresholds


@pytest.mark.parametrize("ties", [0, 1, 2])
def test_the_best_threshold_is_the_first_of_the_best(ties):
    rng = np.random.default_rng(ties)
    for _ in range(60):
        inside, outside = (np.round(rng.normal(size=rng.integers(1, 9)), ties) for _ in range(2))
        assert best_threshold(inside, outside) == threshold_by_hand(inside.tolist(), outside.tolist())


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_scores_are_less_the_threshold_of_the_class_on_the_other_folds(given):
    score, member, labels = draw()
    options = options_of(given)
    actual = metric_by_class(score, member, labels, **options)
    for k, label in np.ndindex(K, C):
        mine = labels == label
        if "valid" in options and not options["valid"][k]:
            assert np.isnan(actual[k]).all()
            continue
        shadows = of_other_folds(k, **({"num_folds": 4} | options))
        known, values = member[shadows][:, mine], score[shadows][:, mine]
        threshold = threshold_by_hand(values[known].tolist(), values[~known].tolist())
        np.testing.assert_array_equal(actual[k, mine], score[k, mine] - threshold)


@pytest.mark.parametrize("seed", range(3))
def test_at_least_zero_is_the_decision_of_class_thresholds(seed):
    score, member, labels = draw(seed)
    actual = metric_by_class(score, member, labels)
    for k in range(K):
        shadows = of_other_folds(k, 4)
        decisions = class_thresholds(
            score[shadows].ravel(),
            np.tile(labels, shadows.sum()),
            member[shadows].ravel(),
            score[k],
            labels,
            C,
        )
        np.testing.assert_array_equal(actual[k] >= 0, decisions)


def test_a_case_by_hand():
    # Four models in four folds, one record for each of two classes.
    score = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [0.0, 40.0]])
    member = np.array([[True, False], [False, False], [True, True], [False, True]])
    scores = metric_by_class(score, member, np.array([0, 1]))
    # Class 0: target 0 sees members {3} over {2, 0}: threshold 3; class 1: {30, 40} over {20}: 30.
    np.testing.assert_array_equal(scores[0], [1 - 3, 10 - 30])
    # Target 3, class 0: members {1, 3} over {2}: 1 finds both and spares none, 3 finds half and spares
    # all, which is more. Class 1: {30} over {10, 20}.
    np.testing.assert_array_equal(scores[3], [0 - 3, 40 - 30])


def test_a_class_without_one_side_on_the_other_folds_is_nan():
    score, member, labels = draw()
    member[:, labels == 1] = True
    member[:, labels == 2] = np.arange(K)[:, None] == 5  # one model's alone: its own fold sees no member
    for calibrated in (metric_by_class, risk_by_class):
        actual = calibrated(score, member, labels)
        assert np.isnan(actual[:, labels == 1]).all()
        same = folds(K, 4) == folds(K, 4)[5]
        assert np.isnan(actual[same][:, labels == 2]).all()
        assert np.isfinite(actual[~same][:, labels == 2]).all()
        assert np.isfinite(actual[:, labels == 0]).all()


def test_where_all_models_exclude_each_other_nothing_can_be_fitted():
    score, member, labels = draw()
    assert np.isnan(metric_by_class(score, member, labels, exclude=np.ones((K, K), bool))).all()


# Risk


@pytest.mark.parametrize("given", [*GIVEN, {"num_bins": 3}], ids=str)
def test_risks_are_those_of_the_public_function(given):
    score, member, labels = draw(1)
    options = options_of(given)
    actual = risk_by_class(score, member, labels, **options)
    bins = {"num_bins": options.pop("num_bins", 5)}
    for k in range(K):
        if "valid" in options and not options["valid"][k]:
            assert np.isnan(actual[k]).all()
            continue
        shadows = of_other_folds(k, **({"num_folds": 4} | options))
        expected = privacy_risk_score(
            score[shadows].ravel(),
            np.tile(labels, shadows.sum()),
            member[shadows].ravel(),
            score[k],
            labels,
            C,
            **bins,
        )
        np.testing.assert_array_equal(actual[k], expected)
    assert np.nanmin(actual) >= 0
    assert np.nanmax(actual) <= 1


def test_risks_need_scores_of_at_most_zero():
    score, member, labels = draw()
    score[2, 3] = 0.25
    with pytest.raises(ValueError, match=r"score holds 0\.25"):
        risk_by_class(score, member, labels)


# What enters


@pytest.mark.parametrize("calibrated", [metric_by_class, risk_by_class])
def test_no_model_of_the_targets_fold_enters(calibrated):
    score, member, labels = draw(2)
    fold = folds(K, 4, None)
    changed, lied = score.copy(), member.copy()
    mates = (fold == fold[0]) & (np.arange(K) != 0)
    assert mates.any()
    changed[mates] *= 3.7
    lied[fold == fold[0]] = ~lied[fold == fold[0]]
    np.testing.assert_array_equal(calibrated(changed, lied, labels)[0], calibrated(score, member, labels)[0])


@pytest.mark.parametrize("calibrated", [metric_by_class, risk_by_class])
def test_models_that_are_not_valid_enter_no_fit(calibrated):
    score, member, labels = draw(3)
    valid = np.arange(K) != 6
    poisoned, lied = score.copy(), member.copy()
    poisoned[6], lied[6] = np.nan, ~lied[6]
    actual = calibrated(poisoned, lied, labels, valid=valid)
    np.testing.assert_array_equal(actual, calibrated(score, member, labels, valid=valid))
    assert np.isnan(actual[6]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": np.arange(N) % 2 * 1.0}, "labels is float64"),
        ({"labels": np.full(N, -1)}, r"labels\[0\] is -1"),
        ({"labels": np.zeros(N + 1, int)}, r"shape \(41,\): it must be integers of shape \(40,\)"),
        ({"member": np.full((K, N), 2)}, r"member\[0, 0\] is 2"),
        ({"score": np.full((K, N), np.nan)}, r"score\[0, 0\] is nan"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, words):
    score, member, labels = draw()
    given = {"score": score, "member": member, "labels": labels} | change
    with pytest.raises(ValueError, match=words):
        metric_by_class(**given)
    with pytest.raises(ValueError, match="folds is 1"):
        metric_by_class(score, member, labels, num_folds=1)


# The choices of --attacks


def test_every_choice_is_the_function_with_the_configs_folds():
    rng = np.random.default_rng(4)
    _, member, labels = draw(4)
    fields = ("correct", "log_prob", "scaled_logit", "entropy", "modified_entropy")
    signals = {field: rng.gamma(2.0, 1.0, (K, N)) for field in fields}
    exclude, valid = twins(10)[:K, :K], np.arange(K) != 2
    seen = Observations(member, valid, exclude, labels=labels, **signals)
    found = {one.name: one for one in attacks(AttacksConfig(folds=3))}
    assert set(found) == {f"{metric}_by_class" for metric in METRICS} | {"privacy_risk_score"}
    options = {"num_folds": 3, "exclude": exclude, "valid": valid}
    for metric in METRICS:
        expected = metric_by_class(observed_scores(seen, metric), member, labels, **options)
        np.testing.assert_array_equal(found[f"{metric}_by_class"].score(seen), expected)
        assert "labels" in found[f"{metric}_by_class"].needs
    expected = risk_by_class(-signals["modified_entropy"], member, labels, **options)
    np.testing.assert_array_equal(found["privacy_risk_score"].score(seen), expected)
    assert found["privacy_risk_score"].needs == {"labels", "modified_entropy"}


# A world where classes differ far more than membership moves them


def test_where_class_hides_membership_one_threshold_fails_and_thresholds_by_class_succeed():
    rng = np.random.default_rng(5)
    labels = np.arange(200) % 10
    member = rng.random((16, 200)) < 0.5
    score = -50.0 * labels + 4.0 * member + rng.normal(size=(16, 200))
    decided = metric_by_class(score, member, labels) >= 0
    right = 0.5 * (decided[member].mean() + (~decided[~member]).mean())
    assert right > 0.96  # Phi(2) = .977
    one = score >= best_threshold(score[member], score[~member])
    assert 0.5 * (one[member].mean() + (~one[~member]).mean()) < 0.6
    risk = risk_by_class(score - 10, member, labels)
    assert risk[member].mean() > 0.8 > 0.2 > risk[~member].mean()
