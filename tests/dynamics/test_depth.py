"""Prediction depth: a loop over records, ties, who votes, and worlds whose depth is known."""

from collections import Counter

import numpy as np
import pytest

from mia_jax import dynamics
from mia_jax.dynamics import depth


def by_hand(layers, labels, predicted, support, neighbours):
    """One record, one layer, one distance at a time."""
    found = []
    for n in range(len(labels)):
        agrees = []
        for layer in layers:
            others = [m for m in np.flatnonzero(support) if m != n]
            near = sorted(others, key=lambda m: np.sum((layer[n] - layer[m]) ** 2))[:neighbours]
            counts = Counter(labels[m] for m in near)
            vote = next(labels[m] for m in near if counts[labels[m]] == max(counts.values()))
            agrees.append(vote == predicted[n])
        found.append(next((d for d in range(1, len(layers) + 1) if all(agrees[d - 1 :])), len(layers) + 1))
    return np.array(found, float)


def world(seed, records=70, dtype=np.float64):
    """Classes that come apart layer by layer."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([-3, 5, 40], records)
    apart = rng.normal(size=(41 + 3, 6))[labels]
    layers = [(far * apart + rng.normal(size=(records, 6))).astype(dtype) for far in (0.0, 0.5, 1.0, 3.0)]
    predicted = np.where(rng.random(records) < 0.2, rng.choice([-3, 5, 7], records), labels)
    return layers, labels, predicted, rng.random(records) < 0.6


@pytest.mark.parametrize("neighbours", [1, 2, 5, 30])
def test_every_depth_by_a_loop(neighbours):
    given = world(0)
    found = dynamics.prediction_depth(*given, neighbours=neighbours)
    assert found.dtype == np.float64
    assert set(found) == {1.0, 2.0, 3.0, 4.0, 5.0}
    np.testing.assert_array_equal(found, by_hand(*given, neighbours))


def test_blocks_are_the_whole(monkeypatch):
    given = world(1)
    whole = dynamics.prediction_depth(*given, neighbours=4)
    monkeypatch.setattr(depth, "AT_ONCE", 7 * int(given[3].sum()))
    np.testing.assert_array_equal(dynamics.prediction_depth(*given, neighbours=4), whole)
    monkeypatch.setattr(depth, "AT_ONCE", 1)
    np.testing.assert_array_equal(dynamics.prediction_depth(*given, neighbours=4), whole)


def test_float32_far_from_zero_is_float64():
    layers, *rest = world(2)
    found = dynamics.prediction_depth([(1000 + layer).astype(np.float32) for layer in layers], *rest)
    np.testing.assert_array_equal(found, by_hand([np.float32(1000 + layer) for layer in layers], *rest, 30))


def test_where_classes_come_apart_is_the_depth():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 100)
    noise, apart = rng.normal(size=(2, 200, 3)) + np.stack(
        [np.zeros((200, 3)), 100.0 * labels[:, None] + np.zeros(3)]
    )
    support = np.ones(200, bool)
    given = labels, labels, support
    assert (dynamics.prediction_depth([apart, apart], *given) == 1).all()
    assert (dynamics.prediction_depth([noise, noise, apart], *given) == 3).mean() > 0.3
    assert (dynamics.prediction_depth([noise, noise, apart], *given) <= 3).all()
    assert (dynamics.prediction_depth([apart, apart], labels, 1 - labels, support) == 3).all()
    assert (dynamics.prediction_depth([apart, apart], labels, np.full(200, 9), support) == 3).all()


def test_a_record_is_not_its_own_neighbour_and_others_do_not_vote():
    line = np.array([[0.0], [1.0], [2.1], [0.1]])
    labels = np.array([7, 8, 8, 9])
    support = [True, True, True, False]
    # Record 0 sees 1 first, not itself nor record 3; record 3 sees 0.
    found = dynamics.prediction_depth([line], labels, np.array([7, 8, 8, 7]), support, neighbours=1)
    np.testing.assert_array_equal(found, [2, 2, 1, 1])


def test_a_tied_vote_goes_to_the_nearest_of_those_tied():
    line = np.array([[0.0], [3.0], [1.0], [-2.0], [5.0], [9.0]])
    labels = np.array([0, 1, 2, 1, 2, 3])
    support = np.arange(6) > 0
    for vote in (0, 1, 2, 3):  # of record 0: 2, 1, 1, 2 from near to far
        found = dynamics.prediction_depth([line], labels, np.full(6, vote), support, neighbours=4)
        assert found[0] == (1 if vote == 2 else 2)


def test_mean_depth_by_a_loop():
    rng = np.random.default_rng(4)
    depths = rng.integers(1, 6, (7, 9)).astype(float)
    depths[rng.random(depths.shape) < 0.1] = np.nan
    member, known = rng.random((7, 9)) < 0.5, rng.random((7, 9)) < 0.8
    member[:, 3] = True
    for where in (None, known):
        expected = []
        for n in range(9):
            seen = [
                depths[k, n]
                for k in range(7)
                if not member[k, n] and not np.isnan(depths[k, n]) and (where is None or where[k, n])
            ]
            expected.append(np.mean(seen) if seen else np.nan)
        assert np.isnan(expected[3])
        np.testing.assert_allclose(dynamics.mean_depth(depths, member, where), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": []}, "layers is empty"),
        ({"layers": [np.zeros((5, 2))]}, r"layers\[0\] has shape \(5, 2\): it must be \[N, E\] with the 4"),
        ({"layers": [np.zeros((4, 2)), np.zeros(4)]}, r"layers\[1\] has shape"),
        ({"layers": [np.array([[0.0], [1.0], [np.nan], [2.0]])]}, r"layers\[0\]\[2, 0\] is nan"),
        ({"labels": np.zeros(4)}, "labels has shape .* float64"),
        ({"predicted": np.zeros(3, int)}, r"predicted has shape \(3,\)"),
        ({"support": np.array([0, 1, 2, 1])}, r"support\[2\] is 2"),
        ({"neighbours": 4}, "neighbours is 4: it must be at least 1 and less than the 4"),
        ({"neighbours": 0}, "neighbours is 0"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"layers": [np.zeros((4, 2))], "labels": np.zeros(4, int), "predicted": np.zeros(4, int)}
    given |= {"support": np.ones(4, bool), "neighbours": 2} | change
    with pytest.raises(ValueError, match=message):
        dynamics.prediction_depth(**given)


def test_depths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="depths has shape"):
        dynamics.mean_depth(np.ones((2, 3)), np.ones((2, 4), bool))
