"""What a file of signals holds once it is checked and completed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mia_jax.attacks.base import Observations
from mia_jax.signals_file import agreement, checks, derivation, models, notes
from mia_jax.signals_file.arrays import Arrays
from mia_jax.signals_file.layout import SLICE, check_dtype, check_shapes, refuse

AS_THEY_ARE = ("step_logits", "trajectory", "gradient_norm", "adversarial_distance")
"""Signals that nothing is derived from, nor they from anything."""


class SignalsFile(NamedTuple):
    """What a person brought, ready for attacks.

    observations: its key is None. `exclude` holds twins too and is False on its diagonal. What is
    said by models that are not valid may be NaN. groups: each array [N] or [K, N], by the NAME of
    slice_NAME. population_correct: float64 [K, Z], None where unknown. num_classes: C, None where no
    logits say it. facts: JSON-able: file, fingerprint (of the contents, however they are stored),
    models, valid_models, records, population, num_classes, arrays, derived (from what), notes
    (sentences to be shown); what is not known is not there.
    """

    observations: Observations
    groups: dict[str, np.ndarray]
    population_correct: np.ndarray | None
    num_classes: int | None
    facts: dict[str, Any]


def completed(arrays: Arrays, embedding_p: float) -> SignalsFile:
    """All that the arrays give, checked in such an order that a mistake is named before what it entails.

    embedding_p: the p of the embedding's norm. Raises `ConfigError`.
    """
    if not embedding_p >= 1:
        refuse(f"embedding_p is {embedding_p}: the p of a norm must be at least 1 (inf is allowed).")
    headers = arrays.headers
    for name in sorted(headers, key=lambda name: name != "member"):
        check_dtype(name, headers[name].dtype)
    check_shapes({"member": headers["member"]})
    member = arrays.take("member")
    sizes = check_shapes(headers)
    valid = arrays.maybe("valid")
    if valid is not None:
        arrays.usable = valid
    models.check_sides(member, arrays.usable)
    exclude = _exclude(arrays)
    labels, population_labels = (_labels(arrays, name, sizes) for name in ("labels", "population_labels"))
    population, population_correct = derivation.of_population(arrays, population_labels)
    found: dict[str, Any] = {
        **derivation.of_pool(arrays, labels),
        **population,
        **arrays.take_all(AS_THEY_ARE),
    }
    if "trajectory" in found and "log_prob" in found:
        agreement.check_time(found["trajectory"], found["log_prob"], arrays.usable)
    found |= derivation.of_embedding(arrays, embedding_p) | derivation.flat_features(arrays)
    seen = Observations(member, valid=valid, exclude=exclude, labels=labels, **found)
    groups = {name.removeprefix(SLICE): arrays.take(name) for name in headers if name.startswith(SLICE)}
    said = _notes(arrays, member, labels, exclude, sizes.get("C"), found.get("log_prob"))
    facts = _facts(arrays, sizes) | {"notes": said}
    return SignalsFile(seen, groups, population_correct, sizes.get("C"), facts)


def _exclude(arrays: Arrays) -> np.ndarray | None:
    """References to leave out beside the target, twins among them: bool [K, K]; None: nobody."""
    given, twin = arrays.maybe("exclude"), arrays.maybe("twin")
    if given is None and twin is None:
        return None
    exclude = np.zeros((arrays.usable.size, arrays.usable.size), bool)
    if twin is not None:
        models.check_twin(twin)
        exclude |= twin[:, None] == np.arange(twin.size)
    if given is not None:
        models.check_exclude(given)
        exclude |= given
    np.fill_diagonal(exclude, False)
    models.check_references(exclude, arrays.usable)
    return exclude


def _labels(arrays: Arrays, name: str, sizes: Mapping[str, int]) -> np.ndarray | None:
    """Labels int64 in [0, C), None where there are none."""
    labels = arrays.maybe(name)
    if labels is not None:
        of = next((other for other in arrays.headers if other.endswith("logits")), None)
        checks.check_labels(name, labels, sizes.get("C"), of)
    return labels


def _notes(
    arrays: Arrays,
    member: np.ndarray,
    labels: np.ndarray | None,
    exclude: np.ndarray | None,
    num_classes: int | None,
    log_prob: np.ndarray | None,
) -> list[str]:
    """What the person should know although nothing is wrong."""
    said = notes.design(member, arrays.usable, exclude)
    if labels is not None:
        said += notes.classes(labels, member, arrays.usable, num_classes)
    said += notes.floor(log_prob, arrays.usable)
    if "population_labels" in arrays.headers and "population_logits" not in arrays.headers:
        said.append("population_labels is there without population_logits: nothing is made of it.")
    return said


def _facts(arrays: Arrays, sizes: Mapping[str, int]) -> dict[str, Any]:
    """What was there and what was made of it."""
    facts = {
        "models": sizes["K"],
        "valid_models": int(arrays.usable.sum()),
        "records": sizes["N"],
        "population": sizes.get("Z"),
        "num_classes": sizes.get("C"),
        "arrays": {
            name: f"{header.dtype} {list(header.shape)}" for name, header in sorted(arrays.headers.items())
        },
        "derived": dict(arrays.derived),
    }
    return {name: value for name, value in facts.items() if value is not None}
