"""How many models fit side by side on a device: measured from compiled programs, not guessed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mia_jax.config import ConfigError, TrainingConfig
from mia_jax.parallel import MODELS, WHOLE
from mia_jax.training.feeding import InBlocks, Look, Parts, itemsize
from mia_jax.training.programs import Programs
from mia_jax.training.segment import OneModel
from mia_jax.types import Key, Records

GIB = 2**30

FREE_SHARE = 0.9
"""Of a device's free memory: the rest is for what XLA cannot foresee, such as fragmentation."""

RESIDENT_SHARE = 0.5
"""The most of the memory that records may take to stay on the devices; more, and models would have little room."""

SMALL_COUNTS = (2, 8)
"""Models side by side from whose memory that of more is foretold. One alone is mapped by another program."""


class Need(NamedTuple):
    """models: side by side on one device. size: bytes that they take there at most, records included."""

    models: int
    size: int


def device_memory(training: TrainingConfig, mesh: Mesh) -> int | None:
    """The bytes that a training may take on each device: as the config says, or as the device says are free.

    None where neither says anything, as on a CPU.
    """
    if training.memory_gib:
        return int(training.memory_gib * GIB)
    free = []
    for device in mesh.devices.flat:
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        free.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return int(FREE_SHARE * min(free))


def stays_resident(training: TrainingConfig, parts: Parts, mesh: Mesh) -> bool:
    """Whether the records are put on the devices whole, rather than fed in blocks."""
    if training.feed != "auto":
        return training.feed == "resident"
    memory = device_memory(training, mesh)
    return memory is None or records_size(parts) <= RESIDENT_SHARE * memory


def records_size(parts: Parts) -> int:
    """The bytes of the records of all parts."""
    return sum(math.prod(leaf.shape) * itemsize(leaf) for leaf in jax.tree.leaves(parts))


def most_that_fit(size_of: Callable[[int], Need | None], memory: int, most: int) -> Need:
    """The largest number of models side by side, at most `most`, that takes no more than `memory` bytes.

    size_of: what about so many models take (it may round their number down), from their own compiled
    programs; None where those cannot even be compiled for lack of memory. What is returned has been measured
    itself: memory grows linearly in the models but for the compiler's choices, so that a line through two
    small counts says where to look, and every number that does not hold is stepped down from.
    Raises `ConfigError` where one model does not fit.
    """
    found = size_of(most)
    if found is not None and found.size <= memory:
        return found
    count = max(1, min(_foretold(size_of, memory, most), most - 1))
    while count >= 1:
        found = size_of(count)
        if found is not None and found.size <= memory:
            return found
        count = min(count - 1, count * 7 // 8)
    needed = "more" if found is None else f"{found.size / GIB:.3g} GiB"
    raise ConfigError(
        f"{memory / GIB:.3g} GiB of each device are there for the training (config.training.memory_gib, or what the "
        f"device says): one model and its records need {needed}; give it more, lower config.training.batch_size, or "
        'set config.training.feed to "blocks".'
    )


def _foretold(size_of: Callable[[int], Need | None], memory: int, most: int) -> int:
    """How many models should fit by the line through two small counts; less where those cannot tell."""
    if SMALL_COUNTS[-1] >= most:
        return most - 1
    few, more = (size_of(count) for count in SMALL_COUNTS)
    if few is None or more is None:
        return 1
    if few.models == more.models or more.size <= few.size:
        return most - 1
    return int(few.models + (memory - few.size) * (more.models - few.models) / (more.size - few.size))


class Shapes(NamedTuple):
    """What the programs of a chunk are given, as shapes on the devices."""

    states: Any
    ones: OneModel
    parts: Parts
    keys: Key | None


def shapes_of(
    programs: Programs, one: OneModel, models: int, parts: Parts, keys: Key | None, mesh: Mesh
) -> Shapes:
    """The shapes of a chunk. one: OneModel of one model, with leading axis 1. models: M, on all devices together."""
    ones = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((models, *leaf.shape[1:]), leaf.dtype), one)
    states = jax.eval_shape(programs.initialise, ones, jax.tree.map(_record, parts[0].x))
    parts, keys = on_devices((parts, keys), mesh, WHOLE)
    return Shapes(on_devices(states, mesh, MODELS), on_devices(ones, mesh, MODELS), parts, keys)


