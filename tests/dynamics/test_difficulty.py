"""When records are learned, one model at a time; rank correlation against SciPy, and its coverage."""

import numpy as np
import pytest
from scipy import stats

from mia_jax import dynamics

TIMES = np.array([1.0, 2.0, 4.0, 8.0])


def learned_one_at_a_time(correct, times):
    """The time of the first checkpoint from which on all are right; 12 where there is none."""
    for t in range(len(times)):
        if all(correct[t:]):
            return times[t]
    return 12.0


def test_epoch_learned_one_model_at_a_time():
    rng = np.random.default_rng(0)
    correct, member = rng.random((9, 4, 30)) < 0.7, rng.random((9, 30)) < 0.5
    member[:, 3] = True
    found = dynamics.epoch_learned(correct, member, TIMES)
    read = dynamics.epoch_learned(iter(correct.swapaxes(0, 1).astype(np.float32)), member, TIMES)
    np.testing.assert_array_equal(found, read)
    for n in range(30):
        each = [learned_one_at_a_time(correct[k, :, n], TIMES) for k in range(9) if not member[k, n]]
        if not each:
            assert np.isnan(found.epoch[n])
            assert np.isnan(found.never[n])
            continue
        assert found.epoch[n] == pytest.approx(np.mean(each))
        assert found.never[n] == pytest.approx(np.mean(np.array(each) == 12.0))
    assert np.isnan(found.epoch).sum() == 1


def test_only_models_without_the_record_count():
    member = np.array([[True], [False]])
    correct = np.array([[[1], [1], [1], [1]], [[0], [1], [0], [1]]])
    found = dynamics.epoch_learned(correct, member, TIMES)
    assert (found.epoch[0], found.never[0]) == (8.0, 0.0)
    np.testing.assert_array_equal(dynamics.out_accuracy(correct, member)[:, 0], [0, 1, 0, 1])


def test_out_accuracy_is_the_mean_over_out_models():
    rng = np.random.default_rng(1)
    correct, member = rng.random((9, 4, 30)) < 0.7, rng.random((9, 30)) < 0.5
    known = rng.random(correct.shape) < 0.9
    found = dynamics.out_accuracy(correct, member, known)
    for t in range(4):
        for n in range(30):
            seen = correct[~member[:, n] & known[:, t, n], t, n]
            np.testing.assert_allclose(found[t, n], seen.mean() if seen.size else np.nan)


@pytest.mark.parametrize("levels", [None, 3], ids=["distinct", "ties"])
def test_rank_correlation_is_scipys(levels):
    rng = np.random.default_rng(2)
    x = rng.normal(size=80)
    y = x + rng.normal(size=80)
    if levels:
        x, y = np.round(x * levels), np.round(y * levels)
    x[3], y[7] = np.nan, np.nan
    known = ~np.isnan(x) & ~np.isnan(y)
    found = dynamics.rank_correlation(x, y)
    assert found.value == pytest.approx(stats.spearmanr(x[known], y[known]).statistic)
    assert found.pairs == 78
    assert found.low < found.value < found.high
    wider = dynamics.rank_correlation(x, y, confidence=0.99)
    assert wider.low < found.low
    assert wider.high > found.high


@pytest.mark.parametrize("pearson", [0.0, 0.5, 0.8])
def test_interval_of_the_rank_correlation_covers(pearson):
    """The Spearman correlation of two Gaussians is 6 / pi asin(r / 2)."""
    rng = np.random.default_rng(3)
    truth, hits = 6 / np.pi * np.arcsin(pearson / 2), 0
    for _ in range(400):
        x, noise = rng.normal(size=(2, 60))
        found = dynamics.rank_correlation(x, pearson * x + np.sqrt(1 - pearson**2) * noise)
        hits += found.low <= truth <= found.high
    assert stats.binom.ppf(1e-4, 400, 0.93) <= hits <= stats.binom.ppf(1 - 1e-4, 400, 0.97)


def test_interval_of_the_rank_correlation_by_hand():
    found = dynamics.rank_correlation(np.arange(7), [2, 1, 4, 3, 6, 5, 7])
    assert found.value == pytest.approx(1 - 6 * 6 / (7 * 48))  # Spearman's formula: six ranks are off by one
    # .8929 has Fisher's z 1.4360; its variance is (1 + .8929^2 / 2) / 4, its error .5913.
    assert np.arctanh([found.low, found.high]) == pytest.approx(
        [1.4360 - 1.96 * 0.5913, 1.4360 + 1.96 * 0.5913], abs=2e-3
    )


def test_rank_correlation_at_its_limits():
    assert dynamics.rank_correlation([1, 2, 3, 4], [1, 4, 9, 16]) == (1.0, 1.0, 1.0, 4)
    assert dynamics.rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]).value == -1.0
    constant = dynamics.rank_correlation([1, 2, 3, 4], [5, 5, 5, 5])
    assert np.isnan(constant[:3]).all()
    few = dynamics.rank_correlation([1, 2, 3, np.nan], [1, 3, 2, 5])
    assert few.value == pytest.approx(0.5)
    assert np.isnan([few.low, few.high]).all()
    assert dynamics.rank_correlation([], []).pairs == 0


def test_bad_input_is_refused():
    correct, member = np.ones((2, 3, 4), bool), np.zeros((2, 4), bool)
    with pytest.raises(ValueError, match=r"times has shape \(2,\): it must be \[3\]"):
        dynamics.epoch_learned(correct, member, [0, 1])
    with pytest.raises(ValueError, match=r"times has shape \(4,\): it must be \[3\]"):
        dynamics.epoch_learned(correct, member, [0, 1, 2, 3])
    with pytest.raises(
        ValueError, match=r"times is \[0.0\]: it must hold at least two finite values that rise"
    ):
        dynamics.epoch_learned(correct[:, :1], member, [0])
    with pytest.raises(ValueError, match=r"correct has shape \(2, 4\): it must be \[K, T, N\]"):
        dynamics.epoch_learned(correct[:, 0], member, [0, 1, 2])
    with pytest.raises(ValueError, match=r"first, second have shapes \(3,\), \(2,\): both must be \[N\]"):
        dynamics.rank_correlation(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match=r"confidence is 1: it must lie in \(0, 1\)"):
        dynamics.rank_correlation(np.zeros(3), np.zeros(3), confidence=1)
