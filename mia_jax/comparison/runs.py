"""The runs of a comparison: every pool, as the config stands and in each variant."""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

from mia_jax.comparison.rows import OTHERS
from mia_jax.config import ComparisonConfig, Config, ConfigError, with_changes

PLAIN = ""
"""The variant of the config as it stands."""

APART = ("name", "scale", "scales", "report", "tradeoff", "dynamics", "comparison", "families")
"""Fields that no variant may change: they are the study's."""


class Run(NamedTuple):
    """One training of a comparison. variant: `PLAIN` or a name. pool: its number. config: the resolved study."""

    variant: str
    pool: int
    config: Config

    @property
    def name(self) -> str:
        """The run's folder below the comparison's."""
        return f"pool{self.pool}{'_' * bool(self.variant)}{self.variant}"


def runs(config: Config) -> list[Run]:
    """Every run, variant by variant. Raises `ConfigError` where one cannot be run, naming it."""
    asked = config.comparison
    if asked.reference not in config.families:
        raise ConfigError(
            f"config.comparison.reference is {asked.reference!r}: it must be one of the families, "
            f"{', '.join(config.families)}."
        )
    if OTHERS in config.families:
        raise ConfigError(
            f"config.families has the name {OTHERS!r}: a comparison calls the mean of all but the reference that; "
            "choose another."
        )
    if len(config.families) < 2:
        raise ConfigError(
            f"config.families has {asked.reference} alone: name at least one family to compare it with."
        )
    base = dataclasses.replace(config, comparison=ComparisonConfig())
    found = []
    for variant, changes in ((PLAIN, {}), *asked.variants.items()):
        changed = _changed(base, variant, changes)
        found += [Run(variant, pool, _of_pool(changed, pool)) for pool in range(asked.pools)]
    return found


def _changed(base: Config, variant: str, changes: dict[str, object]) -> Config:
    """The config of a variant (`ConfigError`)."""
    where = f"config.comparison.variants.{variant}"
    if variant and not re.fullmatch(r"\w+", variant):
        raise ConfigError(
            f"config.comparison.variants has the name {variant!r}: variants are named by letters, digits "
            "and underscores."
        )
    fixed = next((name for name in changes if name in APART), None)
    if fixed is not None:
        raise ConfigError(f"{where} changes {fixed}: that is the study's own, and the same for all variants.")
    try:
        return with_changes(base, changes) if changes else base
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _of_pool(config: Config, pool: int) -> Config:
    """The study on another pool, with other models."""
    data = dataclasses.replace(config.data, pool_number=config.data.pool_number + pool)
    return dataclasses.replace(config, seed=config.seed + pool, data=data)
