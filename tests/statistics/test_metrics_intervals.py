"""Influence values, clustered errors, differences and thresholds against sums over pairs and loops."""

import itertools

import numpy as np
import pytest
from scipy import stats

from mia_jax import metrics
from mia_jax.statistics.clustering import disjoint_spread, spread

K, N = 12, 30


def world(seed, shape=(K, N), shift=0.8, levels=None, missing=0.0):
    """Scores with a hardness of every record and an effect of every model; NaN where missing."""
    rng = np.random.default_rng(seed)
    member = rng.random(shape) < 0.5
    scores = member * shift + 0.7 * rng.normal(size=shape[1]) + 0.3 * rng.normal(size=(shape[0], 1))
    scores = scores + rng.normal(size=shape)
    if levels:
        scores = np.floor(scores * levels) / levels
    scores[rng.random(shape) < missing] = np.nan
    return scores, member


def beats(a, b):
    return (a > b) + 0.5 * (a == b)


# Influence values


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("levels", [None, 2], ids=["distinct", "ties"])
def test_influence_on_auc_is_that_of_every_pair(levels, missing):
    scores, member = world(0, levels=levels, missing=missing)
    known = ~np.isnan(scores)
    inside, outside = scores[known & member], scores[known & ~member]
    area = np.mean([[beats(a, b) for b in outside] for a in inside])
    influence = metrics.auc_influence(scores, member)
    for k, n in itertools.product(range(K), range(N)):
        expected = 0.0
        if known[k, n] and member[k, n]:
            expected = (np.mean(beats(scores[k, n], outside)) - area) / inside.size
        elif known[k, n]:
            expected = (np.mean(beats(inside, scores[k, n])) - area) / outside.size
        assert influence[k, n] == pytest.approx(expected, abs=1e-15)


def test_influence_predicts_what_a_few_entries_less_do():
    scores, member = world(1, shape=(20, 60))
    influence = metrics.auc_influence(scores, member)
    whole = metrics.auc(scores, member)
    for n in range(0, 60, 7):
        kept = np.arange(60) != n
        change = metrics.auc(scores[:, kept], member[:, kept]) - whole
        assert change == pytest.approx(-influence[:, n].sum(), abs=4e-4)


# Clustered errors


def test_variance_is_the_sum_over_pairs_that_share_a_target_or_a_record():
    rng = np.random.default_rng(2)
    influence = rng.normal(size=(5, 6)) + rng.normal(size=(5, 1)) + rng.normal(size=6)
    by_target = by_record = single = 0.0
    entries = list(itertools.product(range(5), range(6)))
    for (k, n), (j, m) in itertools.product(entries, entries):
        product = influence[k, n] * influence[j, m]
        by_target += product * (k == j)
        by_record += product * (n == m)
        single += product * (k == j and n == m)
    a, b = by_target * 5 / 4, by_record * 6 / 5
    found = spread(influence, np.ones((5, 6), bool))
    assert a + b - single > min(a, b)
    assert found.error == pytest.approx(np.sqrt(a + b - single))
    assert found.degrees == 4
    assert metrics.clustered_error(influence, np.ones((5, 6), bool)) == found.error


def test_variance_is_never_below_that_of_the_smaller_clustering():
    """Where each row and each column nearly cancels, the difference of three sums is below zero."""
    signs = np.where(np.indices((8, 8)).sum(axis=0) % 2, 1.0, -1.0)
    signs[0, 0] += 0.5
    found = spread(signs, np.ones((8, 8), bool))
    assert found.error == pytest.approx(0.5 * np.sqrt(8 / 7))


@pytest.mark.parametrize("axis", [0, 1])
def test_degrees_of_freedom_are_those_of_the_fewer_clusters_that_are_known(axis):
    known = np.ones((9, 40), bool) if axis else np.ones((40, 9), bool)
    known[0] = False
    assert spread(np.where(known, 1.0, 0.0), known).degrees == (7 if axis else 8)


def test_twins_are_one_target():
    rng = np.random.default_rng(4)
    influence, known = rng.normal(size=(6, 7)), rng.random((6, 7)) < 0.9
    influence *= known
    twin = np.array([1, 0, 3, 2, -1, -1])
    paired = np.stack([influence[0] + influence[1], influence[2] + influence[3], influence[4], influence[5]])
    either = np.stack([known[0] | known[1], known[2] | known[3], known[4], known[5]])
    assert spread(influence, known, twin) == spread(paired, either)
    assert spread(influence, known, np.full(6, -1)) == spread(influence, known)


