"""Halves of the models, whose findings share no noise: how they are drawn, kept apart, and what each says of records.

NumPy, float64.
"""

from __future__ import annotations

import numpy as np

from mia_jax.dynamics.rates import rates, sides
from mia_jax.statistics.roc import leaders
from mia_jax.types import Array
from mia_jax.validation import as_mask, check_generator, check_whole


def model_halves(
    num_models: int, splits: int, rng: np.random.Generator, twin: Array | None = None
) -> np.ndarray:
    """Random splits of the models into two halves, twins in one half: bool [splits, K], True for the first.

    twin: int [K], the model with the complementary records (-1: none). Halves differ by one pair at
    most. Raises ValueError for fewer than two models or pairs, or no split.
    """
    check_generator("rng", rng)
    check_whole("num_models", num_models, 0)
    first = leaders(num_models, twin)
    groups = np.unique(first)
    if len(groups) < 2 or splits < 1:
        raise ValueError(
            f"num_models, splits are {num_models}, {splits}: at least two models (or pairs of twins) and one split "
            "are needed."
        )
    drawn = rng.permuted(np.tile(groups, (splits, 1)), axis=1)[:, : len(groups) // 2]
    return np.array([np.isin(first, half) for half in drawn])


def apart(half: Array) -> np.ndarray:
    """Which references attacks must leave out to keep two halves of the models apart: bool [K, K].

    half: bool [K]. For an attack's `exclude`: with it, no call of one half depends on the other.
    """
    first = np.asarray(half, bool)
    return first[:, None] != first[None, :]


def both_ways(halves: Array, num_models: int) -> np.ndarray:
    """Splits [P, K] and then their rests, bool [2P, K], models on both sides of each. Raises ValueError."""
    shape = np.shape(halves)
    if len(shape) != 2 or shape[1] != num_models or not shape[0]:
        raise ValueError(
            f"halves has shape {shape}: it must be [P, K] with the {num_models} models of member."
        )
    splits = as_mask("halves", halves, shape)
    empty = splits.all(axis=1) | ~splits.any(axis=1)
    if empty.any():
        raise ValueError(f"halves[{int(np.argmax(empty))}] has all models on one side: both need some.")
    return np.concatenate([splits, ~splits])


def by_part(
    called: np.ndarray, held: np.ndarray, present: np.ndarray | None, parts: np.ndarray
) -> np.ndarray:
    """The vulnerability of each record by each part of the models at one checkpoint: [P, N].

    called, held, present: bool [K, N], the calls, who is a member, and where there is a call (None: everywhere).
    parts: bool [P, K].
    """
    found = []
    for part in parts:
        fpr, tpr = rates(called[part], sides(held[part], None if present is None else present[part]))
        found.append(tpr - fpr)
    return np.stack(found)
