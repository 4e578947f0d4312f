"""Time the attacks that train something, on whatever device JAX has: python -m benchmarks.learned_attacks.

Synthetic signals of K models and N records, members' labels a little surer. The first call compiles;
later ones, as at every further checkpoint, do not.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from benchmarks import markdown as made
from benchmarks.machine import machine
from mia_jax import metrics, parallel, signals
from mia_jax.attacks import loss_trajectory, quantile_regression, shadow_classifier, step_classifier

COLUMNS = ("attack", "K", "N", "first call, s", "later calls, s", "AUC")

FLAGS = flags.FLAGS
flags.DEFINE_integer("models", 64, "K.")
flags.DEFINE_integer("records", 5000, "N.")
flags.DEFINE_integer("population", 5000, "Z.")
flags.DEFINE_integer("repeats", 2, "Later calls.")
flags.DEFINE_list("attacks", ["shadow_classifier", "by_class", "trajectory", "quantile", "steps"], "Which.")
flags.DEFINE_string("out", "", "The JSON file; none: only print.")
flags.DEFINE_string("show", "", "Print the table of this JSON file in Markdown and do nothing else.")


def calls(models: int, records: int, population: int) -> tuple[np.ndarray, dict[str, Callable[[Any], Any]]]:
    """Membership [K, N], and each attack as a function of a key."""
    rng = np.random.default_rng(0)
    classes, steps, width = 10, 8, 64
    member = rng.random((models, records)) < 0.5
    labels = rng.integers(0, classes, records)

    def outputs(held: np.ndarray, y: np.ndarray) -> np.ndarray:
        hot = np.eye(classes, dtype=np.float32)[y]
        surer = 1.0 + 1.5 * held[..., None]
        return rng.normal(size=(*held.shape, classes)).astype(np.float32) + surer * hot

    logits, other_y = outputs(member, labels), rng.integers(0, classes, population)
    phi = np.asarray(signals.scaled_logit(logits, np.broadcast_to(labels, member.shape)))
    others = outputs(np.zeros((models, population), bool), other_y)
    phi_z = np.asarray(signals.scaled_logit(others, np.broadcast_to(other_y, others.shape[:2])))
    told = np.stack([-np.logaddexp(0, -(phi + rng.normal(size=phi.shape))) for _ in range(4)], axis=1)
    read = np.stack([logits + 0.5 * rng.normal(size=logits.shape) for _ in range(steps)], axis=2)
    x, z = (rng.normal(size=(n, width)).astype(np.float32) for n in (records, population))
    return member, {
        "shadow_classifier": lambda key: shadow_classifier(logits, labels, member, key=key),
        "by_class": lambda key: shadow_classifier(logits, labels, member, key=key, by_class=True),
        "trajectory": lambda key: loss_trajectory(told, member, key=key),
        "quantile": lambda key: quantile_regression(phi, x, phi_z, z, key=key),
        "steps": lambda key: step_classifier(read.astype(np.float32), labels, member, key=key),
    }


def row(name: str, attack: Callable[[Any], Any], member: np.ndarray) -> dict[str, Any]:
    """One attack's first call and later ones."""
    seconds = []
    for number in range(FLAGS.repeats + 1):
        started = time.perf_counter()
        scores = attack(jax.random.key(number))
        seconds.append(time.perf_counter() - started)
    sizes = {"num_models": member.shape[0], "num_records": member.shape[1]}
    return {"attack": name, **sizes, "seconds": seconds, "auc": metrics.auc(scores, member)}


def markdown(result: dict[str, Any]) -> str:
    """The table for a README."""
    lines = []
    for one in result["rows"]:
        later = f"{statistics.median(one['seconds'][1:]):.1f}"
        sizes = (f"{one['num_models']:,}", f"{one['num_records']:,}")
        lines.append((one["attack"], *sizes, f"{one['seconds'][0]:.1f}", later, f"{one['auc']:.3f}"))
    about = result["machine"]
    said = f"{result['device']}; {made.versions(about)}."
    return made.table(COLUMNS, lines, said)


def main(_: Sequence[str]) -> None:
    """Show a table, or measure."""
    if FLAGS.show:
        print(markdown(json.loads(Path(FLAGS.show).read_text())))
        return
    parallel.use_cpu_cores()
    device = jax.devices()[0]
    about = machine(("jax", "flax", "optax", "numpy"), accelerator=device.platform != "cpu")
    member, attacks = calls(FLAGS.models, FLAGS.records, FLAGS.population)
    result: dict[str, Any] = {
        "machine": about,
        "device": f"{len(jax.devices())} x {device.device_kind}",
        "rows": [],
    }
    for name in FLAGS.attacks:
        result["rows"].append(row(name, attacks[name], member))
        if FLAGS.out:
            Path(FLAGS.out).write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    app.run(main)
