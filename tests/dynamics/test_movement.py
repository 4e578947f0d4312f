"""Speeds and the center of mass: by hand, and the noise floor on worlds where nothing is memorised."""

import functools
import itertools

import numpy as np
import pytest

from mia_jax import dynamics
from mia_jax.attacks import lira

TIMES = np.array([0.0, 1.0, 3.0, 7.0])


def test_speed_is_distance_over_time():
    fpr = np.array([[0.5, 0.5], [0.2, 0.5], [0.2, np.nan]])
    tpr = np.array([[0.5, 0.5], [0.9, 0.5], [0.9, 0.7]])
    speed = dynamics.encoding_speed(fpr, tpr, [0, 2, 3])
    np.testing.assert_allclose(speed, [[0.25, 0.0], [0.0, np.nan]])
    np.testing.assert_allclose(dynamics.speed_curve(speed), [0.125, 0.0])
    signed = dynamics.signed_speed(dynamics.vulnerability(fpr, tpr), [0, 2, 3])
    np.testing.assert_allclose(signed, [[0.35, 0.0], [0.0, np.nan]])


def test_memoriser_that_forgets_has_speeds_of_both_signs():
    fpr, tpr = np.array([[0.5], [0.0], [0.5]]), np.array([[0.5], [1.0], [0.5]])
    np.testing.assert_allclose(dynamics.encoding_speed(fpr, tpr, [0, 1, 2])[:, 0], np.sqrt([0.5, 0.5]))
    np.testing.assert_allclose(dynamics.signed_speed(tpr - fpr, [0, 1, 2])[:, 0], [1.0, -1.0])


def test_mean_over_time_is_the_way_over_the_time_it_took():
    summary = dynamics.speed_summary([[1.0, 4.0, 1.0], [np.nan, 2.0, 1.0], [np.nan] * 3], TIMES)
    np.testing.assert_allclose(summary.mean, [13 / 7, 8 / 6, np.nan])
    np.testing.assert_allclose(summary.peak, [4.0, 2.0, np.nan])
    np.testing.assert_array_equal(summary.peak_interval, [1, 1, -1])


def null_world(seed, models=40, records=120):
    """Calls that persist, drift along the diagonal and differ between models, whoever was a member."""
    rng = np.random.default_rng(seed)
    leaning = rng.normal(size=(models, 1, 1)) + rng.normal(size=(models, 1, records))
    moving = rng.normal(size=(models, TIMES.size, records))
    member = np.argsort(rng.random((models, records)), axis=1) < records // 2
    return leaning + moving > np.array([0.0, 0.5, 1.0, 2.0])[:, None], member, rng


def test_noise_floor_equals_the_speed_where_nothing_is_memorised():
    ranks, gaps = [], []
    for seed in range(40):
        calls, member, rng = null_world(seed)
        speed = dynamics.speed_curve(dynamics.encoding_speed(*dynamics.plane(calls, member), TIMES))
        floor = dynamics.speed_noise_floor(calls, member, TIMES, rng, permutations=19)
        assert floor.shape == (19, 3)
        mean, floors = dynamics.speed_summary(speed, TIMES).mean, dynamics.speed_summary(floor, TIMES).mean
        ranks.append(np.sum(floors < mean))
        gaps.append(mean / floors.mean() - 1)
    # Ranks among 19 permutations are uniform on 0 … 19: their mean is 9.5 -+ 5.77 / sqrt(40).
    assert abs(np.mean(ranks) - 9.5) < 3.5 * 5.77 / np.sqrt(40)
    assert min(ranks) < 5
    assert max(ranks) > 14
    assert abs(np.mean(gaps)) < 0.01


