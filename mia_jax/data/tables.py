"""What is done with tables of records: told apart, taken from, joined."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from mia_jax.data.source import Table


def new_rows(table: Table, first_label: dict[bytes, int]) -> tuple[np.ndarray, int]:
    """Rows whose record is not in `first_label` (where it is put), and how many others contradict it."""
    rows, contradicting = [], 0
    for row, (digest, label) in enumerate(zip(_digests(table), table.y.tolist(), strict=True)):
        if digest not in first_label:
            first_label[digest] = label
            rows.append(row)
        elif first_label[digest] != label:
            contradicting += 1
    return np.asarray(rows, np.intp), contradicting


def take(table: Table, rows: np.ndarray) -> Table:
    """These rows of a table."""
    length = None if table.length is None else table.length[rows]
    return Table(table.values[rows], length, table.y[rows])


def joined(first: Table, second: Table) -> Table:
    """The records of both tables, which are of one kind; of an empty second one: the first itself."""
    if not len(second.y):
        return first
    length = None
    if first.length is not None and second.length is not None:
        length = np.concatenate([first.length, second.length])
    return Table(np.concatenate([first.values, second.values]), length, np.concatenate([first.y, second.y]))


def _digests(table: Table) -> Iterator[bytes]:
    """128 bits for every record, equal for equal records only (but for odds of N**2 / 2**129)."""
    values = np.ascontiguousarray(table.values)
    if not len(values):
        return
    content, width = values.data.cast("B"), values[0].nbytes
    step = width // values.shape[1]
    sizes = np.full(len(values), width) if table.length is None else table.length * step
    for row, size in enumerate(sizes.tolist()):
        start = row * width
        yield hashlib.blake2b(content[start : start + size], digest_size=16).digest()
