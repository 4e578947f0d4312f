"""Attacks whose score is a number that was recorded of the model, as it stands or with its sign changed."""

from __future__ import annotations

import numpy as np

from mia_jax.attacks.base import NO_SIDE, Attack, Observations, check_signal, references
from mia_jax.config import AttacksConfig
from mia_jax.types import Array


def recorded_score(
    name: str, values: Array, member: Array, valid: Array | None, sign: float = 1.0
) -> np.ndarray:
    """A recorded number as a score, float64 [K, N]; larger = more likely a member; NaN for invalid models.

    name: what errors call it. values: float [K, N]. member: [K, N], for its shape alone. sign: -1.0
    where members have the smaller numbers. Raises ValueError for another shape and for values of a
    valid model that are not finite.
    """
    num_models, num_records = np.shape(member)
    usable = references(num_models, None, valid)[1]
    return np.where(usable[:, None], sign * check_signal(name, values, usable, (num_records,)), np.nan)


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """The choices of `--attacks` that read a number which only the model itself can tell."""

    def gradient_norm(seen: Observations, _: None) -> np.ndarray:
        assert seen.gradient_norm is not None
        return recorded_score("gradient_norm", seen.gradient_norm, seen.member, seen.valid, -1.0)

    def adversarial_distance(seen: Observations, _: None) -> np.ndarray:
        assert seen.adversarial_distance is not None
        return recorded_score("adversarial_distance", seen.adversarial_distance, seen.member, seen.valid)

    return (
        Attack(
            "gradient_norm",
            "Gradient norm threshold",
            "The attacker holds the record with its label and the target's parameters (white box), from which "
            "follows the gradient of the record's loss; one threshold for all records.",
            "Nasr, Shokri & Houmansadr, Comprehensive Privacy Analysis of Deep Learning, IEEE S&P 2019",
            NO_SIDE,
            frozenset({"gradient_norm"}),
            gradient_norm,
        ),
        Attack(
            "adversarial_distance",
            "Adversarial distance threshold",
            "The attacker holds the record with its label and the target's parameters (white box), with which "
            "the smallest perturbation that changes the prediction is searched; one threshold for all records.",
            "Del Grosso et al., Leveraging Adversarial Examples to Quantify Membership Information Leakage, "
            "CVPR 2022 (arXiv 2203.09566)",
            NO_SIDE,
            frozenset({"adversarial_distance"}),
            adversarial_distance,
        ),
    )
