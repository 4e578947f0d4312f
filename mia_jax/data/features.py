"""Records as plain vectors, for attacks that look at the records themselves."""

from __future__ import annotations

import numpy as np

from mia_jax.types import Ragged, Records

MOST_TOKENS = 4096
"""Columns of token counts at most; larger vocabularies share columns."""


def features(records: Records, vocabulary_size: int) -> np.ndarray:
    """Every record as a vector: float32 [N, D].

    Features are flattened; of token ids (vocabulary_size > 0) it is counted how often each occurs,
    in at most 4,096 columns. What stands after the end of a ragged record is zero, or not counted.
    """
    ragged = isinstance(records.x, Ragged)
    values = np.asarray(records.x.values if ragged else records.x)
    if vocabulary_size:
        flat = values.reshape(len(values), -1)
        kept = np.arange(flat.shape[1]) < np.asarray(records.x.length)[:, None] if ragged else flat >= 0
        return _counts(flat, np.broadcast_to(kept, flat.shape), vocabulary_size)
    if ragged:
        inside = np.arange(values.shape[1]) < np.asarray(records.x.length)[:, None]
        values = values * inside.reshape(*inside.shape, *(1,) * (values.ndim - 2))
    return values.reshape(len(values), -1).astype(np.float32)


def _counts(tokens: np.ndarray, kept: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """How often each token occurs in each record: float32 [N, V]."""
    width = min(vocabulary_size, MOST_TOKENS)
    rows = np.broadcast_to(np.arange(len(tokens))[:, None], tokens.shape)
    places = rows[kept] * width + tokens[kept] % width
    return np.bincount(places, minlength=len(tokens) * width).reshape(-1, width).astype(np.float32)
