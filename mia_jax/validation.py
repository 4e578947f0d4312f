"""Checks of arrays that people bring, each failing with one sentence."""

from __future__ import annotations

import numpy as np

from mia_jax.types import Array

NUMBERS = "biuf"
"""The dtype kinds that compare with 0 and 1: booleans, integers and real numbers."""


def first(bad: Array) -> tuple[int, ...] | None:
    """The index of the first True entry of a boolean array of any shape, in C order; None where there is none."""
    bad = np.asarray(bad)
    if not bad.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))


def at(name: str, where: tuple[int, ...]) -> str:
    """An entry of an array as it is written in Python: `member[0, 3]`."""
    return f"{name}[{', '.join(map(str, where))}]" if where else name


def as_mask(name: str, values: Array, shape: tuple[int, ...]) -> np.ndarray:
    """A boolean array of `shape`; 0/1 integers are taken as booleans, never as indices.

    Raises ValueError naming the array.
    """
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: it must have shape {shape}.")
    if array.dtype == bool:
        return array
    if array.dtype.kind not in NUMBERS:
        raise ValueError(f"{name} has dtype {array.dtype}: a mask holds only True/False or 1/0.")
    where = first((array != 0) & (array != 1))
    if where is not None:
        raise ValueError(f"{at(name, where)} is {array[where]}: a mask holds only True/False or 1/0.")
    return array.astype(bool)
