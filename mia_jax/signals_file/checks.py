"""The numbers in a file of signals, held against what they must be; one sentence where one is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mia_jax.signals_file.layout import INTEGERS, MASKS, SLICE, refuse
from mia_jax.types import Array
from mia_jax.validation import at, first

LARGEST = 1e100
"""Numbers beyond this are no signals; their squares would not be numbers any more."""

ROUNDING = 1e-6
"""How far above 0 the rounding of a log-softmax may take a log-probability."""

SUMS_TO_ONE = 0.02
"""How far from 1 probabilities of a record may sum, which may have been rounded to a few digits."""

_LOGITS = frozenset({"logits", "step_logits", "query_logits", "population_logits"})
_LOG_PROBS = frozenset({"log_prob", "query_log_prob", "population_log_prob", "trajectory"})
_MARGINS = frozenset({"scaled_logit", "query_scaled_logit", "population_scaled_logit"})
_SIZES = frozenset({"entropy", "modified_entropy", "gradient_norm", "adversarial_distance", "embedding_norm"})

_ZERO_OR_ONE = frozenset({"correct"})

Bad = Callable[[np.ndarray], np.ndarray]

_RULES: tuple[tuple[frozenset[str], Bad, str], ...] = (
    (_LOG_PROBS, lambda values: values > ROUNDING, "a log-probability is at most 0"),
    (_SIZES, lambda values: values < 0, "it must be 0 or more"),
    (_ZERO_OR_ONE, lambda values: (values != 0) & (values != 1), "it must be 1 or 0"),
)
"""Of which arrays what is wrong, and what they must be."""

_REMEDY = {
    _SIZES: "pass it as it is, neither its negative nor its logarithm",
    _ZERO_OR_ONE: "pass logits.argmax(axis=-1) == labels",
}


def converted(name: str, values: Array) -> np.ndarray:
    """The array as it is worked with: masks bool, integers int64, numbers float32 or float64.

    float32 and float64 stay what they are, and a C-contiguous array is not copied; what is shorter
    becomes float32, integers of more than 16 bits float64. Contiguous, as sums round by the layout.
    Raises `ConfigError` for a mask with other numbers than 0 and 1 and for integers beyond int64.
    Groups are returned as they came.
    """
    array = np.asarray(values)
    if name.startswith(SLICE):
        return array
    if name in MASKS:
        return _mask(name, array)
    if name in INTEGERS:
        where = first(array > np.iinfo(np.int64).max) if array.dtype.kind == "u" else None
        if where is not None:
            refuse(
                f"{at(name, where)} is {array[where]}: no label or model has such a number; save small integers."
            )
        return array.astype(np.int64, order="C", copy=False)
    short = array.dtype.itemsize <= 2
    whole = array.dtype.kind != "f"
    single = short or (not whole and array.dtype.itemsize == 4)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is then refused
        return array.astype(np.float32 if single else np.float64, order="C", copy=False)


def check_labels(name: str, labels: np.ndarray, num_classes: int | None, of: str | None) -> None:
    """Refuse labels int [N] outside 0 to C - 1. of: the array that has C classes. Raises `ConfigError`."""
    low, high = int(labels.min()), int(labels.max())
    end = np.iinfo(np.int32).max if num_classes is None else num_classes
    where = first((labels < 0) | (labels >= end))
    if where is None:
        return
    bounds = "be 0 or more" if num_classes is None else f"lie in 0 to {end - 1}, the {end} classes of {of}"
    if low == 1 and high == num_classes:
        remedy = f"they seem to count from 1, so pass {name} - 1"
    elif low < 0 and high < end:
        remedy = "leave records without a label out of every array"
    else:
        remedy = "number the classes from 0, or bring logits that have all of them"
    refuse(f"{at(name, where)} is {labels[where]}: labels must {bounds}; {remedy}.")


def check_numbers(name: str, values: np.ndarray, usable: np.ndarray | None) -> None:
    """Refuse numbers that cannot be this signal. usable: bool [K], None where axis 0 is not the models.

    What models say that are not usable may be anything. Raises `ConfigError`.
    """
    where = _find(values, usable, _not_finite)
    if where is not None:
        limit = f"finite and at most {LARGEST:g} in size" if np.isfinite(values[where]) else "a finite number"
        remedy = _finite_advice(name, values[where], where, usable)
        refuse(f"{at(name, where)} is {values[where]:.6g}: it must be {limit}; {remedy}.")
    if usable is None:
        return
    if name in _LOGITS:
        _check_no_probabilities(name, values, usable)
    if name in _MARGINS:
        _check_no_confidences(name, values, usable)
    for names, bad, meaning in _RULES:
        where = _find(values, usable, bad) if name in names else None
        if where is not None:
            remedy = _log_prob_advice(name, values, usable) if name in _LOG_PROBS else _REMEDY[names]
            refuse(f"{at(name, where)} is {values[where]:.6g}: {meaning}; {remedy}.")


def check_below_zero(name: str, values: np.ndarray, usable: np.ndarray) -> None:
    """Refuse log-probabilities of 0, of which no scaled logit can be made (`ConfigError`)."""
    where = _find(values, usable, lambda block: block >= 0)
    if where is not None:
        refuse(
            f"{at(name, where)} is {values[where]:.6g}: its scaled logit would be infinite, as records that a model is "
            f"so sure of cannot be told apart; pass {name.replace('log_prob', 'logits')} with labels or, where they "
            f"are lost, np.minimum({name}, -1e-7)."
        )


def _mask(name: str, array: np.ndarray) -> np.ndarray:
    """Booleans, of 0/1 integers too."""
    if array.dtype == bool:
        return array
    where = first((array != 0) & (array != 1))
    if where is None:
        return array.astype(bool)
    remedy = f"pass {name} == 1 if that is what is meant"
    if name == "member":
        remedy = "of indices make a mask: member = np.zeros((K, N), bool); member[k, indices[k]] = True"
    refuse(
        f"{at(name, where)} is {array[where]}: a mask holds only True/False or 1/0, never indices; {remedy}."
    )


def _find(values: np.ndarray, usable: np.ndarray | None, bad: Bad) -> tuple[int, ...] | None:
    """The first index at which `bad`, asked model by model to spare memory, says True."""
    if usable is None:
        return first(bad(values))
    for model in np.flatnonzero(usable):
        where = first(bad(values[model]))
        if where is not None:
            return (int(model), *where)
    return None


def _not_finite(values: np.ndarray) -> np.ndarray:
    """Where a number is none, or too large to be worked with."""
    bad = ~np.isfinite(values)
    # float32 does not reach so far, and would take the limit for infinity.
    return bad | (np.abs(values) > LARGEST) if values.dtype == np.float64 else bad


def _finite_advice(name: str, value: float, where: tuple[int, ...], usable: np.ndarray | None) -> str:
    """What to do about a number that is not one."""
    if name == "adversarial_distance" and value > 0:
        return "where no perturbation was found give the largest distance that was searched"
    if value == -np.inf and name in _LOGITS | _LOG_PROBS:
        return f"where it is the logarithm of a probability of 0, take {log_of('p')}"
    if value == np.inf and name in _MARGINS:
        return f"where a probability was rounded to 1, pass {name.replace('scaled_logit', 'logits')} instead"
    if usable is None:
        return "leave such records out of every array"
    return f"where model {where[0]} diverged add valid, bool [K], with valid[{where[0]}] = False"


def log_of(p: str) -> str:
    """How the logarithm of probabilities of which some may be 0 is taken. p: what a person calls them.

    A floor far below all others would make these records outliers, and a Gaussian fitted to them wide: attacks by
    likelihood ratios then look weaker than they are.
    """
    return f"np.log(np.maximum({p}, floor)), floor being half of the smallest {p} above 0"


def _check_no_probabilities(name: str, logits: np.ndarray, usable: np.ndarray) -> None:
    """Refuse a model that says probabilities where logits [K, ..., C] are due."""
    for model in np.flatnonzero(usable):
        said = logits[model]
        sums = said.sum(axis=-1, dtype=np.float64)
        percent = np.all(np.abs(sums / 100.0 - 1.0) <= SUMS_TO_ONE)
        if said.min() >= -ROUNDING and (percent or np.all(np.abs(sums - 1.0) <= SUMS_TO_ONE)):
            row = (int(model), *(0,) * (said.ndim - 1))
            shown = ", ".join(f"{value:.3g}" for value in logits[row][:3])
            more = ", …" if logits.shape[-1] > 3 else ""
            total, what, p = (100, " in percent", "p / 100") if percent else (1, "", "p")
            refuse(
                f"{at(name, row)} is [{shown}{more}], which sums to {total} as all rows of model {model} do: these "
                f"are probabilities p{what} where logits are due; as {name} pass {log_of(p)}."
            )


def _check_no_confidences(name: str, margins: np.ndarray, usable: np.ndarray) -> None:
    """Refuse probabilities where scaled logits are due."""
    if _find(margins, usable, lambda values: (values < 0) | (values > 1)) is None:
        where = (int(np.argmax(usable)), *(0,) * (margins.ndim - 1))
        refuse(
            f"{at(name, where)} is {margins[where]:.6g} and all others lie within 0 and 1 as well: these are "
            f"probabilities p where scaled logits are due; pass np.log(p) - np.log1p(-p) as {name}, or logits."
        )


def _log_prob_advice(name: str, values: np.ndarray, usable: np.ndarray) -> str:
    """What numbers above 0 may have been."""
    if _find(values, usable, lambda block: block < -ROUNDING) is not None:
        return "pass the natural logarithm of the probability of the label"
    if _find(values, usable, lambda block: block > 1) is None:
        return f"these look like probabilities, so pass {log_of(name)}"
    return f"these look like losses, so pass -{name}"
