"""Arrays of a file that say the same thing must agree: a person who mixed two up must hear it."""

from __future__ import annotations

import numpy as np

from mia_jax.signals_file.layout import refuse
from mia_jax.validation import at, first

AGREE, AGREE_FLOAT16 = 0.02, 0.1
"""How far two accounts of one signal may be apart, times 1 + its size: above what rounding does."""


def check_agrees(
    name: str,
    given: np.ndarray,
    derived: np.ndarray,
    usable: np.ndarray,
    source: str,
    tolerance: float = AGREE,
) -> None:
    """Refuse an array that says another thing than the one it can be derived from (`ConfigError`).

    given, derived: [K, ...]. source: what `derived` was made of.
    """
    for model in np.flatnonzero(usable):
        apart = np.abs(given[model] - derived[model]) > tolerance * (1.0 + np.abs(derived[model]))
        where = first(apart)
        if where is not None:
            refuse(contradiction(name, (int(model), *where), given, derived[(model, *where)], source))


def check_correct(
    correct: np.ndarray, logits: np.ndarray, labels: np.ndarray, derived: np.ndarray, usable: np.ndarray
) -> None:
    """Refuse `correct` where logits say otherwise, and not by a hair, which rounding may turn (`ConfigError`).

    correct, derived: [K, N]. logits: [K, N, C]. labels: int [N].
    """
    for model in np.flatnonzero(usable):
        records = np.flatnonzero(correct[model] != derived[model])
        said = np.asarray(logits[model][records], np.float64)
        own = np.take_along_axis(said, labels[records, None], axis=-1)[:, 0]
        np.put_along_axis(said, labels[records, None], -np.inf, axis=-1)
        rival = said.max(axis=-1, initial=-np.inf)
        where = first(np.abs(own - rival) > AGREE * (1.0 + np.abs(own)))
        if where is not None:
            place = (int(model), int(records[where[0]]))
            refuse(contradiction("correct", place, correct, derived[place], "logits with labels"))


def check_first_query(query: np.ndarray, own: np.ndarray, usable: np.ndarray) -> None:
    """Refuse queries of which the first is not the record itself (`ConfigError`).

    query: scaled logits [K, N, Q]. own: [K, N].
    """
    for model in np.flatnonzero(usable):
        where = first(np.abs(query[model, :, 0] - own[model]) > AGREE_FLOAT16 * (1.0 + np.abs(own[model])))
        if where is not None:
            place = (int(model), *where)
            refuse(
                f"{at('query_scaled_logit', (*place, 0))}, given or derived, is {query[(*place, 0)]:.6g}, where "
                f"{at('scaled_logit', place)} is {own[place]:.6g}: the first query must be the record itself; put it "
                "there unchanged, and its changed versions after it."
            )


def check_time(trajectory: np.ndarray, log_prob: np.ndarray, usable: np.ndarray) -> None:
    """Refuse a trajectory [K, T, N] that ends where the models began (`ConfigError`). log_prob: [K, N]."""

    def distance(checkpoint: int) -> np.ndarray:
        return np.abs(trajectory[usable, checkpoint] - log_prob[usable]) / (1.0 + np.abs(log_prob[usable]))

    where = first(distance(-1) > AGREE)
    if where is not None and np.all(distance(0) <= AGREE):
        place = (int(np.flatnonzero(usable)[where[0]]), where[1])
        last = (place[0], trajectory.shape[1] - 1, place[1])
        refuse(
            f"{at('trajectory', last)} is {trajectory[last]:.6g}, where {at('log_prob', place)} is "
            f"{log_prob[place]:.6g} as in the first checkpoint: checkpoints must stand in the order of time; pass "
            "trajectory[:, ::-1]."
        )


def contradiction(name: str, where: tuple[int, ...], given: np.ndarray, derived: float, source: str) -> str:
    """The sentence on two accounts of one number."""
    return (
        f"{at(name, where)} is {given[where]:.6g}, where {source} gives {derived:.6g}: the two must not contradict "
        f"each other; bring models and records to one order in both, or leave {name} out, as it is derived."
    )
