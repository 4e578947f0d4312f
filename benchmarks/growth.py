"""What grows with the number of models, and how long a study takes to begin: python -m benchmarks.growth.

Each number of models is trained in a fresh process, which says how much memory it took at the most and what
XLA compiled. Then `scripts/run.py` is started on the digits, until its first segment is there.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

from benchmarks import markdown as made
from benchmarks.machine import machine
from mia_jax import parallel

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("jax", "flax", "optax", "numpy")
COMPILATION = "/jax/core/compile/backend_compile_duration"
SIZES = {"batch_size": 64, "train_size": 320, "pool_size": 352, "models_per_chunk": 0, "models_together": 0}
COLUMNS = ("model", "K", "peak, MiB", "state of a chunk, MiB", "the rest, MiB", "programs", "XLA compiles, s")
MIB = 2**20

FLAGS = flags.FLAGS
flags.DEFINE_list("families", ["mlp", "lstm"], "Families to train.")
flags.DEFINE_list("models", ["8", "32", "128"], "Numbers of models K.")
flags.DEFINE_integer("steps", 20, "Steps of every model: a multiple of the 5 of an epoch.")
flags.DEFINE_integer("repeats", 3, "How often the start of a study is timed.")
flags.DEFINE_string("out", str(RESULTS / "growth_cpu_2cores.json"), "The JSON file.")
flags.DEFINE_string("show", "", "Print the tables of this JSON file in Markdown and do nothing else.")
flags.DEFINE_string("only", "", "Used by the benchmark itself: train FAMILY,K and print one JSON line.")


def trained(family: str, num_models: int, steps: int) -> dict[str, Any]:
    """Train so many models in this process; what that took beyond what was there before, in bytes.

    The state is a chunk's parameters and Adam's two moments, of which there is a copy on the host wherever a
    run could go on from, and one on the device; on a CPU both are in this process.
    """
    from benchmarks import shadow_work
    from benchmarks.shadow_work import Case, Sizes

    compiled: list[float] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILATION:
            compiled.append(duration_secs)

    work = shadow_work.work_of(Case(family, num_models, steps, 1), Sizes(**SIZES))
    one = sum(leaf.nbytes for leaf in jax.tree.leaves(shadow_work.initial_params(work)))
    before = resident("VmRSS")
    jax.monitoring.register_event_duration_secs_listener(listen)
    chunk = 0
    for _, segment in shadow_work.segments(work):
        chunk = max(chunk, segment.stop - segment.start)
    return {
        "family": family,
        "num_models": num_models,
        "models_of_a_chunk": chunk,
        "peak_bytes": resident("VmHWM") - before,
        "state_bytes": 2 * 3 * one * chunk,
        "programs": len(compiled),
        "compile_s": sum(compiled),
    }


def resident(field: str) -> int:
    """Bytes of this process that are in memory, now ("VmRSS") or at the most ("VmHWM").

    Not by getrusage, of which the largest is inherited from the process that started this one.
    """
    found = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError(f"{field} is missing in /proc/self/status: this benchmark needs Linux.")
    return 1024 * int(found[1])


def seconds_to_begin() -> float:
    """From the start of a study of the digits to its first segment, one epoch of its first models.

    Nothing compiled is taken from an earlier run. Imports, data, compilation, the epoch, what is recorded
    before and after it and written are all in.
    """
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        command = [sys.executable, "scripts/run.py", "--config=configs/digits.py", f"--workdir={workdir}"]
        command += ["--config.training.epochs=40", "--config.recording.epochs=(1,40)"]
        quiet = subprocess.DEVNULL
        began = time.perf_counter()
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet) as process:
            while not any(workdir.glob("commits/*/*/*.json")):
                if process.poll() is not None:
                    raise RuntimeError(
                        "scripts/run.py ended before its first segment: run it by hand to see why."
                    )
                time.sleep(0.005)
            seconds = time.perf_counter() - began
            process.kill()
        return seconds


def in_a_fresh_process(family: str, num_models: str) -> dict[str, Any]:
    """`trained` where nothing was before."""
    command = [sys.executable, "-m", "benchmarks.growth", f"--only={family},{num_models}"]
    command.append(f"--steps={FLAGS.steps}")
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One row as text, in the order of COLUMNS."""
    return (
        row["family"].upper(),
        f"{row['num_models']:,}",
        f"{row['peak_bytes'] / MIB:.0f}",
        f"{row['state_bytes'] / MIB:.0f}",
        f"{(row['peak_bytes'] - row['state_bytes']) / MIB:.0f}",
        f"{row['programs']}",
        f"{row['compile_s']:.1f}",
    )


def markdown(result: Mapping[str, Any]) -> str:
    """The table for a README, and the line below it."""
    about = result["machine"]
    said = f"{made.all_cores(about)}; {made.versions(about)}."
    if result["begin_s"]:
        times = result["begin_s"]
        said = (
            f"From the start of `scripts/run.py --config=configs/digits.py` to its first segment, one epoch of its "
            f"first models: {statistics.median(times):.1f} s ({min(times):.1f}–{max(times):.1f}).\n\n{said}"
        )
    return made.table(COLUMNS, map(cells, result["rows"]), said)


def main(_: Sequence[str]) -> None:
    """Show the table, train once for the process that asked, or measure."""
    if FLAGS.show:
        print(markdown(json.loads(Path(FLAGS.show).read_text())))
        return
    if FLAGS.only:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_compilation_cache", False)
        parallel.use_cpu_cores()
        family, num_models = FLAGS.only.split(",")
        print(json.dumps(trained(family, int(num_models), FLAGS.steps)))
        return
    rows = [in_a_fresh_process(family, count) for family in FLAGS.families for count in FLAGS.models]
    begin = [seconds_to_begin() for _ in range(FLAGS.repeats)]
    result = {"machine": machine(PACKAGES), "steps": FLAGS.steps, "rows": rows, "begin_s": begin}
    Path(FLAGS.out).write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    app.run(main)
