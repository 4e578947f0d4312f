"""What is timed by benchmarks/recording.py: models at a checkpoint, their forward passes, and their recording."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mia_jax import keys, membership, models, parallel
from mia_jax.config import FamilyConfig, MembershipConfig, TrainingConfig
from mia_jax.parallel import MODELS, WHOLE
from mia_jax.runs.segments import Segments
from mia_jax.runs.store import Store
from mia_jax.training import Observed, Segment, TrainState
from mia_jax.training.observe import RECORDS_AT_ONCE
from mia_jax.training.segment import OneModel
from mia_jax.training.shadow import all_models, hyper_of, plan, programs_of, recipe_of
from mia_jax.types import Dataset, Records

WARM_UPS = 2
"""Alternations before those that count: compilation, and the making of the stored arrays."""


class Kind(NamedTuple):
    """One kind of model, and its records: their shape, and C."""

    family: FamilyConfig
    record: tuple[int, ...]
    num_classes: int


KINDS = {
    "MLP 446-128-30": Kind(FamilyConfig(kind="mlp", hidden=128), (446,), 30),
    "LSTM 64": Kind(FamilyConfig(kind="lstm", hidden=64), (28, 28), 10),
    "GRU 64": Kind(FamilyConfig(kind="gru", hidden=64), (28, 28), 10),
    "CNN 8, 2 layers": Kind(FamilyConfig(kind="cnn", hidden=8, layers=2), (16, 16, 3), 10),
    "CNN 8, 4 layers": Kind(FamilyConfig(kind="cnn", hidden=8, layers=4), (16, 16, 3), 10),
}


class Work(NamedTuple):
    """Models ready to be recorded, in chunks of equal size: what a training holds at a checkpoint.

    forward(state, parts) -> the sum of the logits of each record, [M, …] of each part.
    """

    chunks: tuple[tuple[int, int], ...]
    ones: tuple[OneModel, ...]
    states: tuple[TrainState, ...]
    parts: tuple[Records, ...]
    observe: Callable[..., Any]
    forward: Callable[..., Any]

    @property
    def num_models(self) -> int:
        """K."""
        return self.chunks[-1][1]


def work_of(kind: Kind, num_models: int, sizes: Sequence[int]) -> Work:
    """Untrained models and random records; sizes: of the pool, the population and the test part.

    Raises ValueError where the models are not whole chunks.
    """
    draw = np.random.default_rng(0)

    def records(size: int) -> Records:
        x = draw.standard_normal((size, *kind.record)).astype(np.float32)
        return Records(x, draw.integers(0, kind.num_classes, size).astype(np.int32))

    pool, population, test = map(records, sizes)
    model = models.build(kind.family, Dataset(pool, population, test, kind.num_classes, 0, {}))
    design = MembershipConfig(num_models=num_models, train_size=pool.size // 2)
    drawn = membership.draw(jax.random.key(0), design, pool.size)
    config, mesh = TrainingConfig(), parallel.model_mesh()
    cut = plan(config, num_models, mesh)
    width = cut.models_per_chunk
    if num_models % width or width % (cut.models_together * mesh.size):
        raise ValueError(
            f"models is {num_models}: it must be whole chunks of {width} on {mesh.size} devices."
        )
    programs = programs_of(recipe_of(model, drawn, config), mesh, cut.models_together)
    ones = all_models(keys.roots(0), drawn, hyper_of(config, num_models))
    parts = parallel.place(jax.tree.map(jnp.asarray, (pool, population, test)), mesh, WHOLE)
    chunks = tuple((start, start + width) for start in range(0, num_models, width))
    placed = tuple(parallel.place(_rows(ones, *chunk), mesh, MODELS) for chunk in chunks)
    states = tuple(programs.initialise(one, parts[0].x[0]) for one in placed)
    forward = parallel.over_models(
        lambda states, parts: _sums(model, states, parts, cut.models_together), mesh, (MODELS, WHOLE)
    )
    return Work(chunks, placed, states, parts, programs.observe, forward)


def _rows(values: Any, start: int, stop: int) -> Any:
    """Rows start…stop-1 of every array."""
    return jax.tree.map(lambda leaf: leaf[start:stop], values)


def _sums(
    model: models.Model, states: TrainState, parts: tuple[Records, ...], together: int
) -> tuple[jax.Array, ...]:
    """The sum of the logits of every record, mapped over models and blocks of records as recording is."""

    def one_model(state: TrainState) -> tuple[jax.Array, ...]:
        def sums(part: Records) -> jax.Array:
            return jax.lax.map(
                lambda x: jnp.sum(model.apply(state.params, x)), part.x, batch_size=RECORDS_AT_ONCE
            )

        return tuple(map(sums, parts))

    return jax.lax.map(one_model, states, batch_size=together if together > 1 else None)


class Times(NamedTuple):
    """Seconds of one alternation, all chunks together.

    forward: the forward passes. observe: the program that recording runs instead. copy: signals to the
    host. write: signals and commit record. state: the state to the host. write_state: signals, state and
    commit record.
    """

    forward: float
    observe: float
    copy: float
    write: float
    state: float
    write_state: float

    @property
    def recorded(self) -> float:
        """What a last checkpoint costs: signals and commit record."""
        return self.observe + self.copy + self.write

    @property
    def resumable(self) -> float:
        """What any other checkpoint costs: the state to go on from, too."""
        return self.observe + self.copy + self.state + self.write_state


def alternations(work: Work, folder: Path, repeats: int) -> list[Times]:
    """Forward passes and recordings in turn, after a few to warm up."""
    count = repeats + WARM_UPS
    # The last checkpoint of a training has no state: here it is the only one, and written again and again.
    last, any_other = segments(work, folder / "last", 1), segments(work, folder / "other", count + 1)
    taken = []
    for number in range(count):
        whole = [0.0] * len(Times._fields)
        for chunk in range(len(work.chunks)):
            for step, seconds in enumerate(_one_chunk(work, chunk, number, last, any_other)):
                whole[step] += seconds
        taken.append(Times(*whole))
    return taken[WARM_UPS:]


def _one_chunk(work: Work, chunk: int, number: int, last: Segments, any_other: Segments) -> list[float]:
    """Seconds of each step of one chunk, in the order of `Times`."""
    marks = [time.perf_counter()]

    def done() -> None:
        marks.append(time.perf_counter())

    jax.block_until_ready(work.forward(work.states[chunk], work.parts))
    done()
    said = jax.block_until_ready(observed(work, chunk))
    done()
    said = jax.tree.map(np.asarray, said)
    done()
    write(last, work, chunk, 0, said, None)
    done()
    state = jax.tree.map(np.array, work.states[chunk])
    done()
    write(any_other, work, chunk, number, said, state)
    done()
    return [later - earlier for earlier, later in itertools.pairwise(marks)]


def observed(work: Work, chunk: int) -> Any:
    """What the compiled program of recording says of a chunk, on the devices."""
    return work.observe(work.states[chunk], work.ones[chunk], work.parts, np.int32(1), None)


def segments(work: Work, folder: Path, num_checkpoints: int) -> Segments:
    """An empty run's segments."""
    return Segments(
        Store(folder),
        "models",
        hash="",
        num_models=work.num_models,
        num_checkpoints=num_checkpoints,
        parameters="none",
    )


