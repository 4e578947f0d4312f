"""The arms of a trade-off: for every seed the study as it stands, and once with each defence at each strength."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from mia_jax.config import Config, ConfigError, DataConfig, TradeoffConfig
from mia_jax.tradeoff.rows import BASELINE, weak_to_strong

WITHOUT_TRAINING = ("early_stopping", "parameter_noise")
"""Defences that read the baseline's finished models."""


class Arm(NamedTuple):
    """One training of a trade-off. config: the resolved study."""

    seed: int
    defence: str
    strength: float
    config: Config

    @property
    def name(self) -> str:
        """The arm's folder below the trade-off's."""
        earlier = self.config.recording.epochs[:-1]  # of the baseline, where early stopping reads them
        numbers = earlier if self.defence == BASELINE else [self.strength]
        return "_".join([f"seed{self.seed}/{self.defence}", *(f"{n!r}".removesuffix(".0") for n in numbers)])


def arms(config: Config) -> list[Arm]:
    """Every training there is to do, for each seed the baseline first, then from weak to strong.

    Every seed has other models and another pool, and no two pools share a record. Raises `ConfigError` for a
    strength that is not allowed.
    """
    return [
        arm
        for place, seed in enumerate(config.tradeoff.seeds or (config.seed,))
        for arm in _of_seed(dataclasses.replace(config, seed=seed, data=_pool(config.data, place)), seed)
    ]


def _pool(data: DataConfig, place: int) -> DataConfig:
    """The data with the pool that stands so many after its own."""
    return dataclasses.replace(data, pool_number=data.pool_number + place)


def _of_seed(config: Config, seed: int) -> list[Arm]:
    """The arms of one seed, which the config has already."""
    base = dataclasses.replace(config, tradeoff=TradeoffConfig())
    grid = config.tradeoff.grid
    stops = tuple(int(epoch) for epoch in sorted(grid.get("early_stopping", ())))
    last = config.training.epochs
    found = [Arm(seed, BASELINE, 0.0, _recorded_at(base, (*stops, last)))]
    for defence, strengths in grid.items():
        if defence not in WITHOUT_TRAINING:
            for strength in weak_to_strong(defence, strengths):
                found.append(
                    Arm(seed, defence, strength, _recorded_at(defended(base, defence, strength), (last,)))
                )
    return found


def defended(config: Config, defence: str, strength: float) -> Config:
    """The study with one defence at one strength, one that needs a training of its own.

    Raises `ConfigError` for a strength that is not allowed.
    """
    try:
        return CHANGES[defence](config, strength)
    except ConfigError as error:
        raise ConfigError(f"config.tradeoff.grid.{defence} holds {strength}: {error}") from None


def _recorded_at(config: Config, epochs: tuple[int, ...]) -> Config:
    """The study with these checkpoints, its final parameters kept."""
    recording = dataclasses.replace(config.recording, epochs=epochs, parameters="final")
    return dataclasses.replace(config, recording=recording)


def _section(section: str, field: str) -> Callable[[Config, float], Config]:
    """A change of one field of one section."""

    def change(config: Config, strength: float) -> Config:
        changed = dataclasses.replace(getattr(config, section), **{field: strength})
        return dataclasses.replace(config, **{section: changed})

    return change


def _dropout(config: Config, rate: float) -> Config:
    """The same dropout rate in every family."""
    families = {name: dataclasses.replace(family, dropout=rate) for name, family in config.families.items()}
    return dataclasses.replace(config, families=families)


CHANGES: dict[str, Callable[[Config, float], Config]] = {
    "l2": _section("regularization", "l2"),
    "l2_norm": _section("regularization", "l2_norm"),
    "l1": _section("regularization", "l1"),
    "label_smoothing": _section("regularization", "label_smoothing"),
    "weight_decay": _section("training", "weight_decay"),
    "dropout": _dropout,
    "adversarial": _section("adversarial", "radius"),
    "dp_sgd": _section("dp_sgd", "epsilon"),
    "label_privacy": _section("label_privacy", "epsilon"),
}
"""What a defence's strength is in the config of a study."""
