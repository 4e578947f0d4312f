"""Other ways to compute a recurrent model's gradient of one batch: python -m benchmarks.cells.

All variants are checked equal to the shipped gradient first and then timed in turn: on a CPU on one core, else on
the accelerator that JAX has. benchmarks/README.md says what follows.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

from benchmarks import markdown as made
from benchmarks.machine import machine
from mia_jax import parallel

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("jax", "numpy")
FAMILIES = ("rnn", "gru", "lstm")
SHIPPED = "as shipped"
TOLERANCE = 1e-4
"""Largest difference of a gradient, relative to the largest entry of each array."""

FLAGS = flags.FLAGS
flags.DEFINE_list("families", list(FAMILIES), "Recurrent families.")
flags.DEFINE_integer("batch_size", 64, "Records of the batch.", lower_bound=1)
flags.DEFINE_integer("repeats", 15, "Rounds in which every variant has its turn.", lower_bound=1)
flags.DEFINE_integer("gradients", 30, "Gradients, each of new parameters, in one turn.", lower_bound=1)
flags.DEFINE_string("out", "", "The JSON file. Default: results/cells_cpu_1core.json, or the accelerator's.")
flags.DEFINE_string("show", "", "Print the table of this JSON file in Markdown and do nothing else.")


def row(family: str) -> dict[str, Any]:
    """One family: every variant checked, then timed in turn."""
    from benchmarks import cell_variants

    case = cell_variants.case_of(family, FLAGS.batch_size)
    variants = {SHIPPED: cell_variants.shipped(case), **cell_variants.variants(case)}
    with jax.default_matmul_precision("highest"):
        expected = jax.jit(variants[SHIPPED])(case.params)
        apart = {
            name: cell_variants.difference(expected, jax.jit(f)(case.params)) for name, f in variants.items()
        }
    for name, found in apart.items():
        if not found <= TOLERANCE:
            raise ValueError(f"{family}, {name}: differs by {found:.1e}, allowed is {TOLERANCE:.0e}.")
    loops = {name: jax.jit(cell_variants.descent(f, FLAGS.gradients)) for name, f in variants.items()}
    seconds = timed(loops, case.params)
    ratios = {name: ratio(seconds[SHIPPED], others) for name, others in seconds.items() if name != SHIPPED}
    return {"family": family, "seconds": seconds, "ratios": ratios, "largest_difference": apart}


def timed(loops: Mapping[str, Callable[[Any], Any]], params: Any) -> dict[str, list[float]]:
    """Seconds of a gradient of every variant, in every round; compiled before."""
    for loop in loops.values():
        jax.block_until_ready(loop(params))
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(FLAGS.repeats):
        for name, loop in loops.items():
            began = time.perf_counter()
            jax.block_until_ready(loop(params))
            seconds[name].append((time.perf_counter() - began) / FLAGS.gradients)
    return seconds


def ratio(shipped: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """How many times as fast as shipped a variant is, round by round."""
    found = [a / b for a, b in zip(shipped, others, strict=True)]
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def markdown(result: Mapping[str, Any]) -> str:
    """The table for a README: variants down, families across."""
    rows = result["rows"]
    columns = ["variant", *(row["family"].upper() for row in rows)]
    shipped = [f"{1e3 * statistics.median(row['seconds'][SHIPPED]):.2f} ms" for row in rows]
    lines = [[SHIPPED, *shipped]]
    names = dict.fromkeys(name for row in rows for name in row["ratios"])
    lines += [[name, *(text(row["ratios"].get(name)) for row in rows)] for name in names]
    about = result["machine"]
    computer = made.one_core(about) if "processor" in about else about["device"]
    said = f"{computer}; {made.versions(about)}. Batch {result['batch_size']}."
    return made.table(columns, lines, said)


def text(found: Mapping[str, float] | None) -> str:
    """A ratio, the least and the largest."""
    return f"{found['median']:.2f} ({found['min']:.2f}–{found['max']:.2f})" if found else "-"


def main(_: Sequence[str]) -> None:
    """Show a table, or measure."""
    if FLAGS.show:
        print(markdown(json.loads(Path(FLAGS.show).read_text())))
        return
    # Before the backend starts, which takes its threads from it. An accelerator's host needs no second core.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    parallel.use_cpu_cores()
    rows = [row(family) for family in FLAGS.families]
    device = jax.devices()[0]
    on_cpu = device.platform == "cpu"
    about = {**machine(PACKAGES, accelerator=not on_cpu), "device": device.device_kind}
    result = {"machine": about, "batch_size": FLAGS.batch_size, "rows": rows}
    kind = "cpu_1core" if on_cpu else re.sub(r"\W+", "_", device.device_kind.lower())
    Path(FLAGS.out or RESULTS / f"cells_{kind}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    app.run(main)
