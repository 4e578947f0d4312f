"""Time the recording of a checkpoint beside the forward passes it needs: python -m benchmarks.recording.

Both are done in turn within one process, on the same models and records, every kind of model in a process of
its own. benchmarks/README.md says what is measured.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.machine import machine
from mia_jax import keys, membership, models, parallel, training
from mia_jax.config import FamilyConfig, MembershipConfig, TrainingConfig
from mia_jax.parallel import MODELS, WHOLE
from mia_jax.segments import Segments
from mia_jax.store import Store
from mia_jax.training import Observed, Segment
from mia_jax.training.observe import RECORDS_AT_ONCE
from mia_jax.training.shadow import all_models, hyper_of, plan, programs_of, recipe_of
from mia_jax.types import Dataset, Records

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("jax", "flax", "numpy", "tensorstore")
WARM_UPS = 2
"""Alternations before those that count: compilation, and the making of the stored arrays."""

COLUMNS = (
    "model",
    "K",
    "forward, ms",
    "signals / forward",
    "recorded / forward",
    "with state / forward",
    "write, ms",
    "write with state, ms",
    "state, MiB",
)
GROWTH_COLUMNS = ("model", "T", "a checkpoint, ms", "memory grows, MiB")


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

FLAGS = flags.FLAGS
flags.DEFINE_list("kinds", [str(number) for number in range(len(KINDS))], "Numbers of the kinds of models.")
flags.register_validator(
    "kinds", lambda numbers: set(numbers) <= set(map(str, range(len(KINDS)))), f"From 0 to {len(KINDS) - 1}."
)
flags.DEFINE_integer("models", 32, "K.", lower_bound=4)
flags.DEFINE_integer("pool", 1000, "N.", lower_bound=4)
flags.DEFINE_integer("population", 1000, "Z.", lower_bound=1)
flags.DEFINE_integer("test", 500, "Test records.", lower_bound=1)
flags.DEFINE_integer("repeats", 9, "Alternations.", lower_bound=1)
flags.DEFINE_list("checkpoints", ["4", "16"], "Numbers T of checkpoints between which nothing should grow.")
flags.register_validator("checkpoints", lambda counts: all(int(count) > 1 for count in counts), "At least 2.")
flags.DEFINE_string("out", str(RESULTS / "recording_cpu_2cores.json"), "The JSON file.")
flags.DEFINE_string("show", "", "Print the tables of this JSON file in Markdown and do nothing else.")
flags.DEFINE_string("only", "", "Used by the benchmark itself: measure this kind and print one JSON line.")


class Work(NamedTuple):
    """Models ready to be recorded, in chunks of equal size: what a training holds at a checkpoint.

    forward(state, parts) -> the sum of the logits of each record, [M, …] of each part.
    """

    chunks: tuple[tuple[int, int], ...]
    ones: tuple[training.OneModel, ...]
    states: tuple[training.TrainState, ...]
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
    model: models.Model, states: training.TrainState, parts: tuple[Records, ...], together: int
) -> tuple[jax.Array, ...]:
    """The sum of the logits of every record, mapped over models and blocks of records as recording is."""

    def one_model(state: training.TrainState) -> tuple[jax.Array, ...]:
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


def row(name: str) -> dict[str, Any]:
    """Everything that is measured of one kind of model."""
    work = work_of(KINDS[name], FLAGS.models, (FLAGS.pool, FLAGS.population, FLAGS.test))
    state = sum(leaf.nbytes for leaf in jax.tree.leaves(work.states))
    with tempfile.TemporaryDirectory() as folder:
        taken = alternations(work, Path(folder), FLAGS.repeats)
        grown = [growth(work, Path(folder), int(count)) for count in FLAGS.checkpoints]
    return {
        "model": name,
        "num_models": work.num_models,
        "chunks": len(work.chunks),
        "records": [part.size for part in work.parts],
        "state_bytes": state,
        "seconds": {step: [getattr(one, step) for one in taken] for step in Times._fields},
        "ratios": {
            "signals": spread([one.observe / one.forward for one in taken]),
            "recorded": spread([one.recorded / one.forward for one in taken]),
            "with_state": spread([one.resumable / one.forward for one in taken]),
        },
        "growth": grown,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def cells(measured: dict[str, Any]) -> tuple[str, ...]:
    """One row as text, in the order of COLUMNS."""
    middle = {step: 1e3 * statistics.median(seconds) for step, seconds in measured["seconds"].items()}
    ratios = [
        f"{ratio['median']:.2f} ({ratio['min']:.2f}–{ratio['max']:.2f})"
        for ratio in measured["ratios"].values()
    ]
    return (
        measured["model"],
        str(measured["num_models"]),
        f"{middle['forward']:,.0f}",
        *ratios,
        f"{middle['write']:,.0f}",
        f"{middle['write_state']:,.0f}",
        f"{measured['state_bytes'] / 2**20:.1f}",
    )


def markdown(result: dict[str, Any]) -> str:
    """Both tables for a README."""
    costs = [COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1), *map(cells, result["rows"])]
    grown = [GROWTH_COLUMNS, ["---"] + ["---:"] * (len(GROWTH_COLUMNS) - 1)]
    for measured in result["rows"]:
        for one in measured["growth"]:
            middle = f"{1e3 * statistics.median(one['seconds'][1:]):,.0f}"
            grown.append(
                (measured["model"], str(one["checkpoints"]), middle, f"{one['grown_bytes'] / 2**20:.1f}")
            )
    about = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    said = f"{about['processor']}, {about['cores']} cores; Python {about['python']}, {packages}; {about['date']}."
    tables = ["\n".join("| " + " | ".join(line) + " |" for line in lines) for lines in (costs, grown)]
    return "\n\n".join([*tables, said])


def in_own_process(name: str) -> dict[str, Any]:
    """The row of one kind of model, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.recording", *sys.argv[1:], f"--only={name}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    return json.loads(done.stdout)


def main(_: Sequence[str]) -> None:
    """Show tables, measure one kind, or measure them all."""
    if FLAGS.show:
        print(markdown(json.loads(Path(FLAGS.show).read_text())))
        return
    if FLAGS.only:
        jax.config.update("jax_platforms", "cpu")
        parallel.use_cpu_cores()
        print(json.dumps(row(FLAGS.only)))
        return
    result: dict[str, Any] = {"machine": machine(PACKAGES), "rows": []}
    for number in FLAGS.kinds:
        result["rows"].append(in_own_process(list(KINDS)[int(number)]))
        Path(FLAGS.out).write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    app.run(main)
