"""How the records of one checkpoint are spread over the unit square: entropy and clustering.

Both are of the same histogram of bins x bins equal cells. NumPy, float64.
"""

from __future__ import annotations

import numpy as np

from mia_jax.dynamics.rates import ROUNDING, on_plane
from mia_jax.types import Array
from mia_jax.validation import check_whole


def spatial_entropy(fpr: Array, tpr: Array, bins: int = 20) -> np.ndarray:
    """The entropy of the cloud's histogram over [0, 1] x [0, 1], in bits: [T]; NaN without records.

    fpr, tpr: [T, N]; records without either rate are left out. bins: cells along each side. It lies
    between 0 (one cell holds all) and log2 of the smaller of N and bins^2, and is too low where cells
    are many for the records: compare equal N only. Rates of m models take m + 1 values, of which
    some cells may get none. Raises ValueError for arrays that do not fit. Chen et al. 2025 (the formula
    is our definition).
    """
    counts = _histograms(fpr, tpr, bins)
    total = counts.sum(axis=1)
    share = counts / np.where(total > 0, total, np.nan)[:, None]
    return np.sum(-share * np.log2(np.where(share > 0, share, 1.0)), axis=1) + 0.0


def clustering_index(fpr: Array, tpr: Array, bins: int = 20) -> np.ndarray:
    """How many times more often two records share a cell than two uniform ones would: [T].

    fpr, tpr, bins: as for `spatial_entropy`. Morisita's index (1959), bins^2 sum c (c - 1) / (n (n - 1))
    of the cells' counts c, with n records: 1 on average for uniform ones whatever n, bins^2 where one
    cell holds all; NaN for fewer than two records. That this index is meant by clustering is our
    choice. Raises ValueError for arrays that do not fit.
    """
    counts = _histograms(fpr, tpr, bins)
    total = counts.sum(axis=1)
    pairs = np.where(total > 1, total * (total - 1.0), np.nan)
    return bins**2 * np.sum(counts * (counts - 1.0), axis=1) / pairs


def _histograms(fpr: Array, tpr: Array, bins: int) -> np.ndarray:
    """The number of records in each cell: int [T, bins^2]."""
    check_whole("bins", bins, 1)
    fpr, tpr = on_plane(fpr, tpr)
    counts = np.zeros((len(fpr), bins**2), np.int64)
    for at, x, y in zip(counts, fpr, tpr, strict=True):
        known = ~np.isnan(x + y)
        cell = _cells(x[known], bins) * bins + _cells(y[known], bins)
        at += np.bincount(cell, minlength=bins**2)
    return counts


def _cells(rate: np.ndarray, bins: int) -> np.ndarray:
    """The cell of each rate, closed below; the last one also above."""
    # Rates often lie on an edge, and 0.29 * 100 is 28.999…: without a nudge the cell would be chance.
    return np.minimum((rate * bins + ROUNDING).astype(np.int64), bins - 1)
