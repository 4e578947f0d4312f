"""From the families of a config to models of comparable size."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np

from mia_jax.config import ConfigError, FamilyConfig
from mia_jax.models.base import Model, count_parameters
from mia_jax.models.cnn import cnn
from mia_jax.models.mlp import mlp
from mia_jax.models.renet import renet
from mia_jax.models.rnn import recurrent
from mia_jax.types import Dataset, Inputs, Ragged

TOLERANCE = 0.01
"""How far, relatively, two matched families may differ in their number of parameters."""

RECURRENT = ("rnn", "lstm", "gru")
"""The kinds of families that read step by step."""

OF_IMAGES = ("cnn", "renet")
"""The kinds of families that read images, and have a head."""


def build(family: FamilyConfig, dataset: Dataset) -> Model:
    """The model that `family` names, for the records of `dataset`. Raises `ConfigError`."""
    _check_head(family)
    if family.kind in OF_IMAGES:
        _check_images(family, dataset)
    elif family.kind in RECURRENT:
        _check_steps(family, dataset)
    return _built(family, dataset.num_classes, dataset.vocabulary_size)


@functools.lru_cache  # an equal family is the same model, and compiles to one program
def _built(family: FamilyConfig, num_classes: int, vocabulary_size: int) -> Model:
    """The model of a family that fits the records."""
    if family.kind == "mlp":
        return mlp(
            num_classes=num_classes,
            hidden=family.hidden,
            layers=family.layers,
            dropout=family.dropout,
            vocabulary_size=vocabulary_size,
            embedding=family.embedding,
        )
    if family.kind == "cnn" or family.kind == "renet":
        make = cnn if family.kind == "cnn" else renet
        return make(
            num_classes=num_classes,
            hidden=family.hidden,
            layers=family.layers,
            dropout=family.dropout,
            head=family.head,
            head_width=family.head_width,
        )
    return recurrent(
        family.kind,
        num_classes=num_classes,
        hidden=family.hidden,
        layers=family.layers,
        dropout=family.dropout,
        vocabulary_size=vocabulary_size,
        embedding=family.embedding,
        steps=family.steps,
    )


def build_families(
    families: Mapping[str, FamilyConfig], dataset: Dataset
) -> tuple[dict[str, FamilyConfig], dict[str, Model]]:
    """Every family's model, those with `match` sized to the family they name.

    Returns the families with the `hidden` that was found, and their models. Raises `ConfigError`
    where no width comes within 1 %, and for a `match` that names no family.
    """
    sized = dict(families)
    for name, family in families.items():
        _build_named(name, family, dataset)  # refused by its own name, before another is matched to it
    for name, family in families.items():
        if family.match:
            if family.match not in families:
                raise ConfigError(
                    f"config.families.{name}.match is {family.match!r}: it must name another family; there are "
                    f"{', '.join(families)}."
                )
            sized[name] = _matched(name, family, families[family.match], dataset)
    return sized, {name: _build_named(name, family, dataset) for name, family in sized.items()}


def _build_named(name: str, family: FamilyConfig, dataset: Dataset) -> Model:
    """The model of a family; what is refused is said of the family's name (`ConfigError`)."""
    try:
        return build(family, dataset)
    except ConfigError as error:
        raise ConfigError(f"config.families.{name}: {error}") from None


def match_parameters(make: Callable[[int], Model], x: Inputs, target: int) -> int:
    """The width whose model comes closest to `target` parameters.

    make: width -> Model, its number of parameters rising with the width. x: one record. Raises ValueError where it
    does not rise.
    """
    low, high = 1, 2
    while (count := count_parameters(make(high), x)) < target:
        if count_parameters(make(low), x) >= count:
            raise ValueError(
                f"make gives {count} parameters at the widths {low} and {high}: they must rise with the width to "
                f"come to {target}."
            )
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count_parameters(make(middle), x) < target else (low, middle)
    return min((low, high), key=lambda width: abs(count_parameters(make(width), x) - target))


