"""How records reach the devices: all at once, to stay there, or block by block as the steps need them.

Both ways give the same numbers. Fed in blocks, the host gathers what the models of a chunk train on next
while the devices train on the block before; so the records may be larger than a device's memory, and may be
memory-mapped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mia_jax.parallel import MODELS, WHOLE, place
from mia_jax.training.feeding_programs import BlockPrograms, Order
from mia_jax.training.observe import Probe, width_of
from mia_jax.training.programs import Programs
from mia_jax.training.segment import OneModel, TrainState
from mia_jax.types import Array, Key, Records, Signals

BLOCK_BYTES = 2**28
"""Bytes of a block of records on one device, unless a single step takes more."""

Parts = tuple[Records, Records, Records]
"""The pool, the population and the test records."""


class Said(NamedTuple):
    """What M models say at a checkpoint, NumPy: the parts' signals, steps last seen, logits, what was probed."""

    signals: tuple[Signals, ...]
    seen: np.ndarray
    logits: tuple[np.ndarray, ...]
    probed: dict[str, np.ndarray]


class Resident(NamedTuple):
    """All records on every device. keys: of the pool's records, for probes."""

    programs: Programs
    parts: Parts
    keys: Key | None

    def advance(self, states: TrainState, ones: OneModel, start: int, stop: int) -> TrainState:
        """Train over the epochs start, …, stop - 1; the memory of `states` is taken over."""
        return self.programs.advance(states, ones, self.parts[0], np.int32(start), np.int32(stop))

    def look(self, states: TrainState, ones: OneModel, epoch: int, count: int, *, logits: bool) -> Said:
        """What the first `count` models say after `epoch`."""
        look = self.programs.observe_logits if logits else self.programs.observe
        said = look(states, ones, self.parts, np.int32(epoch), self.keys)
        return Said(*to_host(said, count))


class Look(NamedTuple):
    """One passage over a part, by its number: records side by side, what is asked, the probes that come along."""

    part: int
    width: int
    signals: bool
    logits: bool
    probed: tuple[int, ...]


