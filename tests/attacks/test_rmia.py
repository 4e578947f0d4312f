"""RMIA against a naive oracle (every record against every population record), its limits, its invariances."""

import math
from fractions import Fraction

import numpy as np
import pytest

from mia_jax.attacks import rmia

MARGIN = (
    1e-4  # float32 holds a log-probability of -200 to 2e-5; pairs nearer to the threshold may fall either way
)


def naive_mixture(mean_in, mean_out, offline_scale):
    """p(x) of one record from the mean probabilities of its IN and OUT references."""
    if offline_scale is None:
        return (mean_in + mean_out) / 2
    return ((1 + offline_scale) * mean_out + (1 - offline_scale)) / 2  # brackets: 1e-87 + 1 - 1 would be 0


def naive_log_ratios(log_prob, member, population, offline_scale=None, exclude=None, valid=None):
    """log of p_target/p for every target and record, and for every target and population record."""
    log_prob, population = np.asarray(log_prob, np.float64), np.asarray(population, np.float64)
    K, N = log_prob.shape
    Z = population.shape[1]
    exclude = np.zeros((K, K), bool) if exclude is None else exclude
    valid = np.ones(K, bool) if valid is None else valid
    record_ratio, population_ratio = np.full((K, N), np.nan), np.full((K, Z), np.nan)
    for k in range(K):
        references = [j for j in range(K) if j != k and valid[j] and not exclude[k][j]]
        if not valid[k] or not references:
            continue
        for n in range(N):
            sides = [
                [math.exp(log_prob[j, n]) for j in references if bool(member[j][n]) is s]
                for s in (True, False)
            ]
            if not sides[1] or (offline_scale is None and not sides[0]):
                continue
            mean_in, mean_out = (math.fsum(side) / len(side) if side else math.nan for side in sides)
            mixture = naive_mixture(mean_in, mean_out, offline_scale)
            record_ratio[k, n] = log_prob[k, n] - math.log(mixture)
        for z in range(Z):
            mean = math.fsum(math.exp(population[j, z]) for j in references) / len(references)
            mixture = mean if offline_scale is None else naive_mixture(math.nan, mean, offline_scale)
            population_ratio[k, z] = population[k, z] - math.log(mixture)
    return record_ratio, population_ratio


def naive_rmia(log_prob, member, population, *, gamma=1.0, slack=0.0, **options):
    """Share of the population records that each record beats; `slack` moves the threshold, in logs."""
    record_ratio, population_ratio = naive_log_ratios(log_prob, member, population, **options)
    score = np.full(record_ratio.shape, np.nan)
    for k, n in np.argwhere(~np.isnan(record_ratio)):
        wins = [record_ratio[k, n] - other >= math.log(gamma) + slack for other in population_ratio[k]]
        score[k, n] = sum(wins) / len(wins)
    return score


def score_of(log_prob, member, population, **options):
    return np.asarray(rmia(log_prob, member, population, **options), np.float64)


def assert_agree(actual, log_prob, member, population, **options):
    """The score lies between the oracle's for thresholds a hair above and below; few pairs are so near."""
    low = naive_rmia(log_prob, member, population, slack=MARGIN, **options)
    high = naive_rmia(log_prob, member, population, slack=-MARGIN, **options)
    assert np.nanmean(high - low) < 0.01
    assert actual.shape == low.shape
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(low))
    seen = ~np.isnan(low)
    assert (actual[seen] >= low[seen] - 1e-6).all()
    assert (actual[seen] <= high[seen] + 1e-6).all()


def draw(seed, K, N, Z, spread=1.0):
    """Log-probabilities of records and population, members by a fair coin; exact in float32."""
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < 0.5
    margin = rng.normal(0, 1, N) + 1.5 * member + rng.normal(size=(K, N))
    others = rng.normal(0, 1, Z) + rng.normal(size=(K, Z))
    log_prob, population = (-np.logaddexp(0, -spread * m) for m in (margin, others))
    return log_prob.astype(np.float32), member, population.astype(np.float32)


# The oracle itself


def exact_score(own, references_in, references_out, population):
    """The definition in fractions, for one target and one record; population: pairs (own, references)."""
    ratio = Fraction(own) * 2 / (mean(references_in) + mean(references_out))
    wins = [ratio >= Fraction(own_z) / mean(references_z) for own_z, references_z in population]
    return Fraction(sum(wins), len(wins))


def mean(values):
    return sum(map(Fraction, values)) / len(values)


