"""What the precision of matrix products costs and changes: python -m benchmarks.precision.

The same K models, with the same keys, are trained and attacked under every precision of
config.training.matmul_precision, on whatever device JAX has. On a CPU the lower ones are float32 products of
rounded factors: there they show what rounding changes, and nothing of what it saves.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from absl import app, flags

from benchmarks import markdown as made
from benchmarks.machine import machine
from mia_jax import data, keys, membership, metrics, models, parallel
from mia_jax.attacks import lira
from mia_jax.config import DataConfig, FamilyConfig, MembershipConfig, TrainingConfig
from mia_jax.training import Segment, train_shadow_models
from mia_jax.types import Dataset, Membership

Precision = Literal["default", "high", "highest", "bfloat16", "tensorfloat32"]

PRECISIONS: tuple[Precision, ...] = ("highest", "default", "high", "tensorfloat32", "bfloat16")
"""The first is what the others are compared with."""

FAMILIES = {
    "mlp": FamilyConfig(kind="mlp", hidden=128),
    "lstm": FamilyConfig(kind="lstm", hidden=32),
}
COLUMNS = (
    "family",
    "precision",
    "time / highest",
    "train accuracy",
    "test accuracy",
    "LiRA AUC",
    "signals differ by (99 %)",
    "at most",
)
"""signals: scaled logits of the pool's records; how far they are from those under "highest"."""

FLAGS = flags.FLAGS


class World(NamedTuple):
    """What all trainings of a family share."""

    model: models.Model
    dataset: Dataset
    members: Membership
    epochs: int


class Trained(NamedTuple):
    """The segments of one training, and the seconds it took, recording and copies to the host included."""

    segments: list[Segment]
    seconds: float

    def signal(self, part: str, field: str) -> np.ndarray:
        """One signal of the last checkpoint's models, [K, N]."""
        return np.concatenate([getattr(getattr(one.observed, part), field) for one in self.segments])


def world_of(family: str, num_models: int, epochs: int) -> World:
    """Digits: 200 of 400 records for each model."""
    dataset = data.load(DataConfig())
    _, built = models.build_families({family: FAMILIES[family]}, dataset)
    roots = keys.roots(0)
    members = membership.draw(roots.membership, MembershipConfig(num_models=num_models, train_size=200), 400)
    return World(built[family], dataset, members, epochs)


def trained(world: World, precision: Precision) -> Trained:
    """One training under a precision, recorded at its end."""
    config = TrainingConfig(epochs=world.epochs, matmul_precision=precision)
    began = time.perf_counter()
    segments = list(
        train_shadow_models(world.model, world.dataset, world.members, config, (world.epochs,), keys.roots(0))
    )
    return Trained(segments, time.perf_counter() - began)


def rows(family: str, world: World, repeats: int) -> Iterator[dict[str, Any]]:
    """One row for each precision; their trainings are timed in turn, so that other work slows all alike."""
    last = {precision: trained(world, precision) for precision in PRECISIONS}
    seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in range(repeats):
        for precision in PRECISIONS:
            seconds[precision].append(trained(world, precision).seconds)
    exact = last["highest"].signal("pool", "scaled_logit")
    for precision, one in last.items():
        logit, correct = one.signal("pool", "scaled_logit"), one.signal("pool", "correct")
        difference = np.abs(logit.astype(np.float64) - exact)
        ratios = [a / b for a, b in zip(seconds[precision], seconds["highest"], strict=True)]
        yield {
            "family": family,
            "precision": precision,
            "num_models": len(logit),
            "seconds": seconds[precision],
            "time_ratio": statistics.median(ratios),
            "train_accuracy": float(correct[world.members.member].mean()),
            "test_accuracy": float(one.signal("test", "correct").mean()),
            "lira_auc": metrics.auc(lira(logit, world.members.member), world.members.member),
            "difference_99": float(np.quantile(difference, 0.99)),
            "difference": float(difference.max()),
        }


def markdown(result: dict[str, Any]) -> str:
    """The table for a README."""
    lines = []
    for row in result["rows"]:
        numbers = [f"{row[name]:.3f}" for name in ("train_accuracy", "test_accuracy", "lira_auc")]
        differences = [f"{row[name]:.2g}" for name in ("difference_99", "difference")]
        lines.append((row["family"], row["precision"], f"{row['time_ratio']:.2f}", *numbers, *differences))
    about = result["machine"]
    said = (
        f"{result['device']}; K = {result['rows'][0]['num_models']}, {result['epochs']} epochs; "
        f"{made.versions(about)}."
    )
    return made.table(COLUMNS, lines, said, names=2)


def define_flags() -> None:
    """The flags; not at import, where they would meet those of another benchmark."""
    flags.DEFINE_integer("models", 32, "K.")
    flags.DEFINE_integer("epochs", 40, "Of every training.")
    flags.DEFINE_integer("repeats", 3, "Trainings that are timed, after one to compile; the median is shown.")
    flags.DEFINE_list("families", list(FAMILIES), "Which.")
    flags.DEFINE_string("out", "", "The JSON file; none: only print.")
    flags.DEFINE_string("show", "", "Print the table of this JSON file in Markdown and do nothing else.")


def main(_: Sequence[str]) -> None:
    """Show a table, or measure."""
    if FLAGS.show:
        print(markdown(json.loads(Path(FLAGS.show).read_text())))
        return
    parallel.use_cpu_cores()
    device = jax.devices()[0]
    result: dict[str, Any] = {
        "machine": machine(("jax", "flax", "optax", "numpy"), accelerator=device.platform != "cpu"),
        "device": f"{len(jax.devices())} x {device.device_kind}",
        "epochs": FLAGS.epochs,
        "rows": [],
    }
    for family in FLAGS.families:
        result["rows"] += rows(family, world_of(family, FLAGS.models, FLAGS.epochs), FLAGS.repeats)
        if FLAGS.out:
            Path(FLAGS.out).write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    define_flags()
    app.run(main)
