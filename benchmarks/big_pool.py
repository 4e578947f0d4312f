"""Memory and time of everything after training on pools of many records: python -m benchmarks.big_pool.

A run directory is filled with synthetic signals through the package's own API, nothing is trained; then every
stage works on it in a process of its own, which reports its largest resident memory and its time.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

from benchmarks import markdown as made
from benchmarks.machine import machine
from mia_jax import config as configs
from mia_jax import keys, membership, study
from mia_jax.config import (
    Config,
    DataConfig,
    FamilyConfig,
    MembershipConfig,
    RecordingConfig,
    TrainingConfig,
)
from mia_jax.dynamics_study import calling, measuring
from mia_jax.runs import run_directory
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.signals import from_logits
from mia_jax.training import Observed, Plan, Segment
from mia_jax.types import Dataset, Records, Signals

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FAMILY, CLASSES, TESTED, MODELS_OF_A_CHUNK = "made", 10, 100, 16
NOTHING: Any = None
"""Nothing goes on from here, and nothing is looked at but signals."""

PACKAGES = ("jax", "numpy", "scipy", "tensorstore")
GOAL = {"models": 256, "records": 1_000_000, "checkpoints": 10}
"""The size that times and bytes are carried on to."""

ATTACKS = (
    "loss",
    "loss_by_class",
    "privacy_risk_score",
    "difficulty_calibration",
    "enhanced_shadow",
    "enhanced_population",
    "lira_online",
    "lira_online_auto",
    "lira_offline",
    "rmia_online",
    "loss_trajectory",
)
"""One attack at least of every kind of fit that these signals allow."""

FLAGS = flags.FLAGS
flags.DEFINE_list("pools", ["20000", "80000", "320000"], "Numbers N of records.")
flags.DEFINE_integer("models", 32, "K.", lower_bound=4)
flags.DEFINE_integer("checkpoints", 2, "T.", lower_bound=1)
flags.DEFINE_integer("population", 2000, "Z.", lower_bound=10)
flags.DEFINE_list("attacks", list(ATTACKS), "What the stage `attack` runs, of what was recorded.")
flags.DEFINE_list("stages", ["write", "attack", "report"], "Stages in the order in which they are run.")
flags.DEFINE_string("folder", "", "Where the runs are made; a folder that is removed, if none is named.")
flags.DEFINE_string("out", str(RESULTS / "big_pool_cpu_2cores.json"), "The JSON file.")
flags.DEFINE_string("show", "", "Print the table of this JSON file in Markdown and do nothing else.")
flags.DEFINE_string("only", "", "Used by the benchmark itself: work at this stage and print one JSON line.")


class Size(NamedTuple):
    """K, N, T and Z."""

    models: int
    records: int
    checkpoints: int
    population: int


def config_of(size: Size, attacks: Sequence[str]) -> Config:
    """The config of a study of this size."""
    mapping = configs.to_mapping(
        Config(
            name="big pool",
            data=DataConfig(
                source=f"synthetic:gaussian,classes={CLASSES},features=4",
                pool_size=size.records,
                population_size=size.population,
                test_size=TESTED,
            ),
            # Halves that complement each other leave nobody short of references, however few the models.
            membership=MembershipConfig(
                num_models=size.models, train_size=size.records // 2, design="paired"
            ),
            families={FAMILY: FamilyConfig(kind="mlp", hidden=4)},
            training=TrainingConfig(epochs=size.checkpoints, models_per_chunk=MODELS_OF_A_CHUNK),
            recording=RecordingConfig(num_checkpoints=size.checkpoints, parameters="none"),
        )
    )
    mapping["attacks"]["names"] = list(attacks)
    return configs.from_mapping(mapping)


def said_of(member: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Signals:
    """What made-up models say: members' logits of the label are larger by one. member: bool [M, N]."""
    found = [
        from_logits(
            rng.normal(size=(labels.size, CLASSES)).astype(np.float32)
            + np.eye(CLASSES, dtype=np.float32)[labels] * row[:, None],
            labels,
        )
        for row in member
    ]
    return Signals(*(np.stack(field) for field in zip(*found, strict=True)))


def make(folder: Path, size: Size, attacks: Sequence[str]) -> RunDirectory:
    """A run directory full of made-up signals, written as a training does."""
    config, rng = config_of(size, attacks), np.random.default_rng(0)

    def records(count: int) -> Records:
        return Records(np.zeros((count, 1), np.float32), rng.integers(0, CLASSES, count).astype(np.int32))

    facts = {"fingerprint": "made up", "num_classes": CLASSES}
    pool, population, test = (records(count) for count in (size.records, size.population, TESTED))
    dataset = Dataset(pool, population, test, CLASSES, 0, facts)
    drawn = membership.draw(keys.roots(0).membership, config.membership, size.records)
    run = run_directory.create(folder, config, dataset, drawn)
    run.keep_family(FAMILY, config.families[FAMILY], Plan(MODELS_OF_A_CHUNK, 1), 0)
    segments = run.segments(FAMILY)
    for start in range(0, size.models, MODELS_OF_A_CHUNK):
        stop = min(start + MODELS_OF_A_CHUNK, size.models)
        for checkpoint, epoch in enumerate(run.epochs):
            count = stop - start
            of_pool, of_population, of_test = (
                said_of(held, np.asarray(part.y), rng)
                for held, part in (
                    (np.asarray(drawn.member[start:stop]), pool),
                    (np.zeros((count, size.population), bool), population),
                    (np.zeros((count, TESTED), bool), test),
                )
            )
            seen = np.zeros((count, size.records), np.int32)
            observed = Observed(of_pool, of_population, of_test, seen, {}, {})
            segment = Segment(start, stop, checkpoint, epoch, observed, NOTHING)
            segments.write(segment, models_per_chunk=MODELS_OF_A_CHUNK, session=0)
    return run


