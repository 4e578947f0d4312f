"""Tables of booleans in bits: block by block what an array of them is."""

import numpy as np
import pytest

from mia_jax import dynamics


@pytest.mark.parametrize("width", [1, 3, 8, 20, 64])
def test_blocks_that_were_written_are_read_back(width):
    rng = np.random.default_rng(0)
    mask = rng.random((5, 43)) < 0.5
    bits = dynamics.Bits(mask.shape)
    assert not np.asarray(bits).any()
    parts = [slice(start, min(start + width, 43)) for start in range(0, 43, width)]
    for part in rng.permutation(np.array(parts, object)):
        bits.write(part, mask[:, part])
    np.testing.assert_array_equal(bits, mask)
    for part in parts:
        np.testing.assert_array_equal(bits.columns(part), mask[:, part])
    np.testing.assert_array_equal(bits.rows(np.array([3, 1])), mask[[3, 1]])
    assert bits.packed.nbytes == 5 * 6


def test_a_mask_and_its_part_are_bits():
    mask = np.random.default_rng(1).random((4, 13)) < 0.5
    kept = np.arange(13) % 3 == 0
    bits = dynamics.as_bits("calls", mask, mask.shape)
    np.testing.assert_array_equal(bits.within(kept), mask & kept)
    np.testing.assert_array_equal(dynamics.as_bits("calls", None, (4, 13)), np.ones((4, 13), bool))
    assert dynamics.as_bits("calls", bits, (4, 13)) is bits


def test_bad_tables_are_refused():
    bits = dynamics.Bits((4, 13))
    with pytest.raises(ValueError, match=r"known has shape \(4, 13\): it must have shape \(4, 12\)"):
        dynamics.as_bits("known", bits, (4, 12))
    with pytest.raises(
        ValueError, match=r"packed has shape \(4, 3\), dtype uint8: it must be uint8 \[4, 2\]"
    ):
        dynamics.Bits((4, 13), np.zeros((4, 3), np.uint8))