def test_speed_of_memorisers_is_above_the_noise_floor():
    calls, member, rng = null_world(0)
    calls[:, 2:] |= member[:, None]
    speed = dynamics.speed_curve(dynamics.encoding_speed(*dynamics.plane(calls, member), TIMES))
    floor = dynamics.speed_noise_floor(calls, member, TIMES, rng)
    assert speed[1] > 1.5 * floor[:, 1].max()


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("paired", [False, True])
def test_noise_floor_is_the_speed_of_reordered_calls(paired, missing):
    """Every drawn order is a possible one, and all that are possible are drawn."""
    rng = np.random.default_rng(1)
    calls, member = rng.random((4, 4, 30)) < 0.5, rng.random((4, 30)) < 0.5
    known = rng.random(calls.shape) >= missing
    twin = np.array([1, 0, 3, 2]) if paired else None
    possible = []
    for order in map(list, itertools.permutations(range(4))):
        if not paired or order[0] ^ 1 == order[1]:
            speed = dynamics.encoding_speed(*dynamics.plane(calls[order], member, known[order]), TIMES)
            possible.append(dynamics.speed_curve(speed))
    shown = known if missing else None
    floor = dynamics.speed_noise_floor(calls, member, TIMES, rng, permutations=300, known=shown, twin=twin)
    same = np.isclose(floor[:, None], np.array(possible)[None], rtol=1e-9).all(axis=2)
    assert len(possible) == (8 if paired else 24)
    np.testing.assert_array_equal(same.sum(axis=1), 1)
    assert same.any(axis=0).all()


def test_noise_floor_keeps_twins_together():
    """A pair that calls alike, its halves complementary: kept together, it always stands on both sides."""
    rng = np.random.default_rng(2)
    half = rng.random((4, 50)) < 0.5
    member = np.stack([half, ~half], axis=1).reshape(8, 50)
    twin = np.arange(8) ^ 1
    calls = np.repeat(rng.random((4, 4, 50)) < 0.5, 2, axis=0)
    speed = dynamics.speed_curve(dynamics.encoding_speed(*dynamics.plane(calls, member), TIMES))
    kept = dynamics.speed_noise_floor(calls, member, TIMES, rng, twin=twin)
    np.testing.assert_allclose(kept, np.tile(speed, (20, 1)))
    loose = dynamics.speed_noise_floor(calls, member, TIMES, rng)
    assert not np.allclose(loose, np.tile(speed, (20, 1)))


def lira_calls(signal, member):
    """Leave-one-out LiRA at every checkpoint: calls and where they are known."""
    scores = np.stack([lira(signal[:, t], member) for t in range(signal.shape[1])], axis=1)
    return scores >= 0, ~np.isnan(scores)


def lira_speed(signal, member, times):
    calls, known = lira_calls(signal, member)
    return dynamics.speed_curve(dynamics.encoding_speed(*dynamics.plane(calls, member, known), times))


def test_refitted_floor_equals_the_speed_of_lira_where_nothing_is_memorised():
    """Reordered calls of LiRA would be slower than the speed in every one of these worlds."""
    ranks, gaps, times = [], [], np.arange(3)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        member = rng.random((32, 100)) < 0.5
        signal = rng.normal(size=(32, 1, 100)) + rng.normal(size=(32, 3, 100))
        speed = lira_speed(signal, member, times).mean()
        floor = dynamics.refitted_speed_noise_floor(
            functools.partial(lira_calls, signal), member, times, rng, permutations=9
        )
        assert floor.shape == (9, 2)
        ranks.append(np.sum(floor.mean(axis=1) < speed))
        gaps.append(speed / floor.mean() - 1)
    # Ranks among 9 permutations are uniform on 0 … 9: their mean is 4.5 -+ 2.87 / sqrt(20).
    assert abs(np.mean(ranks) - 4.5) < 3.5 * 2.87 / np.sqrt(20)
    assert abs(np.mean(gaps)) < 0.03


def test_refitted_floor_is_below_the_speed_of_lira_on_memorisers():
    rng = np.random.default_rng(0)
    member = rng.random((32, 100)) < 0.5
    signal = rng.normal(size=(32, 1, 100)) + 0.3 * rng.normal(size=(32, 3, 100))
    signal[:, 1:] += 4 * member[:, None]
    speed = lira_speed(signal, member, np.arange(3))
    floor = dynamics.refitted_speed_noise_floor(
        functools.partial(lira_calls, signal), member, np.arange(3), rng, permutations=9
    )
    assert speed[0] > floor[:, 0].max()
    assert speed[1] < floor[:, 1].min()  # all is memorised: the perfect attack no longer moves


def test_refitted_floor_of_calls_that_are_not_fitted_is_that_of_reordered_calls():
    calls, member, _ = null_world(5)
    found = dynamics.refitted_speed_noise_floor(
        lambda moved: (calls, None), member, TIMES, np.random.default_rng(1), permutations=5
    )
    for row, order in zip(found, dynamics.model_orders(40, 5, np.random.default_rng(1)), strict=True):
        speed = dynamics.encoding_speed(*dynamics.plane(calls, member[order]), TIMES)
        np.testing.assert_allclose(row, dynamics.speed_curve(speed))


