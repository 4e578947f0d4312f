"""Time the training of shadow models side by side with PyTorch, a loop and vmap: python -m benchmarks.train.

Every setting ("one_thread" and "all_cores", on an accelerator "device") runs in a process of its
own, because XLA's threads are fixed when JAX starts. benchmarks/README.md says what is measured.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, flags
from rich.console import Console

from benchmarks import table, torch_workers
from benchmarks.machine import machine
from mia_jax import parallel

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("jax", "flax", "optax", "numpy", "torch")
SETTINGS = ("one_thread", "all_cores", "device")
FAMILIES = ("mlp", "rnn", "gru", "lstm")
MODELS = ["1", "8", "32", "128"]
MODELS_ON_ACCELERATOR = ["1", "32", "128", "1024"]
TORCH_MODELS_ON_ACCELERATOR = 4
PRESETS = {
    "": (),
    "gpu": (("mlp", 1024, 1500), ("lstm", 256, 750), ("gru", 256, 750), ("rnn", 256, 750)),
}
QUICK = {"families": ["mlp", "gru"], "models": ["2"], "steps": 5, "repeats": 1}

FLAGS = flags.FLAGS
flags.DEFINE_enum(
    "preset", "", list(PRESETS), "gpu: 1,024 MLPs x 1,500 steps; 256 LSTMs, GRUs and RNNs x 750 steps."
)
flags.DEFINE_bool("quick", False, "A minute instead of an hour: few models, few steps; writes only to --out.")
flags.DEFINE_list("families", list(FAMILIES), "Families to train.")
flags.register_validator("families", lambda names: set(names) <= set(FAMILIES), f"Of {FAMILIES}.")
flags.DEFINE_list(
    "models", None, "Numbers of models K. Default: 1,8,32,128; on an accelerator 1,32,128,1024."
)
flags.DEFINE_integer("steps", 60, "Steps of every model in one repeat: a multiple of the steps of an epoch.")
flags.DEFINE_integer("repeats", 5, "How often both sides do the same work, in turn.")
flags.DEFINE_integer("batch_size", 64, "Records of a step.")
flags.DEFINE_integer("train_size", 320, "Members n of each model.")
flags.DEFINE_integer("pool_size", 352, "Records N of the pool; ours records their signals once a repeat.")
flags.DEFINE_integer("models_per_chunk", 0, "As in the config; 0: chosen for the device.")
flags.DEFINE_integer("models_together", 0, "As in the config; 0: chosen for the device.")
flags.DEFINE_list("settings", None, "Of one_thread, all_cores, device. Default: what the machine has.")
flags.register_validator("settings", lambda names: set(names or ()) <= set(SETTINGS), f"Of {SETTINGS}.")
flags.DEFINE_bool("torch", True, "Whether to time PyTorch too, where it is installed.")
flags.DEFINE_integer(
    "torch_models", 0, "Models that PyTorch trains, the first of each K. 0: all; on an accelerator 4."
)
flags.DEFINE_bool("vmap", True, "Whether to time models mapped by torch.func too, where PyTorch is timed.")
flags.DEFINE_float(
    "most_seconds", 600.0, "The most that a repeat of PyTorch may take, or its row says so instead."
)
flags.DEFINE_string("out", "", "The JSON file. Default: benchmarks/results/train_<machine-kind>.json.")
flags.DEFINE_string("show", "", "Print the table of this JSON file in Markdown and do nothing else.")
flags.DEFINE_string("setting", "", "Used by the benchmark itself: run one setting and print JSON lines.")


def main(_: Sequence[str]) -> None:
    """Show a table, run one setting, or run them all."""
    if FLAGS.quick:
        for name, value in QUICK.items():
            FLAGS[name].value = value
    if FLAGS.show:
        print(table.markdown(json.loads(Path(FLAGS.show).read_text())))
    elif FLAGS.setting:
        run_setting(FLAGS.setting)
    else:
        run_all()


def run_all() -> None:
    """Every setting in a process of its own; then the table, and the JSON file."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    settings = FLAGS.settings or default_settings()
    if not with_torch(settings):
        console.print("Without PyTorch (not installed, or --notorch): ours alone is timed.")
    about = machine(PACKAGES, accelerator="device" in settings)
    result: dict[str, Any] = {"machine": about, "sizes": sizes(), "limits": {}, "rows": []}
    for setting in settings:
        for message in messages_of(setting):
            row = message["row"]
            result["rows"].append(row)
            result["limits"][setting] = message["limit"]
            result["machine"]["device"] = message["device"]
            write(result)
            console.print(f"{setting} {row['family']} K={row['num_models']}: done", highlight=False)
    console.print(table.terminal(result))
    written = write(result)
    if written:
        console.print(f"Written: {written}")