@pytest.mark.parametrize("design", ["independent", "complementary"])
def test_telling_of_twins_widens_the_interval_of_models_that_move_together(design):
    rng = np.random.default_rng(5)
    half = rng.random((16, 100)) < 0.5
    member = np.stack([half, ~half if design == "complementary" else rng.random((16, 100)) < 0.5], axis=1)
    member = member.reshape(32, 100)
    gain = np.repeat(rng.normal(size=(16, 1)), 2, axis=0)
    scores = gain * member + 0.5 * rng.normal(size=member.shape)
    alone = metrics.auc_interval(scores, member)
    told = metrics.auc_interval(scores, member, 0.95, np.arange(32) ^ 1)
    assert 1.2 < (told.high - told.low) / (alone.high - alone.low) < 1.7


def test_disjoint_parts_that_share_no_cluster_add_their_variances():
    rng = np.random.default_rng(6)
    first, second = np.zeros((20, 20)), np.zeros((20, 20))
    first[:14, :12], second[14:, 12:] = rng.normal(size=(14, 12)), 3.0 * rng.normal(size=(6, 8))
    (a, degrees_a), (b, degrees_b) = spread(first, first != 0), spread(second, second != 0)
    assert (degrees_a, degrees_b) == (11, 5)
    found = disjoint_spread(first, first != 0, second, second != 0)
    assert found.error == pytest.approx(np.hypot(a, b))
    welch = (a**2 + b**2) ** 2 / (a**4 / 11 + b**4 / 5)
    assert found.degrees == pytest.approx(welch)
    turned = disjoint_spread(second, second != 0, first, first != 0)
    assert turned == pytest.approx(found)


def test_disjoint_parts_are_compared_as_the_whole_they_make():
    """With many clusters in both, the corrections for their number are all that differs."""
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(300, 1)) + rng.normal(size=(300, 400))
    left = np.broadcast_to(np.arange(400) < 200, rows.shape)
    first, second = np.where(left, rows, 0.0), np.where(left, 0.0, 1.3 * rows)
    found = disjoint_spread(first, left, second, ~left)
    assert found.error == pytest.approx(spread(first - second, np.ones_like(left)).error, rel=0.01)
    assert found.error < 0.5 * np.hypot(spread(first, left).error, spread(second, ~left).error)


# Differences


def test_arms_that_are_the_same_do_not_differ():
    scores, member = world(8)
    assert metrics.auc_difference(scores, scores, member) == (0.0, 0.0, 0.0, 1.0)
    assert metrics.tpr_difference(scores, scores, member, 0.1) is not None
    value, low, high, p = metrics.tpr_difference(scores, scores, member, 0.1)
    assert (value, p) == (0.0, 1.0)
    assert low <= 0.0 <= high


DIFFERENCES = {
    "auc": metrics.auc_difference,
    "tpr": lambda a, b, member, confidence=0.95: metrics.tpr_difference(a, b, member, 0.1, confidence),
}
every_difference = pytest.mark.parametrize("compare", DIFFERENCES.values(), ids=DIFFERENCES)


@every_difference
def test_differences_turn_round_with_their_arms(compare):
    scores, member = world(9, shape=(16, 80), shift=2.0)
    other = scores + 2.0 * np.random.default_rng(0).normal(size=scores.shape)
    there, back = compare(scores, other, member), compare(other, scores, member)
    assert there.value > 0
    np.testing.assert_allclose(back, [-there.value, -there.high, -there.low, there.p], rtol=1e-9)


@every_difference
def test_p_is_the_level_at_which_the_interval_touches_zero(compare):
    scores, member = world(10, shape=(16, 80), shift=1.5)
    other = scores + 0.9 * np.random.default_rng(1).normal(size=scores.shape)
    found = compare(scores, other, member)
    assert 0 < found.p < 0.5
    assert compare(scores, other, member, 1.0 - found.p).low == pytest.approx(0.0, abs=1e-9)


