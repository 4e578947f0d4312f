"""What an attack is: arrays in, one score per target and record out; larger = more likely a member."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from mia_jax.types import Array
from mia_jax.validation import as_mask

Side = Literal["in", "out"]


class Observations(NamedTuple):
    """What an attacker holds at one checkpoint.

    member: bool [K, N]. log_prob, scaled_logit: float [K, N]. population_log_prob: [K, Z].
    exclude: bool [K, K] or None: references to leave out beside the target. valid: bool [K], False
    for models that diverged.
    """

    member: Array
    log_prob: Array
    scaled_logit: Array
    population_log_prob: Array
    exclude: Array | None
    valid: Array


class Attack(NamedTuple):
    """An attack as data.

    score(observations) -> float64 [K, N], each model in turn the target; NaN where it cannot be
    scored. sides: references it uses, "in" (trained on the record) or "out". title, threat_model (who
    holds what) and source are for readers.
    """

    name: str
    title: str
    threat_model: str
    source: str
    sides: frozenset[Side]
    score: Callable[[Observations], np.ndarray]


def references(num_models: int, exclude: Array | None, valid: Array | None) -> tuple[np.ndarray, np.ndarray]:
    """Who is a reference for whom: bool [K, K] (row: target), and the valid models, bool [K].

    A target is never its own reference; an invalid model is nobody's.
    """
    usable = np.ones(num_models, bool) if valid is None else as_mask("valid", valid, (num_models,))
    allowed = ~np.eye(num_models, dtype=bool) & usable[None, :]
    if exclude is not None:
        allowed &= ~as_mask("exclude", exclude, (num_models, num_models))
    return allowed, usable


def check_signal(name: str, values: Array, usable: np.ndarray, last: int | None = None) -> np.ndarray:
    """A signal [K, …] in float64, finite for every usable model (others become 0). Raises ValueError."""
    signal = np.array(values, np.float64)
    if signal.ndim != 2 or signal.shape[0] != usable.size or (last is not None and signal.shape[1] != last):
        expected = f"[{usable.size}, {'…' if last is None else last}]"
        raise ValueError(f"{name} has shape {signal.shape}: it must have shape {expected}.")
    signal[~usable] = 0.0
    bad = np.argwhere(~np.isfinite(signal))
    if bad.size:
        k, n = (int(i) for i in bad[0])
        raise ValueError(
            f"{name}[{k}, {n}] is {signal[k, n]}: signals of a valid model must be finite; mark model {k} in `valid`."
        )
    return signal
