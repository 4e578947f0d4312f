"""Checks of arrays that people bring, each failing with one sentence."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from mia_jax.types import Array

NUMBERS = "biuf"
"""The dtype kinds that compare with 0 and 1: booleans, integers and real numbers."""


def first(bad: Array) -> tuple[int, ...] | None:
    """The index of the first True entry of a boolean array of any shape, in C order; None where there is none."""
    bad = np.asarray(bad)
    if not bad.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))


def at(name: str, where: tuple[int, ...]) -> str:
    """An entry of an array as it is written in Python: `member[0, 3]`."""
    return f"{name}[{', '.join(map(str, where))}]" if where else name


def as_numbers(name: str, values: Any, *, keep: bool = False) -> np.ndarray:
    """An array in float64. Raises ValueError naming it where it holds anything but numbers, or is ragged.

    keep: leave real numbers in the dtype they have.
    """
    try:
        array = np.asarray(values)
        return array if keep and array.dtype.kind in NUMBERS else array.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} is no array of numbers: it must hold real numbers only, and lists in it must be of one length."
        ) from None


def check_number(name: str, value: Any, fits: Callable[[Any], Any], allowed: str) -> None:
    """Refuse what is not one number, or one that does not fit. allowed: what follows "it must". Raises ValueError."""
    try:
        good = bool(fits(value))
    except (TypeError, ValueError):  # a text or nothing; several numbers
        good = False
    if not good:
        raise ValueError(f"{name} is {_shown(value)}: it must {allowed}.")


def check_confidence(confidence: float) -> None:
    """Refuse what is no confidence (ValueError)."""
    check_number("confidence", confidence, lambda share: 0 < share < 1, "lie in (0, 1), for example 0.95")


def check_whole(name: str, value: Any, least: int, why: str = "") -> None:
    """Refuse what is no whole number, or too small. why: what ends the sentence. Raises ValueError."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < least:
        kind = "at least" if whole else "a whole number of at least"
        raise ValueError(f"{name} is {_shown(value)}: it must be {kind} {least}{why}.")


def check_generator(name: str, rng: Any) -> None:
    """Refuse what is no random generator of NumPy (ValueError)."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            f"{name} is {_shown(rng)}: it must be a generator of NumPy, as numpy.random.default_rng(0)."
        )


def as_twin(twin: Array, num_models: int) -> np.ndarray:
    """Who is whose twin, int [K], -1 for none. Raises ValueError where `wrong_twin` finds something."""
    array = np.asarray(twin)
    if array.shape != (num_models,):
        raise ValueError(f"twin has shape {array.shape}: it must have shape ({num_models},).")
    if array.dtype.kind not in "iu":
        raise ValueError(f"twin has dtype {array.dtype}: it must hold integers, the numbers of models.")
    wrong = wrong_twin(array)
    if wrong is not None:
        raise ValueError(wrong)
    return array


def wrong_twin(twin: np.ndarray, otherwise: str = "") -> str | None:
    """What is wrong with a twin int [K]: one that is no other model, or whose own twin is another; None: nothing.

    otherwise: what ends the sentence on the second.
    """
    models = np.arange(twin.size)
    where = first((twin < -1) | (twin >= twin.size) | (twin == models))
    if where is not None:
        return (
            f"{at('twin', where)} is {twin[where]}: it must be another model, 0 to {twin.size - 1}, or -1 where model "
            f"{where[0]} has no twin; count models from 0."
        )
    where = first((twin >= 0) & (twin[twin] != models))
    if where is not None:
        other = int(twin[where])
        said = f"{at('twin', where)} is {other}, but twin[{other}] is {twin[other]}"
        return f"{said}: twins must name each other{otherwise}."
    return None


def as_mask(name: str, values: Array, shape: tuple[int, ...]) -> np.ndarray:
    """A boolean array of `shape`; 0/1 integers are taken as booleans, never as indices.

    Raises ValueError naming the array.
    """
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: it must have shape {shape}.")
    if array.dtype == bool:
        return array
    if array.dtype.kind not in NUMBERS:
        raise ValueError(f"{name} has dtype {array.dtype}: a mask holds only True/False or 1/0.")
    where = first((array != 0) & (array != 1))
    if where is not None:
        raise ValueError(f"{at(name, where)} is {array[where]}: a mask holds only True/False or 1/0.")
    return array.astype(bool)


def _shown(value: Any) -> str:
    """A value as a person wrote it: text in quotes."""
    return repr(value) if isinstance(value, str) else str(value)
