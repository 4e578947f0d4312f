"""The section of a config that sets families beside one another, over several pools."""

from __future__ import annotations

from pydantic import Field

from mia_jax.config.base import AtLeast1, section
from mia_jax.config.dynamics import Overrides


@section
class ComparisonConfig:
    """Families beside one another: epoch by epoch, and where they are equally good or equally overfitted.

    reference: the family that every other is compared with. pools: the study is done on so many disjoint pools of
    config.data.pool_size records, each with models of its own (config.seed, config.seed + 1, …). variants: the same
    study with other settings, each by its name and with the fields it changes, as in
    {"n100": {"membership": {"train_size": 100}}}; each is done on every pool, beside the config as it stands.
    """

    reference: str = "mlp"
    pools: AtLeast1 = 1
    variants: dict[str, Overrides] = Field(default_factory=dict)
