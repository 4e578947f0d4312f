"""The arrays of a file of signals: their names, axes and dtypes, checked before a number is read."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, NoReturn

import numpy as np

from mia_jax.config import ConfigError

AXES = {
    "member": "KN",
    "valid": "K",
    "twin": "K",
    "exclude": "KK",
    "labels": "N",
    "logits": "KNC",
    "log_prob": "KN",
    "scaled_logit": "KN",
    "entropy": "KN",
    "modified_entropy": "KN",
    "correct": "KN",
    "step_logits": "KNLC",
    "trajectory": "KTN",
    "query_logits": "KNQC",
    "query_log_prob": "KNQ",
    "query_scaled_logit": "KNQ",
    "gradient_norm": "KN",
    "adversarial_distance": "KN",
    "embedding_norm": "KN",
    "embedding": "KNE",
    "features": "N…",
    "population_labels": "Z",
    "population_logits": "KZC",
    "population_log_prob": "KZ",
    "population_scaled_logit": "KZ",
    "population_features": "Z…",
}
"""Every array that is read and its axes; … stands for any further axes."""

SLICE = "slice_"
"""Begins the name of an array [N] or [K, N] that says which group a record belongs to."""

FEWEST = {"K": 4, "N": 2, "C": 2}
"""The shortest that an axis may be, where that is not 1."""

SIGNALS = frozenset(name for name, axes in AXES.items() if axes[0] == "K" and "N" in axes) - {"member"}
"""The arrays of which a file must hold at least one."""

MASKS = frozenset({"member", "valid", "exclude"})
INTEGERS = frozenset({"labels", "population_labels", "twin"})

_MEANING = {
    "K": "models",
    "N": "records",
    "C": "classes",
    "L": "steps",
    "T": "checkpoints",
    "Q": "queries",
    "Z": "population records",
    "E": "entries of an embedding",
}

_LABELS_NEEDED = {
    "logits": "labels",
    "query_logits": "labels",
    "population_logits": "population_labels",
    "population_features": "features",
}
"""Arrays that say nothing without another."""

_FOREIGN = {
    "member": ("in", "keep", "mask", "is_member", "membership", "in_out"),
    "labels": ("y", "label", "target", "targets", "classes"),
    "features": ("x", "data", "inputs", "records"),
    "log_prob, as the negative of the loss (cross-entropy in nats)": ("loss", "losses", "cross_entropy"),
    "logits, as np.log(np.maximum(p, floor)), floor being half of the smallest p above 0": (
        "p",
        "probs",
        "probabilities",
        "predictions",
        "softmax",
    ),
    "scaled_logit": ("phi", "margin", "margins"),
}
"""What others call these arrays."""


class Header(NamedTuple):
    """What is known of an array before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype


class Extent(NamedTuple):
    """The length of an axis, and the array that it was first seen in."""

    length: int
    name: str
    shape: tuple[int, ...]


def refuse(sentence: str) -> NoReturn:
    """Raise the `ConfigError` that says what is wrong and what to do."""
    raise ConfigError(sentence)


def check_names(names: Iterable[str]) -> None:
    """Refuse names that nothing reads, and a file without `member` or without any signal (`ConfigError`)."""
    names = list(names)
    for name in names:
        if name not in AXES and not (name.startswith(SLICE) and len(name) > len(SLICE)):
            refuse(f"{name} is no array that is read, and none is ignored: {_closest(name)}.")
    if "member" not in names:
        has = f"there are only {', '.join(sorted(names))}" if names else "there is no array at all"
        refuse(
            f"member is missing ({has}): add member, bool [K, N], True where model k was trained on record n."
        )
    if not SIGNALS & set(names):
        refuse(
            "member is there, but nothing that the models say of the records: add logits [K, N, C] with labels "
            "[N], or log_prob [K, N] or another signal."
        )
    for name, other in _LABELS_NEEDED.items():
        if name in names and other not in names:
            refuse(
                f"{name} is there without {other}: add {other} [{', '.join(AXES[other])}], or leave {name} out."
            )


def check_dtype(name: str, dtype: np.dtype) -> None:
    """Refuse a dtype that cannot be what the array is for (`ConfigError`)."""
    if dtype.hasobject:
        refuse(
            f"{name} has dtype {dtype}: Python objects (pickles) are never loaded; save numbers, and lists of "
            "unequal lengths padded to one length."
        )
    if name.startswith(SLICE):
        if dtype.kind not in "biuUS":
            refuse(
                f"{name} has dtype {dtype}: groups are named by integers, booleans or strings; cut real numbers "
                "into bins first, as with np.digitize."
            )
    elif name in MASKS:
        if dtype.kind not in "biu":
            refuse(
                f"{name} has dtype {dtype}: it must be boolean, or 0/1 integers, and never holds probabilities; "
                f"where it holds only 0.0 and 1.0 pass {name}.astype(bool)."
            )
    elif name in INTEGERS:
        if dtype.kind not in "iu":
            refuse(f"{name} has dtype {dtype}: it must hold integers; pass {name}.astype(int).")
    elif dtype.kind not in ("iufb" if name in ("correct", "features", "population_features") else "iuf"):
        remedy = "save bfloat16 as float32" if dtype.kind == "V" else f"save {name} as float32"
        refuse(f"{name} has dtype {dtype}: it must hold real numbers; {remedy}.")


