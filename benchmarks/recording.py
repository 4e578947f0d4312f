"""Time the recording of a checkpoint beside the forward passes it needs: python -m benchmarks.recording.

Both are done in turn within one process, on the same models and records, every kind of model in a process of
its own. benchmarks/README.md says what is measured.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

from benchmarks import markdown as made
from benchmarks.machine import machine
from benchmarks.recording_work import KINDS, Times, alternations, growth, work_of
from mia_jax import parallel

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("jax", "flax", "numpy", "tensorstore")
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
    grown = []
    for measured in result["rows"]:
        for one in measured["growth"]:
            middle = f"{1e3 * statistics.median(one['seconds'][1:]):,.0f}"
            grown.append(
                (measured["model"], str(one["checkpoints"]), middle, f"{one['grown_bytes'] / 2**20:.1f}")
            )
    about = result["machine"]
    said = f"{made.all_cores(about)}; {made.versions(about)}."
    return made.table(COLUMNS, map(cells, result["rows"]), made.table(GROWTH_COLUMNS, grown, said))


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
