"""Rows, curves and histograms against what they summarise."""

import numpy as np
import pytest

from mia_jax import metrics, summary
from mia_jax.config import ReportConfig
from mia_jax.statistics.pooled import Pooled

SETTING = summary.Setting("mlp", 2, 30)


@pytest.fixture
def world():
    """Scores [16, 60] with a membership signal, and who is a member."""
    rng = np.random.default_rng(0)
    member = rng.random((16, 60)) < 0.5
    return rng.normal(size=member.shape) + member, member


def row_of(scores, member, twin=None):
    twin = np.full(len(member), -1) if twin is None else twin
    return summary.attack_row(SETTING, "loss", scores, member, twin, ReportConfig(fpr=(0.1, 0.001)))


def test_attack_row_pools_targets_and_names_its_place(world):
    scores, member = world
    row = row_of(scores, member)
    assert (row["family"], row["attack"], row["checkpoint"], row["epoch"]) == ("mlp", "loss", 2, 30)
    assert row["auc"] == metrics.auc(scores, member)
    assert row["target_auc"] == np.mean([metrics.auc(s, m) for s, m in zip(scores, member, strict=True)])
    assert row["tpr_at_fpr_0.001"] is None, "about 480 non-members: half a false positive"
    assert row["target_tpr_at_fpr_0.1"] is not None


def test_missing_scores_are_counted_and_left_out(world):
    scores, member = world
    scores[0] = np.nan
    scores[3, 5] = np.nan
    row = row_of(scores, member)
    assert (row["targets"], row["records"], row["missing"]) == (15, 60, 1)
    known = ~np.isnan(scores)
    assert row["auc"] == metrics.auc(scores[known], member[known])


def test_balanced_accuracy_of_noise_is_not_biased_upwards():
    """With the best threshold of the same scores the mean would be about .54 (60 records a target)."""
    rng = np.random.default_rng(1)
    values = []
    for _ in range(60):
        member = rng.random((8, 60)) < 0.5
        values.append(row_of(rng.normal(size=member.shape), member)["balanced_accuracy"])
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / np.sqrt(len(values))


@pytest.mark.slow
def test_balanced_accuracy_of_lira_on_noise_is_not_biased_upwards():
    """Thresholds that have seen the record, if on other targets, would give about .504."""
    from mia_jax.attacks import lira

    rng = np.random.default_rng(3)
    values = []
    for _ in range(300):
        member = rng.random((32, 150)) < 0.5
        logit = rng.normal(size=member.shape) * rng.uniform(0.5, 2.0, 150) + rng.normal(size=150)
        values.append(row_of(lira(logit, member), member)["balanced_accuracy"])
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / np.sqrt(len(values)), np.mean(values)
    assert np.std(values) / np.sqrt(len(values)) < 0.001


def test_twins_share_a_fold():
    """A target's twin has the complementary membership: its scores must not choose the threshold."""
    rng = np.random.default_rng(2)
    half = rng.random((4, 40)) < 0.5
    member = np.stack([half, ~half], axis=1).reshape(8, 40)
    scores = rng.normal(size=member.shape)
    twin = np.arange(8) ^ 1
    alone = metrics.cross_fit_decisions(scores, member, twin)
    spoiled = scores.copy()
    spoiled[1] = 1e3 * member[1]
    again = metrics.cross_fit_decisions(spoiled, member, twin)
    np.testing.assert_array_equal(alone[0], again[0])


def test_utility_row_is_the_mean_over_usable_models():
    correct = np.array([[1.0, 1, 0, 0], [1, 0, 1, 0], [np.nan] * 4])
    member = np.array([[True, True, False, False], [True, True, False, False], [True] * 4])
    test = np.array([[1.0, 0], [0, 0], [1, 1]])
    usable = np.array([True, True, False])
    row = summary.utility_row(SETTING, correct, member, test, usable, num_parameters=7, confidence=0.95)
    assert (row["train_accuracy"], row["test_accuracy"], row["gap"]) == (0.75, 0.25, 0.5)
    assert row["models"] == 2
    assert 0 <= row["train_accuracy_low"] <= row["train_accuracy_high"] <= 1


def test_curve_keeps_exact_points_only(world):
    scores, member = world
    fpr, tpr, _ = metrics.roc_curve(scores, member)
    exact = set(zip(fpr, tpr, strict=True))
    thinned = summary.pooled_curve(Pooled(scores, member))
    assert set(zip(thinned.fpr, thinned.tpr, strict=True)) <= exact
    assert (thinned.fpr[0], thinned.fpr[-1], thinned.tpr[-1]) == (0.0, 1.0, 1.0)


def test_histograms_are_densities_of_both_sides(world):
    histogram = summary.pooled_histogram(Pooled(*world))
    widths = np.diff(histogram.edges)
    np.testing.assert_allclose([histogram.member_density @ widths, histogram.nonmember_density @ widths], 1.0)
    constant = summary.pooled_histogram(Pooled(np.zeros((2, 3)), np.array([[True, False, True]] * 2)))
    assert np.isfinite(constant.member_density).all()


def test_comparison_is_paired(world):
    """The same scores differ by nothing, however wide the interval of each."""
    scores, member = world
    rows = summary.comparisons(
        {("a", "loss"): scores, ("b", "loss"): scores, ("c", "loss"): -scores},
        member,
        np.full(len(member), -1),
        0.95,
    )
    assert [(row["family_a"], row["family_b"]) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert (rows[0]["difference"], rows[0]["low"], rows[0]["high"]) == (0.0, 0.0, 0.0)
    assert rows[1]["low"] > 0
    assert rows[0]["p"] == 1.0
    assert all(row["p"] <= row["p_holm"] for row in rows)


def test_advantage_and_ppv_are_those_of_the_rates(world):
    scores, member = world
    row = row_of(scores, member)
    assert row["advantage"] == pytest.approx(2 * row["balanced_accuracy"] - 1)
    tpr = row["tpr_at_fpr_0.1"]
    assert row["ppv_at_fpr_0.1"] == pytest.approx(tpr / (tpr + 0.1))
    assert row["ppv_at_fpr_0.1_low"] < row["ppv_at_fpr_0.1"] < row["ppv_at_fpr_0.1_high"]
    rare = summary.attack_row(
        SETTING, "loss", scores, member, np.full(len(member), -1), ReportConfig(prior=0.01)
    )
    assert rare["ppv_at_fpr_0.1"] == pytest.approx(0.01 * tpr / (0.01 * tpr + 0.99 * 0.1))


def test_accuracies_of_own_models_are_of_members_and_of_others():
    correct = np.array([[1, 1, 0, 0], [1, 0, 1, 0.0]])
    member = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool)
    row = summary.own_utility_row(SETTING, correct, member, np.ones(2, bool), 0.95)
    assert (row["train_accuracy"], row["test_accuracy"], row["models"]) == (0.75, 0.25, 2)
    assert row["gap"] == 0.5