@every_difference
def test_entries_missing_on_one_side_are_left_out_of_both(compare):
    scores, member = world(11, shape=(16, 80))
    other, _ = world(12, shape=(16, 80))
    holes = np.random.default_rng(2).random(scores.shape) < 0.1
    one_sided = compare(np.where(holes, np.nan, scores), other, member)
    assert one_sided == compare(np.where(holes, np.nan, scores), np.where(holes, np.nan, other), member)


def test_difference_without_any_variation_rests_on_the_clusters_alone():
    member = np.arange(400).reshape(20, 20) % 2 == 0
    found = metrics.auc_difference(member.astype(float), np.zeros((20, 20)), member)
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - (1 - 0.025 ** (1 / 20)))
    assert found.p == pytest.approx(2 * 0.5**20)


def test_tpr_difference_is_none_below_one_expected_false_positive():
    scores, member = world(13, shape=(6, 10))
    assert metrics.tpr_difference(scores, -scores, member, 1e-3) is None


@pytest.mark.slow
@every_difference
def test_p_values_of_arms_that_are_alike_are_uniform(compare):
    rng = np.random.default_rng(14)
    found = []
    for _ in range(400):
        member = rng.random((24, 300)) < 0.5
        hardness = rng.normal(size=300)
        a, b = (
            member * 0.8 + hardness + 0.3 * rng.normal(size=(24, 1)) + rng.normal(size=member.shape)
            for _ in range(2)
        )
        found.append(compare(a, b, member).p)
    for level in (0.05, 0.2):
        share = np.mean(np.array(found) <= level)
        assert abs(share - level) <= 4 * np.sqrt(level * (1 - level) / 400)


# TPR where scores are tied


def tied_world(top_outside, next_outside):
    """Of 2,000 members 300 have score 2 and 500 more score 1; non-members as told, of 2,000."""
    inside = np.r_[np.full(300, 2.0), np.full(500, 1.0), np.zeros(1200)]
    rest = 2000 - top_outside - next_outside
    outside = np.r_[np.full(top_outside, 2.0), np.full(next_outside, 1.0), np.zeros(rest)]
    values = np.stack([inside, outside], axis=1).reshape(-1)
    place = np.random.default_rng(15).permutation(4000)
    return values[place].reshape(40, 100), (np.arange(4000) % 2 == 0)[place].reshape(40, 100)


def test_interval_reaches_the_step_that_the_threshold_only_just_missed():
    scores, member = tied_world(top_outside=180, next_outside=21)  # steps at 9 % and 10.05 %
    assert metrics.tpr_at_fpr(scores, member, 0.1) == 0.15
    high = metrics.tpr_interval(scores, member, 0.1).high
    assert high > 0.4
    # And no further than that step's own interval does, of two fifths of 2,000 members.
    assert high == pytest.approx(stats.binom(2000, 0.4).ppf(0.975) / 2000, abs=0.01)
    far, member = tied_world(top_outside=180, next_outside=400)  # 9 % and 29 %
    assert metrics.tpr_interval(far, member, 0.1).high < 0.2


def test_interval_reaches_the_step_that_the_threshold_only_just_made():
    scores, member = tied_world(top_outside=180, next_outside=19)  # steps at 9 % and 9.95 %
    assert metrics.tpr_at_fpr(scores, member, 0.1) == 0.4
    assert metrics.tpr_interval(scores, member, 0.1).low < 0.2
    near, member = tied_world(top_outside=20, next_outside=19)  # 1 % and 1.95 %: far below
    assert metrics.tpr_interval(near, member, 0.1).low > 0.35


def test_interval_of_nothing_reaches_the_first_step_if_it_was_near():
    scores, member = tied_world(top_outside=201, next_outside=0)
    assert metrics.tpr_at_fpr(scores, member, 0.1) == 0.0
    low, high = metrics.tpr_interval(scores, member, 0.1)
    assert low == 0.0
    assert high >= 0.15


# PPV and advantage


def test_ppv_is_the_share_of_members_among_the_called():
    assert metrics.ppv(0.5, 0.1, 0.5) == pytest.approx(5 / 6)
    assert metrics.ppv(0.5, 0.1, 0.01) == pytest.approx(0.005 / (0.005 + 0.099))
    assert metrics.ppv(0.3, 0.3, 0.2) == pytest.approx(0.2)
    assert metrics.ppv(0.4, 0.0, 0.001) == 1.0
    assert np.isnan(metrics.ppv(0.0, 0.0, 0.5))


