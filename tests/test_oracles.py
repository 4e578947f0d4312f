"""Others' code and closed forms: scikit-learn, Gaussian scores, and jax-privacy's auditor where it is sound.

jax-privacy 2.0.0 agrees with ours at a threshold fixed beforehand (Clopper-Pearson bound, both ways;
one run) and on null scores. Where it does not agree it is not sound or means something else:
`epsilon_from_gdp` takes the absolute value of mu and so reads a large upper bound on both errors as
evidence (positive on 99 % of null attacks); `attack_auroc` and `tpr_at_given_fpr` are of the convex
hull of the ROC, above the ROC itself; its Bonferroni pays for the thresholds of that hull, whose
number depends on the scores; `epsilon_raw_counts` is an estimate, no bound.
"""

import itertools

import numpy as np
import pytest
from jax_privacy.auditing import CanaryScoreAuditor, Explicit
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from mia_jax import metrics
from mia_jax.auditing import epsilon_lower_bound, gaussian_epsilon, gaussian_mu_lower_bound, one_run_epsilon
from mia_jax.slices import slice_rows
from mia_jax.statistics.vulnerability import record_vulnerability


def trials(seed, size, shift, levels=None):
    rng = np.random.default_rng(seed)
    member = rng.random(size) < 0.5
    scores = rng.normal(size=size) + shift * member
    return (np.round(scores * levels) / levels if levels else scores), member


def auditor(scores, member):
    return CanaryScoreAuditor(scores[member], scores[~member])


# scikit-learn


@pytest.mark.parametrize("levels", [1, 3, None])
@pytest.mark.parametrize("seed", range(5))
def test_roc_and_area_are_those_of_scikit_learn_with_ties(seed, levels):
    scores, member = trials(seed, 400, 0.7, levels)
    expected = sklearn_roc_curve(member, scores, drop_intermediate=False)
    for own, known in zip(metrics.roc_curve(scores, member), expected, strict=True):
        np.testing.assert_allclose(own, known, rtol=1e-12)
    assert metrics.auc(scores, member) == pytest.approx(roc_auc_score(member, scores), rel=1e-12)
    for fpr in (0.01, 0.1, 0.5):
        steps = expected[1][expected[0] <= fpr]
        assert metrics.tpr_at_fpr(scores, member, fpr) == pytest.approx(steps[-1], rel=1e-12)


def test_tables_of_slices_and_records_agree_with_scikit_learn():
    scores, member = (part.reshape(20, 30) for part in trials(1, 600, 1.0, 3))
    decisions = scores > 0.5
    value, _ = metrics.balanced_accuracy_interval(decisions, scores, member)
    assert value == pytest.approx(balanced_accuracy_score(member.ravel(), decisions.ravel()))
    table = record_vulnerability(scores, member, decisions)
    for n in range(30):
        assert table.auc[n] == pytest.approx(roc_auc_score(member[:, n], scores[:, n]))
    for row in slice_rows(scores, member, {"third": np.arange(30) % 3}, fprs=()):
        mine = np.arange(30) % 3 == row["value"]
        assert row["auc"] == pytest.approx(roc_auc_score(member[:, mine].ravel(), scores[:, mine].ravel()))


# Gaussian scores


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_gaussian_scores_have_the_closed_forms(shift):
    scores, member = trials(2, 300_000, shift)
    assert metrics.auc(scores, member) == pytest.approx(norm.cdf(shift / np.sqrt(2)), abs=0.005)
    for fpr in (0.1, 0.01, 0.001):
        assert metrics.tpr_at_fpr(scores, member, fpr) == pytest.approx(
            norm.cdf(norm.ppf(fpr) + shift), abs=0.01
        )
    best = metrics.balanced_accuracy(scores, member, metrics.central_threshold(scores, member))
    assert best == pytest.approx(norm.cdf(shift / 2), abs=0.005)


