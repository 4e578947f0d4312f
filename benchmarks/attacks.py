"""Time LiRA and RMIA on plain arrays, beside the loops people write: python -m benchmarks.attacks.

One core. Ours scores every model in turn as the target, all K of them; the loop scores one target
on a sample of the records, and its time is scaled to all. Both are checked equal first.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags
from threadpoolctl import threadpool_limits

from benchmarks import attack_loops
from benchmarks import markdown as made
from benchmarks.machine import machine
from mia_jax.attacks import lira, rmia

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("numpy", "scipy")
COLUMNS = (
    "attack",
    "K",
    "N",
    "Z",
    "ours, all targets, s",
    "ours, ms a target",
    "loop, s a target",
    "ratio",
    "memory",
)
"""memory: the most that ours takes beside its inputs, in multiples of one float64 [K, N] array."""

FLAGS = flags.FLAGS
flags.DEFINE_list("sizes", ["64x5000x2000", "256x50000x10000"], "K x N x Z, comma-separated.")
flags.DEFINE_integer("repeats", 3, "How often ours is timed; the median is shown.")
flags.DEFINE_integer("loop_records", 500, "Records on which the loop is timed and checked.")
flags.DEFINE_string("out", str(RESULTS / "attacks_cpu_1core.json"), "The JSON file.")
flags.DEFINE_string("show", "", "Print the table of this JSON file in Markdown and do nothing else.")


class World(NamedTuple):
    """Signals with hard and easy records and a membership effect: what trained models look like."""

    logit: np.ndarray
    log_prob: np.ndarray
    member: np.ndarray
    population: np.ndarray


def world(num_models: int, num_records: int, population: int) -> World:
    """Scaled logits and log-probabilities [K, N], [K, Z] in float32, as recorded."""
    rng = np.random.default_rng(0)
    member = rng.random((num_models, num_records)) < 0.5
    logit = rng.normal(1, 3, num_records) + rng.normal(size=member.shape) + 1.5 * member
    other = rng.normal(1, 3, population) + rng.normal(size=(num_models, population))
    log_prob, log_prob_z = (-np.logaddexp(0, -values) for values in (logit, other))
    logit, log_prob, log_prob_z = (values.astype(np.float32) for values in (logit, log_prob, log_prob_z))
    return World(logit, log_prob, member, log_prob_z)


def row(
    name: str, seen: World, ours: Callable[[World], np.ndarray], loop: Callable[[World], np.ndarray]
) -> dict[str, Any]:
    """One attack on one world: equality, then times and memory."""
    count = min(FLAGS.loop_records, seen.logit.shape[1])
    sample = seen._replace(
        logit=seen.logit[:, :count], log_prob=seen.log_prob[:, :count], member=seen.member[:, :count]
    )
    sample = World(*(values.astype(np.float64) if values.dtype != bool else values for values in sample))
    started = time.perf_counter()
    expected = loop(sample)
    looped = (time.perf_counter() - started) * seen.logit.shape[1] / count
    found = ours(seen)[0, :count]
    apart = float(np.nanmax(np.abs(found - expected)))
    if not apart <= 1e-3 or (np.isnan(found) != np.isnan(expected)).any():
        sys.exit(f"{name}: ours and the loop differ by {apart}: nothing is timed.")
    seconds = []
    for _ in range(FLAGS.repeats):
        started = time.perf_counter()
        ours(seen)
        seconds.append(time.perf_counter() - started)
    tracemalloc.start()
    ours(seen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    models, records = seen.logit.shape
    median = statistics.median(seconds)
    return {
        "attack": name,
        "num_models": models,
        "num_records": records,
        "population": seen.population.shape[1],
        "seconds": seconds,
        "ms_per_target": 1e3 * median / models,
        "loop_s_per_target": looped,
        "loop_records": count,
        "ratio": looped / (median / models),
        "memory": peak / (8 * models * records),
        "largest_difference": apart,
    }


def cells(measured: dict[str, Any]) -> tuple[str, ...]:
    """One row as text, in the order of COLUMNS."""
    return (
        measured["attack"],
        f"{measured['num_models']:,}",
        f"{measured['num_records']:,}",
        f"{measured['population']:,}",
        f"{statistics.median(measured['seconds']):.3f}",
        f"{measured['ms_per_target']:.2f}",
        f"{measured['loop_s_per_target']:.2f}",
        f"{measured['ratio']:,.0f}",
        f"{measured['memory']:.1f}",
    )


def markdown(result: dict[str, Any]) -> str:
    """The table for a README."""
    about = result["machine"]
    said = f"{made.one_core(about)}; {made.versions(about)}."
    return made.table(COLUMNS, map(cells, result["rows"]), said)


def main(_: Sequence[str]) -> None:
    """Show a table, or measure."""
    if FLAGS.show:
        print(markdown(json.loads(Path(FLAGS.show).read_text())))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    threadpool_limits(1)
    rows = []
    for size in FLAGS.sizes:
        seen = world(*map(int, size.split("x")))
        rows.append(
            row(
                "LiRA",
                seen,
                lambda w: lira(w.logit, w.member, missing="nan"),
                lambda w: attack_loops.lira_online(w.logit, w.member, 0),
            )
        )
        rows.append(
            row(
                "RMIA",
                seen,
                lambda w: rmia(w.log_prob, w.member, w.population),
                lambda w: attack_loops.rmia_online(w.log_prob, w.member, w.population, 0),
            )
        )
    result = {"machine": machine(PACKAGES), "rows": rows}
    Path(FLAGS.out).parent.mkdir(parents=True, exist_ok=True)
    Path(FLAGS.out).write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    app.run(main)
