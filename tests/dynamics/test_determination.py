"""Early determination by hand, and between halves: sampling noise alone must not pass for agreement."""

import numpy as np
import pytest

from mia_jax import dynamics
from mia_jax.attacks import lira


def test_early_determination_by_hand():
    early = [
        [0.9, 0.0, 0.6, 0.0, np.nan, 0.9],
        [0.9, 0.9, 0.1, 0.0, 0.9, 0.9],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ]
    final = [0.5, 0.8, 0.7, 0.1, 0.9, np.nan]
    recall, precision, jaccard = dynamics.early_determination(early, final, 0.5)
    np.testing.assert_allclose(recall, [2 / 3, 3 / 4, 0.0])
    np.testing.assert_allclose(precision, [1.0, 1.0, np.nan])
    np.testing.assert_allclose(jaccard, [2 / 3, 3 / 4, 0.0])
    recall, precision, jaccard = dynamics.early_determination(early, np.zeros(6), 0.5)
    assert np.isnan(recall).all()
    np.testing.assert_allclose(precision, [0.0, 0.0, np.nan])
    np.testing.assert_allclose(jaccard, [0.0, 0.0, np.nan])


def test_false_alarms_cost_precision_and_a_cut_is_reached_despite_rounding():
    recall, precision, jaccard = dynamics.early_determination([[0.7 - 0.2, 0.9, 0.0]], [0.5, 0.1, 0.9], 0.5)
    assert (recall[0], precision[0], jaccard[0]) == (0.5, 0.5, pytest.approx(1 / 3))


