"""The runs of a study of dynamics: every combination of its factors' levels, each a run directory of its own."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from mia_jax.config import Config, ConfigError, with_changes
from mia_jax.runs.contents import OURS


class Run(NamedTuple):
    """One training of a study. levels: of every factor, in the config's order. config: the resolved study."""

    levels: dict[str, str]
    config: Config

    @property
    def name(self) -> str:
        """The run's folder below the study's; empty where nothing is varied, which is the study's own."""
        return "_".join(self.levels.values())


def runs(config: Config) -> list[Run]:
    """Every run of `config.dynamics.factors`, the last factor varied first; the config itself where there is none.

    Raises `ConfigError` where a level cannot be run, naming it.
    """
    factors = config.dynamics.factors
    # What is varied is no part of a run: it is the same run in another study.
    plain = with_changes(config, {"dynamics": {"factors": {}}}) if factors else config
    found = [_run(plain, config, levels) for levels in itertools.product(*factors.values())]
    names = [run.name for run in found]
    taken = next((name for name in names if name in TAKEN), None)
    if taken is not None:
        raise ConfigError(
            f"config.dynamics.factors gives a run the name {taken!r}, under which the study writes something "
            "else; name the level otherwise."
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"config.dynamics.factors gives two runs the name {twice!r}: levels must differ when joined by underscores."
        )
    return found


APART = ("name", "scale", "scales", "report", "tradeoff", "dynamics")
"""Fields that no factor may vary: they are the study's."""

TAKEN = {*OURS, "lock", "dynamics_config.json"}
"""Names that a run's folder cannot have."""


def _run(plain: Config, config: Config, levels: tuple[str, ...]) -> Run:
    """The run of one combination of levels."""
    chosen = dict(zip(config.dynamics.factors, levels, strict=True))
    changed = plain
    for factor, level in chosen.items():
        fixed = [name for name in config.dynamics.factors[factor][level] if name in APART]
        if fixed:
            raise ConfigError(
                f"config.dynamics.factors.{factor}.{level} changes {fixed[0]}: that is the study's own, and the "
                "same for all runs."
            )
        try:
            changed = with_changes(changed, config.dynamics.factors[factor][level])
        except ConfigError as error:
            raise ConfigError(f"config.dynamics.factors.{factor}.{level}: {error}") from None
    return Run(chosen, changed)
