"""Changed versions of a record: the record first, the right numbers moved, and noise that is reproducible."""

import jax
import numpy as np
import pytest

from mia_jax.probes.queries import flip, noisy, shift, versions
from mia_jax.types import Ragged

KEY = jax.random.key(4)


def record(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(5,), (4, 3), (4, 3, 2)])
def test_flip_mirrors_columns_and_twice_is_nothing(shape):
    x = record(*shape)
    expected = x[::-1] if len(shape) == 1 else x[:, ::-1]
    np.testing.assert_array_equal(flip(x), expected)
    np.testing.assert_array_equal(flip(flip(x)), x)


@pytest.mark.parametrize("shape", [(5,), (4, 3), (4, 3, 2)])
def test_shift_moves_by_one_and_fills_with_zeros(shape):
    x = record(*shape)
    moved = np.asarray(shift(x))
    np.testing.assert_array_equal(moved[1:], x[:-1])
    np.testing.assert_array_equal(moved[0], 0.0)


def test_padding_of_ragged_records_stays_padding():
    values = record(4, 2)
    values[3:] = np.nan
    x = Ragged(values, np.int32(3))
    moved, noise = shift(x), noisy(x, KEY, 0.1)
    np.testing.assert_array_equal(moved.values[:3], [np.zeros(2), *values[:2]])
    np.testing.assert_array_equal(flip(x).values[:3], values[:3, ::-1])
    assert (noise.values[:3] != values[:3]).all()
    for changed in (moved, noise, flip(x)):
        assert np.isnan(changed.values[3:]).all()
        assert changed.length == 3


def test_versions_are_the_record_and_the_queries_in_their_order():
    x = record(4, 3)
    all_of_them = versions(x, ("noise", "shift", "flip"), KEY, noise=0.3)
    assert all_of_them.shape == (4, 4, 3)
    np.testing.assert_array_equal(all_of_them[0], x)
    np.testing.assert_array_equal(all_of_them[2], shift(x))
    np.testing.assert_array_equal(all_of_them[3], flip(x))
    ragged = versions(Ragged(x, np.int32(2)), ("flip",), KEY, noise=0.3)
    assert (ragged.values.shape, ragged.length.tolist()) == ((2, 4, 3), [2, 2])
    np.testing.assert_array_equal(versions(x, (), KEY, noise=0.3), x[None])


def test_noise_belongs_to_the_record_and_the_number_of_the_query():
    x = record(200, 50)
    first = versions(x, ("noise", "flip"), KEY, noise=0.3)[1] - x
    np.testing.assert_allclose(first.std(), 0.3, rtol=0.02)
    assert abs(first.mean()) < 0.02
    np.testing.assert_array_equal(versions(x, ("noise",), KEY, noise=0.3)[1] - x, first)
    for other in (
        versions(x, ("flip", "noise"), KEY, noise=0.3)[2],
        versions(x, ("noise",), jax.random.key(5), noise=0.3)[1],
    ):
        assert abs(np.corrcoef((other - x).ravel(), first.ravel())[0, 1]) < 0.05


def test_a_query_that_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match=r"^queries holds 'turn': it must hold names of 'flip', 'shift', 'noise'"
    ):
        versions(np.zeros((4, 4), np.float32), ("flip", "turn"), KEY, noise=0.1)
