"""A pool's records block after block, and the records among them that a fit over all of them is made of.

Scores of a block need the block and what was fitted, and fits need sums over blocks or a bounded part of the
records: memory depends on the number of models, and hardly on that of records.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np

from mia_jax.attacks.base import APART, RECORDS, Blocks, Observations, key_of, of_records, only_fields
from mia_jax.blocks import blocks_of, records_at_once

ENTRIES_FITTED = 2**24
"""Entries [K x records] that a fit over all records holds at most; above it a random part of the records is taken."""

SAMPLING = 7919
"""What tells the key that draws these records from all others of an attack."""

DEEP = 4
"""Numbers of a record and model that weigh as much as one entry: an attack holds fewer copies of such signals."""

FEATURES = 16
"""Features of a record that weigh as much as one entry: there is one copy of them, whatever the number of models, and
narrow blocks read the pieces of signals again and again."""


def cut(seen: Observations, width: int | None = None) -> Blocks:
    """Observations in blocks of `width` records; None: as many as `width_of` allows."""
    num_records = np.shape(seen.member)[1]

    def read(part: slice, fields: Collection[str] | None) -> Observations:
        kept = seen if fields is None else only_fields(seen, fields)
        return of_records(kept, part)

    return Blocks(blocks_of(num_records, width or width_of(seen)), read)


def leaving_out(blocks: Blocks, never: np.ndarray | None) -> Blocks:
    """The blocks without some records, and without those of nothing else. never: bool [N]."""
    if never is None or not never.any():
        return blocks
    left = [part for part in blocks.parts if not never[part].all()]
    return Blocks(left, lambda part, fields: of_records(blocks.read(part, fields), ~never[part]))


def width_of(seen: Observations) -> int:
    """How many of the records memory allows at once: fewer where a field has many numbers of each."""
    inner = [
        math.prod(np.shape(value)[2:]) if name != "trajectory" else np.shape(value)[1]
        for name, value in seen._asdict().items()
        if value is not None and name not in {*APART, "member", "labels", "features"}
    ]
    of_signals = len(np.asarray(seen.member)) * max(1, -(-max(inner, default=1) // DEEP))
    of_features = 0 if seen.features is None else math.prod(np.shape(seen.features)[1:]) // FEATURES
    return records_at_once(max(of_signals, of_features))


def gathered(blocks: Blocks, fields: Sequence[str], *, by_label: bool = False) -> Observations:
    """The records that something is fitted to over all records, with `fields`.

    All of them, or a random part where they have more than 16,777,216 entries with the K models; of every label
    alike with by_label, so that rare ones are whole. The part depends on the key, the labels and the number of
    records, not on the blocks.
    """
    if len(blocks.parts) == 1:
        whole = blocks.first(*fields)
        if np.size(whole.member) <= ENTRIES_FITTED:
            return whole
    sizes, labels, key, num_models = [], [], key_of(blocks.first()), len(np.asarray(blocks.first().member))
    for block in blocks.only(*(["labels"] if by_label else [])):
        sizes.append(np.shape(block.member)[1])
        labels.append(np.zeros(sizes[-1], int) if block.labels is None else np.asarray(block.labels))
    rows = _drawn(np.concatenate(labels), ENTRIES_FITTED // num_models, key)
    found, start = [], 0
    for number, size in enumerate(sizes):
        mine = rows[start : start + size]
        start += size
        if mine.any():
            found.append(of_records(blocks.read(blocks.parts[number], fields), mine))
    return _joined(found)


def _drawn(labels: np.ndarray, most: int, key: Any) -> np.ndarray:
    """At most `most` of the records with these labels [N], as many of each as there are or as of any: bool [N]."""
    if labels.size <= most:
        return np.ones(labels.size, bool)
    seeds = np.asarray(jax.random.key_data(jax.random.fold_in(key, SAMPLING)))
    shuffled = np.random.default_rng(seeds).permutation(labels.size)
    _, found, counts = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    places = np.empty(labels.size, np.int64)
    order = np.argsort(found, kind="stable")
    places[order] = np.arange(labels.size) - np.repeat(np.cumsum(counts) - counts, counts)
    each = max(1, _level(counts, most))
    kept = np.zeros(labels.size, bool)
    kept[shuffled[places < each]] = True
    return kept


def _level(counts: np.ndarray, most: int) -> int:
    """The largest number L of records of each label with which sum(min(counts, L)) is at most `most`."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= most else (low, middle - 1)
    return low


def _joined(found: Sequence[Observations]) -> Observations:
    """Blocks as one, in their order."""
    parts: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in found], axis=RECORDS.get(name, 1))
        for name, value in found[0]._asdict().items()
        if value is not None and name not in APART
    }
    return found[0]._replace(**parts)