def test_ppv_interval_is_that_of_the_tpr_transformed():
    scores, member = world(16, shape=(16, 80))
    low, high = metrics.tpr_interval(scores, member, 0.05)
    value, ends = metrics.ppv_interval(scores, member, 0.05, prior=0.1)
    assert value == pytest.approx(metrics.ppv(metrics.tpr_at_fpr(scores, member, 0.05), 0.05, 0.1))
    np.testing.assert_allclose(ends, [metrics.ppv(low, 0.05, 0.1), metrics.ppv(high, 0.05, 0.1)])
    assert metrics.ppv_interval(scores, member, 1e-5, prior=0.1) == (None, (None, None))


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ((1.2, 0.1, 0.5), "tpr is 1.2: it must lie"),
        ((0.5, -0.1, 0.5), "fpr is -0.1"),
        ((0.5, 0.1, 0.0), "prior is 0.0"),
        ((0.5, 0.1, 1.0), r"must lie in \(0, 1\)"),
    ],
)
def test_ppv_refuses_what_is_no_rate(rates, words):
    with pytest.raises(ValueError, match=words):
        metrics.ppv(*rates)


def test_advantage_is_tpr_less_fpr():
    scores, member = world(17)
    decisions = scores > 0.5
    value, (low, high) = metrics.advantage_interval(decisions, scores, member)
    assert value == pytest.approx(decisions[member].mean() - decisions[~member].mean())
    _, ends = metrics.balanced_accuracy_interval(decisions, scores, member)
    np.testing.assert_allclose([low, high], 2 * np.array(ends) - 1)


def test_error_of_decisions_is_that_of_two_shares_where_entries_are_independent():
    rng = np.random.default_rng(18)
    member = rng.random((200, 200)) < 0.5
    decisions = rng.random(member.shape) < np.where(member, 0.7, 0.2)
    _, (low, high) = metrics.balanced_accuracy_interval(decisions, np.zeros(member.shape), member)
    error = 0.5 * np.sqrt(0.7 * 0.3 / member.sum() + 0.2 * 0.8 / (~member).sum())
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


# Thresholds from other data


