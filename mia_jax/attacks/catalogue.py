"""The attacks a study can name, collected from the modules that hold their formulas."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from mia_jax.attacks import (
    class_calibration,
    classifier,
    difficulty,
    embedding_norm,
    enhanced,
    likelihood_ratio,
    metric_threshold,
    quantile,
    recorded,
    relative,
    trajectory,
)
from mia_jax.attacks.base import Attack
from mia_jax.config import AttacksConfig

_MODULES = (
    metric_threshold,
    class_calibration,
    classifier,
    enhanced,
    likelihood_ratio,
    relative,
    difficulty,
    trajectory,
    quantile,
    recorded,
    embedding_norm,
)


class Selection(NamedTuple):
    """Which attacks can be run on what is there, and for each other one the arrays it lacks."""

    attacks: list[Attack]
    lacking: dict[str, list[str]]


def catalogue(config: AttacksConfig) -> dict[str, Attack]:
    """Every attack there is, by name, with the config's constants."""
    return {attack.name: attack for module in _MODULES for attack in module.attacks(config)}


def chosen(config: AttacksConfig) -> list[Attack]:
    """The attacks that the config names, in its order; "all" stands for every one not named beside it."""
    everything = catalogue(config)
    named = [name for name in config.names if name != "all"]
    if "all" in config.names:
        named += [name for name in everything if name not in named]
    return [everything[name] for name in named]


def select(config: AttacksConfig, available: Collection[str]) -> Selection:
    """Of the chosen attacks, those whose arrays are there. available: fields of `Observations`."""
    lacking = {one.name: sorted(one.needs - set(available)) for one in chosen(config)}
    possible = [one for one in chosen(config) if not lacking[one.name]]
    return Selection(possible, {name: fields for name, fields in lacking.items() if fields})
