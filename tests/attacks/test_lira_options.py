"""LiRA's automatic variance, medians and queries against loops over targets, records and sides."""

import math
import statistics

import numpy as np
import pytest
from scipy.stats import norm

from mia_jax.attacks.base import Observations, references
from mia_jax.attacks.likelihood_ratio import attacks, lira, medians
from mia_jax.config import AttacksConfig

MODES = ("online", "offline")


def lists_of(logit, member, target, record, exclude, valid):
    """The references' logits of one record, IN and OUT."""
    sides = ([], [])
    for model in range(len(member)):
        if model != target and valid[model] and not exclude[target][model]:
            sides[0 if member[model][record] else 1].append(float(logit[model][record]))
    return sides


def spread(values):
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))


def pooled_spread(lists):
    """Of the residuals around each record's mean, records of one side with at least two references."""
    squares = [spread(values) ** 2 * len(values) for values in lists if len(values) >= 2]
    count = sum(len(values) for values in lists if len(values) >= 2)
    return math.sqrt(math.fsum(squares) / count) if count else math.nan


def naive(logit, member, *, mode, variance="per_example", fewest=32, centre="mean", exclude=None, valid=None):
    """LiRA with every option, one target, record and side at a time; NaN under two references."""
    K, N = logit.shape
    exclude = np.zeros((K, K), bool) if exclude is None else exclude
    valid = np.ones(K, bool) if valid is None else valid
    scores = np.full((K, N), np.nan)
    needed = (0, 1) if mode == "online" else (1,)
    for k in np.flatnonzero(valid):
        lists = [lists_of(logit, member, k, n, exclude, valid) for n in range(N)]
        pooled = [pooled_spread([both[side] for both in lists]) for side in (0, 1)]
        for n in range(N):
            if any(len(lists[n][side]) < 2 for side in needed):
                continue
            enough = min(len(lists[n][side]) for side in needed) >= fewest
            z, log_density = {}, {}
            for side in needed:
                values = lists[n][side]
                at = statistics.median(values) if centre == "median" else math.fsum(values) / len(values)
                own = variance == "per_example" or (variance == "auto" and enough)
                sigma = max(spread(values), 1e-6 * pooled[side]) if own else pooled[side]
                z[side] = (logit[k, n] - at) / sigma
                log_density[side] = -math.log(sigma) - z[side] ** 2 / 2
            scores[k, n] = log_density[0] - log_density[1] if mode == "online" else z[1]
    return scores


def draw(seed, K, N, share=0.5):
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < share
    return rng.normal(0, 3, N) + member + rng.normal(size=(K, N)) * rng.uniform(0.3, 3, N), member


def twins(K):
    return (np.arange(K) ^ 1)[:, None] == np.arange(K)[None, :]


def naive_medians(phi, side, allowed):
    found = np.full(phi.shape, np.nan)
    for k, n in np.ndindex(phi.shape):
        values = [phi[j, n] for j in range(len(phi)) if allowed[k, j] and side[j, n]]
        if values:
            found[k, n] = statistics.median(values)
    return found


