"""Checks that every module leans on: where the first offender is, and what a mask may be."""

import numpy as np
import pytest

from mia_jax.validation import as_mask, at, first

MASK = np.array([[True, False, True], [False, False, True]])


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 1, 2)])
def test_first_is_the_first_in_c_order(shape):
    for number in range(6):
        bad = np.zeros(6, bool)
        bad[number:] = True
        assert first(bad.reshape(shape)) == tuple(np.argwhere(bad.reshape(shape))[0])
        assert all(type(i) is int for i in first(bad.reshape(shape)))
    assert first(np.zeros(shape, bool)) is None
    assert first(np.zeros((0, 2), bool)) is None


def test_first_does_not_depend_on_the_layout_in_memory():
    bad = np.zeros((2, 3), bool, order="F")
    bad[0, 2] = bad[1, 0] = True
    assert first(bad) == (0, 2)


def test_an_entry_reads_like_python():
    assert at("member", (0, 3)) == "member[0, 3]"
    assert at("labels", (4,)) == "labels[4]"
    assert at("member", ()) == "member"


@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint8, np.float32])
def test_zeros_and_ones_are_booleans(dtype):
    mask = as_mask("member", MASK.astype(dtype), (2, 3))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, MASK)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (MASK[0], r"^member has shape \(3,\): it must have shape \(2, 3\)\.$"),
        (MASK * 2, r"^member\[0, 0\] is 2: a mask holds only True/False or 1/0\.$"),
        (np.where(MASK, 1.0, np.nan), r"^member\[0, 1\] is nan: a mask holds only"),
        (MASK - 1.0, r"^member\[0, 1\] is -1\.0: a mask holds only"),
        (MASK.astype(str), r"^member has dtype <U5: a mask holds only"),
        (MASK.astype(object), r"^member has dtype object: a mask holds only"),
        (MASK.astype(complex), r"^member has dtype complex128: a mask holds only"),
    ],
)
def test_what_is_no_mask(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        as_mask("member", values, (2, 3))
