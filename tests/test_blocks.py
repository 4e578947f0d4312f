"""Blocks cover everything once, end where stored ones do, and never hold more than they may."""

import numpy as np
import pytest

from mia_jax import blocks
from mia_jax.blocks import blocks_of, records_at_once, whole


@pytest.mark.parametrize(("size", "width"), [(0, 3), (1, 3), (3, 3), (7, 3), (7, 100)])
def test_blocks_cover_everything_once_and_in_order(size, width):
    found = blocks_of(size, width)
    np.testing.assert_array_equal(np.r_[(*(np.arange(size)[part] for part in found), [])], np.arange(size))
    assert all(part.stop - part.start == width for part in found[:-1])


def test_a_width_below_one_is_refused():
    with pytest.raises(ValueError, match="width is 0: it must be at least 1"):
        blocks_of(3, 0)


@pytest.mark.parametrize("models", [1, 2, 3, 16, 100, 256, 257, 10**6, 2**21, 2**30])
def test_as_many_records_as_the_budget_allows_in_powers_of_two(models):
    records = records_at_once(models)
    assert records & (records - 1) == 0
    assert records == 1 or models * records <= blocks.ENTRIES < 2 * models * records


def test_the_budget_is_one_number(monkeypatch):
    monkeypatch.setattr(blocks, "ENTRIES", 64)
    assert records_at_once(8) == 8
    assert records_at_once(9) == 4


def test_slices_are_of_neighbours():
    assert whole(slice(None), 5) == (0, 5)
    assert whole(slice(2, 100), 5) == (2, 5)
    assert whole(slice(4, 2), 5) == (4, 4)
    with pytest.raises(ValueError, match="has step 2: blocks are of neighbours"):
        whole(slice(0, 4, 2), 5)
