"""What a run's models are right about: difficulties of records, and accuracies."""

from __future__ import annotations

import numpy as np

from mia_jax import blocks, dynamics
from mia_jax.dynamics_study.calling import Followed
from mia_jax.runs.segments import Segments


def correct_at(segments: Segments, checkpoint: int, records: slice) -> np.ndarray:
    """Whether each of a family's models is right about some records of the pool: bool [K, n]."""
    return segments.signal("pool/correct", checkpoint, records=records) > 0.5


def difficulty_of(
    followed: Followed, depths: np.ndarray | None, models: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Difficulties by the valid models of a part, larger = harder: [N] each. models: bool [K]; None: all.

    depths: of `prediction_depths`.
    """
    part = followed.valid if models is None else followed.valid & models
    segments = followed.run.segments(followed.family)
    found: dict[str, list[np.ndarray]] = {}
    for records in _blocks(followed):
        for name, values in _difficulty_of_some(followed, segments, depths, part, records).items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def _difficulty_of_some(
    followed: Followed, segments: Segments, depths: np.ndarray | None, part: np.ndarray, records: slice
) -> dict[str, np.ndarray]:
    """Difficulties of some records by some models: [n] each. part: bool [K]."""
    member, epochs = followed.member[part, records], followed.run.epochs
    right = (correct_at(segments, number, records)[part] for number in range(len(epochs)))
    found = {}
    if len(epochs) > 1:
        found["epoch_learned"] = dynamics.epoch_learned(right, member, np.asarray(epochs, np.float64)).epoch
    last = correct_at(segments, len(epochs) - 1, records)[part]
    found["out_error"] = 1.0 - dynamics.out_accuracy(last[:, None], member)[0]
    if depths is not None:
        some = depths[part, records]
        found["prediction_depth"] = dynamics.mean_depth(np.where(some > 0, some, np.nan), member)
    return found


def accuracies_of(followed: Followed) -> dict[str, np.ndarray]:
    """Mean accuracy of the valid models at each checkpoint, on members and on test records: [T] each."""
    found: dict[str, list[float]] = {"train_accuracy": [], "test_accuracy": []}
    segments, fit = followed.run.segments(followed.family), followed.valid
    members = int(followed.member.sum(axis=1)[fit].sum())
    for number in range(len(followed.run.epochs)):
        right = 0
        for records in _blocks(followed):
            right += int(np.sum(correct_at(segments, number, records)[fit] & followed.member[fit, records]))
        found["train_accuracy"].append(right / max(members, 1))
        found["test_accuracy"].append(float(np.mean(segments.signal("test/correct", number)[fit])))
    return {name: np.array(values) for name, values in found.items()}


def _blocks(followed: Followed) -> list[slice]:
    """The records in blocks."""
    num_models, num_records = followed.member.shape
    return blocks.blocks_of(num_records, blocks.records_at_once(num_models))
