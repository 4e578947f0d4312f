"""The embedding-norm likelihood against densities fitted target by target with SciPy."""

import numpy as np
import pytest
from scipy.stats import gaussian_kde, norm

from mia_jax.attacks.base import Observations
from mia_jax.attacks.embedding_norm import attacks, embedding_norm_likelihood, embedding_norms
from mia_jax.config import AttacksConfig

K, N = 7, 60
DENSITIES = ("gaussian", "kde")


def draw(seed=0, shift=0.3):
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < 0.4
    return np.exp(1.0 + shift * member + rng.normal(size=(K, N)) * np.where(member, 0.2, 0.3)), member


def twins(count):
    return (np.arange(count) ^ 1)[:, None] == np.arange(count)[None, :]


def naive(log_norm, member, target, density, exclude=None, valid=None):
    """One target's row, from densities fitted to its references' records."""
    usable = [
        j
        for j in range(K)
        if j != target and (exclude is None or not exclude[target, j]) and (valid is None or valid[j])
    ]
    log_density = []
    for side in (member[usable], ~member[usable]):
        values = log_norm[usable][side]
        smooth = norm.logpdf(log_norm[target], values.mean(), values.std())
        if density == "kde":
            # SciPy's deviation has ddof 1.
            factor = values.size**-0.2 * values.std() / values.std(ddof=1)
            kernels = gaussian_kde(values, factor).logpdf(log_norm[target])
            count = values.size
            smooth = np.logaddexp(kernels + np.log(count / (count + 1)), smooth - np.log(count + 1))
        log_density.append(smooth)
    return log_density[0] - log_density[1]


GIVEN = [
    {},
    {"exclude": twins(K + 1)[:K, :K]},
    {"exclude": np.random.default_rng(1).random((K, K)) < 0.4},
    {"valid": np.arange(K) != 3},
]


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize(("density", "atol"), [("gaussian", 1e-9), ("kde", 0.03)])
def test_scores_are_log_ratios_of_densities_fitted_to_the_references(density, atol, given):
    norms, member = draw()
    actual = embedding_norm_likelihood(norms, member, density=density, **given)
    for k in range(K):
        if "valid" in given and not given["valid"][k]:
            assert np.isnan(actual[k]).all()
        else:
            np.testing.assert_allclose(
                actual[k], naive(np.log(norms), member, k, density, **given), atol=atol
            )


def test_gaussian_scores_by_hand():
    log_norm = np.array([[3.0, -1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 4.0]])
    member = np.array([[True, True, False, False], [True, True, False, False]])
    # Target 0: members {0, 2} have mean 1 and deviation 1; non-members {0, 4} mean 2, deviation 2.
    scores = embedding_norm_likelihood(np.exp(log_norm), member)
    expected = [norm.logpdf(x, 1, 1) - norm.logpdf(x, 2, 2) for x in log_norm[0]]
    np.testing.assert_allclose(scores[0], expected)


@pytest.mark.parametrize("density", DENSITIES)
def test_with_many_records_scores_are_those_of_the_known_densities(density):
    rng = np.random.default_rng(2)
    member = rng.random((5, 20_000)) < 0.5
    x = np.where(member, 0.5 + 0.2 * rng.normal(size=member.shape), 0.3 * rng.normal(size=member.shape))
    known = norm.logpdf(x, 0.5, 0.2) - norm.logpdf(x, 0.0, 0.3)
    scores = embedding_norm_likelihood(np.exp(x), member, density=density)
    middle = (x > 0.1) & (x < 0.5)
    np.testing.assert_allclose(scores[middle], known[middle], atol=0.15 if density == "kde" else 0.05)


def test_a_density_of_two_peaks_needs_kernels(auc_of):
    rng = np.random.default_rng(3)
    member = rng.random((6, 500)) < 0.5
    sign = np.where(rng.random(member.shape) < 0.5, -1.0, 1.0)
    x = np.where(member, sign, 0.0) + 0.2 * rng.normal(size=member.shape)
    for shift in (0.0, 300.0):  # a bin's place must not matter
        scores = embedding_norm_likelihood(np.exp(x + shift), member, density="kde")
        assert auc_of(scores, member) > 0.98


@pytest.mark.parametrize("density", DENSITIES)
def test_scores_are_finite_far_out_in_the_tails(density):
    norms, member = draw(4)
    norms[0, :4] = 1e-300, 1e300, 1e-9, 1e9
    scores = embedding_norm_likelihood(norms, member, density=density)
    assert np.isfinite(scores).all()
    # Non-members are spread more widely: far out on both sides they are likelier.
    assert (scores[0, :4] < -10).all()
    np.testing.assert_allclose(scores[0, 4:], naive(np.log(norms), member, 0, density)[4:], atol=0.03)


