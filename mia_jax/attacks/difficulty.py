"""Difficulty calibration: what a record is worth less what it is worth to models that never saw it.

Watson et al. 2022; every model in turn the target.
"""

from __future__ import annotations

import numpy as np

from mia_jax.attacks.base import ONLY_OUT, QUERY, WITH_OUT, Attack, Observations, check_signal, references
from mia_jax.attacks.likelihood_ratio import moments
from mia_jax.config import AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask

SOURCE = (
    "Watson et al., On the Importance of Difficulty Calibration in Membership Inference Attacks, ICLR 2022"
)


def difficulty_calibration(
    signal: Array, member: Array, *, exclude: Array | None = None, valid: Array | None = None
) -> np.ndarray:
    """The signal less the mean of the record's OUT references, float64 [K, N]; larger = more likely a member.

    signal: float [K, N], larger = more like a member. member: bool [K, N]. Each model in turn is the
    target, all others its references, less those that `exclude` [K, K] marks; models that are not
    `valid` [K] are no references and get NaN, as do records without an OUT reference. Raises ValueError
    for arrays that do not fit. Watson et al. 2022, section 3.
    """
    allowed, usable = references(len(np.asarray(signal)), exclude, valid)
    values = check_signal("signal", signal, usable)
    out = moments(values, ~as_mask("member", member, values.shape), allowed)
    return np.where((out.count > 0) & usable[:, None], values - out.mean, np.nan)


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """Difficulty calibration's choice of `--attacks`."""

    def score(seen: Observations, _: None) -> np.ndarray:
        assert seen.log_prob is not None
        return difficulty_calibration(seen.log_prob, seen.member, exclude=seen.exclude, valid=seen.valid)

    return (
        Attack(
            "difficulty_calibration",
            "Difficulty calibration",
            f"{QUERY}, {WITH_OUT}.",
            SOURCE,
            ONLY_OUT,
            frozenset({"log_prob"}),
            score,
        ),
    )
