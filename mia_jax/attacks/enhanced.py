"""Enhanced membership inference of Ye et al. 2022: one hypothesis test, three sources of its threshold.

alpha is the share of non-members that look at least as much like a member as the record does; the
score is 1 - alpha. S counts them over shadow models, P over the target's own population records, R
in the Gaussian of the record's own reference models. Shares are empirical, as in the paper: nothing
is added to numerator or denominator, and what beats everyone scores 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import log_ndtr, ndtr

from mia_jax.attacks.base import (
    NO_SIDE,
    ONLY_OUT,
    QUERY,
    WITH_OUT,
    WITH_SHADOWS,
    Attack,
    Blocks,
    Observations,
    check_signal,
    references,
)
from mia_jax.attacks.gathering import gathered
from mia_jax.attacks.likelihood_ratio import Rule, by_rule, lira
from mia_jax.attacks.metric_threshold import check_labels
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.types import Array, Side
from mia_jax.validation import as_mask

SOURCE = "Ye et al., Enhanced Membership Inference Attacks against Machine Learning Models, ACM CCS 2022"


def enhanced_shadow(
    signal: Array,
    member: Array,
    *,
    labels: Array | None = None,
    exclude: Array | None = None,
    valid: Array | None = None,
) -> np.ndarray:
    """Attack S: 1 - alpha over shadow models, float64 [K, N] in [0, 1]; larger = more likely a member.

    signal: float [K, N], larger = more like a member. member: bool [K, N]. alpha is the share, among the
    entries of non-members in the target's references pooled over records, of those whose signal is at
    least the record's; with labels, int [N], among the records of its class. Each model in turn is the
    target, all others its references, less those that `exclude` [K, K] marks; models that are not
    `valid` [K] are no references and get NaN, as do records that no non-member can be held against.
    Raises ValueError for arrays that do not fit. Ye et al. 2022, section 4.
    """
    allowed, usable = references(len(np.asarray(signal)), exclude, valid)
    values = check_signal("signal", signal, usable)
    outside = ~as_mask("member", member, values.shape)
    if labels is None:
        return _share_of_pool(values, _ranked(values, outside, allowed), allowed, usable)
    y = check_labels("labels", labels, values.shape[1:], int(np.max(labels, initial=0)) + 1)
    scores = np.empty(values.shape)
    for label in np.unique(y):
        mine = y == label
        ranked = _ranked(values[:, mine], outside[:, mine], allowed)
        scores[:, mine] = _share_of_pool(values[:, mine], ranked, allowed, usable)
    return scores


def enhanced_population(signal: Array, population_signal: Array, *, valid: Array | None = None) -> np.ndarray:
    """Attack P: 1 - alpha over the target's own population records, float64 [K, N] in [0, 1].

    signal: float [K, N]; population_signal: float [K, Z], of records that no model was trained on; both
    larger = more like a member. alpha is the share of population records whose signal is at least the
    record's, in the same model. Models that are not `valid` [K] get NaN. Raises ValueError for arrays
    that do not fit. Ye et al. 2022, section 4.
    """
    usable = references(len(np.asarray(signal)), None, valid)[1]
    return _share_of_population(signal, _sorted_population(population_signal, usable), usable)


def enhanced_reference(
    signal: Array,
    member: Array,
    *,
    exclude: Array | None = None,
    valid: Array | None = None,
    missing: Literal["raise", "nan"] = "raise",
) -> np.ndarray:
    """Attack R: 1 - alpha in the Gaussian of each record's OUT references, float64 [K, N] in [0, 1].

    alpha = 1 - Phi((phi - mu_out) / sigma_out), with mean and deviation (ddof 0, floored) as in offline
    `lira`, which also says what the arguments are and when records are too short of references. From
    about 8.3 deviations on, 1 - alpha rounds to 1 and records tie; offline `lira` has the same order
    without ties. Ye et al. 2022, section 4.
    """
    return ndtr(lira(signal, member, mode="offline", exclude=exclude, valid=valid, missing=missing))


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """The choices of `--attacks` that test against non-members."""

    def signal_of(seen: Observations) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert seen.scaled_logit is not None
        allowed, usable = references(np.shape(seen.member)[0], seen.exclude, seen.valid)
        return check_signal("signal", seen.scaled_logit, usable), allowed, usable

    def fit_shadow(blocks: Blocks) -> Ranked:
        seen = gathered(blocks, ("scaled_logit",))
        values, allowed, _ = signal_of(seen)
        return _ranked(values, ~as_mask("member", seen.member, values.shape), allowed)

    def shadow(seen: Observations, ranked: Ranked) -> np.ndarray:
        values, allowed, usable = signal_of(seen)
        return _share_of_pool(values, ranked, allowed, usable)

    def fit_population(blocks: Blocks) -> np.ndarray:
        seen = blocks.first("population_scaled_logit")
        assert seen.population_scaled_logit is not None
        usable = references(np.shape(seen.member)[0], None, seen.valid)[1]
        return _sorted_population(seen.population_scaled_logit, usable)

    def population(seen: Observations, ranked: np.ndarray) -> np.ndarray:
        values, _, usable = signal_of(seen)
        return _share_of_population(values, ranked, usable)

    def reference(seen: Observations, spread: np.ndarray) -> np.ndarray:
        distance = offline.judge(seen, spread)
        # -log(alpha) rises with 1 - alpha and tells the surest members apart, which that would tie.
        return -log_ndtr(-distance)

    offline = by_rule(Rule("offline"))
    with_population = f"{QUERY}, and holds population records that no model was trained on."
    both = frozenset({"scaled_logit", "population_scaled_logit"})
    return (
        _attack("enhanced_shadow", "shadow models", f"{QUERY}, {WITH_SHADOWS}.", shadow, fit_shadow),
        _attack("enhanced_population", "population", with_population, population, fit_population, needs=both),
        _attack(
            "enhanced_reference",
            "reference models",
            f"{QUERY}, {WITH_OUT}.",
            reference,
            offline.fit,
            ONLY_OUT,
        ),
    )


def _attack(
    name: AttackName,
    against: str,
    threat: str,
    judge: Callable[[Observations, Any], np.ndarray],
    fit: Callable[[Blocks], Any],
    sides: frozenset[Side] = NO_SIDE,
    needs: frozenset[str] = frozenset({"scaled_logit"}),
) -> Attack:
    """One of the three."""
    return Attack(name, f"Enhanced MIA, {against}", threat, SOURCE, sides, needs, judge, fit)


def _sorted_population(population_signal: Array, usable: np.ndarray) -> np.ndarray:
    """Every model's population records [K, Z] in rising order."""
    population = check_signal("population_signal", population_signal, usable)
    if not population.size:
        raise ValueError(f"population_signal has shape {population.shape}: it must hold at least one record.")
    return np.sort(population, axis=1)