def check_shapes(headers: Mapping[str, Header]) -> dict[str, int]:
    """The length of every axis by its letter. Raises `ConfigError` for shapes that do not fit each other."""
    seen: dict[str, Extent] = {}
    for name in [*(known for known in AXES if known in headers), *(n for n in headers if n not in AXES)]:
        _check_shape(name, headers[name].shape, seen)
    features, others = (headers.get(name) for name in ("features", "population_features"))
    if features and others and features.shape[1:] != others.shape[1:]:
        refuse(
            f"population_features has records of shape {others.shape[1:]} and features of shape "
            f"{features.shape[1:]}: save both in one shape."
        )
    return {letter: extent.length for letter, extent in seen.items()}


def _check_shape(name: str, shape: tuple[int, ...], seen: dict[str, Extent]) -> None:
    """Hold one array against the axes `seen` so far, and add its own to them."""
    axes = AXES.get(name) or ("N" if len(shape) == 1 else "KN")
    if len(shape) != len(axes) and not (axes.endswith("…") and shape):
        meaning = ", ".join(
            f"{letter} {_MEANING[letter]}" for letter in dict.fromkeys(axes) if letter in _MEANING
        )
        advice = _axes_advice(name, shape, seen)
        refuse(f"{name} has shape {shape}: it must be {_wanted(axes, seen)} ({meaning}); {advice}.")
    if 0 in shape:
        refuse(f"{name} has shape {shape}: an axis of length 0 holds nothing; leave {name} out.")
    for letter, length in zip(axes, shape, strict=False):
        if letter == "…":
            break
        extent = seen.setdefault(letter, Extent(length, name, shape))
        if length != extent.length:
            others = {a: known for a, known in seen.items() if known.name != name}
            refuse(
                f"{name} has shape {shape}: it must be {_wanted(axes, others)}, with {letter} = {extent.length} "
                f"{_MEANING[letter]} as in {extent.name} of shape {extent.shape}; "
                f"{_length_advice(name, shape, axes, others)}."
            )
        if length < FEWEST.get(letter, 1):
            refuse(f"{name} has shape {shape}: {_too_short(name, letter, length)}.")


def _closest(name: str) -> str:
    """What an unknown array may have been meant for."""
    if re.fullmatch(r"arr_\d+", name):
        return "save arrays by name, as in np.savez(path, member=member, logits=logits, labels=labels)"
    for meant, others in _FOREIGN.items():
        if name.lower() in others:
            return f"save it under the name {meant}"
    close = difflib.get_close_matches(name.lower(), AXES, 1, 0.6)
    if close:
        return f"rename it if {close[0]} was meant, or leave it out"
    return f"leave it out, or name it {SLICE}NAME if it parts the records into groups; the names are {', '.join(AXES)}"


def _wanted(axes: str, seen: Mapping[str, Extent]) -> str:
    """Axes with the lengths that are known, as in [K, N, C] = [5, 7, C]."""
    letters = f"[{', '.join(axes)}]"
    lengths = f"[{', '.join(str(seen[a].length) if a in seen else a for a in axes)}]"
    return letters if letters == lengths else f"{letters} = {lengths}"


def _axes_advice(name: str, shape: tuple[int, ...], seen: Mapping[str, Extent]) -> str:
    """What to do about a wrong number of axes."""
    if 1 in shape and len(shape) == len(AXES.get(name, "KN")) + 1:
        return f"drop its axis of length 1 with np.squeeze({name}, {shape.index(1)})"
    if name in ("labels", "population_labels") and len(shape) == 2:
        if shape[0] == seen["K"].length:
            return f"labels are the same for all models, so pass {name}[0]"
        return f"of one-hot labels pass {name}.argmax(axis=1)"
    if name in ("log_prob", "population_log_prob") and len(shape) == 3:
        return f"what is said of every class belongs in {name.replace('log_prob', 'logits')}"
    if name == "member":
        return "give every model a row of its own, True where it was trained on the record"
    return "reshape it"


def _length_advice(name: str, shape: tuple[int, ...], axes: str, seen: Mapping[str, Extent]) -> str:
    """What to do about an axis of another length."""
    for i, j in itertools.combinations(range(len(shape)), 2):
        swapped = list(shape)
        swapped[i], swapped[j] = shape[j], shape[i]
        if all(a not in seen or seen[a].length == n for a, n in zip(axes, swapped, strict=False)):
            return f"its axes stand in another order: pass np.swapaxes({name}, {i}, {j})"
    return "save all arrays of the same models, records and classes, in the same order"


def _too_short(name: str, letter: str, length: int) -> str:
    """What is wrong with an axis that is too short for anything to be said, and what to do."""
    if letter == "K":
        return f"its first axis is the models, and must have at least {FEWEST['K']}; train more"
    if letter == "N":
        return f"its second axis is the records, and must have at least {FEWEST['N']}; ask about more"
    return (
        "its last axis is the classes, and there must be at least 2; a single logit z of two classes is "
        f"[0, z]: pass np.concatenate([np.zeros_like({name}), {name}], axis=-1)"
    )
