"""Time steps of DP-SGD beside Opacus and jax-privacy: python -m benchmarks.private_steps.

One core and one thread, each side in turn within every repeat. benchmarks/README.md says what is measured.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
from absl import app, flags

from benchmarks import markdown as made
from benchmarks.machine import machine
from mia_jax import parallel

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("jax", "jax_privacy", "opacus", "torch")
PRESETS = {
    "full": (("lstm", 64), ("lstm", 256), ("gru", 64), ("rnn", 64), ("mlp", 64), ("mlp", 256)),
    "small": (("mlp", 16), ("gru", 16)),
}
PLAIN, PRIVATE, POISSON = "plain", "private", "poisson"
RATIOS = {
    "private / plain": (PRIVATE, PLAIN),
    "Poisson / private": (POISSON, PRIVATE),
    "jax-privacy / ours": ("jax_privacy", PRIVATE),
    "Opacus / ours": ("grad_sample", PRIVATE),
    "Opacus ghost / ours": ("ghost", PRIVATE),
}
COLUMNS = ("model", "B", "plain, ms", "private, ms", *RATIOS)

FLAGS = flags.FLAGS
flags.DEFINE_enum("preset", "full", list(PRESETS), "small: two small cases, to see that it runs.")
flags.DEFINE_integer(
    "repeats", 0, "Rounds in which every side has its turn. Default: 9; of the small preset 2."
)
flags.DEFINE_float("turn", 0.15, "Seconds that a turn takes, about; at least one call.")
flags.DEFINE_bool("others", True, "Whether to time jax-privacy and Opacus too, where they are installed.")
flags.DEFINE_string("out", str(RESULTS / "private_steps_cpu_1core.json"), "The JSON file.")
flags.DEFINE_string("show", "", "Print the table of this JSON file in Markdown and do nothing else.")


class Side(Protocol):
    """A training that goes on for so many steps whenever it is called."""

    steps: int

    def __call__(self) -> None:
        """Take the next steps, and wait for them."""
        ...


def row(family: str, batch_size: int, repeats: int) -> dict[str, Any]:
    """One case: the sides checked equal, then timed in turn."""
    from benchmarks import private_check, private_work

    work = private_work.work_of(private_work.Case(family, batch_size))
    with_jax_privacy, with_opacus = installed("jax_privacy"), installed("torch", "opacus")
    differences = {}
    if with_jax_privacy:
        differences["jax_privacy"] = private_check.jax_privacy_apart(work)
    sides: dict[str, Side] = {**private_work.sides(work, jax_privacy=with_jax_privacy)}
    without_ghost: list[str] = []
    if with_opacus:
        theirs, apart, without_ghost = opacus_sides(work)
        sides, differences = {**sides, **theirs}, {**differences, **apart}
    seconds = timed(sides, repeats)
    return {
        "family": family,
        "batch_size": batch_size,
        "seconds_per_step": seconds,
        "ratios": {name: ratio(seconds, *pair) for name, pair in RATIOS.items() if pair[0] in seconds},
        "largest_difference": differences,
        "without_ghost": without_ghost,
    }


def opacus_sides(work: Any) -> tuple[dict[str, Side], dict[str, float], list[str]]:
    """Opacus' two ways of clipping, how far their sums are from ours, and the layers without ghost norms."""
    import torch

    from benchmarks import opacus_steps, private_check, private_work
    from benchmarks.shadow_work import FAMILIES, LEARNING_RATE

    torch.set_num_threads(1)
    family, pool, ours = FAMILIES[work.case.family], work.dataset.pool, private_check.expected(work)
    shape = (family.kind, family.record[-1], family.hidden, family.num_classes)
    x, y = pool.x[ours.rows], pool.y[ours.rows]
    sides: dict[str, Side] = {}
    differences = {}
    for method in ("grad_sample", "ghost"):
        total = opacus_steps.clipped_sum(shape, ours.params, x, y, ours.clip_norm, method)
        differences[method] = private_check.apart(ours.total, total)
        privacy = opacus_steps.Privacy(private_work.CLIP_NORM, private_work.NOISE_MULTIPLIER, method)
        sides[method] = opacus_steps.Steps(shape, privacy, pool.x, pool.y, work.rows, LEARNING_RATE)
    return sides, differences, opacus_steps.without_ghost(shape)


def timed(sides: Mapping[str, Side], repeats: int) -> dict[str, list[float]]:
    """Seconds of a step of every side, in every repeat."""
    calls = {name: calls_of(side) for name, side in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            seconds[name].append(duration(side, calls[name]) / (calls[name] * side.steps))
    return seconds


def calls_of(side: Side) -> int:
    """How many calls make a turn, after two that compile and warm up."""
    side()
    side()
    return max(1, round(FLAGS.turn / duration(side, 1)))


def duration(call: Callable[[], None], times: int) -> float:
    """Seconds of so many calls: of this process on its core, since others may use it too."""
    began = time.process_time()
    for _ in range(times):
        call()
    return time.process_time() - began


def ratio(seconds: Mapping[str, Sequence[float]], above: str, below: str) -> dict[str, float]:
    """Of the times of two sides, repeat by repeat."""
    found = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def installed(*names: str) -> bool:
    """Whether these are there, and wanted."""
    return FLAGS.others and all(importlib.util.find_spec(name) is not None for name in names)


def cells(measured: Mapping[str, Any]) -> tuple[str, ...]:
    """One row as text, in the order of COLUMNS."""

    def of(name: str) -> str:
        if name not in measured["ratios"]:
            return "-"
        found = measured["ratios"][name]
        mark = "\\*" if RATIOS[name][0] == "ghost" and measured["without_ghost"] else ""
        middle, low, high = (text(found[key]) for key in ("median", "min", "max"))
        return f"{middle}{mark} ({low}–{high})"

    return (
        measured["family"].upper(),
        str(measured["batch_size"]),
        *(f"{1e3 * statistics.median(measured['seconds_per_step'][name]):.2f}" for name in (PLAIN, PRIVATE)),
        *map(of, RATIOS),
    )


def text(value: float) -> str:
    """Two digits after the point below 10, one above."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def markdown(result: Mapping[str, Any]) -> str:
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
    jax.config.update("jax_platforms", "cpu")
    parallel.use_cpu_cores()
    # Opacus' hooks read outputs where no input has a gradient, which is what they are for.
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    repeats = FLAGS.repeats or (9 if FLAGS.preset == "full" else 2)
    result: dict[str, Any] = {"rows": []}
    for case in PRESETS[FLAGS.preset]:
        result["rows"].append(row(*case, repeats))
        result["machine"] = machine(PACKAGES)
        Path(FLAGS.out).write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    app.run(main)