def one_record(dataset: Dataset) -> Inputs:
    """The first record of the pool, for shapes."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], dataset.pool.x)


def _check_steps(family: FamilyConfig, dataset: Dataset) -> None:
    """Recurrent models need records with steps."""
    ragged = isinstance(dataset.pool.x, Ragged)
    values = dataset.pool.x.values if isinstance(dataset.pool.x, Ragged) else dataset.pool.x
    if not family.steps and not dataset.vocabulary_size and values.ndim < 3:
        raise ConfigError(
            f'a family of kind "{family.kind}" has steps 0, but records of this data are vectors of '
            f"{values.shape[-1]} features: set steps to the number of steps to cut them into."
        )
    if family.steps and (ragged or dataset.vocabulary_size):
        raise ConfigError(
            f'a family of kind "{family.kind}" has steps {family.steps}, but records of this data are sequences '
            "already: leave steps at 0."
        )


def _check_head(family: FamilyConfig) -> None:
    """Only models of images have a head to choose, and only a dense one has a width."""
    said = f'a family of kind "{family.kind}" has head "{family.head}" and head_width {family.head_width}'
    if family.kind not in OF_IMAGES and (family.head != "flat" or family.head_width):
        kinds = " and ".join(f'"{kind}"' for kind in OF_IMAGES)
        raise ConfigError(
            f'{said}: only the kinds {kinds} have a choice; leave head at "flat" and head_width at 0.'
        )
    if family.head == "dense" and not family.head_width:
        raise ConfigError(f"{said}: set head_width to the width of the dense layer, at least 1.")
    if family.head != "dense" and family.head_width:
        raise ConfigError(f'{said}: only head "dense" has a width; choose it, or leave head_width at 0.')


def _check_images(family: FamilyConfig, dataset: Dataset) -> None:
    """Models of images need records with rows and columns."""
    x = dataset.pool.x
    if dataset.vocabulary_size:
        found = "sequences of token ids"
    elif isinstance(x, Ragged):
        found = "sequences of different lengths"
    elif x.ndim not in (3, 4):
        found = f"arrays of shape {list(x.shape[1:])}"
    else:
        return
    raise ConfigError(
        f'a family of kind "{family.kind}" needs records [H, W] or [H, W, channels] of features, but records of this '
        f'data are {found}: choose data of images or another kind, such as "mlp".'
    )


def _matched(name: str, family: FamilyConfig, reference: FamilyConfig, dataset: Dataset) -> FamilyConfig:
    """`family` with the width that matches `reference`, or a `ConfigError` saying what would fit."""
    found, gap = _closest(family, reference, dataset)
    if gap <= TOLERANCE:
        return found
    for distance in range(1, reference.hidden):
        for hidden in (reference.hidden + distance, reference.hidden - distance):
            other = dataclasses.replace(reference, hidden=hidden)
            fit, miss = _closest(family, other, dataset)
            if miss <= TOLERANCE:
                raise ConfigError(
                    f"config.families.{name}.match is {family.match!r}: the closest width, {found.hidden}, misses "
                    f"its parameter count by {gap:.1%}, allowed is {TOLERANCE:.0%}; {family.match}.hidden={hidden} "
                    f"would fit (with {name}.hidden={fit.hidden}, {miss:.1%} off)."
                )
    raise ConfigError(
        f"config.families.{name}.match is {family.match!r}: the closest width, {found.hidden}, misses its "
        f"parameter count by {gap:.1%}, and no other {family.match}.hidden below {2 * reference.hidden} fits."
    )


def _closest(family: FamilyConfig, reference: FamilyConfig, dataset: Dataset) -> tuple[FamilyConfig, float]:
    """`family` at its closest width, and how far off it is, relatively."""
    x = one_record(dataset)
    target = count_parameters(build(reference, dataset), x)
    hidden = match_parameters(
        lambda width: build(dataclasses.replace(family, hidden=width), dataset), x, target
    )
    found = dataclasses.replace(family, hidden=hidden)
    return found, abs(count_parameters(build(found, dataset), x) - target) / target
