"""LiRA against a naive oracle (Python loops, float64), its invariances, its limits and its closed form."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from mia_jax.attacks import lira

MODES = ("online", "offline")
VARIANCES = ("per_example", "global")


def naive_references(member, target, record, exclude, valid):
    """The IN and the OUT models of one record that may speak about one target."""
    inside, outside = [], []
    for model in range(len(member)):
        if model == target or exclude[target][model] or not valid[model]:
            continue
        (inside if member[model][record] else outside).append(model)
    return inside, outside


def mean_of(values):
    return math.fsum(values) / len(values)


def naive_lira(logit, member, *, mode="online", variance="per_example", exclude=None, valid=None):
    """LiRA as written: one target, record and side at a time; NaN where a side has under two references."""
    logit, member = np.asarray(logit, np.float64), np.asarray(member)
    K, N = logit.shape
    exclude = np.zeros((K, K), bool) if exclude is None else exclude
    valid = np.ones(K, bool) if valid is None else valid
    score = np.full((K, N), np.nan)
    for k in range(K):
        if not valid[k]:
            continue
        references = [naive_references(member, k, n, exclude, valid) for n in range(N)]
        values = [[[float(logit[j, n]) for j in side] for side in references[n]] for n in range(N)]
        pooled = []
        for side in (0, 1):
            residuals = []
            for n in range(N):
                if len(values[n][side]) >= 2:
                    centre = mean_of(values[n][side])
                    residuals += [value - centre for value in values[n][side]]
            pooled.append(math.sqrt(mean_of([r * r for r in residuals])) if residuals else math.nan)
        for n in range(N):
            needed = (0, 1) if mode == "online" else (1,)
            if any(len(values[n][side]) < 2 for side in needed):
                continue
            log_density, standardized = {}, {}
            for side in needed:
                mean = mean_of(values[n][side])
                sigma = pooled[side]
                if variance == "per_example":
                    own = math.sqrt(mean_of([(value - mean) ** 2 for value in values[n][side]]))
                    sigma = max(own, 1e-6 * pooled[side])
                standardized[side] = (float(logit[k, n]) - mean) / sigma
                log_density[side] = -math.log(sigma) - standardized[side] ** 2 / 2
            score[k, n] = log_density[0] - log_density[1] if mode == "online" else standardized[1]
    return score


def score_of(logit, member, **options):
    return np.asarray(lira(logit, member, **options), np.float64)


def assert_agree(actual, expected, rtol=1e-3, atol=1e-3):
    """Equal NaN pattern, and equal within what float32 arithmetic can hold."""
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def draw(seed, K, N, shift=1.5):
    """Logits on a grid of 1/256, exact in float32 even after whole-number shifts; members by a fair coin."""
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < 0.5
    logit = rng.normal(0, 3, N) + shift * member + rng.normal(0, 1, (K, N)) * rng.uniform(0.5, 2, N)
    return np.round(logit * 256) / 256, member


def balanced(seed, K, N):
    """Like `draw`, but each record has half the models: every side has enough references for every target."""
    rng = np.random.default_rng(seed)
    logit, _ = draw(seed, K, N)
    member = np.argsort(rng.random((K, N)), axis=0) < K // 2
    return logit, member


# The oracle itself


def test_oracle_matches_a_case_worked_by_hand():
    logit = np.array([[4.0], [1.0], [3.0], [-2.0], [0.0]])
    member = np.array([[True], [True], [True], [False], [False]])
    # Target 0: IN {1, 3} has mean 2 and sigma 1, OUT {-2, 0} has mean -1 and sigma 1.
    online, offline = naive_lira(logit, member), naive_lira(logit, member, mode="offline")
    assert online[0, 0] == pytest.approx(-2.0 + 12.5)
    assert offline[0, 0] == pytest.approx(5.0)
    # Target 3 leaves one OUT reference behind: no score of either kind.
    assert np.isnan(online[3, 0])
    assert np.isnan(offline[3, 0])


def test_lira_matches_a_case_worked_by_hand():
    logit = np.array([[4.0], [1.0], [3.0], [-2.0], [0.0]])
    member = np.array([[True], [True], [True], [False], [False]])
    assert score_of(logit, member, missing="nan")[0, 0] == pytest.approx(10.5, rel=1e-5)
    assert score_of(logit, member, mode="offline", missing="nan")[0, 0] == pytest.approx(5.0, rel=1e-5)


# Agreement with the oracle


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize(("K", "N"), [(5, 1), (4, 7), (5, 50), (9, 1), (11, 7), (14, 50)])
def test_lira_agrees_with_the_naive_oracle(mode, variance, K, N):
    logit, member = draw(K * 100 + N, K, N)
    actual = score_of(logit, member, mode=mode, variance=variance, missing="nan")
    assert_agree(actual, naive_lira(logit, member, mode=mode, variance=variance))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", MODES)
def test_lira_takes_float32_and_float64(dtype, mode):
    logit, member = balanced(3, 10, 7)
    actual = score_of(logit.astype(dtype), member, mode=mode)
    assert_agree(actual, naive_lira(logit, member, mode=mode))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("mode", MODES)
def test_zero_one_membership_is_a_mask_and_never_an_index(dtype, mode):
    logit, member = balanced(4, 8, 7)
    assert_agree(score_of(logit, member.astype(dtype), mode=mode), naive_lira(logit, member, mode=mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_exclude_row_is_the_target_and_column_the_reference(mode, variance):
    logit, member = draw(5, 12, 7)
    exclude = np.random.default_rng(6).random((12, 12)) < 0.25
    assert not np.array_equal(exclude, exclude.T)
    actual = score_of(logit, member, mode=mode, variance=variance, exclude=exclude, missing="nan")
    assert_agree(actual, naive_lira(logit, member, mode=mode, variance=variance, exclude=exclude))


@pytest.mark.parametrize("diagonal", [False, True])
def test_exclude_need_not_name_the_target_itself(diagonal):
    logit, member = balanced(7, 10, 7)
    exclude = diagonal & np.eye(10, dtype=bool)
    assert_agree(score_of(logit, member, exclude=exclude), naive_lira(logit, member))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_twins_of_complementary_halves_are_left_out(mode, variance):
    logit, member = draw(8, 12, 7)
    member[1::2] = ~member[0::2]
    twin = np.kron(np.eye(6, dtype=bool), np.array([[0, 1], [1, 0]], bool))
    actual = score_of(logit, member, mode=mode, variance=variance, exclude=twin, missing="nan")
    assert_agree(actual, naive_lira(logit, member, mode=mode, variance=variance, exclude=twin))
    kept = [0, *range(2, 12)]
    alone = naive_lira(logit[kept], member[kept], mode=mode, variance=variance)
    assert_agree(actual[0], alone[0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e30])
def test_models_that_are_not_valid_might_as_well_not_exist(mode, variance, garbage):
    logit, member = draw(9, 13, 7)
    valid = np.ones(13, bool)
    valid[[0, 5]] = False
    logit[~valid] = garbage
    actual = score_of(logit, member, mode=mode, variance=variance, valid=valid, missing="nan")
    assert np.isnan(actual[~valid]).all()
    assert_agree(actual[valid], naive_lira(logit[valid], member[valid], mode=mode, variance=variance))


def test_exclude_and_valid_work_together():
    logit, member = draw(10, 14, 9)
    valid = np.ones(14, bool)
    valid[3] = False
    logit[3, ::2] = np.nan
    exclude = np.random.default_rng(11).random((14, 14)) < 0.15
    actual = score_of(logit, member, exclude=exclude, valid=valid, missing="nan")
    assert_agree(actual, naive_lira(logit, member, exclude=exclude, valid=valid))


# Leave-one-out: nothing of the target but its logit enters its row


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_targets_own_membership_does_not_touch_its_scores(mode, variance):
    logit, member = draw(12, 12, 20)
    flipped = member.copy()
    flipped[4] = ~flipped[4]
    options = {"mode": mode, "variance": variance, "missing": "nan"}
    np.testing.assert_allclose(
        score_of(logit, flipped, **options)[4], score_of(logit, member, **options)[4], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_an_outlying_target_does_not_spoil_its_own_references(mode, variance):
    logit, member = balanced(13, 10, 7)
    logit[2] = 4000.0
    actual = score_of(logit, member, mode=mode, variance=variance)
    assert_agree(actual[2], naive_lira(logit, member, mode=mode, variance=variance)[2])


# Too few references


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_record_that_reaches_two_only_by_counting_the_target_raises_by_name(mode, variance):
    logit, member = balanced(14, 10, 29)
    side = mode == "online"
    member[:, 23] = not side
    member[:2, 23] = side  # two models in all: one reference, once the target is one of them
    with pytest.raises(ValueError, match=r"\b23\b"):
        lira(logit, member, mode=mode, variance=variance)


@pytest.mark.parametrize("mode", MODES)
def test_three_models_on_a_side_are_enough_for_every_target(mode):
    logit, member = balanced(15, 10, 29)
    member[:, 23] = np.arange(10) < (3 if mode == "online" else 7)
    actual = score_of(logit, member, mode=mode, missing="raise")
    assert_agree(actual, naive_lira(logit, member, mode=mode))
    assert np.isfinite(actual).all()


def test_raising_is_the_default_and_nan_must_be_asked_for():
    logit, member = balanced(16, 8, 5)
    member[:, 3] = True
    with pytest.raises(ValueError, match=r"\b3\b"):
        lira(logit, member)
    assert np.isnan(score_of(logit, member, missing="nan")[:, 3]).all()


def test_the_in_side_is_not_needed_offline():
    logit, member = balanced(17, 8, 5)
    member[:, 3] = False
    assert_agree(score_of(logit, member, mode="offline"), naive_lira(logit, member, mode="offline"))


def test_excluded_models_do_not_count_as_references():
    logit, member = balanced(18, 8, 29)
    member[:, 23] = np.arange(8) < 3  # just enough: two IN references for each of the three
    exclude = np.zeros((8, 8), bool)
    assert np.isfinite(score_of(logit, member, exclude=exclude)).all()
    exclude[0, 1] = True
    with pytest.raises(ValueError, match=r"\b23\b"):
        lira(logit, member, exclude=exclude)
    actual = score_of(logit, member, exclude=exclude, missing="nan")
    assert_agree(actual, naive_lira(logit, member, exclude=exclude))
    assert np.argwhere(np.isnan(actual)).tolist() == [[0, 23]]


def test_models_that_are_not_valid_do_not_count_as_references():
    logit, member = balanced(18, 12, 29)
    member[:, 23] = np.arange(12) < 3
    assert np.isfinite(score_of(logit, member)).all()
    valid = np.arange(12) != 1
    with pytest.raises(ValueError, match=r"\b23\b"):
        lira(logit, member, valid=valid)
    actual = score_of(logit, member, valid=valid, missing="nan")
    assert_agree(actual, naive_lira(logit, member, valid=valid))
    assert np.flatnonzero(np.isnan(actual[:, 23])).tolist() == [0, 1, 2]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_record_without_references_agrees_with_the_oracle_elsewhere_too(mode, variance):
    logit, member = balanced(19, 10, 9)
    member[:, 4] = mode == "offline"
    logit[:, 4] *= 100
    actual = score_of(logit, member, mode=mode, variance=variance, missing="nan")
    assert np.isnan(actual[:, 4]).all()
    assert_agree(actual, naive_lira(logit, member, mode=mode, variance=variance))


@pytest.mark.parametrize("variance", VARIANCES)
def test_a_record_without_out_references_might_as_well_not_exist_offline(variance):
    logit, member = balanced(19, 10, 9)
    member[:, 4] = True
    logit[:, 4] *= 100  # must not reach the pooled variance
    others = np.arange(9) != 4
    actual = score_of(logit, member, mode="offline", variance=variance, missing="nan")
    without = score_of(logit[:, others], member[:, others], mode="offline", variance=variance)
    np.testing.assert_allclose(actual[:, others], without, rtol=1e-4, atol=1e-4)


def test_one_reference_on_a_side_gives_no_residual_to_the_pooled_variance():
    logit, member = balanced(20, 10, 6)
    member[:, 0] = np.arange(10) == 9
    member[:, 1] = np.arange(10) >= 8  # two for targets 0..7, one for 8 and 9
    logit[9, 0] = 500.0
    logit[8:, 1] = [-300.0, 300.0]
    actual = score_of(logit, member, variance="global", missing="nan")
    assert_agree(actual, naive_lira(logit, member, variance="global"))


# Variance


def test_out_spread_comes_from_the_out_side():
    rng = np.random.default_rng(21)
    member = np.argsort(rng.random((20, 40)), axis=0) < 10
    logit = np.where(member, 0.1, 4.0) * rng.normal(size=(20, 40))
    for mode in MODES:
        for variance in VARIANCES:
            actual = score_of(logit, member, mode=mode, variance=variance)
            assert_agree(actual, naive_lira(logit.astype(np.float32), member, mode=mode, variance=variance))


def test_sigma_divides_by_the_count_and_not_by_one_less():
    logit = np.array([[2.0], [0.0], [2.0], [0.0], [2.0]])
    member = np.zeros((5, 1), bool)
    # Target 0: references 0, 2, 0, 2: mean 1, sigma 1.
    assert score_of(logit, member, mode="offline")[0, 0] == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_with_one_record_global_and_per_example_variance_are_one(mode):
    logit, member = balanced(22, 12, 1)
    np.testing.assert_allclose(
        score_of(logit, member, mode=mode, variance="global"),
        score_of(logit, member, mode=mode, variance="per_example"),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("constant", [0.0, 2.7, -1234.56])
def test_a_record_with_equal_references_is_finite_by_the_floor(mode, variance, constant):
    logit, member = balanced(23, 12, 8)
    logit[:, 5] = np.float32(constant) + np.where(member[:, 5], np.float32(2), np.float32(0))
    logit = logit.astype(np.float32)
    actual = score_of(logit, member, mode=mode, variance=variance)
    assert np.isfinite(actual).all()
    expected = naive_lira(logit, member, mode=mode, variance=variance)
    others = np.arange(8) != 5
    assert_agree(actual[:, others], expected[:, others])
    if mode == "online":
        assert (actual[member[:, 5], 5] > actual[~member[:, 5], 5].max()).all()


def test_the_floor_is_a_millionth_of_the_global_sigma():
    logit, member = balanced(24, 12, 8)
    logit[:, 5] = 2.0
    logit[0, 5] = 3.0
    member[0, 5] = True
    member[1:, 5] = np.arange(11) % 2 == 0
    actual = score_of(logit, member, mode="offline")[0]
    expected = naive_lira(logit, member, mode="offline")[0]
    assert expected[5] > 1e5
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_world_where_nothing_varies_gives_finite_scores_without_evidence(mode, variance):
    _, member = balanced(25, 8, 6)
    actual = score_of(np.full((8, 6), 1.25, np.float32), member, mode=mode, variance=variance)
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(actual, actual[0, 0], atol=1e-4)


# Sign, invariances, hygiene


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_memorisers_members_score_higher(mode, variance, auc_of):
    logit, member = balanced(26, 16, 30)
    logit = logit + 12.0 * member
    assert auc_of(score_of(logit, member, mode=mode, variance=variance), member) > 0.99


def test_offline_score_rises_with_the_targets_own_logit():
    logit, member = balanced(27, 10, 7)
    raised = logit.copy()
    raised[3, 2] += 1.0
    before, after = (score_of(x, member, mode="offline") for x in (logit, raised))
    assert after[3, 2] > before[3, 2]
    np.testing.assert_allclose(np.delete(after[3], 2), np.delete(before[3], 2), rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_permuting_records_permutes_scores(mode, variance):
    logit, member = draw(28, 12, 17)
    order = np.random.default_rng(0).permutation(17)
    options = {"mode": mode, "variance": variance, "missing": "nan"}
    permuted = score_of(logit[:, order], member[:, order], **options)
    np.testing.assert_allclose(permuted, score_of(logit, member, **options)[:, order], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_permuting_models_permutes_rows(mode, variance):
    logit, member = draw(29, 12, 17)
    rng = np.random.default_rng(1)
    order, valid = rng.permutation(12), np.arange(12) != 7
    exclude = rng.random((12, 12)) < 0.1
    options = {"mode": mode, "variance": variance, "missing": "nan"}
    permuted = score_of(
        logit[order], member[order], exclude=exclude[np.ix_(order, order)], valid=valid[order], **options
    )
    plain = score_of(logit, member, exclude=exclude, valid=valid, **options)
    np.testing.assert_allclose(permuted, plain[order], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_shift_of_each_record_changes_nothing(mode, variance):
    logit, member = balanced(30, 12, 17)
    shift = np.random.default_rng(2).integers(-2000, 2000, 17).astype(float)
    options = {"mode": mode, "variance": variance}
    plain = score_of(logit, member, **options)
    np.testing.assert_allclose(score_of(logit + shift, member, **options), plain, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("mode", MODES)
def test_a_positive_scale_of_each_record_changes_nothing_with_its_own_variance(mode):
    logit, member = balanced(31, 12, 17)
    scale = 2.0 ** np.random.default_rng(3).integers(-3, 4, 17)
    plain = score_of(logit, member, mode=mode)
    np.testing.assert_allclose(score_of(logit * scale, member, mode=mode), plain, rtol=1e-3, atol=1e-3)


def test_swapping_the_sides_negates_the_online_score():
    logit, member = balanced(32, 12, 17)
    swapped = score_of(logit, ~member)
    np.testing.assert_allclose(swapped, -score_of(logit, member), rtol=1e-4, atol=1e-4)


def test_arguments_are_not_modified():
    logit, member = draw(33, 10, 7)
    arguments = [logit, member, np.eye(10, dtype=bool)[::-1].copy(), np.arange(10) != 2]
    logit[2] = np.nan
    copies = [a.copy() for a in arguments]
    lira(logit, member, exclude=arguments[2], valid=arguments[3], missing="nan")
    for argument, copy in zip(arguments, copies, strict=True):
        np.testing.assert_array_equal(argument, copy)


@pytest.mark.parametrize("option", [{"mode": "onlin"}, {"variance": "fixed"}, {"missing": "ignore"}])
def test_a_misspelt_option_is_refused_and_named(option):
    logit, member = balanced(34, 10, 5)
    with pytest.raises(ValueError, match=next(iter(option.values()))):
        lira(logit, member, **option)


# Closed form


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("delta", [0.0, 1.0, 2.0])
def test_gaussian_scores_reach_the_closed_form_auc(mode, variance, delta, auc_of):
    K, N = 256, 120
    rng = np.random.default_rng(35)
    member = rng.random((K, N)) < 0.5
    logit = rng.normal(0, 3, N) + delta * member + rng.normal(size=(K, N))
    score = score_of(logit, member, mode=mode, variance=variance)
    aucs = [auc_of(s, m) for s, m in zip(score, member, strict=True)]
    error = np.std(aucs, ddof=1) / np.sqrt(K)
    assert np.mean(aucs) == pytest.approx(norm.cdf(delta / np.sqrt(2)), abs=4 * error)