def test_intervals_of_independent_entries_are_as_wide_as_theory_says():
    """With nothing shared, the standard errors of Hanley & McNeil and of a quantile are known."""
    shift, scores, member = 1.0, *(part.reshape(400, 500) for part in trials(3, 200_000, 1.0))
    area = norm.cdf(shift / np.sqrt(2))
    each = member.sum(), (~member).sum()
    # P(two members beat one non-member) for two Gaussians: a bivariate normal orthant.
    rng = np.random.default_rng(0)
    both = np.mean(norm.cdf(rng.normal(size=200_000) + shift) ** 2)
    variance = (area * (1 - area) + (each[0] - 1 + each[1] - 1) * (both - area**2)) / (each[0] * each[1])
    low, high = metrics.auc_interval(scores, member)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.15)
    fpr, tpr = 0.05, norm.cdf(norm.ppf(0.05) + shift)
    slope = norm.pdf(norm.isf(fpr) - shift) / norm.pdf(norm.isf(fpr))
    error = np.sqrt(tpr * (1 - tpr) / each[0] + slope**2 * fpr * (1 - fpr) / each[1])
    low, high = metrics.tpr_interval(scores, member, fpr)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


# jax-privacy


CASES = list(itertools.product([33, 64, 500], [-2.0, 0.0, 1.0, 3.0], [None, 2]))


@pytest.mark.parametrize(("size", "shift", "levels"), CASES)
def test_bound_at_a_fixed_threshold_is_jax_privacys(size, shift, levels):
    scores, member = trials(4, size, shift, levels)
    for threshold, delta, confidence in itertools.product((-0.5, 0.5, 1.5), (0.0, 1e-3), (0.9, 0.99)):
        own = epsilon_lower_bound(scores, member, delta=delta, confidence=confidence, thresholds=[threshold])
        theirs = auditor(scores, member).epsilon_clopper_pearson(
            1 - confidence, delta, one_sided=False, threshold_strategy=Explicit(threshold)
        )
        assert own == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-2])
def test_one_run_bound_is_jax_privacys(shift, delta):
    scores, member = trials(5, 300, shift)
    for threshold in (0.0, 1.0, 2.5):
        guesses, right = int(np.sum(scores >= threshold)), int(np.sum(member & (scores >= threshold)))
        own = one_run_epsilon(right, guesses, num_canaries=300, delta=delta)
        theirs = auditor(scores, member).epsilon_one_run(0.05, delta, threshold_strategy=Explicit(threshold))
        assert own == pytest.approx(theirs, abs=2e-6)


def test_area_is_below_jax_privacys_which_is_of_the_convex_hull():
    for seed in range(20):
        scores, member = trials(seed, 60, 0.5)
        theirs = auditor(scores, member)
        assert metrics.auc(scores, member) <= theirs.attack_auroc() + 1e-12
        for fpr in (0.05, 0.2):
            assert metrics.tpr_at_fpr(scores, member, fpr) <= theirs.tpr_at_given_fpr(fpr) + 1e-12


def test_area_is_jax_privacys_where_the_roc_is_convex():
    member = np.arange(30) < 12
    scores = np.repeat([2.0, 1.0, 0.0, 2.0, 1.0, 0.0], [7, 3, 2, 3, 5, 10])
    assert metrics.auc(scores, member) == pytest.approx(auditor(scores, member).attack_auroc())


def test_bound_for_gaussian_mechanisms_is_not_jax_privacys():
    """On null scores ours is 0 and theirs is not: it must never become our oracle."""
    ours, theirs = [], []
    for seed in range(40):
        scores, member = trials(seed, 64, 0.0)
        ours.append(gaussian_epsilon(gaussian_mu_lower_bound(scores, member), delta=1e-5))
        theirs.append(auditor(scores, member).epsilon_from_gdp(0.05, 1e-5))
    assert np.mean(np.array(ours) > 0) <= 0.15
    assert np.mean(np.array(theirs) > 0) > 0.5
