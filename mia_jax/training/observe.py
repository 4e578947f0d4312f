"""What one model says of records: the signals, and whatever else a study wants to know of the pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mia_jax import signals
from mia_jax.models.base import Model
from mia_jax.types import Array, Key, Params, Records, Signals

RECORDS_AT_ONCE = 256
"""Records whose signals one model computes side by side; bounds the memory of recording."""

_RECORDS = int.from_bytes(b"reco")
"""Sets the keys of records apart from all others that are folded from the same root."""


class Probe(NamedTuple):
    """Something else to record of the pool, as a pure function of one model and one record.

    measure(params, record, key) -> {name: float32 […]}: `record` is a `Records` without leading axis,
    `key` the record's own, the same for all models and checkpoints; the axes are the same for all
    records. with_logits: measured only at the checkpoints that keep full logits. records_at_once:
    records measured side by side, which bounds the memory and may change rounding.
    """

    measure: Callable[[Params, Records, Key], dict[str, Array]]
    with_logits: bool = False
    records_at_once: int = RECORDS_AT_ONCE


def record_keys(root: Key, size: int) -> Key:
    """One key for each of `size` records, by its number in the pool: keys [N]."""
    own = jax.random.fold_in(root, _RECORDS)
    return jax.vmap(lambda number: jax.random.fold_in(own, number))(jnp.arange(size))


def observe(model: Model, params: Params, records: Records, *, logits: bool) -> tuple[Signals, Array | None]:
    """What one model says of records: Signals [N], and logits [N, C] where asked for."""

    def one_record(record: Records) -> tuple[Signals, Array | None]:
        out = model.apply(params, record.x)
        return signals.from_logits(out, record.y), out if logits else None

    if records.y.shape[0] <= RECORDS_AT_ONCE:
        return jax.vmap(one_record)(records)
    return jax.lax.map(one_record, records, batch_size=RECORDS_AT_ONCE)


def probe(probes: Sequence[Probe], params: Params, records: Records, keys: Key | None) -> dict[str, Array]:
    """What the probes measure of one model and records with their keys [N]: {name: [N, …]}."""
    said: dict[str, Array] = {}
    for one in probes:
        said |= _in_blocks(one, params, records, keys)
    return said


def _in_blocks(one: Probe, params: Params, records: Records, keys: Key | None) -> dict[str, Array]:
    """One probe over all records, block by block, each block of the same size: [N, …]."""
    size = records.y.shape[0]
    blocks = -(-size // one.records_at_once)
    width = -(-size // blocks)
    # The last record fills up the last block: a block of another size would be compiled a second time.
    rows = jnp.minimum(jnp.arange(blocks * width), size - 1).reshape(blocks, width)

    def block(rows: Array) -> dict[str, Array]:
        taken = jax.tree.map(lambda leaf: leaf[rows], (records, keys))
        return jax.vmap(lambda record, key: one.measure(params, record, key))(*taken)

    said = jax.lax.map(block, rows)
    return jax.tree.map(lambda leaf: leaf.reshape(blocks * width, *leaf.shape[2:])[:size], said)