def exposed_world(seed, models=64, records=400, checkpoints=4):
    """True vulnerabilities that never change: all that differs between checkpoints is noise."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(1, 3, records)
    member = rng.random((models, records)) < 0.5
    rate = 0.5 + np.where(member, 0.5, -0.5) * truth
    return rng.random((models, checkpoints, records)) < rate[:, None], member, truth, rng


def test_halves_by_the_plane_of_each():
    calls, member, _, rng = exposed_world(0, models=13)
    known = rng.random(calls.shape) < 0.9
    halves = dynamics.model_halves(13, 3, rng)
    found = dynamics.determination_between_halves(calls, member, halves, 0.5, known)
    rows = []
    for way in (*halves, *~halves):
        one = dynamics.vulnerability(*dynamics.plane(calls[way], member[way], known[way]))
        other = dynamics.vulnerability(*dynamics.plane(calls[~way], member[~way], known[~way]))
        rows.append(dynamics.early_determination(one, other[-1], 0.5))
    for field in ("recall", "precision", "jaccard"):
        by_split = np.stack([getattr(row, field) for row in rows])
        np.testing.assert_allclose(getattr(found.by_split, field), by_split)
        early = by_split.mean(axis=0)
        np.testing.assert_allclose(getattr(found.early, field), early)
        assert getattr(found.ceiling, field) == pytest.approx(early[-1])
        np.testing.assert_allclose(getattr(found.ratio, field), early / early[-1])


def test_ceiling_is_reached_where_nothing_changes_and_is_far_from_1():
    calls, member, _, rng = exposed_world(1)
    found = dynamics.determination_between_halves(calls, member, dynamics.model_halves(64, 6, rng), 0.5)
    assert 0.3 < found.ceiling.recall < 0.9
    np.testing.assert_allclose(found.ratio.recall, 1.0, atol=0.12)
    np.testing.assert_allclose(found.ratio.jaccard, 1.0, atol=0.12)


def test_shared_noise_agrees_within_the_same_models_only():
    """Nobody is exposed: early and final calls that persist agree by chance, disjoint halves do not."""
    rng = np.random.default_rng(2)
    member = rng.random((40, 2000)) < 0.5
    calls = np.repeat(rng.random((40, 1, 2000)) < 0.5, 3, axis=1)
    v = dynamics.vulnerability(*dynamics.plane(calls, member))
    assert dynamics.early_determination(v, v[-1], 0.3).recall[0] == 1.0
    found = dynamics.determination_between_halves(calls, member, dynamics.model_halves(40, 4, rng), 0.3)
    high = np.mean(dynamics.vulnerability(*dynamics.plane(calls[:20], member[:20]))[0] >= 0.3)
    assert found.early.recall[0] == pytest.approx(high, abs=0.04)


def test_late_memorisers_are_not_told_before_they_memorise():
    calls, member, truth, rng = exposed_world(3)
    calls[:, :2] = rng.random((64, 2, 400)) < 0.5
    calls[:, 2:] |= (member & (truth > 0.3))[:, None]
    found = dynamics.determination_between_halves(calls, member, dynamics.model_halves(64, 4, rng), 0.5)
    assert found.ratio.recall[:2].max() < 0.2
    assert found.ratio.recall[2] > 0.85


def test_splits_one_at_a_time_are_those_together():
    calls, member, _, rng = exposed_world(6, records=60)
    halves = dynamics.model_halves(64, 3, rng)
    whole = dynamics.determination_between_halves(calls, member, halves, 0.5)
    parts = [dynamics.determination_between_halves(calls, member, half[None], 0.5) for half in halves]
    found = dynamics.combined_halves(parts)
    for one, other in zip((*found.early, *found.ratio), (*whole.early, *whole.ratio), strict=True):
        np.testing.assert_allclose(one, other)
    np.testing.assert_allclose(found.ceiling, whole.ceiling)
    np.testing.assert_array_equal(found.by_split.recall, whole.by_split.recall[[0, 3, 1, 4, 2, 5]])


def test_halves_kept_apart_share_nothing_and_left_together_they_do():
    correlations = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        member, signal = rng.random((64, 300)) < 0.5, rng.normal(size=(64, 300))
        half = dynamics.model_halves(64, 1, rng)[0]
        row = []
        for exclude in (None, dynamics.apart(half)):
            calls = (lira(signal, member, exclude=exclude) >= 0)[:, None]
            one, other = (dynamics.vulnerability(*dynamics.plane(calls[w], member[w])) for w in (half, ~half))
            row.append(dynamics.rank_correlation(one[0], other[0]).value)
        correlations.append(row)
    together, separate = np.mean(correlations, axis=0)
    assert together > 0.1
    assert abs(separate) < 4 / np.sqrt(6 * 300)


def test_halves_are_halves_and_twins_stay_together():
    rng = np.random.default_rng(4)
    halves = dynamics.model_halves(9, 200, rng)
    assert halves.shape == (200, 9)
    np.testing.assert_array_equal(halves.sum(axis=1), 4)
    assert np.abs(halves.mean(axis=0) - 4 / 9).max() < 0.16
    twin = np.arange(12) ^ 1
    paired = dynamics.model_halves(12, 50, rng, twin)
    np.testing.assert_array_equal(paired.sum(axis=1), 6)
    np.testing.assert_array_equal(paired, paired[:, twin])


def test_apart_excludes_the_other_half_only():
    half = np.array([True, False, True])
    np.testing.assert_array_equal(
        dynamics.apart(half), [[False, True, False], [True, False, True], [False, True, False]]
    )


CALLS, MEMBER, _, _ = exposed_world(5, models=4, records=5)


@pytest.mark.parametrize(
    ("halves", "sentence"),
    [
        (
            np.array([True, True, False, False]),
            r"halves has shape \(4,\): it must be \[P, K\] with the 4 models",
        ),
        (np.zeros((0, 4), bool), r"halves has shape \(0, 4\)"),
        (np.array([[1, 0, 0, 1], [1, 1, 1, 1]]), r"halves\[1\] has all models on one side"),
        (np.array([[1, 0, 0, 2]]), r"halves\[0, 3\] is 2: a mask holds only"),
    ],
)
def test_halves_that_do_not_fit_are_refused(halves, sentence):
    with pytest.raises(ValueError, match=sentence):
        dynamics.determination_between_halves(CALLS, MEMBER, halves, 0.5)


def test_other_bad_input_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="parts is empty: give at least one split's answer"):
        dynamics.combined_halves([])
    with pytest.raises(ValueError, match="num_models, splits are 2, 1: at least two models"):
        dynamics.model_halves(2, 1, rng, np.array([1, 0]))
    with pytest.raises(ValueError, match="num_models, splits are 4, 0"):
        dynamics.model_halves(4, 0, rng)
    with pytest.raises(ValueError, match=r"final_v has shape \(2,\): it must be \[N\] with the 3 records"):
        dynamics.early_determination(np.zeros((2, 3)), np.zeros(2), 0.5)
    with pytest.raises(ValueError, match=r"early_v has shape \(3,\): it must be \[T, N\]"):
        dynamics.early_determination(np.zeros(3), np.zeros(3), 0.5)


def test_halves_are_drawn_by_a_generator():
    with pytest.raises(ValueError, match="rng is 0: it must be a generator of NumPy"):
        dynamics.model_halves(8, 2, 0)