# Variance by the number of references


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fewest", [2, 4, 5, 6, 40])
def test_auto_variance_is_the_loop(mode, fewest):
    logit, member = draw(fewest, 11, 9)
    options = {"mode": mode, "variance": "auto", "fewest": fewest}
    actual = lira(logit, member, missing="nan", **options)
    np.testing.assert_allclose(actual, naive(logit, member, **options), rtol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_auto_is_one_of_the_two_variances_at_its_limits(mode):
    logit, member = draw(0, 12, 8)
    options = {"mode": mode, "missing": "nan"}
    for fewest, variance in ((2, "per_example"), (12, "global")):
        np.testing.assert_array_equal(
            lira(logit, member, variance="auto", fewest=fewest, **options),
            lira(logit, member, variance=variance, **options),
        )


def test_auto_decides_for_each_record_and_target_without_counting_the_target():
    logit, member = draw(1, 9, 3)
    member[:, 0] = np.arange(9) < 4  # IN targets see 3 IN and 5 OUT references, OUT targets 4 and 4
    for mode, enough in (("online", ~member[:, 0]), ("offline", np.full(9, True))):
        options = {"mode": mode, "missing": "nan"}
        auto, own, pooled = (
            lira(logit, member, variance=v, fewest=4, **options)[:, 0]
            for v in ("auto", "per_example", "global")
        )
        np.testing.assert_array_equal(auto, np.where(enough, own, pooled))


def test_where_there_is_nothing_the_variances_do_not_tell_members_of_one_record_apart(auc_of):
    # Records with just 32 models on a side: members have too few IN references, non-members OUT ones.
    # One kind of variance on one side and the other on the other gives .06 here.
    rng = np.random.default_rng(12)
    logit = np.exp(1.5 * rng.normal(size=300)) * rng.normal(size=(64, 300))
    member = np.argsort(rng.random((64, 300)), axis=0) < 32
    scores = lira(logit, member, variance="auto", fewest=32)
    aucs = [auc_of(scores[:, n], member[:, n]) for n in range(300)]
    assert 0.4 < np.mean(aucs) < 0.6


@pytest.mark.parametrize("fewest", [1, 0, -3])
def test_a_variance_of_fewer_than_two_references_is_refused(fewest):
    with pytest.raises(ValueError, match=f"fewest is {fewest}"):
        lira(*draw(2, 8, 3), variance="auto", fewest=fewest)


# Medians


@pytest.mark.parametrize("share", [0.5, 0.1, 0.95])
@pytest.mark.parametrize("K", [4, 9, 16])
def test_medians_of_the_references_are_the_loop(share, K):
    rng = np.random.default_rng(K)
    phi, side = draw(K, K, 13, share)
    phi = np.round(phi)  # ties
    valid, exclude = rng.random(K) < 0.8, rng.random((K, K)) < 0.3
    for given in ((None, None), (twins(K), None), (exclude, valid), (exclude | (rng.random(K) < 0.9), None)):
        allowed, _ = references(K, *given)
        np.testing.assert_array_equal(medians(phi, side, allowed), naive_medians(phi, side, allowed))


def test_a_target_without_references_has_no_median():
    phi, side = np.arange(6.0).reshape(3, 2), np.ones((3, 2), bool)
    assert np.isnan(medians(phi, side, np.zeros((3, 3), bool))).all()
    assert np.isnan(medians(phi, ~side, ~np.eye(3, dtype=bool))).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", ["per_example", "global", "auto"])
def test_median_centres_are_the_loop(mode, variance):
    logit, member = draw(3, 12, 7)
    valid = np.arange(12) != 5
    options = {"mode": mode, "variance": variance, "fewest": 4, "centre": "median"}
    options |= {"exclude": twins(12), "valid": valid}
    actual = lira(logit, member, missing="nan", **options)
    np.testing.assert_allclose(actual, naive(logit, member, **options), rtol=1e-9)


def test_median_by_hand_keeps_sigma_about_the_mean():
    logit = np.array([[7.0], [0.0], [1.0], [5.0], [0.0]])
    member = np.array([[True], [False], [False], [False], [True]])
    # OUT {0, 1, 5}: median 1, mean 2, sigma sqrt((4 + 1 + 9) / 3).
    score = lira(logit, member, mode="offline", centre="median", missing="nan")[0, 0]
    assert score == pytest.approx((7 - 1) / math.sqrt(14 / 3))


def test_an_outlying_reference_moves_the_median_less_than_the_mean():
    logit, member = draw(4, 20, 5)
    moved = logit.copy()
    moved[3] += 1e3
    allowed, _ = references(20, None, None)
    shift = np.abs(medians(moved, ~member, allowed) - medians(logit, ~member, allowed))
    assert shift.max() < 10


# Queries


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("variance", ["per_example", "global", "auto"])
def test_scores_of_queries_are_averaged(mode, variance):
    rng = np.random.default_rng(5)
    logit, member = draw(5, 12, 6)
    queried = logit[:, :, None] + rng.normal(size=(12, 6, 3)) * [0.1, 1.0, 5.0]
    options = {"mode": mode, "variance": variance, "fewest": 5}
    expected = np.mean([naive(queried[:, :, q], member, **options) for q in range(3)], axis=0)
    np.testing.assert_allclose(lira(queried, member, missing="nan", **options), expected, rtol=1e-9)


def test_one_query_or_the_same_one_again_is_the_plain_score():
    logit, member = draw(6, 12, 6)
    plain = lira(logit, member, missing="nan")
    np.testing.assert_array_equal(lira(logit[:, :, None], member, missing="nan"), plain)
    again = lira(np.repeat(logit[:, :, None], 4, axis=2), member, missing="nan")
    np.testing.assert_allclose(again, plain, rtol=1e-12)


def test_independent_queries_find_more(auc_of):
    rng = np.random.default_rng(7)
    member = rng.random((64, 100)) < 0.5
    queried = rng.normal(0, 3, 100)[:, None] + member[:, :, None] + rng.normal(size=(64, 100, 4))
    scores = lira(queried, member, variance="global")
    error = 0.5 / math.sqrt(64 * 100)
    # Four independent looks are worth one at half the noise.
    assert auc_of(scores, member) == pytest.approx(norm.cdf(2 / math.sqrt(2)), abs=6 * error + 0.01)


@pytest.mark.parametrize("shape", [(8, 5, 0), (8,), (8, 5, 2, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"logit has shape \(8.*\[K, N, Q\]"):
        lira(np.zeros(shape), np.zeros((8, 5), bool))


def test_a_value_that_is_not_finite_is_named_with_its_query():
    logit, member = draw(8, 8, 5)
    queried = np.stack([logit, logit], axis=2)
    queried[3, 4, 1] = np.inf
    with pytest.raises(ValueError, match=r"logit\[:, :, 1\]\[3, 4\] is inf.*mark model 3"):
        lira(queried, member, missing="nan")


def test_a_misspelt_centre_is_refused():
    with pytest.raises(ValueError, match="centre is 'mode'"):
        lira(*draw(9, 8, 5), centre="mode")


# The choices of --attacks


def test_every_choice_is_the_function_with_the_configs_constants():
    logit, member = draw(10, 14, 6)
    queried = np.stack([logit, logit**2], axis=2)
    config = AttacksConfig(lira_centre="median", lira_fewest=6)
    exclude, valid = twins(14), np.arange(14) != 3
    seen = Observations(member, valid, exclude, scaled_logit=logit, query_scaled_logit=queried)
    found = {one.name: one for one in attacks(config)}
    assert len(found) == 8
    for mode in MODES:
        for end, variance in (
            ("", "per_example"),
            ("_global", "global"),
            ("_auto", "auto"),
            ("_queries", "auto"),
        ):
            one = found[f"lira_{mode}{end}"]
            expected = lira(
                queried if end == "_queries" else logit,
                member,
                mode=mode,
                variance=variance,
                fewest=6,
                centre="median",
                exclude=exclude,
                valid=valid,
                missing="nan",
            )
            np.testing.assert_array_equal(one.score(seen), expected)
            assert one.needs == {"query_scaled_logit" if end == "_queries" else "scaled_logit"}


# Closed form


@pytest.mark.parametrize("centre", ["mean", "median"])
@pytest.mark.parametrize("variance", ["global", "auto"])
def test_with_many_references_scores_are_those_of_the_known_gaussians(centre, variance):
    K = 1500
    rng = np.random.default_rng(11)
    member = rng.random((K, 2)) < 0.5
    logit = np.where(member, 1.0 + 0.5 * rng.normal(size=(K, 2)), -1.0 + 2.0 * rng.normal(size=(K, 2)))
    known = norm.logpdf(logit, 1.0, 0.5) - norm.logpdf(logit, -1.0, 2.0)
    near = np.abs(logit) < 3
    scores = lira(logit, member, centre=centre, variance=variance)
    np.testing.assert_allclose(scores[near], known[near], rtol=0.2, atol=0.4)
    offline = lira(logit, member, mode="offline", centre=centre, variance=variance)
    np.testing.assert_allclose(offline, (logit + 1.0) / 2.0, atol=0.4)
