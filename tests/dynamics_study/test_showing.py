"""Records as a person can look at them: each kind, and which of them."""

import numpy as np
import pytest

from mia_jax.dynamics_study import showing
from mia_jax.types import Dataset, Ragged, Records

ROWS = np.array([1, 4])


def dataset_of(x, **fields):
    """A data set of six records."""
    pool = Records(x, np.zeros(6, np.int32))
    return Dataset(pool, pool, pool, **{"num_classes": 2, "vocabulary_size": 0, "facts": {}, **fields})


@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 4, 5, 3)])
def test_pictures_are_stretched_over_the_values_of_the_whole_pool(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = showing.shown(dataset_of(x), ROWS)
    assert (found.kind, found.values.dtype, found.values.shape) == ("image", np.uint8, (2, *shape[1:]))
    whole = showing.shown(dataset_of(x), np.arange(6)).values
    assert (whole.min(), whole.max()) == (0, 255)
    np.testing.assert_array_equal(found.values, whole[ROWS])
    exact = (x[ROWS].astype(np.float64) - x.min()) / (x.max() - x.min()) * 255
    assert np.abs(found.values - exact).max() < 0.51
    np.testing.assert_array_equal(found.rows, ROWS)


def test_pictures_without_any_contrast_are_black():
    found = showing.shown(dataset_of(np.full((6, 4, 5), 7.0, np.float32)), ROWS)
    assert (found.values == 0).all()


def test_vectors_stay_what_they_are():
    x = np.random.default_rng(0).normal(size=(6, 7))
    found = showing.shown(dataset_of(x), ROWS)
    assert (found.kind, found.values.dtype) == ("vector", np.float32)
    np.testing.assert_array_equal(found.values, x[ROWS].astype(np.float32))


def test_sequences_end_where_they_do_and_the_data_stays_as_it_was():
    values = np.random.default_rng(0).normal(size=(6, 5, 2)).astype(np.float32)
    before, length = values.copy(), np.array([5, 2, 5, 5, 1, 3])
    found = showing.shown(dataset_of(Ragged(values, length)), ROWS)
    assert (found.kind, found.values.shape) == ("sequence", (2, 5, 2))
    for place, row in enumerate(ROWS):
        np.testing.assert_array_equal(found.values[place, : length[row]], values[row, : length[row]])
        assert np.isnan(found.values[place, length[row] :]).all()
    np.testing.assert_array_equal(values, before)


def test_steps_of_more_than_numbers_are_sequences():
    x = np.arange(6 * 4 * 2 * 5, dtype=np.float32).reshape(6, 4, 2, 5)
    found = showing.shown(dataset_of(x), ROWS)
    assert found.kind == "sequence"
    np.testing.assert_array_equal(found.values, x[ROWS].reshape(2, 4, 10))


def test_tokens_are_text_up_to_their_end():
    ids = np.arange(24, dtype=np.int32).reshape(6, 4)
    whole = showing.shown(dataset_of(ids, vocabulary_size=24), ROWS)
    assert (whole.kind, whole.values) == ("text", ["4 5 6 7", "16 17 18 19"])
    ragged = Ragged(ids, np.array([4, 1, 4, 4, 3, 4]))
    assert showing.shown(dataset_of(ragged, vocabulary_size=24), ROWS).values == ["4", "16 17 18"]


def test_the_most_exposed_are_so_by_any_arm_at_the_end(make_arm):
    arms = [make_arm({"family": name}, records=6, checkpoints=3) for name in ("mlp", "lstm")]
    for arm, last in zip(
        arms, ([0.1, 0.9, np.nan, 0.2, 0.0, 0.3], [0.8, 0.1, np.nan, 0.2, 0.0, np.nan]), strict=True
    ):
        arm.fpr[:], arm.tpr[:] = 0.0, 1.0
        arm.tpr[-1] = last
    assert showing.most_exposed(arms, 1).tolist() == [1]
    assert showing.most_exposed(arms, 2).tolist() == [0, 1]
    assert showing.most_exposed(arms, 3).tolist() == [0, 1, 5]
    assert showing.most_exposed(arms, 5).tolist() == [0, 1, 3, 4, 5]  # the unknown one comes last
    assert showing.most_exposed(arms, 50).tolist() == list(range(6))
