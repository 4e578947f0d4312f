"""The plane: known worlds, one entry at a time, models that are missing, and what is refused."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import norm

from mia_jax import dynamics
from mia_jax.statistics.vulnerability import record_vulnerability


def drawn(seed, models=12, checkpoints=3, records=9):
    rng = np.random.default_rng(seed)
    return rng.random((models, checkpoints, records)) < 0.4, rng.random((models, records)) < 0.5, rng


def one_at_a_time(calls, member, known):
    """Both rates by a loop over every entry."""
    models, checkpoints, records = calls.shape
    fpr, tpr = np.full((checkpoints, records), np.nan), np.full((checkpoints, records), np.nan)
    for t in range(checkpoints):
        for n in range(records):
            for side, rate in ((True, tpr), (False, fpr)):
                seen = [calls[k, t, n] for k in range(models) if member[k, n] == side and known[k, t, n]]
                if seen:
                    rate[t, n] = sum(seen) / len(seen)
    return fpr, tpr


@pytest.mark.parametrize("missing", [0.0, 0.6])
def test_every_rate_is_a_share_of_models_counted_one_by_one(missing):
    calls, member, rng = drawn(0)
    known = rng.random(calls.shape) >= missing
    expected = one_at_a_time(calls, member, known)
    found = dynamics.plane(calls, member, known if missing else None)
    assert np.isnan(expected[0]).any() == bool(missing)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, other)


def test_calls_may_come_one_checkpoint_at_a_time():
    calls, member, rng = drawn(1)
    known = rng.random(calls.shape) < 0.8
    whole = dynamics.plane(calls, member, known)
    read = dynamics.plane(iter(calls.swapaxes(0, 1)), member, (known[:, t] for t in range(calls.shape[1])))
    np.testing.assert_array_equal(whole, read)


def test_ones_and_zeros_are_calls_too():
    calls, member, _ = drawn(2)
    np.testing.assert_array_equal(
        dynamics.plane(calls, member), dynamics.plane(calls.astype(np.float32), member.astype(np.int8))
    )


def test_memory_is_that_of_one_checkpoint():
    calls, member, _ = drawn(9, models=200, checkpoints=60, records=200)
    tracemalloc.start()
    dynamics.plane(calls, member)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    answer = 2 * 60 * 200 * 8
    assert peak < 2 * answer + 8 * member.nbytes < calls.nbytes


@pytest.mark.parametrize("answer", [False, True])
def test_constant_attack_stays_on_the_diagonal(answer):
    _, member, _ = drawn(3)
    fpr, tpr = dynamics.plane(np.full((12, 3, 9), answer), member)
    np.testing.assert_array_equal(fpr, float(answer))
    np.testing.assert_array_equal(tpr, float(answer))
    np.testing.assert_array_equal(dynamics.vulnerability(fpr, tpr), 0.0)


def test_perfect_memoriser_is_at_0_1_from_its_checkpoint_on():
    calls, member, _ = drawn(4, checkpoints=5)
    calls[:, 2:] = member[:, None]
    fpr, tpr = dynamics.plane(calls, member)
    np.testing.assert_array_equal(fpr[2:], 0.0)
    np.testing.assert_array_equal(tpr[2:], 1.0)
    assert (dynamics.vulnerability(fpr, tpr)[:2] < 1).any()


def test_gaussian_shift_is_found_within_the_standard_errors():
    rng = np.random.default_rng(5)
    shifts = np.array([0.0, 0.5, 1.0, 2.0])
    member = rng.random((64, 500)) < 0.5
    scores = rng.normal(size=(64, 4, 500)) + shifts[:, None] * member[:, None]
    fpr, tpr = dynamics.plane(scores > shifts[:, None] / 2, member)
    fpr_error, tpr_error = dynamics.plane_errors(fpr, tpr, member)
    for rate, error, truth in (
        (fpr, fpr_error, norm.cdf(-shifts / 2)),
        (tpr, tpr_error, norm.cdf(shifts / 2)),
    ):
        far = np.abs(rate - truth[:, None]) / error
        assert 0.92 < np.mean(far < 1.96) < 0.98
        np.testing.assert_array_less(np.abs(rate.mean(axis=1) - truth), 4 * error.mean(axis=1) / np.sqrt(500))


def test_errors_are_those_of_the_table_of_records():
    calls, member, rng = drawn(6)
    known = rng.random(calls.shape) < 0.7
    fpr, tpr = dynamics.plane(calls, member, known)
    fpr_error, tpr_error = dynamics.plane_errors(fpr, tpr, member, known)
    for t in range(calls.shape[1]):
        scores = np.where(known[:, t], 0.0, np.nan)
        table = record_vulnerability(scores, member, calls[:, t])
        np.testing.assert_allclose(fpr_error[t], table.fpr_error)
        np.testing.assert_allclose(tpr_error[t], table.tpr_error)


def test_error_near_one_half_with_32_models_a_side():
    member = np.repeat([[True], [False]], 32, axis=0)
    fpr_error, tpr_error = dynamics.plane_errors([[0.5]], [[0.5]], member)
    assert fpr_error[0, 0] == pytest.approx(0.0884, abs=1e-4)
    assert tpr_error[0, 0] == pytest.approx(0.0884, abs=1e-4)


def test_record_without_models_on_a_side_is_nan_there_only():
    calls, member, _ = drawn(7)
    member[:, 0], member[:, 1] = True, False
    fpr, tpr = dynamics.plane(calls, member)
    assert np.isnan(fpr[:, 0]).all()
    assert np.isnan(tpr[:, 1]).all()
    assert not np.isnan(tpr[:, 0]).any()
    assert not np.isnan(fpr[:, 1]).any()
    assert np.isnan(dynamics.vulnerability(fpr, tpr)[:, :2]).all()
    fpr_error, tpr_error = dynamics.plane_errors(fpr, tpr, member)
    np.testing.assert_array_equal(np.isnan(fpr_error), np.isnan(fpr))
    np.testing.assert_array_equal(np.isnan(tpr_error), np.isnan(tpr))


CALLS, MEMBER, _ = drawn(8)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((CALLS[:, :, 1:], MEMBER), r"calls has shape \(12, 3, 8\): it must be \[K, T, N\]"),
        ((CALLS[:, 0], MEMBER), r"calls has shape \(12, 9\): it must be \[K, T, N\]"),
        ((CALLS, MEMBER[0]), r"member has shape \(9,\): it must be \[K, N\]"),
        ((CALLS, MEMBER * 2), r"member\[.*\] is 2: a mask holds only"),
        ((CALLS + 0.5, MEMBER), r"calls\[:, 0\]\[0, 0\] is .*: a mask holds only"),
        ((CALLS[:, :0], MEMBER), r"calls has 0 checkpoints: it must have at least one"),
        ((iter([CALLS[:, 0], CALLS[1:, 1]]), MEMBER), r"calls\[:, 1\] has shape \(11, 9\)"),
        ((CALLS, MEMBER, iter([MEMBER])), "known has another number of checkpoints than calls"),
    ],
)
def test_calls_that_do_not_fit_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        dynamics.plane(*arguments)


@pytest.mark.parametrize(
    ("fpr", "tpr", "sentence"),
    [
        ([[0.5, 1.5]], [[0.5, 0.5]], "fpr holds 1.5: a rate must lie in"),
        ([[0.5, 0.5]], [[0.5, -0.1]], "tpr holds -0.1: a rate must lie in"),
        ([0.5], [0.5], r"fpr has shape \(1,\): it must be \[T, N\]"),
        ([[0.5]], [[0.5, 0.5]], r"tpr has shape \(1, 2\): it must have shape \(1, 1\), fpr's"),
    ],
)
def test_rates_that_do_not_fit_are_refused(fpr, tpr, sentence):
    with pytest.raises(ValueError, match=sentence):
        dynamics.vulnerability(fpr, tpr)


def test_errors_refuse_another_pool_and_other_checkpoints():
    fpr, tpr = dynamics.plane(CALLS, MEMBER)
    with pytest.raises(
        ValueError, match=r"member has shape \(12, 8\): it must be \[K, N\] with the 9 records"
    ):
        dynamics.plane_errors(fpr, tpr, MEMBER[:, 1:])
    with pytest.raises(ValueError, match="known has 2 checkpoints: it must have the 3 of fpr"):
        dynamics.plane_errors(fpr, tpr, MEMBER, CALLS[:, :2])
