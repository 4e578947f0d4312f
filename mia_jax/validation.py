"""Checks of arrays that people bring, each failing with one sentence."""

from __future__ import annotations

import numpy as np

from mia_jax.types import Array


def as_mask(name: str, values: Array, shape: tuple[int, ...]) -> np.ndarray:
    """A boolean array of `shape`; 0/1 integers are taken as booleans, never as indices.

    Raises ValueError naming the array.
    """
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: it must have shape {shape}.")
    if array.dtype == bool:
        return array
    odd = np.argwhere((array != 0) & (array != 1))
    if odd.size:
        where = tuple(int(i) for i in odd[0])
        raise ValueError(f"{name}{list(where)} is {array[where]}: a mask holds only True/False or 1/0.")
    return array.astype(bool)
