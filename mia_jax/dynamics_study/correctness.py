"""What a run's models are right about: difficulties of records, and accuracies."""

from __future__ import annotations

import numpy as np

from mia_jax import dynamics
from mia_jax.dynamics_study.calling import Followed
from mia_jax.study import observing


def correct_at(followed: Followed, checkpoint: int) -> np.ndarray:
    """Whether each model is right about each record of the pool: bool [K, N]."""
    ours = observing.columns(followed.run.config, "pool")
    return followed.run.segments(followed.family).signal("pool/correct", checkpoint)[:, ours] > 0.5


def difficulty_of(
    followed: Followed, depths: np.ndarray | None, models: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Difficulties by the valid models of a part, larger = harder: [N] each. models: bool [K]; None: all."""
    part = followed.valid if models is None else followed.valid & models
    member, epochs = followed.member[part], followed.run.epochs
    right = (correct_at(followed, number)[part] for number in range(len(epochs)))
    found = {}
    if len(epochs) > 1:
        found["epoch_learned"] = dynamics.epoch_learned(right, member, np.asarray(epochs, np.float64)).epoch
    last = correct_at(followed, len(epochs) - 1)[part]
    found["out_error"] = 1.0 - dynamics.out_accuracy(last[:, None], member)[0]
    if depths is not None:
        found["prediction_depth"] = dynamics.mean_depth(depths[part], member)
    return found


def accuracies_of(followed: Followed) -> dict[str, np.ndarray]:
    """Mean accuracy of the valid models at each checkpoint, on members and on test records: [T] each."""
    found: dict[str, list[float]] = {"train_accuracy": [], "test_accuracy": []}
    segments, fit = followed.run.segments(followed.family), followed.valid
    for number in range(len(followed.run.epochs)):
        right, member = correct_at(followed, number)[fit], followed.member[fit]
        found["train_accuracy"].append(float(np.sum(right & member) / max(np.sum(member), 1)))
        found["test_accuracy"].append(float(np.mean(segments.signal("test/correct", number)[fit])))
    return {name: np.array(values) for name, values in found.items()}
