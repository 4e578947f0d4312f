"""How many records are held at once: what bounds the memory of everything that goes through a pool in blocks."""

from __future__ import annotations

ENTRIES = 2**21
"""Entries [K x records] of one block: 16 MiB in float64, of which an attack holds a dozen."""


def blocks_of(size: int, width: int) -> list[slice]:
    """`size` records in blocks of `width`, the last one shorter where they do not come out even.

    Raises ValueError for a width below 1.
    """
    if width < 1:
        raise ValueError(f"width is {width}: it must be at least 1.")
    return [slice(start, min(start + width, size)) for start in range(0, size, width)]


def records_at_once(num_models: int) -> int:
    """Records of a block of so many models: a power of two, so that blocks end where stored ones do.

    num_models: K, times the numbers that are held of each record and model where they are several.
    """
    return 1 << (max(1, ENTRIES // max(1, num_models)).bit_length() - 1)


def whole(part: slice, size: int) -> tuple[int, int]:
    """First and last-plus-one of a slice of `size` things. Raises ValueError for steps other than 1."""
    start, stop, step = part.indices(size)
    if step != 1:
        raise ValueError(f"{part} has step {step}: blocks are of neighbours, with step 1.")
    return start, max(start, stop)
