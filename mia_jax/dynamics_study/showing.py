"""Records as a person can look at them: pictures, sequences, text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia_jax.dynamics_study.rows import Arm, Shown
from mia_jax.types import Dataset, Ragged


def most_exposed(arms: Sequence[Arm], count: int) -> np.ndarray:
    """The rows of the records that are most vulnerable at the end by any of the arms of one pool: int [S], rising."""
    best = np.stack([np.where(np.isnan(v), -np.inf, v) for v in (arm.vulnerability[-1] for arm in arms)])
    return np.sort(np.argsort(-best.max(axis=0), kind="stable")[:count])


def shown(dataset: Dataset, rows: np.ndarray) -> Shown:
    """These records of a data set's pool. rows: int [S]. What was standardised is stretched to its range."""
    x = dataset.pool.x
    if dataset.vocabulary_size:
        return Shown(rows, "text", [_text(dataset, int(row)) for row in rows])
    if isinstance(x, Ragged):
        values = np.asarray(x.values, np.float32)[rows]
        behind = np.arange(values.shape[1]) >= np.asarray(x.length)[rows][:, None]
        values[behind] = np.nan
        return Shown(rows, "sequence", values)
    values = np.asarray(x)
    is_image = values.ndim == 3 or (values.ndim == 4 and values.shape[3] == 3)
    if is_image:
        return Shown(rows, "image", _stretched(values, rows))
    if values.ndim == 2:
        return Shown(rows, "vector", values[rows].astype(np.float32))
    return Shown(rows, "sequence", values[rows].reshape(len(rows), values.shape[1], -1).astype(np.float32))


def _stretched(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pictures over the whole pool's range of values: uint8 [S, H, W, …]."""
    low, high = float(values.min()), float(values.max())
    return np.round((values[rows] - low) / max(high - low, 1e-12) * 255).astype(np.uint8)


def _text(dataset: Dataset, row: int) -> str:
    """The words of one record, or its token ids where the source has no words."""
    x = dataset.pool.x
    ids = np.asarray(x.values if isinstance(x, Ragged) else x)[row]
    length = int(np.asarray(x.length)[row]) if isinstance(x, Ragged) else ids.size
    words = dataset.vocabulary
    return " ".join(words[token] if token < len(words) else str(token) for token in ids[:length])
