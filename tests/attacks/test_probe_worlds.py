"""Worlds with a known answer: what the attacks must find, and what they must not find."""

import numpy as np
import pytest

from mia_jax.attacks import lira, rmia

LIRA_OPTIONS = [
    {"mode": mode, "variance": variance}
    for mode in ("online", "offline")
    for variance in ("per_example", "global")
]
RMIA_OPTIONS = [{"offline_scale": None}, {"offline_scale": 0.3}, {"offline_scale": 1.0}]


def name_of(options):
    return "-".join(str(value) for value in options.values())


def fixed_size(rng, K, N):
    """Each model draws half of the records, independently of the others."""
    return np.argsort(rng.random((K, N)), axis=1) < N // 2, None


def bernoulli(rng, K, N):
    """Every record enters every model by its own fair coin."""
    return rng.random((K, N)) < 0.5, None


def bernoulli_third(rng, K, N):
    return rng.random((K, N)) < 1 / 3, None


def twins(rng, K, N):
    """Models 2i and 2i + 1 train on complementary halves, and neither is a reference for the other."""
    member = np.empty((K, N), bool)
    member[0::2], _ = fixed_size(rng, K // 2, N)
    member[1::2] = ~member[0::2]
    return member, np.kron(np.eye(K // 2, dtype=bool), np.array([[0, 1], [1, 0]], bool))


def balanced_records(rng, K, N):
    """Each record is in exactly half of the models: the others' counts give the target's membership away."""
    return np.argsort(rng.random((K, N)), axis=0) < K // 2, None


DESIGNS = [fixed_size, bernoulli, bernoulli_third, twins]


def lira_scores(logit, member, exclude=None, **options):
    return np.asarray(lira(logit.astype(np.float32), member, exclude=exclude, missing="nan", **options))


def rmia_scores(log_prob, member, population, exclude=None, **options):
    log_prob, population = log_prob.astype(np.float32), population.astype(np.float32)
    return np.asarray(rmia(log_prob, member, population, exclude=exclude, **options))


def null_lira_scores(rng, member, exclude, **options):
    """Scaled logits that know record and model, and nothing of membership."""
    K, N = member.shape
    logit = rng.normal(0, 3, N) + rng.normal(0, 1, (K, 1)) + rng.normal(size=(K, N))
    return lira_scores(logit, member, exclude, **options)


def null_rmia_scores(rng, member, exclude, **options):
    K, N = member.shape
    record, other = rng.normal(0, 2, N), rng.normal(0, 2, 40)
    log_prob = -np.logaddexp(0, record + rng.normal(size=(K, N)))
    population = -np.logaddexp(0, other + rng.normal(size=(K, 40)))
    return rmia_scores(log_prob, member, population, exclude, **options)


def null_aucs(seed, scores, design, K, N, mean_target_auc, worlds, **options):
    """One mean AUC for every independent world: their spread gives an honest standard error."""
    rng = np.random.default_rng(seed)
    aucs = []
    for _ in range(worlds):
        member, exclude = design(rng, K, N)
        aucs.append(mean_target_auc(scores(rng, member, exclude, **options), member))
    return np.array(aucs)


def standard_error(values):
    return np.std(values, ddof=1) / np.sqrt(len(values))


# The signal is membership


@pytest.mark.parametrize("options", LIRA_OPTIONS, ids=name_of)
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("K", [8, 12, 24])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_lira_separates_perfectly_when_the_signal_is_membership(options, design, K, noise, auc_of):
    rng = np.random.default_rng(K)
    member, exclude = design(rng, K, 40)
    logit = np.where(member, 5.0, -5.0) + noise * rng.normal(size=member.shape)
    score = lira_scores(logit, member, exclude, **options)
    assert not np.isnan(score).all()
    if noise == 0 or options["variance"] == "global":
        assert auc_of(score, member) == 1.0
    else:  # two references may lie close enough to make a record's own sigma absurdly small
        signs = score > 0 if options["mode"] == "online" else score > 20
        assert np.mean(signs[~np.isnan(score)] == member[~np.isnan(score)]) > 0.99


@pytest.mark.parametrize("options", RMIA_OPTIONS, ids=name_of)
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("K", [8, 12, 24])
def test_rmia_separates_perfectly_when_the_signal_is_membership(options, design, K, auc_of):
    rng = np.random.default_rng(K)
    member, exclude = design(rng, K, 40)
    population = np.log(0.1) + rng.uniform(-0.05, 0.05, (K, 50))
    score = rmia_scores(np.where(member, np.log(0.9), np.log(0.01)), member, population, exclude, **options)
    assert auc_of(score, member) == 1.0


# The signal knows nothing of membership


@pytest.mark.parametrize("options", LIRA_OPTIONS, ids=name_of)
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("K", [8, 12])
def test_lira_finds_nothing_where_there_is_nothing(options, design, K, mean_target_auc):
    aucs = null_aucs(K, null_lira_scores, design, K, 60, mean_target_auc, worlds=60, **options)
    assert np.mean(aucs) == pytest.approx(0.5, abs=4 * standard_error(aucs))
    assert standard_error(aucs) < 0.007  # else the line above would accept anything


@pytest.mark.parametrize("options", RMIA_OPTIONS, ids=name_of)
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("K", [8, 12])
def test_rmia_finds_nothing_where_there_is_nothing(options, design, K, mean_target_auc):
    aucs = null_aucs(K, null_rmia_scores, design, K, 60, mean_target_auc, worlds=60, **options)
    assert np.mean(aucs) == pytest.approx(0.5, abs=4 * standard_error(aucs))
    assert standard_error(aucs) < 0.007


@pytest.mark.parametrize("K", [4, 5])
def test_the_fewest_models_find_nothing_either(K, mean_target_auc):
    # Many records have too few references; were the target counted, that would select by its membership.
    aucs = null_aucs(K, null_lira_scores, bernoulli, K, 60, mean_target_auc, worlds=60, mode="offline")
    assert np.mean(aucs) == pytest.approx(0.5, abs=4 * standard_error(aucs))


def test_which_entries_are_missing_says_nothing_of_the_targets_own_membership():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(40):
        member, _ = bernoulli(rng, 8, 100)
        missing = np.isnan(lira_scores(rng.normal(size=(8, 100)), member))
        assert missing.any()
        shares.append(member[missing].mean())
    assert np.mean(shares) == pytest.approx(0.5, abs=4 * standard_error(shares))


@pytest.mark.parametrize("leak", ["balanced records", "twins without exclude"])
def test_this_harness_would_notice_a_design_that_leaks(leak, mean_target_auc):
    def leaky(rng, K, N):
        return (balanced_records if leak == "balanced records" else twins)(rng, K, N)[0], None

    aucs = null_aucs(1, null_lira_scores, leaky, 8, 60, mean_target_auc, worlds=30)
    assert abs(np.mean(aucs) - 0.5) > 6 * standard_error(aucs)


# Records differ far more than membership moves them


@pytest.mark.parametrize("options", LIRA_OPTIONS, ids=name_of)
def test_where_hardness_hides_membership_a_global_threshold_fails_and_lira_succeeds(options, auc_of):
    rng = np.random.default_rng(2)
    member, _ = fixed_size(rng, 64, 200)
    logit = rng.normal(0, 40, 200) + 3.0 * member + rng.normal(size=(64, 200))
    assert auc_of(logit, member) == pytest.approx(0.5, abs=0.05)
    # Known means and variances would give 0.983.
    assert auc_of(lira_scores(logit, member, **options), member) > 0.95


@pytest.mark.parametrize("options", [RMIA_OPTIONS[0], RMIA_OPTIONS[2]], ids=name_of)
def test_where_hardness_hides_membership_a_global_threshold_fails_and_rmia_succeeds(options, auc_of):
    rng = np.random.default_rng(3)
    member, _ = fixed_size(rng, 64, 200)
    log_prob = -rng.uniform(5, 100, 200) + 2.0 * member + 0.3 * rng.normal(size=(64, 200))
    population = -rng.uniform(5, 100, 150) + 0.3 * rng.normal(size=(64, 150))
    assert auc_of(log_prob, member) == pytest.approx(0.5, abs=0.05)
    assert auc_of(rmia_scores(log_prob, member, population, **options), member) > 0.95


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("options", LIRA_OPTIONS, ids=name_of)
def test_lira_finds_a_faint_signal_under_every_design(options, design, mean_target_auc):
    rng = np.random.default_rng(4)
    member, exclude = design(rng, 32, 300)
    logit = rng.normal(0, 10, 300) + 1.0 * member + rng.normal(size=(32, 300))
    auc = mean_target_auc(lira_scores(logit, member, exclude, **options), member)
    assert 0.66 < auc < 0.78  # known means and variances would give 0.760
