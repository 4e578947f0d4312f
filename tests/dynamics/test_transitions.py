"""States and transitions by hand, and cuts that rounding would miss."""

import numpy as np
import pytest

from mia_jax import dynamics

HAND = np.array(
    [
        [0.0, 0.1, 0.3, 0.4, 0.6, np.nan],
        [0.1, 0.3, 0.3, 0.6, 0.7, 0.5],
        [0.6, 0.0, np.nan, 0.7, 0.4, 0.9],
    ]
)


def test_states_by_hand():
    np.testing.assert_array_equal(
        dynamics.states(HAND), [[0, 0, 1, 1, 2, -1], [0, 1, 1, 2, 2, 2], [2, 0, -1, 2, 1, 2]]
    )
    np.testing.assert_array_equal(dynamics.states([[-1.0, 0.0, 0.2, 0.5, 1.0]]), [[0, 0, 1, 2, 2]])


def test_value_on_a_cut_has_reached_it_whatever_rounding_says():
    models = np.arange(1, 101)
    fpr = np.concatenate([np.arange(m + 1) / m for m in models])
    half = np.concatenate([2 * np.arange(m + 1) + m >= 2 * m for m in models])  # fpr + 1/2 >= 1, in integers
    reached = dynamics.states([0.5 - (1 - fpr)], (0.0,))[0]
    np.testing.assert_array_equal(reached, half)
    assert dynamics.states([[0.7 - 0.2]])[0, 0] == 2


def test_transition_matrix_by_hand():
    empty = np.nan
    expected = [
        [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]],
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1 / 3, 2 / 3]],
    ]
    np.testing.assert_allclose(dynamics.transition_matrix(HAND), expected)
    alone = dynamics.transition_matrix([[0.3], [0.6]])[0]
    np.testing.assert_allclose(alone, [[empty] * 3, [0.0, 0.0, 1.0], [empty] * 3])


@pytest.mark.parametrize("cuts", [(0.2, 0.5), (0.0,), (-0.5, 0.0, 0.3, 0.9)])
def test_rows_sum_to_one_or_are_nan_where_the_state_is_empty(cuts):
    rng = np.random.default_rng(0)
    v = rng.uniform(-1, 1, (6, 12))
    v[rng.random(v.shape) < 0.1] = np.nan
    found, size = dynamics.transition_matrix(v, cuts), len(cuts) + 1
    assert found.shape == (5, size, size)
    for t in range(5):
        for a in range(size):
            low, high = (-np.inf, *cuts, np.inf)[a : a + 2]
            starts = (v[t] >= low) & (v[t] < high) & ~np.isnan(v[t + 1])
            if not starts.any():
                assert np.isnan(found[t, a]).all()
                continue
            assert found[t, a].sum() == pytest.approx(1.0)
            assert found[t, a, -1] == pytest.approx(np.mean(v[t + 1, starts] >= cuts[-1]))


def test_records_that_do_not_move_stay_in_their_states():
    found = dynamics.transition_matrix(np.tile([0.0, 0.3, 0.8], (4, 1)))
    np.testing.assert_array_equal(found, np.tile(np.eye(3), (3, 1, 1)))


def test_entry_into_the_highest_by_hand():
    entry = dynamics.entry_into_highest(HAND)
    np.testing.assert_allclose(entry.probability, [1 / 4, 1 / 2])
    np.testing.assert_array_equal(entry.below, [4, 2])
    assert (entry.peak, entry.peak_interval) == (0.5, 1)


def test_nobody_enters_where_all_are_there():
    entry = dynamics.entry_into_highest(np.full((3, 4), 0.9))
    assert np.isnan(entry.probability).all()
    assert np.isnan(entry.peak)
    assert entry.peak_interval == -1
    some = dynamics.entry_into_highest([[0.0, 0.9], [0.9, 0.9], [0.9, 0.9]])
    np.testing.assert_allclose(some.probability, [1.0, np.nan])
    assert (some.peak, some.peak_interval) == (1.0, 0)


def test_one_checkpoint_has_no_transition():
    assert dynamics.transition_matrix([[0.1, 0.9]]).shape == (0, 3, 3)
    assert dynamics.entry_into_highest([[0.1, 0.9]]).peak_interval == -1


@pytest.mark.parametrize("cuts", [(), (0.5, 0.2), (0.2, 0.2), (np.nan,), (0.2, np.inf)])
def test_cuts_that_do_not_rise_are_refused(cuts):
    with pytest.raises(ValueError, match=r"cuts is .*: it must hold at least one number, finite and rising"):
        dynamics.transition_matrix(HAND, cuts)


def test_vulnerability_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"vulnerability has shape \(6,\): it must be \[T, N\]"):
        dynamics.transition_matrix(HAND[0])