def worked_case():
    """Three models; the ratio of target 0 is 2 against population ratios 5/3, 3, 1/2 and 15/8."""
    log_prob = np.log([[0.6], [0.2], [0.4]])
    member = np.array([[True], [True], [False]])
    population = np.log([[0.5, 0.9, 0.1, 0.375], [0.5, 0.2, 0.3, 0.3], [0.1, 0.4, 0.1, 0.1]])
    return log_prob, member, population


def test_oracle_matches_a_case_in_fractions():
    pairs = [("1/2", ("1/2", "1/10")), ("9/10", ("1/5", "2/5")), ("1/10", ("3/10", "1/10"))]
    pairs.append(("3/8", ("3/10", "1/10")))
    exact = exact_score("3/5", ["1/5"], ["2/5"], pairs)
    assert exact == Fraction(3, 4)
    assert naive_rmia(*worked_case())[0, 0] == exact


def test_rmia_matches_a_case_in_fractions():
    score = score_of(*worked_case())
    assert score[0, 0] == pytest.approx(0.75)
    assert np.isnan(score[2, 0])  # both of its references are IN


def test_offline_rmia_matches_a_case_in_fractions():
    # p(x) = ((1 + 1/4) 2/5 + 3/4) / 2 = 5/8 and a ratio of 24/25; population mixtures 9/16, 9/16, 1/2 and 1/2
    # give ratios 8/9, 8/5, 1/5 and 3/4.
    assert score_of(*worked_case(), offline_scale=0.25)[0, 0] == pytest.approx(0.75)
    assert naive_rmia(*worked_case(), offline_scale=0.25)[0, 0] == 0.75


@pytest.mark.parametrize("offline_scale", [None, 1.0])
@pytest.mark.parametrize("padding", [0, 9])
def test_a_population_record_of_the_same_ratio_is_beaten(offline_scale, padding):
    """All references are sure of everything, so a target's ratios are its own probabilities, ties exact."""
    own = [-2.0, -1.0, -1.0, -0.5] + [-3.0] * padding  # fewer records than population records, and more
    population = [-3.0, -2.0, -1.0, -1.0, -0.25]
    log_prob, other = np.zeros((5, len(own))), np.zeros((5, 5))
    log_prob[0], other[0] = own, population
    member = np.tile(np.arange(5)[:, None] % 2 == 0, len(own))
    expected = [sum(x >= z for z in population) / 5 for x in own]
    score = score_of(log_prob, member, other, offline_scale=offline_scale)
    np.testing.assert_array_equal(score[0], expected)


# Agreement with the oracle


@pytest.mark.parametrize("offline_scale", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize(("K", "N", "Z"), [(4, 7, 5), (5, 1, 1), (5, 50, 31), (9, 1, 64), (12, 7, 100)])
def test_rmia_agrees_with_the_naive_oracle(offline_scale, K, N, Z):
    arrays = draw(K * 1000 + N, K, N, Z)
    actual = score_of(*arrays, offline_scale=offline_scale)
    assert_agree(actual, *arrays, offline_scale=offline_scale)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.5, 8.0])
