"""The section of a config that makes a trade-off of a study: defences, each at several strengths."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mia_jax.config.base import AtLeast1, NonNegative, Seed, section

DefenceName = Literal[
    "l2",
    "l2_norm",
    "l1",
    "weight_decay",
    "label_smoothing",
    "dropout",
    "early_stopping",
    "adversarial",
    "dp_sgd",
    "label_privacy",
    "parameter_noise",
]


@section
class TradeoffConfig:
    """Which defences are tried, how strong, and how often. Every one is compared with the config as it stands.

    grid: strengths by defence: l2, l2_norm, l1, label_smoothing: as in config.regularization; weight_decay,
    dropout: as in config.training and config.families; early_stopping: the epoch; adversarial: the radius;
    dp_sgd, label_privacy: the target epsilon; parameter_noise: the deviation of noise on finished models.
    seeds: the whole study is done for each, with other models and another pool, from config.data.pool_number on;
    no two pools share a record. Empty: once, with config.seed. draws: R, releases of each model for
    parameter_noise. sensitivity_draws: pairs of trainings that measure what one record can move, 0: none;
    neighbour: whether one record of a pair is missing or replaced. Only final models are recorded, and those
    that early_stopping names.
    """

    grid: dict[DefenceName, tuple[NonNegative, ...]] = Field(default_factory=dict)
    seeds: tuple[Seed, ...] = ()
    draws: AtLeast1 = 10
    sensitivity_draws: Annotated[int, Field(ge=0)] = 50
    neighbour: Literal["remove", "replace"] = "remove"
