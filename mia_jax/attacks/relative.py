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
    Blocks,
    Observations,
    check_signal,
    references,
)
from mia_jax.attacks.likelihood_ratio import queries, reference_count
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask, check_number

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

    log_prob: float [K, N], of the label, or [K, N, Q] of Q queries of every record, whose scores are
    averaged. member: bool [K, N]. population_log_prob: float [K, Z], of records that no model was
    trained on, as they are. Each model in turn is the target, all others its references, less those
    that `exclude` [K, K] marks; models that are not `valid` [K] are no references and get NaN.

    score = share of population records z with (p_target(x) / p(x)) / (p_target(z) / p(z)) >= gamma.
    Online (offline_scale None): p(x) is the mean of the IN and OUT references' means. Offline with
    a: p(x) = ((1 + a) mean_out + 1 - a) / 2. p(z) is the mean over references, with the same a where
    offline. NaN where a needed side has no reference. Zarifzadeh et al. 2024, equations 2, 4 and
    section 3.4.
    """
    check_number("gamma", gamma, lambda gamma: gamma > 0, "be above 0")
    if offline_scale is not None:
        check_number("offline_scale", offline_scale, lambda scale: 0 <= scale <= 1, "lie in [0, 1]")
    allowed, usable = references(queries("log_prob", log_prob)[0][1].shape[0], exclude, valid)
    population = _population(population_log_prob, allowed, usable, offline_scale)
    return _relative(log_prob, member, population, allowed, usable, gamma, offline_scale)


def _population(
    population_log_prob: Array, allowed: np.ndarray, usable: np.ndarray, offline_scale: float | None
) -> np.ndarray:
    """The log-ratios of every target's population records, sorted: [K, Z]."""
    z = check_signal("population_log_prob", population_log_prob, usable)
    if not z.size:
        raise ValueError(f"population_log_prob has shape {z.shape}: it must hold at least one record.")
    p_z = reference_mean(np.exp(z), allowed, allowed.sum(axis=1, keepdims=True).astype(np.float64))
    if offline_scale is not None:
        p_z = from_out_only(p_z, offline_scale)
    return np.sort(z - _log(p_z), axis=1)


def _relative(
    log_prob: Array,
    member: Array,
    population: np.ndarray,
    allowed: np.ndarray,
    usable: np.ndarray,
    gamma: float,
    offline_scale: float | None,
) -> np.ndarray:
    """The share of the population's log-ratios [K, Z] that each record beats: [K, N]."""
    asked = queries("log_prob", log_prob)
    shape = asked[0][1].shape
    outside = ~as_mask("member", member, shape)
    everyone = allowed.sum(axis=1, keepdims=True).astype(np.float64)
    num_out = reference_count(outside, allowed)
    scores = np.zeros(shape)
    for name, values in asked:
        x = check_signal(name, values, usable)
        probability = np.exp(x)
        p_x = reference_mean(probability * outside, allowed, num_out)
        if offline_scale is None:
            p_x = 0.5 * (p_x + reference_mean(probability * ~outside, allowed, everyone - num_out))
        else:
            p_x = from_out_only(p_x, offline_scale)
        scores += share_beaten(x - _log(p_x), population, float(np.log(gamma)))
    scores /= len(asked)
    scores[~usable] = np.nan
    return scores


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """RMIA's choices of `--attacks`."""
    return (
        _attack(config, "rmia_online", "RMIA, online", offline=False),
        _attack(config, "rmia_online_queries", "RMIA, online, queries averaged", offline=False, queried=True),
        _attack(config, "rmia_offline", "RMIA, offline", offline=True),
        _attack(
            config, "rmia_offline_queries", "RMIA, offline, queries averaged", offline=True, queried=True
        ),
    )


def _attack(
    config: AttacksConfig, name: AttackName, title: str, *, offline: bool, queried: bool = False
) -> Attack:
    """One of RMIA's variants."""
    scale = config.rmia_offline_scale if offline else None

    def fit(blocks: Blocks) -> np.ndarray:
        seen = blocks.first("population_log_prob")
        assert seen.population_log_prob is not None
        allowed, usable = references(np.shape(seen.member)[0], seen.exclude, seen.valid)
        return _population(seen.population_log_prob, allowed, usable, scale)

    def judge(seen: Observations, population: np.ndarray) -> np.ndarray:
        log_prob = seen.query_log_prob if queried else seen.log_prob
        assert log_prob is not None
        allowed, usable = references(np.shape(seen.member)[0], seen.exclude, seen.valid)
        return _relative(log_prob, seen.member, population, allowed, usable, config.rmia_gamma, scale)

    holds, sides = (WITH_OUT, ONLY_OUT) if offline else (WITH_BOTH, BOTH_SIDES)
    sees = f"{QUERY} and for changed versions of it" if queried else QUERY
    threat = f"{sees}, {holds}, and holds population records that no model was trained on."
    needs = frozenset({"query_log_prob" if queried else "log_prob", "population_log_prob"})
    return Attack(name, title, threat, SOURCE, sides, needs, judge, fit)


def reference_mean(probability: np.ndarray, allowed: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean over the references on one side: [K, N], NaN where there are none.

    probability: [K, N], 0 for models on the other side. count: [K, N] or [K, 1], references on this one.
    """
    # Sums of positive terms: a target's own large probability is never subtracted away.
    total = allowed.astype(np.float64) @ probability
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def from_out_only(mean_out: np.ndarray, scale: float) -> np.ndarray:
    """The offline estimate of p(x) from OUT references, which underestimate it."""
    return 0.5 * ((1.0 + scale) * mean_out + (1.0 - scale))


def share_beaten(log_ratio_x: np.ndarray, population: np.ndarray, log_gamma: float) -> np.ndarray:
    """For every target the share of its z, log-ratios [K, Z] sorted, that x beats by log_gamma: [K, N]."""
    scores = np.empty(log_ratio_x.shape)
    for target, (own, ratios) in enumerate(zip(log_ratio_x, population, strict=True)):
        if own.size < ratios.size:
            scores[target] = np.searchsorted(ratios, own - log_gamma, side="right") / ratios.size
            continue
        order = np.argsort(own)
        # Each z is beaten by all records from one place on: a third of the time of looking up each record.
        beaten_from = np.searchsorted(own[order] - log_gamma, ratios, side="left")
        number = np.bincount(beaten_from, minlength=own.size + 1)[: own.size]
        scores[target, order] = np.cumsum(number) / ratios.size
    scores[np.isnan(log_ratio_x)] = np.nan
    return scores


def _log(probability: np.ndarray) -> np.ndarray:
    """The logarithm, finite where references were so sure of another class that 0 was left."""
    return np.log(np.maximum(probability, np.finfo(np.float64).tiny))