def resident_size(programs: Programs, shapes: Shapes, *, logits: bool) -> int | None:
    """The bytes that a chunk takes on one device with the records there; None if it cannot be compiled for lack
    of memory.
    """
    states, ones, parts, keys = shapes
    number = jax.ShapeDtypeStruct((), np.int32)
    look = programs.observe_logits if logits else programs.observe
    beside = device_size((parts[1:], keys))
    return _largest(
        lambda: program_size(programs.advance, states, ones, parts[0], number, number) + beside,
        lambda: program_size(look, states, ones, parts, number, keys),
    )


def fed_size(programs: InBlocks, shapes: Shapes, *, logits: bool) -> int | None:
    """The bytes that a chunk takes on one device with its records fed in blocks; None as for `resident_size`.

    Of what is fed there are two at a time: the blocks, the orders of epochs, and what is said of a block.
    """
    states, ones, parts, _ = shapes
    mesh, blocks = programs.mesh, programs.programs
    number = jax.ShapeDtypeStruct((), np.int32)
    order = on_devices(jax.eval_shape(blocks.order, ones, number), mesh, MODELS)
    models, steps, batch = order[0].shape
    width = programs.steps_at_once((models, steps, batch))
    block = on_devices(_leading(parts[0], (models, width, batch)), mesh, MODELS)
    beside = device_size((order, block))

    def training() -> int:
        return program_size(blocks.advance, states, ones, order, block, *[number] * 3) + beside

    def looking() -> int:
        return max(_look_size(programs, look, shapes) for look in programs.looks(logits))

    return _largest(training, looking)


def _look_size(programs: InBlocks, look: Look, shapes: Shapes) -> int:
    """The bytes that one look takes, with a second block and what was said of the first."""
    states, ones, parts, keys = shapes
    rows = (programs.records_at_once(parts[look.part], look.width),)
    keys = jax.ShapeDtypeStruct(rows, keys.dtype) if keys is not None and look.probed else None
    block = on_devices((_leading(parts[look.part], rows), keys), programs.mesh, WHOLE)
    args = (states, ones, block[0], jax.ShapeDtypeStruct((), np.int32), block[1])
    said = on_devices(jax.eval_shape(programs.program(look), *args), programs.mesh, MODELS)
    return program_size(programs.program(look), *args) + device_size((block, said))


def program_size(program: Any, *args: Any) -> int:
    """The bytes that a program takes on one device while it runs on arguments of these shapes.

    The program compiled here is the one that a later call with such arguments runs.
    """
    used = program.lower(*args).compile().memory_analysis()
    return (
        used.argument_size_in_bytes
        + used.output_size_in_bytes
        - used.alias_size_in_bytes
        + used.temp_size_in_bytes
        + used.generated_code_size_in_bytes
    )


def device_size(values: Any) -> int:
    """The bytes of arrays on one device."""
    leaves = jax.tree.leaves(values)
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)


def on_devices(values: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """The shapes of arrays as `mia_jax.parallel.place` puts them on devices."""

    def one(leaf: Any) -> jax.ShapeDtypeStruct:
        dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
        return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(one, values)


def _leading(records: Records, shape: tuple[int, ...]) -> Records:
    """The shapes of so many records, in place of a part's own number."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*shape, *leaf.shape[1:]), leaf.dtype), records)


def _record(leaf: Any) -> jax.ShapeDtypeStruct:
    """The shape of one record."""
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(leaf.shape[1:], dtype)


def _largest(*sizes: Callable[[], int]) -> int | None:
    """The largest of sizes; None if a program cannot be compiled because its memory is not there."""
    try:
        return max(size() for size in sizes)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
