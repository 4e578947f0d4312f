"""States of vulnerability, how records pass between them, and when they enter the highest.

Sampling noise moves records that lie near a cut to and fro: with few models a part of all
transitions is that. NumPy, float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mia_jax.dynamics.rates import ROUNDING, by_record
from mia_jax.types import Array
from mia_jax.validation import as_numbers

CUTS = (0.2, 0.5)
"""Low, middle and high vulnerability."""


class Entry(NamedTuple):
    """How many records enter the highest state in each interval t -> t + 1.

    probability: float64 [T-1], the share of the records below it at t that are in it at t + 1, NaN
    where none are below. below: int [T-1], how many those are. peak: the largest probability, NaN
    where there is none; peak_interval: its interval, -1 where there is none.
    """

    probability: np.ndarray
    below: np.ndarray
    peak: float
    peak_interval: int


def states(vulnerability: Array, cuts: Sequence[float] = CUTS) -> np.ndarray:
    """How many of the cuts each vulnerability reaches: int8 [T, N], from 0 to S - 1; -1 where it is NaN.

    vulnerability: [T, N]. cuts: S - 1 of them, rising; a value equal to a cut has reached it. Raises
    ValueError for arrays that do not fit. Our definition.
    """
    values = by_record("vulnerability", vulnerability)
    edges = _rising(cuts)
    # 0.7 - 0.2 is 0.49999999999999994, and means one half.
    reached = np.searchsorted(edges, values.ravel() + ROUNDING, side="right").reshape(values.shape)
    return np.where(np.isnan(values), -1, reached).astype(np.int8)


def transition_matrix(vulnerability: Array, cuts: Sequence[float] = CUTS) -> np.ndarray:
    """P(state at t + 1 | state at t), from row to column: [T-1, S, S].

    vulnerability, cuts: as for `states`. Rows sum to 1, or are NaN where no record is in the state;
    records that are NaN at either end are left out of the interval. Raises ValueError. Chen et al. 2025
    (the formula is our definition).
    """
    counts = _moves(vulnerability, cuts).astype(np.float64)
    leaving = counts.sum(axis=2, keepdims=True)
    return counts / np.where(leaving > 0, leaving, np.nan)


def entry_into_highest(vulnerability: Array, cuts: Sequence[float] = CUTS) -> Entry:
    """How probably a record that is not in the highest state enters it, interval by interval.

    vulnerability, cuts: as for `states`. The peak is a largest value of shares: where few are below,
    it is chance. Raises ValueError for arrays that do not fit. Our definition.
    """
    counts = _moves(vulnerability, cuts)
    below = counts[:, :-1].sum(axis=(1, 2))
    probability = counts[:, :-1, -1].sum(axis=1) / np.where(below > 0, below, np.nan)
    if not below.any():
        return Entry(probability, below, float("nan"), -1)
    interval = int(np.nanargmax(probability))
    return Entry(probability, below, float(probability[interval]), interval)


def _moves(vulnerability: Array, cuts: Sequence[float]) -> np.ndarray:
    """How many records pass from each state to each other: int [T-1, S, S]."""
    found = states(vulnerability, cuts).astype(np.int64)
    size = len(cuts) + 1
    counts = np.zeros((len(found) - 1, size**2), np.int64)
    for at, before, after in zip(counts, found[:-1], found[1:], strict=True):
        known = (before >= 0) & (after >= 0)
        at += np.bincount(before[known] * size + after[known], minlength=size**2)
    return counts.reshape(-1, size, size)


def _rising(cuts: Sequence[float]) -> np.ndarray:
    """The cuts, float64 [S-1]. Raises ValueError."""
    edges = as_numbers("cuts", cuts)
    if edges.ndim != 1 or not edges.size or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise ValueError(f"cuts is {tuple(cuts)}: it must hold at least one number, finite and rising.")
    return edges