def write(kept: Segments, work: Work, chunk: int, checkpoint: int, said: Any, state: Any) -> None:
    """Write one chunk's checkpoint as a study does."""
    (pool, population, test), seen, _, probed = said
    start, stop = work.chunks[chunk]
    segment = Segment(
        start, stop, checkpoint, checkpoint, Observed(pool, population, test, seen, {}, probed), state
    )
    kept.write(segment, models_per_chunk=stop - start, session=0)


def growth(work: Work, folder: Path, num_checkpoints: int) -> dict[str, Any]:
    """Record T checkpoints: the seconds of each, and by how many bytes memory grew after the second."""
    kept = segments(work, folder / f"growth{num_checkpoints}", num_checkpoints)
    seconds, resident = [], []
    for number in range(num_checkpoints):
        began = time.perf_counter()
        for chunk in range(len(work.chunks)):
            said = jax.tree.map(np.asarray, observed(work, chunk))
            write(kept, work, chunk, number, said, jax.tree.map(np.array, work.states[chunk]))
        seconds.append(time.perf_counter() - began)
        resident.append(resident_bytes())
    return {
        "checkpoints": num_checkpoints,
        "seconds": seconds,
        "grown_bytes": max(resident[1:]) - resident[1],
    }


def resident_bytes() -> int:
    """The memory that this process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