def test_noise_floor_is_decided_by_its_generator_and_reads_an_iterator():
    calls, member, _ = null_world(3)
    one, other = (
        dynamics.speed_noise_floor(form, member, TIMES, np.random.default_rng(7), permutations=3)
        for form in (calls, iter(calls.swapaxes(0, 1)))
    )
    np.testing.assert_array_equal(one, other)


def test_center_moves_from_the_diagonal_to_the_corner():
    fpr = np.array([[0.5, 0.5, np.nan], [0.0, 0.4, 0.9], [0.0, 0.0, np.nan]])
    tpr = np.array([[0.5, 0.5, 0.1], [1.0, 0.6, 0.9], [1.0, 1.0, 0.3]])
    center = dynamics.center_of_mass(fpr, tpr)
    np.testing.assert_allclose(center, [[0.5, 0.5], [1.3 / 3, 2.5 / 3], [0.0, 1.0]])
    assert dynamics.center_displacement(center) == pytest.approx(np.sqrt(0.5))
    legs = np.hypot(0.5 - 1.3 / 3, 2.5 / 3 - 0.5) + np.hypot(1.3 / 3, 1 - 2.5 / 3)
    assert dynamics.center_path_length(center) == pytest.approx(legs)


def test_one_checkpoint_has_no_speed_and_no_way():
    fpr = np.full((1, 3), 0.5)
    assert dynamics.encoding_speed(fpr, fpr, [0]).shape == (0, 3)
    assert dynamics.center_displacement(dynamics.center_of_mass(fpr, fpr)) == 0.0
    assert dynamics.center_path_length(dynamics.center_of_mass(fpr, fpr)) == 0.0
    calls = np.ones((4, 1, 3), bool)
    assert dynamics.speed_noise_floor(calls, calls[:, 0], [0], np.random.default_rng(0)).shape == (20, 0)


def test_no_known_record_is_nan_without_a_warning():
    missing = np.full((2, 3), np.nan)
    assert np.isnan(dynamics.center_of_mass(missing, missing)).all()
    assert np.isnan(dynamics.speed_curve(dynamics.encoding_speed(missing, missing, [0, 1]))).all()


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ([0, 1], r"times has shape \(2,\): it must be \[3\], one a checkpoint"),
        ([0, 1, 1], r"times is \[0.0, 1.0, 1.0\]: it must be finite and rise"),
        ([0, 1, np.inf], "times is .*: it must be finite and rise"),
    ],
)
def test_times_that_do_not_fit_are_refused(times, sentence):
    rate = np.full((3, 2), 0.5)
    with pytest.raises(ValueError, match=sentence):
        dynamics.encoding_speed(rate, rate, times)
    with pytest.raises(ValueError, match=sentence):
        dynamics.signed_speed(rate, times)
    with pytest.raises(ValueError, match=sentence):
        dynamics.speed_noise_floor(np.ones((2, 3, 2)), np.eye(2), times, np.random.default_rng(0))


def test_other_bad_input_is_refused():
    calls = np.ones((2, 3, 2), bool)
    with pytest.raises(ValueError, match="permutations is 0: it must be at least 1"):
        dynamics.speed_noise_floor(calls, calls[:, 0], [0, 1, 2], np.random.default_rng(0), permutations=0)
    with pytest.raises(ValueError, match="a speed needs at least two checkpoints"):
        dynamics.speed_summary(np.zeros(0), [0.0])
    with pytest.raises(ValueError, match=r"speed has shape \(3,\)"):
        dynamics.speed_curve(np.zeros(3))
    with pytest.raises(ValueError, match=r"center has shape \(3,\): it must be \[T, 2\]"):
        dynamics.center_displacement(np.zeros(3))
    with pytest.raises(ValueError, match="rng is 0: it must be a generator of NumPy"):
        dynamics.speed_noise_floor(calls, calls[:, 0], [0, 1, 2], 0)
    with pytest.raises(ValueError, match=r"twin has shape \(3,\): it must have shape \(2,\)"):
        dynamics.speed_noise_floor(
            calls, calls[:, 0], [0, 1, 2], np.random.default_rng(0), twin=np.zeros(3, int)
        )
    with pytest.raises(ValueError, match="times is no array of numbers"):
        dynamics.encoding_speed(np.zeros((2, 2)), np.zeros((2, 2)), ["a", "b"])