def naive_central(scores, member):
    """The middle of the thresholds within two standard errors of the best one's TPR - FPR."""
    inside, outside = scores[member], scores[~member]
    thresholds = sorted(set(scores.ravel().tolist()), reverse=True)
    gains = [np.mean(inside >= t) - np.mean(outside >= t) for t in thresholds]
    best = int(np.argmax(np.round(gains, 12)))
    if gains[best] <= 1e-12:
        return np.inf
    tpr, fpr = np.mean(inside >= thresholds[best]), np.mean(outside >= thresholds[best])
    error = np.sqrt(tpr * (1 - tpr) / inside.size + fpr * (1 - fpr) / outside.size)
    good = [t for t, gain in zip(thresholds, gains, strict=True) if gain >= gains[best] - 2 * error - 1e-12]
    return good[len(good) // 2]


@pytest.mark.parametrize("seed", range(12))
def test_central_threshold_is_the_middle_of_the_good_ones(seed):
    scores, member = world(seed, shape=(4, 25), levels=[None, 3][seed % 2], shift=[0.0, 1.5][seed % 3 == 0])
    assert metrics.central_threshold(scores, member) == naive_central(scores, member)


def test_central_threshold_of_a_perfect_attack_is_the_best():
    member = np.arange(50) < 20
    scores = np.where(member, 1.0, -1.0) * np.linspace(1, 2, 50)
    assert metrics.central_threshold(scores, member) == metrics.best_threshold(scores, member) == scores[0]
    assert metrics.central_threshold(-scores, member) == np.inf


@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_decisions_use_the_thresholds_of_other_targets_and_other_records(missing):
    scores, member = world(19, shape=(7, 20), missing=missing)
    twin = np.array([1, 0, -1, -1, -1, -1, -1])
    fold, part = np.array([0, 0, 1, 2, 0, 1, 2]), np.arange(20) % 3  # three folds of leaders 0, 2, 3, …
    decisions = metrics.cross_fit_decisions(scores, member, twin, folds=3)
    for k, n in itertools.product(range(7), range(20)):
        others = (fold[:, None] != fold[k]) & (part[None, :] == (part[n] + 1) % 3) & ~np.isnan(scores)
        assert decisions[k, n] == (scores[k, n] >= naive_central(scores[others], member[others]))


def test_degrees_of_freedom_decide_the_quantile():
    """Four targets that differ much: an interval as wide as t with 3 degrees of freedom asks for."""
    rng = np.random.default_rng(20)
    effect = rng.normal(size=(4, 1))
    member = rng.random((4, 5000)) < 0.5
    decisions = rng.random(member.shape) < np.where(member, 0.5 + 0.1 * effect, 0.5)
    known = np.ones(member.shape, bool)
    value, (low, high) = metrics.balanced_accuracy_interval(decisions, np.zeros(member.shape), member)
    influence = 0.5 * np.where(member, (decisions - decisions[member].mean()) / member.sum(), 0.0)
    influence -= 0.5 * np.where(member, 0.0, (decisions - decisions[~member].mean()) / (~member).sum())
    reach = stats.t.ppf(0.975, 3) * spread(influence, known).error
    assert high - low == pytest.approx(2 * reach, rel=0.1)
    assert low < value < high


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, m: metrics.auc_interval(s, m, 95), r"confidence is 95: it must lie in \(0, 1\)"),
        (lambda s, m: metrics.auc_difference(s, -s, m, 1.0), "confidence is 1.0"),
        (lambda s, m: metrics.mean_interval(s[0], 0.0), "confidence is 0.0"),
        (lambda s, m: metrics.tpr_interval(s, m, 10), r"fpr is 10: it must lie in \[0, 1\]"),
        (lambda s, m: metrics.tpr_at_fpr(s, m, -0.1), "fpr is -0.1"),
        (lambda s, m: metrics.cross_fit_decisions(s, m, folds=1), "folds is 1: it must be at least 2"),
        (lambda s, m: metrics.balanced_accuracy_interval(m[0], s, m), "decisions has shape"),
        (lambda s, m: metrics.auc_difference(s, s[1:], m), "member has shape"),
        (lambda s, m: metrics.auc_interval(s, m[:, :1] | ~m[:, :1]), "member has shape"),
        (lambda s, m: metrics.ppv_interval(s, m, 0.1, 1.0), "prior is 1.0"),
        (lambda s, m: metrics.auc_interval(s, m, "a"), "confidence is 'a': it must lie in"),
        (lambda s, m: metrics.tpr_interval(s, m, None), r"fpr is None: it must lie in \[0, 1\]"),
        (
            lambda s, m: metrics.tpr_at_fpr(s, m, [0.1, 0.2]),
            r"fpr is \[0\.1, 0\.2\]: it must lie in \[0, 1\]",
        ),
        (lambda s, m: metrics.estimable(m, -1), "fpr is -1: it must lie in"),
        (lambda s, m: metrics.estimable(np.arange(3), 0.1), r"member\[2\] is 2: a mask holds only"),
        (
            lambda s, m: metrics.cross_fit_decisions(s, m, folds=2.5),
            "folds is 2.5: it must be a whole number",
        ),
        (lambda s, m: metrics.mean_interval(s), r"values has shape \(\d+, \d+\): it must be \[K\]"),
        (
            lambda s, m: metrics.clustered_error(s[0], m[0]),
            r"influence has shape \(\d+,\): it must be \[K, N\]",
        ),
        (lambda s, m: metrics.clustered_error(s, m[0]), "known has shape"),
        (lambda s, m: metrics.auc_interval(s, m, twin=np.array([1, 0])), r"twin has shape \(2,\)"),
        (
            lambda s, m: metrics.auc_p_value(s, m, np.full(len(s), 99)),
            r"twin\[0\] is 99: it must be another model",
        ),
        (
            lambda s, m: metrics.auc_interval(s * np.nan, m),
            "scores hold no number: scores of members and of non",
        ),
        (
            lambda s, m: metrics.auc_interval([*s.astype(str).tolist()[:-1], [1.0]], m),
            "scores is no array of numbers",
        ),
    ],
)
def test_what_is_wrong_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(*world(21))
