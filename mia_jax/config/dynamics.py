"""The section of a config that says how records are followed through training, and along which factors."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mia_jax.config.base import AtLeast0, AtLeast1, Fraction, Rate, section
from mia_jax.config.sections import AttackName

Overrides = dict[str, Any]
"""Fields of a config by section, nested as the config is, with the values they get."""


@section
class DynamicsConfig:
    """Every record on the FPR-TPR plane: whose calls, and what is made of them.

    attack: who calls a record a member: where its score is at least 0, as of a log-likelihood ratio; or, with
    fpr above 0, where it is above what this share of non-members reaches. also_fpr: the same attack at
    these FPRs; also_attacks: others at them. cuts: of vulnerability, between low, middle and high. bins:
    cells along each side of the histogram; the first is the headline. splits: of the models into halves.
    permutations: of membership, for the noise floor. depth_neighbours: k of prediction depth; 0 leaves it
    out. early: the share of training after which the exposed are foretold; foretold: how many, as a share
    of the pool. show: so many of the most exposed records stand on the page themselves; 0 for records that
    must not be shown. factors: what is varied, each factor's levels by name, each level with the fields it
    changes, as in {"optimizer": {"sgd": {}, "sam": {"training": {"sam_radius": 0.05}}}}; every combination
    is a run, and every family of it an arm.
    """

    attack: AttackName = "lira_online_global"
    fpr: Fraction = 0.0
    also_attacks: tuple[AttackName, ...] = ("loss",)
    also_fpr: tuple[Rate, ...] = (0.01, 0.1)
    cuts: tuple[float, ...] = (0.2, 0.5)
    bins: tuple[AtLeast1, ...] = (20, 10, 50)
    splits: AtLeast1 = 10
    permutations: AtLeast1 = 20
    depth_neighbours: AtLeast0 = 30
    early: Rate = 0.3
    foretold: Rate = 0.1
    show: AtLeast0 = 500
    factors: dict[str, dict[str, Overrides]] = Field(default_factory=dict)