def test_where_no_kernel_reaches_the_gaussian_counts_as_one_more_record():
    norms, member = draw(12)
    member[:, 3:] = False  # some 7 member records against 350: the one more weighs differently on the sides
    norms[0, :2] = 1e-5, 1e6
    scores = embedding_norm_likelihood(norms, member, density="kde")
    np.testing.assert_allclose(scores[0, :2], naive(np.log(norms), member, 0, "kde")[:2], rtol=1e-9)


@pytest.mark.parametrize("density", DENSITIES)
def test_norms_without_spread_are_no_evidence_and_finite(density):
    _, member = draw(5)
    scores = embedding_norm_likelihood(np.full((K, N), 2.5), member, density=density)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, scores[0, 0], atol=0.1)
    apart = np.where(member, 2.0, 3.0)
    separated = embedding_norm_likelihood(apart, member, density=density)
    assert np.isfinite(separated).all()
    assert separated[member].min() > separated[~member].max()


@pytest.mark.parametrize("density", DENSITIES)
def test_a_norm_of_zero_gets_nan_and_enters_no_fit(density):
    norms, member = draw(6)
    with_zeros = norms.copy()
    with_zeros[:, 7] = 0.0
    rest = np.arange(N) != 7
    scores = embedding_norm_likelihood(with_zeros, member, density=density)
    assert np.isnan(scores[:, 7]).all()
    alone = embedding_norm_likelihood(norms[:, rest], member[:, rest], density=density)
    np.testing.assert_allclose(scores[:, rest], alone, rtol=1e-9)


@pytest.mark.parametrize("density", DENSITIES)
def test_what_is_no_reference_does_not_enter(density):
    norms, member = draw(7)
    exclude = twins(K + 1)[:K, :K]
    before = embedding_norm_likelihood(norms, member, density=density, exclude=exclude)
    poisoned, lied = norms.copy(), member.copy()
    poisoned[3], lied[3] = np.exp(200.0 * np.arange(N) / N), ~lied[3]
    after = embedding_norm_likelihood(poisoned, lied, density=density, exclude=exclude)
    np.testing.assert_allclose(after[2], before[2], rtol=1e-9, err_msg="target 2 must not see its twin")
    lied = member.copy()
    lied[2] = ~lied[2]
    after = embedding_norm_likelihood(norms, lied, density=density, exclude=exclude)
    np.testing.assert_allclose(after[2], before[2], rtol=1e-9, err_msg="nor its own membership")
    poisoned = norms.copy()
    poisoned[5] = -np.inf
    valid = np.arange(K) != 5
    after = embedding_norm_likelihood(poisoned, member, density=density, valid=valid)
    np.testing.assert_array_equal(
        after, embedding_norm_likelihood(norms, member, density=density, valid=valid)
    )


@pytest.mark.parametrize("density", DENSITIES)
def test_a_side_of_fewer_than_two_records_gives_nan(density):
    norms, member = draw(8)
    member[:] = False
    member[0, 0] = member[1, 1] = member[1, 2] = True
    scores = embedding_norm_likelihood(norms, member, density=density)
    assert np.isnan(scores[1]).all(), "target 1 has one member record left to it"
    assert np.isfinite(scores[2:]).all()


def test_negative_norms_and_other_densities_are_refused():
    norms, member = draw(9)
    norms[2, 3] = -0.5
    with pytest.raises(ValueError, match=r"norm\[2, 3\] is -0.5"):
        embedding_norm_likelihood(norms, member)
    with pytest.raises(ValueError, match="density is 'gauss'"):
        embedding_norm_likelihood(*draw(9), density="gauss")


# Norms


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, np.inf])
def test_norms_are_those_of_linear_algebra(p):
    embedding = np.random.default_rng(10).normal(size=(3, 4, 6)).astype(np.float32)
    expected = np.linalg.norm(embedding.astype(np.float64), ord=p, axis=-1)
    np.testing.assert_allclose(embedding_norms(embedding, p), expected, rtol=1e-12)


def test_norms_at_their_limits():
    np.testing.assert_array_equal(embedding_norms(np.zeros((2, 3)), 2.0), [0, 0])
    np.testing.assert_allclose(embedding_norms(np.array([[3e200, 4e200]]), 2), [5e200])
    np.testing.assert_allclose(embedding_norms(np.array([[10.0, 1.0]]), 1000.0), [10.0])


@pytest.mark.parametrize("p", [0.5, 0.0, -1.0, np.nan])
def test_what_is_no_norm_is_refused(p):
    with pytest.raises(ValueError, match="p is "):
        embedding_norms(np.ones((2, 3)), p)


@pytest.mark.parametrize("density", DENSITIES)
def test_the_choice_is_the_function_with_the_configs_density(density):
    norms, member = draw(11)
    exclude, valid = twins(K + 1)[:K, :K], np.arange(K) != 1
    (one,) = attacks(AttacksConfig(embedding_density=density))
    seen = Observations(member, valid, exclude, embedding_norm=norms)
    expected = embedding_norm_likelihood(norms, member, density=density, exclude=exclude, valid=valid)
    np.testing.assert_array_equal(one.score(seen), expected)
    assert one.needs == {"embedding_norm"}