def _share_of_population(signal: Array, ranked: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The share of the target's population records, sorted, that lie below each entry: [K, N]."""
    values = check_signal("signal", signal, usable)
    scores = np.full(values.shape, np.nan)
    for target in np.flatnonzero(usable):
        scores[target] = np.searchsorted(ranked[target], values[target], side="left") / ranked.shape[1]
    return scores


class Ranked(NamedTuple):
    """OUT entries, sorted: of all models that are anybody's references [J], and of each model [J of it]."""

    pool: np.ndarray
    of_model: list[np.ndarray]


def _ranked(values: np.ndarray, outside: np.ndarray, allowed: np.ndarray) -> Ranked:
    """The OUT entries of a signal [K, N]."""
    somebodys = np.asarray(allowed.any(axis=0))
    of_model = [np.sort(row[out]) for row, out in zip(values, outside, strict=True)]
    return Ranked(np.sort(values[somebodys][outside[somebodys]]), of_model)


def _share_of_pool(values: np.ndarray, ranked: Ranked, allowed: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The share of the references' OUT entries that lie below each entry: [K, N], NaN where there are none.

    All entries are sorted once; those of the target and of others that are not its references are
    counted apart and taken off, in whole numbers.
    """
    somebodys, (pool, of_model) = np.asarray(allowed.any(axis=0)), ranked
    scores = np.full(values.shape, np.nan)
    for target in np.flatnonzero(usable):
        order = np.argsort(values[target])
        own = values[target, order]  # rising: found several times faster than in any other order
        below, total = np.searchsorted(pool, own, side="left"), pool.size
        for other in np.flatnonzero(somebodys & ~allowed[target]):
            below -= np.searchsorted(of_model[other], own, side="left")
            total -= of_model[other].size
        if total:
            scores[target, order] = below / total
    return scores
