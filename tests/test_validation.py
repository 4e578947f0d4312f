"""Checks that every module leans on: where the first offender is, and what masks, numbers and twins may be."""

import re

import numpy as np
import pytest

from mia_jax.validation import (
    as_mask,
    as_numbers,
    as_twin,
    at,
    check_confidence,
    check_generator,
    check_number,
    check_whole,
    first,
)

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


def test_numbers_become_float64_or_keep_their_dtype():
    assert as_numbers("scores", [1, 2]).dtype == np.float64
    assert as_numbers("scores", np.float32([1, 2])).dtype == np.float64
    assert as_numbers("scores", np.float32([1, 2]), keep=True).dtype == np.float32
    array = np.zeros(3)
    assert as_numbers("scores", array) is array


@pytest.mark.parametrize("values", ["a", ["a", "b"], [[1.0, 2.0], [1.0]], [None, "x"], {"a": 1}])
@pytest.mark.parametrize("keep", [False, True])
def test_what_are_no_numbers(values, keep):
    with pytest.raises(ValueError, match=r"^scores is no array of numbers: it must hold real numbers only"):
        as_numbers("scores", values, keep=keep)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(2, "2"), ("a", "'a'"), (None, "None"), ([0.1], r"\[0\.1\]"), (np.ones(2), r"\[1\. 1\.\]")],
)
def test_what_is_not_one_number_that_fits(value, shown):
    with pytest.raises(ValueError, match=rf"^fpr is {shown}: it must lie in \[0, 1\]\.$"):
        check_number("fpr", value, lambda share: 0 <= share <= 1, "lie in [0, 1]")


def test_numbers_that_fit_pass():
    for value in (0, 0.5, np.float32(1), np.array(0.5)):
        check_number("fpr", value, lambda share: 0 <= share <= 1, "lie in [0, 1]")
    for value in (2, np.int64(5)):
        check_whole("folds", value, 2)
    check_confidence(0.95)
    check_generator("rng", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, "folds is 1: it must be at least 2, or nothing is left."),
        (2.5, "folds is 2.5: it must be a whole number of at least 2, or nothing is left."),
        ("3", "folds is '3': it must be a whole number of at least 2, or nothing is left."),
        (None, "folds is None: it must be a whole number of at least 2, or nothing is left."),
        (True, "folds is True: it must be a whole number of at least 2, or nothing is left."),
    ],
)
def test_what_is_no_whole_number(value, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        check_whole("folds", value, 2, ", or nothing is left")


def test_what_is_no_confidence_and_no_generator():
    with pytest.raises(ValueError, match=r"^confidence is 95: it must lie in \(0, 1\), for example 0\.95\.$"):
        check_confidence(95)
    with pytest.raises(
        ValueError, match=r"^rng is 0: it must be a generator of NumPy, as numpy\.random\.default_rng"
    ):
        check_generator("rng", 0)


@pytest.mark.parametrize(
    ("twin", "words"),
    [
        ([1, 0], "twin has shape (2,): it must have shape (4,)."),
        ([0.5] * 4, "twin has dtype float64: it must hold integers, the numbers of models."),
        ([1, 0, 9, -1], "twin[2] is 9: it must be another model, 0 to 3, or -1 where model 2 has no twin"),
        ([1, 0, 2, -1], "twin[2] is 2: it must be another model"),
        ([1, 0, -2, -1], "twin[2] is -2: it must be another model"),
        ([1, 2, 3, 0], "twin[0] is 1, but twin[1] is 2: twins must name each other."),
    ],
)
def test_what_are_no_twins(twin, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        as_twin(np.array(twin), 4)


def test_twins_and_models_without_one_pass():
    np.testing.assert_array_equal(as_twin([1, 0, -1, -1], 4), [1, 0, -1, -1])
