"""The attacks a study can name, collected from the modules that hold their formulas."""

from __future__ import annotations

from mia_jax.attacks import likelihood_ratio, metric_threshold, relative
from mia_jax.attacks.base import Attack
from mia_jax.config import AttacksConfig

_MODULES = (metric_threshold, likelihood_ratio, relative)


def catalogue(config: AttacksConfig) -> dict[str, Attack]:
    """Every attack there is, by name, with the config's constants."""
    return {attack.name: attack for module in _MODULES for attack in module.attacks(config)}


def chosen(config: AttacksConfig) -> list[Attack]:
    """The attacks that the config names, in its order."""
    everything = catalogue(config)
    return [everything[name] for name in config.names]