def write(folder: Path, size: Size) -> None:
    """The stage that everything else needs."""
    make(folder, size, FLAGS.attacks)


def attack(folder: Path, size: Size) -> None:
    """Scores of every attack that the signals allow."""
    study.attack(run_directory.existing(folder))


def report(folder: Path, size: Size) -> None:
    """Tables, figures and the page of all scores."""
    study.report(run_directory.existing(folder))


def dynamics(folder: Path, size: Size) -> None:
    """Every record followed through the checkpoints."""
    run = run_directory.existing(folder)
    followed = calling.follow(run, FAMILY)
    # Neither records nor models are asked for where no parameters were kept.
    measuring.arm_of(followed, {"family": FAMILY}, run.config.dynamics, run.fingerprint, NOTHING, NOTHING)


STAGES: dict[str, Callable[[Path, Size], None]] = {
    "write": write,
    "attack": attack,
    "report": report,
    "dynamics": dynamics,
}
"""What is measured, by name; each in a process of its own, on what the ones before have left."""


def measured(name: str, folder: Path, size: Size) -> dict[str, Any]:
    """One stage's time and largest memory, in this process."""
    before, began = peak_bytes(), time.perf_counter()
    STAGES[name](folder, size)
    return {"seconds": time.perf_counter() - began, "peak_bytes": peak_bytes(), "bytes_before": before}


def peak_bytes() -> int:
    """The largest memory that this process has held (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_own_process(name: str, folder: Path, size: Size) -> dict[str, Any]:
    """What a stage takes in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.big_pool", *sys.argv[1:]]
    command += [f"--only={name}", f"--folder={folder}", f"--pools={size.records}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(folder: Path, size: Size) -> dict[str, Any]:
    """Every stage of one size, and the bytes that the run takes on disk."""
    stages = {name: in_own_process(name, folder, size) for name in FLAGS.stages}
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        **size._asdict(),
        "stages": stages,
        "disk_bytes": sum(path.stat().st_size for path in files),
        "files": len(files),
    }


def carried_on(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the size of the goal would take, at the largest pool's rate for each model, record and checkpoint."""
    largest = max(rows, key=lambda one: one["records"])
    times = (GOAL["models"] * GOAL["records"] * GOAL["checkpoints"]) / (
        largest["models"] * largest["records"] * largest["checkpoints"]
    )
    hours = {name: stage["seconds"] * times / 3600 for name, stage in largest["stages"].items()}
    return {**GOAL, "hours": hours, "disk_bytes": largest["disk_bytes"] * times}


def markdown(result: dict[str, Any]) -> str:
    """The table for a README."""
    names = list(result["rows"][0]["stages"])
    head = [
        "records",
        "disk, GB",
        *(f"{name}, s" for name in names),
        *(f"{name}, peak MiB" for name in names),
    ]
    lines = []
    for one in result["rows"]:
        stages = one["stages"].values()
        lines.append(
            [
                f"{one['records']:,}",
                f"{one['disk_bytes'] / 1e9:.1f}",
                *(f"{stage['seconds']:,.0f}" for stage in stages),
                *(f"{stage['peak_bytes'] / 2**20:,.0f}" for stage in stages),
            ]
        )
    goal = result["goal"]
    hours = ", ".join(f"{name} {value:,.1f} h" for name, value in goal["hours"].items())
    said = (
        f"At these rates {goal['records']:,} records, {goal['models']} models and {goal['checkpoints']} checkpoints "
        f"take {hours} and {goal['disk_bytes'] / 1e12:.2f} TB."
    )
    return made.table(head, lines, said, names=0)


def main(_: Sequence[str]) -> None:
    """Show a table, work at one stage, or measure all stages of all sizes."""
    if FLAGS.show:
        print(markdown(json.loads(Path(FLAGS.show).read_text())))
        return
    sizes = [Size(FLAGS.models, int(pool), FLAGS.checkpoints, FLAGS.population) for pool in FLAGS.pools]
    if FLAGS.only:
        print(json.dumps(measured(FLAGS.only, Path(FLAGS.folder), sizes[0])))
        return
    result: dict[str, Any] = {"machine": machine(PACKAGES), "attacks": FLAGS.attacks, "rows": []}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            result["rows"].append(row(Path(FLAGS.folder or folder) / f"pool{size.records}", size))
        result["goal"] = carried_on(result["rows"])
        Path(FLAGS.out).write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    app.run(main)
