"""Tables of booleans, target by record, in an eighth of their memory, read and written by blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from mia_jax.types import Array
from mia_jax.validation import as_mask


class Bits:
    """A table bool [K, N]; NumPy takes it for the array where it asks for all of it.

    packed: uint8 [K, ceil(N / 8)], eight records a byte; None: a table of False. Raises ValueError for another shape.
    """

    def __init__(self, shape: tuple[int, int], packed: np.ndarray | None = None) -> None:
        stored = (shape[0], -(-shape[1] // 8))
        self.packed = np.zeros(stored, np.uint8) if packed is None else packed
        if self.packed.shape != stored or self.packed.dtype != np.uint8:
            raise ValueError(
                f"packed has shape {self.packed.shape}, dtype {self.packed.dtype}: it must be uint8 {list(stored)}."
            )
        self.shape = shape

    def rows(self, models: np.ndarray) -> np.ndarray:
        """Some targets, int [k], of all records: bool [k, N]."""
        return _unpacked(self.packed[models])[:, : self.shape[1]]

    def columns(self, records: slice) -> np.ndarray:
        """Some neighbouring records of all targets: bool [K, n]."""
        return _unpacked(self.packed[:, _bytes(records)])[:, _within(records)]

    def write(self, records: slice, values: np.ndarray) -> None:
        """Take what some neighbouring records say, bool [K, n]."""
        whole = _unpacked(self.packed[:, _bytes(records)])
        whole[:, _within(records)] = values
        self.packed[:, _bytes(records)] = np.packbits(whole, axis=1)

    def within(self, records: np.ndarray) -> Bits:
        """The same, but False elsewhere. records: bool [N]."""
        return Bits(self.shape, self.packed & np.packbits(records))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it: bool [K, N]."""
        found = self.columns(slice(0, self.shape[1]))
        return found if dtype is None else found.astype(dtype)


def as_bits(name: str, values: Array | Bits | None, shape: tuple[int, ...]) -> Bits:
    """A table [K, N] as bits; None: True everywhere. Raises ValueError for another shape and for no mask."""
    if isinstance(values, Bits):
        if values.shape != shape:
            raise ValueError(f"{name} has shape {values.shape}: it must have shape {shape}.")
        return values
    mask = np.ones(shape, bool) if values is None else as_mask(name, values, shape)
    return Bits((shape[0], shape[1]), np.packbits(mask, axis=1))


def _bytes(records: slice) -> slice:
    """The bytes that hold records."""
    return slice(records.start // 8, -(-records.stop // 8))


def _within(records: slice) -> slice:
    """Where records stand among those of their bytes."""
    first = records.start // 8 * 8
    return slice(records.start - first, records.stop - first)


def _unpacked(packed: np.ndarray) -> np.ndarray:
    """Bytes [k, b] as bool [k, 8 b]."""
    return np.unpackbits(packed, axis=1).view(bool)