class InBlocks(NamedTuple):
    """Records on the host, of which the devices see one block after another. block_bytes: on one device."""

    programs: BlockPrograms
    parts: Parts
    keys: Key | None
    probes: tuple[Probe, ...]
    mesh: Mesh
    block_bytes: int = BLOCK_BYTES

    def advance(self, states: TrainState, ones: OneModel, start: int, stop: int) -> TrainState:
        """Train over the epochs start, …, stop - 1; the memory of `states` is taken over."""
        if stop <= start:
            return states
        indices = np.asarray(ones.indices)
        order = self.programs.order(ones, np.int32(start))
        running: list[Array] = []
        for epoch in range(start, stop):
            now = order
            if epoch + 1 < stop:
                # Asked for before the steps of this epoch are: it is there when they have just been taken.
                order = self.programs.order(ones, np.int32(epoch + 1))
            rows = _rows(indices, now)
            steps = rows.shape[1]
            width = self.steps_at_once(rows.shape)
            for first in range(0, steps, width):
                block = self._block(rows, first, width)
                where = (np.int32(epoch), np.int32(first), np.int32(min(width, steps - first)))
                states, done = self.programs.advance(states, ones, now, block, *where)
                running.append(done)
                # One block trains while the next is gathered, and no third is on the devices.
                if len(running) > 1:
                    jax.block_until_ready(running.pop(0))
        return states

    def look(self, states: TrainState, ones: OneModel, epoch: int, count: int, *, logits: bool) -> Said:
        """What the first `count` models say after `epoch`."""
        number = np.int32(epoch)
        seen = to_host(self.programs.seen(states, ones, number), count)
        found = [self._look(look, states, ones, number, count) for look in self.looks(logits)]
        signals = tuple(said for said, _, _ in found if said is not None)
        kept = tuple(z for _, z, _ in found if z is not None)
        probed: dict[str, np.ndarray] = {}
        for _, _, measured in found:
            probed |= measured
        return Said(signals, seen, kept, probed)

    def looks(self, logits: bool) -> list[Look]:
        """What is looked at at a checkpoint: every part, and the pool once more for each width of its probes."""
        own: dict[int, tuple[int, ...]] = {}
        for number, one in enumerate(self.probes):
            if logits or not one.with_logits:
                width = width_of(self.parts[0].size, one.records_at_once)
                own[width] = (*own.get(width, ()), number)
        looks = []
        for part, records in enumerate(self.parts):
            width = width_of(records.size)
            along = () if part else own.pop(width, ())
            looks.append(Look(part, width, True, logits and part < 2, along))
        return looks + [Look(0, width, False, False, along) for width, along in own.items()]

    def steps_at_once(self, shape: Sequence[int]) -> int:
        """Steps of a block. shape: [M, S, B], of all models of the chunk on all devices."""
        models, steps, batch = shape
        of_step = -(-models // self.mesh.size) * batch * record_bytes(self.parts[0])
        blocks = -(-steps // max(1, self.block_bytes // of_step))
        return -(-steps // blocks)

    def records_at_once(self, part: Records, width: int) -> int:
        """Records of a block that is looked at, whole groups of `width`."""
        groups = -(-part.size // width)
        # Never a single group of several: a loop of one turn is compiled to something else than a loop.
        blocks = -(-groups // max(2, self.block_bytes // (width * record_bytes(part))))
        return -(-groups // blocks) * width

    def _block(self, rows: np.ndarray, first: int, width: int) -> Records:
        """The records of `width` steps from step `first` on, on the devices: [M, W, B, …]."""
        steps = np.minimum(np.arange(first, first + width), rows.shape[1] - 1)
        return place(_taken(self.parts[0], rows[:, steps]), self.mesh, MODELS)

    def _look(
        self, look: Look, states: TrainState, ones: OneModel, epoch: Any, count: int
    ) -> tuple[Signals | None, np.ndarray | None, dict[str, np.ndarray]]:
        """What the models say of one part, block by block: signals, logits, what was probed."""
        part, program = self.parts[look.part], self.program(look)
        said, running = [], None
        block = self.records_at_once(part, look.width)
        for start in range(0, part.size, block):
            rows = np.minimum(np.arange(start, start + block), part.size - 1)
            keys = self.keys[rows] if self.keys is not None and look.probed else None
            records, keys = place((_taken(part, rows), keys), self.mesh, WHOLE)
            now = program(states, ones, records, epoch, keys)
            if running is not None:
                said.append(to_host(running, count))
            running = now
        said.append(to_host(running, count))
        return jax.tree.map(lambda *blocks: np.concatenate(blocks, axis=1)[:, : part.size], *said)

    def program(self, look: Look) -> Callable[..., Any]:
        """The compiled program of a look."""
        return self.programs.observe(look.width, signals=look.signals, logits=look.logits, probed=look.probed)


Feed = Resident | InBlocks


def resident(programs: Programs, parts: Parts, keys: Key | None, mesh: Mesh) -> Resident:
    """The records put on the devices, once and for all."""
    return Resident(programs, place(parts, mesh, WHOLE), None if keys is None else place(keys, mesh, WHOLE))


def record_bytes(records: Records) -> int:
    """Bytes of one record with its label, as the devices hold it."""
    return sum(math.prod(leaf.shape[1:]) * itemsize(leaf) for leaf in jax.tree.leaves(records))


def itemsize(leaf: Any) -> int:
    """Bytes of a number of an array, as the devices hold it."""
    return jax.dtypes.canonicalize_dtype(leaf.dtype).itemsize


def to_host(values: Any, count: int) -> Any:
    """Results as NumPy arrays, of the first `count` models."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], values)


def _rows(indices: np.ndarray, order: Order) -> np.ndarray:
    """The rows of the pool that an epoch's batches are made of: int [M, S, B]."""
    positions = np.asarray(order[0])
    flat = np.take_along_axis(indices, positions.reshape(len(positions), -1), axis=1)
    return flat.reshape(positions.shape)


def _taken(records: Records, rows: np.ndarray) -> Records:
    """The records of these rows, gathered on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf[rows]), records)
