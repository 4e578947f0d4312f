"""RMIA: the relative attack of Zarifzadeh, Liu & Shokri 2024, every model in turn the target.

The share of population records that a record beats is read off the sorted population ratios, so
memory is that of the inputs and never N x Z.
"""

from __future__ import annotations

import numpy as np

from mia_jax.attacks.base import (
    BOTH_SIDES,
    ONLY_OUT,
    QUERY,
    WITH_BOTH,
    WITH_OUT,
    Attack,
    Observations,
    check_signal,
    references,
)
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask

SOURCE = "Zarifzadeh, Liu & Shokri, Low-Cost High-Power Membership Inference Attacks, ICML 2024"


def rmia(
    log_prob: Array,
    member: Array,
    population_log_prob: Array,
    *,
    gamma: float = 1.0,
    offline_scale: float | None = None,
    exclude: Array | None = None,
    valid: Array | None = None,
) -> np.ndarray:
    """Relative membership scores in [0, 1], float64 [K, N]; larger = more likely a member.

    log_prob: float [K, N], of the label. member: bool [K, N]. population_log_prob: float [K, Z], of
    records that no model was trained on. Each model in turn is the target, all others its
    references, less those that `exclude` [K, K] marks; models that are not `valid` [K] are no
    references and get NaN.

    score = share of population records z with (p_target(x) / p(x)) / (p_target(z) / p(z)) >= gamma.
    Online (offline_scale None): p(x) is the mean of the IN and OUT references' means. Offline with
    a: p(x) = ((1 + a) mean_out + 1 - a) / 2. p(z) is the mean over references, with the same a where
    offline. NaN where a needed side has no reference. Zarifzadeh et al. 2024, equations 2, 4 and
    section 3.4.
    """
    if not gamma > 0:
        raise ValueError(f"gamma is {gamma}: it must be above 0.")
    if offline_scale is not None and not 0 <= offline_scale <= 1:
        raise ValueError(f"offline_scale is {offline_scale}: it must lie in [0, 1].")
    allowed, usable = references(len(np.asarray(log_prob)), exclude, valid)
    x = check_signal("log_prob", log_prob, usable)
    z = check_signal("population_log_prob", population_log_prob, usable)
    held = as_mask("member", member, x.shape)
    everyone = np.ones(z.shape, bool)
    out = reference_mean(x, ~held, allowed)
    if offline_scale is None:
        p_x = 0.5 * (out + reference_mean(x, held, allowed))
        p_z = reference_mean(z, everyone, allowed)
    else:
        p_x = from_out_only(out, offline_scale)
        p_z = from_out_only(reference_mean(z, everyone, allowed), offline_scale)
    scores = share_beaten(x - _log(p_x), z - _log(p_z), float(np.log(gamma)))
    scores[~usable] = np.nan
    return scores


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """RMIA's choices of `--attacks`."""
    return (
        _attack("rmia_online", "RMIA, online", config.rmia_gamma, None),
        _attack("rmia_offline", "RMIA, offline", config.rmia_gamma, config.rmia_offline_scale),
    )


def _attack(name: AttackName, title: str, gamma: float, offline_scale: float | None) -> Attack:
    """One of RMIA's variants."""

    def score(seen: Observations) -> np.ndarray:
        assert seen.log_prob is not None
        assert seen.population_log_prob is not None
        return rmia(
            seen.log_prob,
            seen.member,
            seen.population_log_prob,
            gamma=gamma,
            offline_scale=offline_scale,
            exclude=seen.exclude,
            valid=seen.valid,
        )

    holds, sides = (WITH_BOTH, BOTH_SIDES) if offline_scale is None else (WITH_OUT, ONLY_OUT)
    threat = f"{QUERY}, {holds}, and holds population records that no model was trained on."
    return Attack(name, title, threat, SOURCE, sides, frozenset({"log_prob", "population_log_prob"}), score)


def reference_mean(log_prob: np.ndarray, side: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Mean probability over the references on one side: [K, N], NaN where there are none."""
    weights = allowed.astype(np.float64)
    count = weights @ side.astype(np.float64)
    # Sums of positive terms: a target's own large probability is never subtracted away.
    total = weights @ np.where(side, np.exp(log_prob), 0.0)
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def from_out_only(mean_out: np.ndarray, scale: float) -> np.ndarray:
    """The offline estimate of p(x) from OUT references, which underestimate it."""
    return 0.5 * ((1.0 + scale) * mean_out + (1.0 - scale))


def share_beaten(log_ratio_x: np.ndarray, log_ratio_z: np.ndarray, log_gamma: float) -> np.ndarray:
    """For every target the share of z with log_ratio_x - log_ratio_z >= log_gamma: [K, N]."""
    scores = np.empty(log_ratio_x.shape)
    for target, (own, population) in enumerate(zip(log_ratio_x, np.sort(log_ratio_z, axis=1), strict=True)):
        scores[target] = np.searchsorted(population, own - log_gamma, side="right") / population.size
    scores[np.isnan(log_ratio_x)] = np.nan
    return scores


def _log(probability: np.ndarray) -> np.ndarray:
    """The logarithm, finite where references were so sure of another class that 0 was left."""
    return np.log(np.maximum(probability, np.finfo(np.float64).tiny))