@pytest.mark.parametrize("offline_scale", [None, 0.3])
def test_gamma_is_a_threshold_on_the_likelihood_ratio(gamma, offline_scale):
    arrays = draw(1, 9, 20, 40)
    actual = score_of(*arrays, gamma=gamma, offline_scale=offline_scale)
    assert_agree(actual, *arrays, gamma=gamma, offline_scale=offline_scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rmia_takes_float32_and_float64(dtype):
    log_prob, member, population = draw(2, 9, 20, 40)
    actual = score_of(log_prob.astype(dtype), member, population.astype(dtype))
    assert_agree(actual, log_prob, member, population)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("offline_scale", [None, 0.3])
def test_zero_one_membership_is_a_mask_and_never_an_index(dtype, offline_scale):
    log_prob, member, population = draw(3, 9, 20, 40)
    actual = score_of(log_prob, member.astype(dtype), population, offline_scale=offline_scale)
    assert_agree(actual, log_prob, member, population, offline_scale=offline_scale)


@pytest.mark.parametrize("offline_scale", [None, 0.3])
def test_exclude_row_is_the_target_and_column_the_reference(offline_scale):
    arrays = draw(4, 12, 9, 40)
    exclude = np.random.default_rng(5).random((12, 12)) < 0.3
    actual = score_of(*arrays, exclude=exclude, offline_scale=offline_scale)
    assert_agree(actual, *arrays, exclude=exclude, offline_scale=offline_scale)


@pytest.mark.parametrize("offline_scale", [None, 0.3])
def test_twins_of_complementary_halves_are_left_out(offline_scale):
    log_prob, member, population = draw(6, 12, 9, 40)
    member[1::2] = ~member[0::2]
    twin = np.kron(np.eye(6, dtype=bool), np.array([[0, 1], [1, 0]], bool))
    actual = score_of(log_prob, member, population, exclude=twin, offline_scale=offline_scale)
    assert_agree(actual, log_prob, member, population, exclude=twin, offline_scale=offline_scale)


@pytest.mark.parametrize("offline_scale", [None, 0.3])
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
def test_models_that_are_not_valid_might_as_well_not_exist(offline_scale, garbage):
    log_prob, member, population = draw(7, 11, 9, 40)
    valid = np.ones(11, bool)
    valid[[0, 6]] = False
    log_prob[~valid], population[~valid] = garbage, garbage
    actual = score_of(log_prob, member, population, valid=valid, offline_scale=offline_scale)
    assert np.isnan(actual[~valid]).all()
    kept = (log_prob[valid], member[valid], population[valid])
    assert_agree(actual[valid], *kept, offline_scale=offline_scale)


# Leave-one-out


@pytest.mark.parametrize("offline_scale", [None, 0.3])
def test_a_targets_own_membership_does_not_touch_its_scores(offline_scale):
    log_prob, member, population = draw(8, 12, 20, 40)
    flipped = member.copy()
    flipped[4] = ~flipped[4]
    before, after = (
        score_of(log_prob, m, population, offline_scale=offline_scale)[4] for m in (member, flipped)
    )
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_the_target_is_never_among_its_references():
    # Were it one of them, its own large probability would raise p(x) and hide the memorised record.
    log_prob = np.log(np.full((5, 1), 0.1))
    log_prob[0] = np.log(0.9)  # ratio 9
    member = np.array([[True], [True], [True], [False], [False]])
    population = np.log(np.full((5, 1), 0.1))
    population[0] = np.log(0.5)  # ratio 5: the record wins by 1.8, or by 1.4 with the target on both sides
    assert score_of(log_prob, member, population)[0, 0] == 1.0
    assert score_of(log_prob, member, population, gamma=1.7)[0, 0] == 1.0
    assert score_of(log_prob, member, population, gamma=1.9)[0, 0] == 0.0


# Too few references


def test_online_entries_without_a_reference_on_either_side_are_nan():
    log_prob, member, population = draw(9, 9, 8, 40)
    member[:, 1], member[:, 2] = True, False
    member[:, 3] = np.arange(9) == 5  # the only IN model cannot be its own reference
    member[:, 4] = np.arange(9) != 5
    actual = score_of(log_prob, member, population)
    assert np.isnan(actual[:, 1:3]).all()
    assert np.flatnonzero(np.isnan(actual[:, 3])).tolist() == [5]
    assert np.flatnonzero(np.isnan(actual[:, 4])).tolist() == [5]
    assert_agree(actual, log_prob, member, population)


def test_offline_needs_out_references_only():
    log_prob, member, population = draw(10, 9, 8, 40)
    member[:, 1], member[:, 2] = True, False
    actual = score_of(log_prob, member, population, offline_scale=0.5)
    assert np.isnan(actual[:, 1]).all()
    assert np.isfinite(actual[:, 2]).all()
    assert_agree(actual, log_prob, member, population, offline_scale=0.5)


# Range and precision


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offline_scale", [None, 0.3, 1.0])
def test_log_probabilities_from_minus_200_to_nearly_zero(dtype, offline_scale):
    rng = np.random.default_rng(11)
    log_prob, population = (-np.exp(rng.uniform(np.log(1e-7), np.log(200), (9, n))) for n in (20, 40))
    log_prob[:, 0], log_prob[:, 1], population[:, 0], population[:, 1] = -200, -1e-7, -200, -1e-7
    log_prob, population = log_prob.astype(np.float32), population.astype(np.float32)
    member = rng.random((9, 20)) < 0.5
    member[:2], member[2:4] = True, False
    actual = score_of(
        log_prob.astype(dtype), member, population.astype(dtype), offline_scale=offline_scale, gamma=1.1
    )
    assert_agree(actual, log_prob, member, population, offline_scale=offline_scale, gamma=1.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offline_scale", [None, 1.0])
@pytest.mark.parametrize("own_side", [True, False])
def test_a_target_far_more_confident_than_every_reference_keeps_its_precision(dtype, offline_scale, own_side):
    # A sum over all models less the target's own share would lose references of 1e-30 beside .999.
    K = 7
    log_prob = np.full((K, 3), np.log(1e-30), dtype)
    log_prob[0] = np.log(0.999)
    log_prob[1:, 1] += np.log(2)
    log_prob[1:, 2] -= np.log(2)
    member = np.repeat(np.arange(K)[:, None] % 2 == 0, 3, axis=1)
    member[0] = own_side
    factors = np.array(
        [1e-3, 0.4, 0.75, 1.5, 2.5, 1e3, 1e20]
    )  # of the population's references, against 1e-30
    population = np.repeat(np.log(1e-30 * factors)[None].astype(dtype), K, axis=0)
    population[0] = np.log(0.999)
    score = score_of(log_prob, member, population, offline_scale=offline_scale)[0]
    np.testing.assert_allclose(score, [4 / 7, 3 / 7, 5 / 7], atol=1e-6)


@pytest.mark.parametrize("offline_scale", [None, 0.0, 0.5, 1.0])
def test_scores_are_shares_of_the_population(offline_scale):
    score = score_of(*draw(12, 12, 20, 37), offline_scale=offline_scale)
    assert score.min() >= 0
    assert score.max() <= 1
    np.testing.assert_allclose(score * 37, np.round(score * 37), atol=1e-4)


# Sign, invariances, hygiene


@pytest.mark.parametrize("offline_scale", [None, 0.3])
def test_a_memorisers_members_score_higher(offline_scale, auc_of):
    rng = np.random.default_rng(13)
    member = rng.random((16, 30)) < 0.5
    log_prob = np.where(member, -0.01, -2.0) + rng.uniform(-0.005, 0.005, (16, 30))
    population = rng.uniform(-2.2, -1.8, (16, 50))
    assert auc_of(score_of(log_prob, member, population, offline_scale=offline_scale), member) > 0.99


@pytest.mark.parametrize("offline_scale", [None, 0.3])
def test_score_never_falls_when_the_targets_own_probability_rises(offline_scale):
    log_prob, member, population = draw(14, 10, 20, 40)
    raised = log_prob.copy()
    raised[3] /= 4
    before, after = (score_of(x, member, population, offline_scale=offline_scale) for x in (log_prob, raised))
    seen = ~np.isnan(before[3])
    assert (after[3] >= before[3])[seen].all()
    assert (after[3] > before[3])[seen].any()


def test_score_never_rises_with_gamma():
    arrays = draw(15, 10, 20, 40)
    scores = np.stack([score_of(*arrays, gamma=g) for g in (0.5, 1, 2, 4)])
    scores = scores[:, ~np.isnan(scores[0])]
    assert (np.diff(scores, axis=0) <= 1e-9).all()


@pytest.mark.parametrize("offline_scale", [None, 1.0])
def test_a_factor_on_a_records_probability_in_every_model_changes_nothing(offline_scale):
    log_prob, member, population = draw(16, 10, 20, 40)
    rng = np.random.default_rng(17)
    moved = (log_prob - rng.uniform(0, 20, 20)).astype(np.float32)
    actual = score_of(moved, member, population, offline_scale=offline_scale)
    assert_agree(actual, log_prob, member, population, offline_scale=offline_scale)


def test_permuting_records_permutes_scores_and_permuting_the_population_nothing():
    log_prob, member, population = draw(18, 10, 20, 40)
    rng = np.random.default_rng(19)
    order = rng.permutation(20)
    plain = score_of(log_prob, member, population)
    moved = score_of(log_prob[:, order], member[:, order], population[:, rng.permutation(40)])
    np.testing.assert_allclose(moved, plain[:, order], atol=1e-6)


def test_permuting_models_permutes_rows():
    log_prob, member, population = draw(20, 10, 20, 40)
    rng = np.random.default_rng(21)
    order, valid, exclude = rng.permutation(10), np.arange(10) != 7, rng.random((10, 10)) < 0.2
    plain = score_of(log_prob, member, population, exclude=exclude, valid=valid)
    moved = score_of(
        log_prob[order],
        member[order],
        population[order],
        exclude=exclude[np.ix_(order, order)],
        valid=valid[order],
    )
    # Reordering may round a near tie differently: one population record of forty at most.
    np.testing.assert_allclose(moved, plain[order], atol=1 / 40 + 1e-6)
    assert np.nanmean(np.abs(moved - plain[order])) < 1e-3


def test_arguments_are_not_modified():
    log_prob, member, population = draw(22, 10, 7, 20)
    log_prob[2] = np.nan
    exclude, valid = np.eye(10, dtype=bool)[::-1].copy(), np.arange(10) != 2
    arguments = [log_prob, member, population, exclude, valid]
    copies = [a.copy() for a in arguments]
    rmia(log_prob, member, population, exclude=exclude, valid=valid)
    for argument, copy in zip(arguments, copies, strict=True):
        np.testing.assert_array_equal(argument, copy)
