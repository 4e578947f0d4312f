"""Metrics against counting in fractions, scikit-learn, and simulated worlds whose answer is known."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from mia_jax.metrics import (
    auc,
    auc_interval,
    balanced_accuracy,
    estimable,
    roc_curve,
    tpr_at_fpr,
    tpr_interval,
)


def naive_steps(scores, member):
    """(false positives, true positives, threshold) at +inf, then at every distinct score from the top."""
    scores, member = [float(s) for s in np.ravel(scores)], [bool(m) for m in np.ravel(member)]
    steps = [(0, 0, math.inf)]
    for threshold in sorted(set(scores), reverse=True):
        decided = [m for s, m in zip(scores, member, strict=True) if s >= threshold]
        steps.append((decided.count(False), decided.count(True), threshold))
    return steps


def naive_auc(scores, member):
    """Share of (member, non-member) pairs in the right order, ties one half."""
    scores, member = np.ravel(scores), np.ravel(member).astype(bool)
    total = Fraction(0)
    for inside in scores[member]:
        for outside in scores[~member]:
            total += Fraction(1, 2) if inside == outside else Fraction(int(inside > outside))
    return total / (int(member.sum()) * int((~member).sum()))


def naive_tpr_at_fpr(scores, member, fpr):
    steps = naive_steps(scores, member)
    outside, inside = steps[-1][0], steps[-1][1]
    return max(Fraction(tp, inside) for fp, tp, _ in steps if fp / outside <= fpr)


def draw(seed, shape=None):
    """Scores with few or many ties, members of a random share; always both kinds."""
    rng = np.random.default_rng(seed)
    shape = shape or (int(rng.integers(2, 60)),)
    levels = int(rng.choice([1, 2, 3, 8, 100_000]))
    scores = rng.integers(0, levels, shape) / 8.0
    member = rng.random(shape) < rng.uniform(0.1, 0.9)
    member.flat[0], member.flat[-1] = True, False
    return scores, member


# ROC


@pytest.mark.parametrize("seed", range(40))
def test_roc_curve_agrees_with_scikit_learn(seed):
    scores, member = draw(seed)
    fpr, tpr, thresholds = roc_curve(scores, member)
    expected = sklearn_roc_curve(member, scores, drop_intermediate=False)
    for actual, known in zip((fpr, tpr, thresholds), expected, strict=True):
        np.testing.assert_allclose(actual, known, rtol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_roc_curve_agrees_with_counting(seed):
    scores, member = draw(100 + seed, shape=(3, 9))
    steps = naive_steps(scores, member)
    fpr, tpr, thresholds = roc_curve(scores, member)
    np.testing.assert_allclose(fpr, [fp / steps[-1][0] for fp, _, _ in steps], rtol=1e-12)
    np.testing.assert_allclose(tpr, [tp / steps[-1][1] for _, tp, _ in steps], rtol=1e-12)
    np.testing.assert_array_equal(thresholds, [threshold for _, _, threshold in steps])


def test_roc_curve_goes_from_the_origin_at_infinity_to_one():
    fpr, tpr, thresholds = roc_curve(*draw(7, shape=(50,)))
    assert (fpr[0], tpr[0], thresholds[0]) == (0.0, 0.0, np.inf)
    assert (fpr[-1], tpr[-1]) == (1.0, 1.0)


def test_roc_curve_of_one_tied_score_is_the_diagonal():
    fpr, tpr, _ = roc_curve(np.zeros(9), np.arange(9) < 4)
    np.testing.assert_array_equal(fpr, [0, 1])
    np.testing.assert_array_equal(tpr, [0, 1])


def test_infinite_scores_are_scores():
    scores = np.array([np.inf, np.inf, 1.0, 1.0, -np.inf, -np.inf, 0.0])
    member = np.array([True, False, True, True, False, True, False])
    fpr, tpr, thresholds = roc_curve(scores, member)
    assert thresholds[0] == np.inf
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert auc(scores, member) == pytest.approx(float(naive_auc(scores, member)))
    assert np.trapezoid(tpr, fpr) == pytest.approx(float(naive_auc(scores, member)))
    assert tpr_at_fpr(scores, member, 0.0) == 0.0
    assert tpr_at_fpr(scores, member, 0.4) == pytest.approx(0.75)
    assert balanced_accuracy(scores, member, np.inf) == pytest.approx((1 / 4 + 2 / 3) / 2)
    assert balanced_accuracy(scores, member, -np.inf) == pytest.approx(0.5)


# AUC


@pytest.mark.parametrize("seed", range(40))
def test_auc_counts_pairs_and_ties_one_half(seed):
    scores, member = draw(200 + seed)
    assert auc(scores, member) == pytest.approx(float(naive_auc(scores, member)), rel=1e-12)
    assert auc(scores, member) == pytest.approx(roc_auc_score(member, scores), rel=1e-12)


@pytest.mark.parametrize("order", ["members first", "non-members first", "shuffled"])
def test_auc_of_heavily_tied_scores_does_not_depend_on_their_order(order):
    # 7 of 22 members stand out, all else is tied: a ROC that splits ties gives .318 or 1, by the order.
    scores, member = np.zeros(40), np.arange(40) < 22
    scores[:7] = 1.0
    places = {"members first": np.arange(40), "non-members first": np.arange(40)[::-1]}
    place = places.get(order, np.random.default_rng(0).permutation(40))
    scores, member = scores[place], member[place]
    assert auc(scores, member) == pytest.approx(29 / 44, rel=1e-12)
    fpr, tpr, _ = roc_curve(scores, member)
    assert np.trapezoid(tpr, fpr) == pytest.approx(29 / 44, rel=1e-12)
    assert tpr_at_fpr(scores, member, 0.5) == pytest.approx(7 / 22)


@pytest.mark.parametrize("seed", range(10))
def test_auc_is_the_area_under_the_roc_curve(seed):
    scores, member = draw(300 + seed, shape=(5, 6, 2))
    fpr, tpr, _ = roc_curve(scores, member)
    assert np.trapezoid(tpr, fpr) == pytest.approx(auc(scores, member), rel=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_auc_of_the_negated_scores_is_the_complement(seed):
    scores, member = draw(400 + seed)
    assert auc(-scores, member) == pytest.approx(1 - auc(scores, member), rel=1e-12)
    assert auc(scores, ~member) == pytest.approx(1 - auc(scores, member), rel=1e-12)


def test_auc_is_one_for_members_on_top_and_zero_below():
    member = np.arange(10) >= 4
    assert auc(np.arange(10.0), member) == 1.0
    assert auc(-np.arange(10.0), member) == 0.0
    assert auc(np.ones(10), member) == 0.5


def test_gaussian_shift_reaches_the_closed_forms():
    rng = np.random.default_rng(1)
    member = np.arange(400_000) % 2 == 0
    scores = rng.normal(size=400_000) + 1.0 * member
    assert auc(scores, member) == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.003)
    for fpr in (0.001, 0.01, 0.1):
        assert tpr_at_fpr(scores, member, fpr) == pytest.approx(norm.cdf(norm.ppf(fpr) + 1), abs=0.01)


# TPR at an FPR


@pytest.mark.parametrize("seed", range(40))
def test_tpr_at_fpr_is_the_largest_step_within_the_budget(seed):
    scores, member = draw(500 + seed)
    for fpr in (0.0, 0.001, 0.1, 0.2, 0.3, 0.5, 0.7, 0.999, 1.0):
        known = float(naive_tpr_at_fpr(scores, member, fpr))
        assert tpr_at_fpr(scores, member, fpr) == pytest.approx(known, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("negatives", [7, 10, 30, 49])
def test_tpr_at_an_fpr_that_is_exactly_a_step_includes_the_step(negatives):
    scores = np.arange(2 * negatives, 0, -1.0)
    member = np.arange(2 * negatives) % 2 == 1  # non-member, member, non-member, member ...
    for step in range(negatives + 1):
        expected = 1.0 if step == negatives else step / negatives
        assert tpr_at_fpr(scores, member, step / negatives) == pytest.approx(expected, rel=1e-12)


def test_tpr_at_fpr_does_not_interpolate():
    scores, member = np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert tpr_at_fpr(scores, member, 0.499) == 0.5
    assert tpr_at_fpr(scores, member, 0.5) == 1.0


def test_tpr_at_fpr_never_splits_a_tie():
    scores, member = np.array([1.0] * 10 + [0.0] * 10), np.arange(20) % 2 == 0
    assert tpr_at_fpr(scores, member, 0.49) == 0.0
    assert tpr_at_fpr(scores, member, 0.5) == 0.5
    assert tpr_at_fpr(scores, member, 0.99) == 0.5


def test_tpr_at_fpr_zero_counts_the_members_above_every_non_member():
    scores, member = np.array([5.0, 4.0, 3.0, 3.0, 2.0]), np.array([True, True, True, False, True])
    assert tpr_at_fpr(scores, member, 0.0) == pytest.approx(0.5)


@pytest.mark.parametrize("others", [1, 3, 49, 100, 1000, 10_000])
def test_one_expected_false_positive_is_enough_whatever_the_product_rounds_to(others):
    member = np.arange(others + 2) < 2
    assert estimable(member, 1 / others)  # 49 times 1/49 is 0.9999999999999999
    assert not estimable(member, 0.999 / others)


# Balanced accuracy


@pytest.mark.parametrize("seed", range(20))
def test_balanced_accuracy_decides_member_at_or_above_the_threshold(seed):
    scores, member = draw(600 + seed)
    for threshold in [*np.unique(scores)[:8], -1.0, scores.max()]:
        known = balanced_accuracy_score(member, scores >= threshold)
        assert balanced_accuracy(scores, member, threshold) == pytest.approx(known, rel=1e-12)


def test_balanced_accuracy_weighs_members_and_non_members_alike():
    scores, member = np.array([1.0, 1.0, 1.0, 0.0, 1.0]), np.array([True, True, True, True, False])
    assert balanced_accuracy(scores, member, 1.0) == pytest.approx((3 / 4 + 0) / 2)
    assert balanced_accuracy(scores, member, 1.5) == pytest.approx((0 + 1) / 2)


# Arguments

METRICS = {
    "roc_curve": roc_curve,
    "auc": auc,
    "tpr_at_fpr": lambda scores, member: tpr_at_fpr(scores, member, 0.1),
    "balanced_accuracy": lambda scores, member: balanced_accuracy(scores, member, 0.5),
}
INTERVALS = {"auc_interval": auc_interval, "tpr_interval": lambda s, m: tpr_interval(s, m, 0.25)}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
every_interval = pytest.mark.parametrize("interval", INTERVALS.values(), ids=INTERVALS)


def flat(result):
    return np.concatenate([np.ravel(part) for part in (result if isinstance(result, tuple) else (result,))])


@every_metric
@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8])
def test_zero_one_membership_is_a_mask_and_never_an_index(metric, dtype):
    scores, member = draw(7, shape=(41,))
    np.testing.assert_array_equal(flat(metric(scores, member.astype(dtype))), flat(metric(scores, member)))


@every_metric
@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4), (24, 1)])
def test_any_shape_is_flattened(metric, shape):
    scores, member = draw(8, shape=(24,))
    np.testing.assert_array_equal(
        flat(metric(scores.reshape(shape), member.reshape(shape))), flat(metric(scores, member))
    )


@every_metric
def test_float32_scores_are_compared_as_they_are(metric):
    scores, member = draw(9, shape=(50,))
    np.testing.assert_array_equal(
        flat(metric(scores.astype(np.float32), member)), flat(metric(scores, member))
    )


@every_metric
def test_shapes_that_differ_are_refused(metric):
    with pytest.raises(ValueError, match=r"(?i)shape"):
        metric(np.zeros(6), np.arange(5) < 2)
    with pytest.raises(ValueError, match=r"(?i)shape"):
        metric(np.zeros((2, 3)), np.arange(6).reshape(3, 2) < 2)


@every_metric
def test_shapes_that_would_broadcast_are_refused(metric):
    with pytest.raises(ValueError, match=r"(?i)shape"):
        metric(np.zeros((3, 4)), np.arange(4) < 2)


@every_metric
def test_nan_scores_are_refused_and_not_ranked(metric):
    with pytest.raises(ValueError, match=r"(?i)nan"):
        metric(np.array([0.0, np.nan, 1.0, 2.0]), np.array([True, False, True, False]))
    with pytest.raises(ValueError, match=r"(?i)nan"):
        metric(np.full(4, np.nan), np.array([True, False, True, False]))


@every_metric
@pytest.mark.parametrize("everyone", [True, False])
def test_a_mask_of_one_kind_only_is_refused(metric, everyone):
    with pytest.raises(ValueError, match=r"(?i)member"):
        metric(np.arange(4.0), np.full(4, everyone))


@every_metric
@pytest.mark.parametrize("member", [[0, 1, 2, 3], [0, 1, -1, 1], [0.0, 0.5, 1.0, 1.0]])
def test_membership_other_than_zero_and_one_is_refused(metric, member):
    with pytest.raises(ValueError, match=r"(?i)member"):
        metric(np.arange(4.0), np.array(member))


@every_metric
def test_nothing_to_score_is_refused(metric):
    with pytest.raises(ValueError, match=r"\w+"):
        metric(np.zeros(0), np.zeros(0, bool))


@every_metric
def test_arguments_are_not_modified(metric):
    scores, member = draw(10, shape=(6, 7))
    before = scores.copy(), member.copy()
    metric(scores, member)
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(member, before[1])


# Intervals, clustered by target and by record

K, N = 32, 200
NULL = {"shift": 0.0, "gap_of_record": 0.0, "gap_of_target": 0.0}
SIGNAL = {"shift": 1.0, "gap_of_record": 0.6, "gap_of_target": 0.3}
OFFSET_OF_RECORD, OFFSET_OF_TARGET = 0.8, 0.3


def world(rng, shift, gap_of_record, gap_of_target, K=K, N=N):
    """Scores and members: targets and records both random, each with an offset and a share of the gap."""
    member = rng.random((K, N)) < 0.5
    gap = shift + gap_of_record * rng.normal(size=N) + gap_of_target * rng.normal(size=(K, 1))
    offset = OFFSET_OF_RECORD * rng.normal(size=N) + OFFSET_OF_TARGET * rng.normal(size=(K, 1))
    return member * gap + offset + rng.normal(size=(K, N)), member


def truth(shift, gap_of_record, gap_of_target):
    """AUC, and TPR by FPR, of a fresh member and a fresh non-member: two Gaussians."""
    outside = math.sqrt(OFFSET_OF_RECORD**2 + OFFSET_OF_TARGET**2 + 1)
    inside = math.sqrt(outside**2 + gap_of_record**2 + gap_of_target**2)
    area = norm.cdf(shift / math.hypot(inside, outside))
    return float(area), lambda fpr: float(norm.sf((outside * norm.isf(fpr) - shift) / inside))


def coverage(interval, true, options, worlds, seed, missing=0.0):
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(worlds):
        scores, member = world(rng, **options)
        if missing:
            scores[rng.random(scores.shape) < missing] = np.nan
        low, high = interval(scores, member)
        hits += low <= true <= high
    return hits / worlds


@pytest.mark.parametrize("options", [NULL, SIGNAL], ids=["null", "signal"])
def test_truth_of_the_world_agrees_with_a_big_simulation(options):
    rng = np.random.default_rng(2)
    # One record and one target apiece: every member and every non-member is a fresh draw.
    pairs = [world(rng, **options, K=1, N=1) for _ in range(40_000)]
    scores, member = (np.array([pair[part][0, 0] for pair in pairs]) for part in (0, 1))
    area, tpr = truth(**options)
    assert roc_auc_score(member, scores) == pytest.approx(area, abs=0.012)
    fpr, by_threshold, _ = sklearn_roc_curve(member, scores)
    assert np.interp(0.1, fpr, by_threshold) == pytest.approx(tpr(0.1), abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0.0, 0.1], ids=["complete", "missing"])
@pytest.mark.parametrize("options", [NULL, SIGNAL], ids=["null", "signal"])
def test_auc_interval_covers_the_truth_as_often_as_it_says(options, missing):
    share = coverage(auc_interval, truth(**options)[0], options, worlds=400, seed=3, missing=missing)
    assert 0.90 <= share <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("fpr", [0.02, 0.1])
@pytest.mark.parametrize("options", [NULL, SIGNAL], ids=["null", "signal"])
def test_tpr_interval_covers_the_truth_as_often_as_it_says(options, fpr):
    def interval(scores, member):
        return tpr_interval(scores, member, fpr)

    share = coverage(interval, truth(**options)[1](fpr), options, worlds=400, seed=4)
    assert 0.90 <= share <= 0.99


@pytest.mark.parametrize("options", [NULL, SIGNAL], ids=["null", "signal"])
def test_intervals_cover_the_truth_in_most_of_a_few_worlds(options):
    area, tpr = truth(**options)
    assert coverage(auc_interval, area, options, worlds=30, seed=5) >= 0.8
    assert coverage(lambda s, m: tpr_interval(s, m, 0.1), tpr(0.1), options, worlds=30, seed=6) >= 0.8


@pytest.mark.parametrize("options", [NULL, SIGNAL], ids=["null", "signal"])
def test_intervals_contain_the_pooled_estimate(options):
    scores, member = world(np.random.default_rng(7), **options)
    low, high = auc_interval(scores, member)
    assert low < auc(scores, member) < high
    low, high = tpr_interval(scores, member, 0.1)
    assert low < tpr_at_fpr(scores, member, 0.1) < high


@pytest.mark.parametrize("options", [NULL, SIGNAL], ids=["null", "signal"])
def test_intervals_are_tight_enough_to_be_of_use(options):
    scores, member = world(np.random.default_rng(8), **options)
    low, high = auc_interval(scores, member)
    # The pooled AUC has a standard deviation of .007 (null) and .014 (signal) over such worlds.
    assert high - low < (0.06 if options is NULL else 0.12)


@every_interval
def test_intervals_widen_with_confidence(interval):
    scores, member = world(np.random.default_rng(9), **SIGNAL)
    function = auc_interval if interval is auc_interval else lambda s, m, c: tpr_interval(s, m, 0.25, c)
    narrow, usual, wide = (function(scores, member, c) for c in (0.5, 0.95, 0.999))
    assert wide[0] < usual[0] < narrow[0] < narrow[1] < usual[1] < wide[1]
    np.testing.assert_allclose(interval(scores, member), usual)


@every_interval
def test_intervals_do_not_depend_on_the_order_of_targets_and_records(interval):
    rng = np.random.default_rng(10)
    scores, member = world(rng, **SIGNAL)
    rows, columns = rng.permutation(K), rng.permutation(N)
    moved = interval(scores[rows][:, columns], member[rows][:, columns])
    np.testing.assert_allclose(moved, interval(scores, member), rtol=1e-9)


def test_auc_interval_uses_ranks_only():
    scores, member = world(np.random.default_rng(11), **SIGNAL)
    np.testing.assert_allclose(auc_interval(np.exp(scores), member), auc_interval(scores, member), rtol=1e-9)


@every_interval
def test_a_record_or_a_target_that_is_all_nan_might_as_well_not_exist(interval):
    scores, member = world(np.random.default_rng(12), **SIGNAL)
    scores[5], scores[:, 17] = np.nan, np.nan
    kept = np.ix_(np.arange(K) != 5, np.arange(N) != 17)
    np.testing.assert_allclose(interval(scores, member), interval(scores[kept], member[kept]), rtol=1e-9)


@every_interval
def test_correlated_targets_do_not_pass_for_independent_ones(interval):
    # The same 8 targets four times over tell no more than once; taken for 32, they halve the interval.
    scores, member = world(np.random.default_rng(13), **SIGNAL, K=8)
    low, high = interval(scores, member)
    copies = interval(np.tile(scores, (4, 1)), np.tile(member, (4, 1)))
    assert copies[1] - copies[0] > 0.6 * (high - low)


@every_interval
def test_intervals_take_zero_one_membership_as_a_mask(interval):
    scores, member = world(np.random.default_rng(14), **SIGNAL)
    np.testing.assert_array_equal(interval(scores, member.astype(np.int64)), interval(scores, member))


@every_interval
def test_intervals_do_not_modify_their_arguments(interval):
    scores, member = world(np.random.default_rng(15), **SIGNAL)
    scores[0, :9] = np.nan
    before = scores.copy(), member.copy()
    interval(scores, member)
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(member, before[1])


@every_interval
def test_intervals_refuse_shapes_that_differ(interval):
    scores, member = world(np.random.default_rng(16), **SIGNAL)
    with pytest.raises(ValueError, match=r"(?i)shape"):
        interval(scores, member[:, 1:])


@every_interval
@pytest.mark.parametrize("everyone", [True, False])
def test_intervals_refuse_a_mask_of_one_kind_only(interval, everyone):
    scores, member = world(np.random.default_rng(16), **SIGNAL)
    with pytest.raises(ValueError, match=r"(?i)member"):
        interval(scores, np.full_like(member, everyone))


@every_interval
def test_intervals_refuse_membership_other_than_zero_and_one(interval):
    scores, member = world(np.random.default_rng(16), **SIGNAL)
    with pytest.raises(ValueError, match=r"(?i)member"):
        interval(scores, member + 1)


@pytest.mark.parametrize("scores", [["a", "b"], [[1.0, 2.0], [1.0]]])
@pytest.mark.parametrize("estimate", [auc, roc_curve])
def test_points_refuse_what_are_no_numbers(estimate, scores):
    with pytest.raises(ValueError, match=r"^scores is no array of numbers"):
        estimate(scores, [True, False])


@every_interval
def test_intervals_refuse_scores_that_are_all_missing(interval):
    scores, member = world(np.random.default_rng(16), **SIGNAL)
    with pytest.raises(ValueError, match=r"\w+"):
        interval(np.full_like(scores, np.nan), member)


def test_auc_interval_of_a_perfect_attack_is_finite_and_reaches_one():
    _, member = world(np.random.default_rng(17), **NULL)
    low, high = auc_interval(member.astype(float), member)
    assert np.isfinite([low, high]).all()
    assert low <= 1.0 <= high + 1e-12


def test_tpr_interval_is_none_below_one_expected_false_positive():
    scores, member = world(np.random.default_rng(18), **SIGNAL, K=4, N=10)
    assert tpr_interval(scores, member, 1e-3) == (None, None)
