"""Metric attacks on published predictions of models that nobody here trained.

python -m benchmarks.published_predictions --predictions=location30_predictions.npz --labels=location30.npz

The predictions are those of Song & Mittal 2021 (Location-30, undefended and behind MemGuard); the
labels are the set's own, by index. Thresholds are fitted for each class on the shadow model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from absl import app, flags

from benchmarks import markdown as made
from mia_jax.attacks import class_thresholds, metric_scores
from mia_jax.attacks.metric_threshold import Metric

RESULTS = Path(__file__).resolve().parent / "results" / "published_predictions.json"
DEFENCES = {"undefended": "", "MemGuard": "_memguard"}

FLAGS = flags.FLAGS
flags.DEFINE_string("predictions", None, "The .npz with target_probs, shadow_probs and their members.")
flags.DEFINE_string("labels", None, "The .npz with y, the labels of the whole set.")
flags.DEFINE_string("show", "", "Print the table of this JSON file in Markdown and do nothing else.")


def accuracies(given: dict[str, np.ndarray], y: np.ndarray) -> dict[str, dict[str, float]]:
    """Balanced accuracy by metric and defence."""
    return {
        metric: {name: accuracy(given, y, metric, suffix) for name, suffix in DEFENCES.items()}
        for metric in get_args(Metric)
    }


def accuracy(given: dict[str, np.ndarray], y: np.ndarray, metric: Metric, suffix: str) -> float:
    """Balanced accuracy of class-wise thresholds that were fitted on the shadow model."""
    labels = {side: y[given[f"{side}_index"]] for side in ("target", "shadow")}
    scores = {side: metric_scores(given[f"{side}_probs{suffix}"], labels[side], metric) for side in labels}
    held = given["target_member"].astype(bool)
    called = class_thresholds(
        scores["shadow"],
        labels["shadow"],
        given["shadow_member"],
        scores["target"],
        labels["target"],
        int(y.max()) + 1,
    )
    return float(0.5 * (called[held].mean() + 1.0 - called[~held].mean()))


def markdown(found: dict[str, dict[str, float]]) -> str:
    """The table for a README."""
    lines = [(name.replace("_", " "), *(f"{row[d]:.4f}" for d in DEFENCES)) for name, row in found.items()]
    return made.table(("metric", *DEFENCES), lines)


def main(_: Sequence[str]) -> None:
    """Show the table, or make it."""
    if FLAGS.show:
        print(markdown(json.loads(Path(FLAGS.show).read_text())))
        return
    found = accuracies(dict(np.load(FLAGS.predictions)), np.load(FLAGS.labels)["y"].astype(int))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(markdown(found))


if __name__ == "__main__":
    app.run(main)
