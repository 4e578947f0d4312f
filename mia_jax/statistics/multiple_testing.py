"""Claims tested together: p-values adjusted so that a false one among them stays as rare as stated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mia_jax.types import Array
from mia_jax.validation import as_numbers


def holm(p_values: Array | Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values, float64 of the same shape; NaN stays NaN and does not count.

    Reject those that are at most alpha: the probability of any false rejection is then at most
    alpha, however the tests depend on one another. The i-th smallest of m is multiplied by m - i + 1,
    made no smaller than those before it, and capped at 1. Raises ValueError for values outside
    [0, 1]. Holm 1979.
    """
    values = as_numbers("p_values", p_values)
    known = ~np.isnan(values)
    wrong = np.argwhere(known & ~((values >= 0) & (values <= 1)))
    if wrong.size:
        where = tuple(int(i) for i in wrong[0])
        raise ValueError(f"p_values{list(where)} is {values[where]}: it must lie in [0, 1], or be NaN.")
    adjusted = np.full(values.shape, np.nan)
    tested = values[known]
    order = np.argsort(tested, kind="stable")
    stepped = tested[order] * np.arange(tested.size, 0, -1)
    in_place = np.empty(tested.size)
    in_place[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    adjusted[known] = in_place
    return adjusted