def write(result: dict[str, Any]) -> Path | None:
    """Write the JSON file, after every row: a run that is stopped keeps what it has."""
    if FLAGS.quick and not FLAGS.out:
        return None
    path = Path(FLAGS.out or RESULTS / f"train_{kind_of(result['machine'])}.json")
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def run_setting(setting: str) -> None:
    """One setting, in this process, its threads chosen before JAX starts."""
    if setting == "one_thread":
        # One core for this process, and for the workers that it starts.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if setting != "device":
        jax.config.update("jax_platforms", "cpu")
        parallel.use_cpu_cores()
    from benchmarks import side_by_side
    from benchmarks.shadow_work import Case, Sizes

    cases = [Case(*case, FLAGS.repeats) for case in PRESETS[FLAGS.preset]]
    if not cases:
        counts = FLAGS.models or (MODELS_ON_ACCELERATOR if setting == "device" else MODELS)
        cases = [Case(f, int(count), FLAGS.steps, FLAGS.repeats) for f in FLAGS.families for count in counts]
    counts = {side_by_side.LOOP: torch_models(setting), side_by_side.VMAP: vmap_models(setting)}
    given = (setting, cases, Sizes(**sizes()))
    for message in side_by_side.run(*given, counts=counts, most_seconds=FLAGS.most_seconds):
        print(json.dumps(message), flush=True)


def messages_of(setting: str) -> Iterator[dict[str, Any]]:
    """Run one setting in a process of its own; what it has to say, as it comes."""
    command = [sys.executable, "-m", "benchmarks.train", *sys.argv[1:], f"--setting={setting}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)
    if process.returncode:
        raise SystemExit(process.returncode)


def default_settings() -> list[str]:
    """What the machine has; asked in another process, since this one must not start JAX."""
    ask = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    backend = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    return ["one_thread", "all_cores"] if backend == "cpu" else ["device"]


def with_torch(settings: Sequence[str]) -> bool:
    """Whether the other side is timed; on an accelerator only where PyTorch can use it too."""
    return FLAGS.torch and torch_workers.installed(cuda="device" in settings)


def torch_models(setting: str) -> int:
    """The most models that PyTorch trains; one after another, its time grows as their number does."""
    if not with_torch([setting]):
        return 0
    return FLAGS.torch_models or (TORCH_MODELS_ON_ACCELERATOR if setting == "device" else sys.maxsize)


def vmap_models(setting: str) -> int:
    """The most models that PyTorch maps over: all of them, since together they may be faster than alone."""
    return sys.maxsize if FLAGS.vmap and with_torch([setting]) else 0


def sizes() -> dict[str, int]:
    """The sizes that all rows share."""
    names = ("batch_size", "train_size", "pool_size", "models_per_chunk", "models_together")
    return {name: int(FLAGS[name].value or 0) for name in names}


def kind_of(machine: dict[str, Any]) -> str:
    """The machine in the name of a file."""
    if "cores" in machine:
        return f"cpu_{machine['cores']}cores"
    return re.sub(r"\W+", "_", machine["device"].lower())


if __name__ == "__main__":
    app.run(main)
