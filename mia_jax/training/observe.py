"""What one model says of records: the signals, and whatever else a study wants to know of the pool."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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


def observe(
    model: Model, params: Params, records: Records, *, logits: bool, width: int = 0
) -> tuple[Signals, Array | None]:
    """What one model says of records: Signals [N], and logits [N, C] where asked for.

    width: records side by side; 0: as `width_of` has it for N.
    """

    def one_record(record: Records) -> tuple[Signals, Array | None]:
        out = model.apply(params, record.x)
        return signals.from_logits(out, record.y), out if logits else None

    return in_groups(one_record, (records,), width or width_of(records.y.shape[0]))


def probe(
    probes: Sequence[Probe], params: Params, records: Records, keys: Key | None, *, width: int = 0
) -> dict[str, Array]:
    """What the probes measure of one model and records with their keys [N]: {name: [N, …]}.

    width: records side by side; 0: as `width_of` has it for N and each probe.
    """
    said: dict[str, Array] = {}
    for one in probes:
        own = width or width_of(records.y.shape[0], one.records_at_once)
        said |= in_groups(functools.partial(one.measure, params), (records, keys), own)
    return said


def width_of(size: int, at_once: int = RECORDS_AT_ONCE) -> int:
    """The width of groups of equal size, at most `at_once` each, that `size` records are looked at in."""
    return -(-size // -(-size // at_once))


def in_groups(function: Callable[..., Any], values: tuple[Any, ...], width: int) -> Any:
    """`function` of every record, `width` of them side by side and one such group after another: [N, …]."""
    size = jax.tree.leaves(values)[0].shape[0]
    groups = -(-size // width)
    if groups == 1:
        return jax.vmap(function)(*values)
    # The last record fills up the last group: one of another size would be compiled a second time.
    rows = jnp.minimum(jnp.arange(groups * width), size - 1).reshape(groups, width)

    def group(rows: Array) -> Any:
        return jax.vmap(function)(*jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], values))

    said = jax.lax.map(group, rows)
    return jax.tree.map(lambda leaf: leaf.reshape(groups * width, *leaf.shape[2:])[:size], said)
