"""LiRA: the likelihood-ratio attack of Carlini et al. 2022, every model in turn the target.

Sums over references are products with the [K, K] matrix that says who is whose reference, in
float64: exact leave-one-out without one pass per target, and nothing is subtracted from a total.
Medians of references are read off one sort per record, not one per target.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

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
    check_choice,
    check_signal,
    references,
    sum_of,
)
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask, as_numbers, check_whole

Mode = Literal["online", "offline"]
Variance = Literal["per_example", "global", "auto"]
Centre = Literal["mean", "median"]

SOURCE = "Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022"

FEWEST = 32
"""References on a side from which on "auto" trusts a record's own variance; Carlini et al. do from 64 models on."""

FLOOR = 1e-6
"""Smallest standard deviation, relative to the pooled one."""

TINY = 1e-12
"""Smallest standard deviation where even the pooled one vanishes (logits)."""


class Rule(NamedTuple):
    """What `lira` is told: the arguments of these names."""

    mode: Mode = "online"
    variance: Variance = "per_example"
    fewest: int = FEWEST
    centre: Centre = "mean"


class Moments(NamedTuple):
    """Of the references on one side: count, mean and sum of squared residuals, each [K, N]."""

    count: np.ndarray
    mean: np.ndarray
    residual: np.ndarray


class Gaussian(NamedTuple):
    """What is fitted to the references on one side: centre [K, N]; sigma [K, N], or [K, 1] where global."""

    centre: np.ndarray
    sigma: np.ndarray


def lira(
    logit: Array,
    member: Array,
    *,
    mode: Mode = "online",
    variance: Variance = "per_example",
    fewest: int = FEWEST,
    centre: Centre = "mean",
    exclude: Array | None = None,
    valid: Array | None = None,
    missing: Literal["raise", "nan"] = "raise",
) -> np.ndarray:
    """Likelihood-ratio scores, float64 [K, N]; larger = more likely a member.

    logit: float [K, N], the scaled logit, or [K, N, Q] of Q queries of every record, each with its own
    Gaussians; their scores are averaged. member: bool [K, N]. Each model in turn is the target and all
    others its references, less those that `exclude` [K, K] marks in its row; models that are not
    `valid` [K] are no references and get NaN.

    online: log N(phi; mu_in, sigma_in) - log N(phi; mu_out, sigma_out). offline: (phi - mu_out) /
    sigma_out. mu is the references' mean, or their median with centre="median". sigma is about the
    mean, whatever the centre, with ddof 0: the record's own ("per_example") or that of the residuals
    around each record's mean, pooled over records, IN and OUT apart ("global"); it is floored at 1e-6
    of the global one. "auto" takes the record's own where the target has at least `fewest` references
    on every needed side of that record and the global one elsewhere, for both densities alike: a ratio
    of one kind to the other would tell from which side the target is missing. The other variances do
    not read `fewest`.

    Fewer than two references on a needed side: ValueError naming the record, or NaN there with
    missing="nan". Carlini et al. 2022, algorithm 1 and section VI.
    """
    check_choice("missing", missing, ("raise", "nan"))
    rule = Rule(mode, variance, fewest, centre)
    _check_rule(rule)
    return _likelihood_ratio(logit, member, rule, None, exclude, valid, missing)


def _check_rule(rule: Rule) -> None:
    """Refuse options that are not there (ValueError)."""
    check_choice("mode", rule.mode, ("online", "offline"))
    check_choice("variance", rule.variance, ("per_example", "global", "auto"))
    check_choice("centre", rule.centre, ("mean", "median"))
    check_whole("fewest", rule.fewest, 2, ", or a variance is of one reference")


def _likelihood_ratio(
    logit: Array,
    member: Array,
    rule: Rule,
    pooled: np.ndarray | None,
    exclude: Array | None,
    valid: Array | None,
    missing: str,
) -> np.ndarray:
    """The scores [K, N] of records, given the deviations [Q, S, K] of all records (None: these are all)."""
    asked = queries("logit", logit)
    shape = asked[0][1].shape
    allowed, usable = references(shape[0], exclude, valid)
    sides = _sides(member, shape, rule.mode)
    counts = [reference_count(side, allowed) for side in sides]
    short = np.zeros(shape, bool)
    for name, count in zip(("OUT", "IN"), counts, strict=False):
        short |= _too_few(name, count, usable, missing)
    enough = np.min(counts, axis=0) >= rule.fewest
    scores = np.zeros(shape)
    for query, (name, values) in enumerate(asked):
        phi = check_signal(name, values, usable)
        around, fitted = middle(phi), []
        for number, (side, count) in enumerate(zip(sides, counts, strict=True)):
            found = moments(phi, side, allowed, count, around)
            sigma = _deviation_of(_residuals(found)) if pooled is None else pooled[query, number]
            at = found.mean if rule.centre == "mean" else medians(phi, side, allowed)
            fitted.append(Gaussian(at, deviation(found, rule.variance, enough, sigma[:, None])))
        scores += _score(phi, *fitted)
    scores /= len(asked)
    scores[short | ~usable[:, None]] = np.nan
    return scores


def _sums(logit: Array, member: Array, mode: Mode, exclude: Array | None, valid: Array | None) -> np.ndarray:
    """Of every query, side and target the squared residuals of the references and their number: [Q, S, 2, K]."""
    asked = queries("logit", logit)
    shape = asked[0][1].shape
    allowed, usable = references(shape[0], exclude, valid)
    sides = _sides(member, shape, mode)
    counts = [reference_count(side, allowed) for side in sides]
    sums = np.empty((len(asked), len(sides), 2, shape[0]))
    for (name, values), into in zip(asked, sums, strict=True):
        phi = check_signal(name, values, usable)
        around = middle(phi)
        for number, (side, count) in enumerate(zip(sides, counts, strict=True)):
            into[number] = _residuals(moments(phi, side, allowed, count, around))
    return sums


def _residuals(side: Moments) -> np.ndarray:
    """Of every target the squared residuals of its references on a side and their number, [2, K]: they add up."""
    counted = side.count >= 2
    return np.stack([np.where(counted, of, 0.0).sum(axis=1) for of in (side.residual, side.count)])


def _deviation_of(sums: np.ndarray) -> np.ndarray:
    """The references' standard deviation around each record's mean, pooled over records: [..., K] of [..., 2, K]."""
    return np.sqrt(sums[..., 0, :] / np.maximum(sums[..., 1, :], 1.0))


def _sides(member: Array, shape: tuple[int, ...], mode: Mode) -> list[np.ndarray]:
    """Who is on the sides that a mode needs, OUT first: bool [K, N] each."""
    held = as_mask("member", member, shape)
    return [~held] if mode == "offline" else [~held, held]


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """LiRA's choices of `--attacks`."""
    return (
        _attack(config, "lira_online", "LiRA, online, a variance per record", "online", "per_example"),
        _attack(config, "lira_online_global", "LiRA, online, one variance", "online", "global"),
        _attack(config, "lira_online_auto", "LiRA, online, variance by references", "online", "auto"),
        _attack(config, "lira_online_queries", "LiRA, online, queries averaged", "online", "auto", True),
        _attack(config, "lira_offline", "LiRA, offline, a variance per record", "offline", "per_example"),
        _attack(config, "lira_offline_global", "LiRA, offline, one variance", "offline", "global"),
        _attack(config, "lira_offline_auto", "LiRA, offline, variance by references", "offline", "auto"),
        _attack(config, "lira_offline_queries", "LiRA, offline, queries averaged", "offline", "auto", True),
    )


def _attack(
    config: AttacksConfig, name: AttackName, title: str, mode: Mode, variance: Variance, queried: bool = False
) -> Attack:
    """One of LiRA's variants."""
    one = by_rule(Rule(mode, variance, config.lira_fewest, config.lira_centre), queried=queried)
    holds, sides = (WITH_BOTH, BOTH_SIDES) if mode == "online" else (WITH_OUT, ONLY_OUT)
    sees = f"{QUERY} and for changed versions of it" if queried else QUERY
    needs = frozenset({"query_scaled_logit" if queried else "scaled_logit"})
    return Attack(name, title, f"{sees}, {holds}.", SOURCE, sides, needs, one.judge, one.fit)


class Parts(NamedTuple):
    """What LiRA fits to all records, deviations [Q, S, K], and how it judges a block of them."""

    fit: Callable[[Blocks], np.ndarray]
    judge: Callable[[Observations, np.ndarray], np.ndarray]


def by_rule(rule: Rule, *, queried: bool = False) -> Parts:
    """LiRA by a rule, on the scaled logit or on that of queries."""
    _check_rule(rule)

    def judge(seen: Observations, pooled: np.ndarray) -> np.ndarray:
        logit = _logit_of(seen, queried)
        return _likelihood_ratio(logit, seen.member, rule, pooled, seen.exclude, seen.valid, "nan")

    return Parts(_fit_of(rule.mode, queried), judge)


@functools.cache
def _fit_of(mode: Mode, queried: bool) -> Callable[[Blocks], np.ndarray]:
    """The fit of all rules of a mode: the same function, so that it need be done only once."""

    def fit(blocks: Blocks) -> np.ndarray:
        return _deviation_of(
            sum_of(
                _sums(_logit_of(seen, queried), seen.member, mode, seen.exclude, seen.valid)
                for seen in blocks.each()
            )
        )

    return fit


def _logit_of(seen: Observations, queried: bool) -> Array:
    """The signal that LiRA reads: [K, N], or [K, N, Q] of queries."""
    logit = seen.query_scaled_logit if queried else seen.scaled_logit
    assert logit is not None
    return logit


def queries(name: str, values: Array) -> list[tuple[str, np.ndarray]]:
    """The queries of a signal [K, N] or [K, N, Q], each [K, N] with its name for errors. Raises ValueError."""
    signal = as_numbers(name, values, keep=True)
    if signal.ndim == 2:
        return [(name, signal)]
    if signal.ndim != 3 or signal.shape[2] == 0:
        raise ValueError(
            f"{name} has shape {signal.shape}: it must be [K, N], or [K, N, Q] with at least one query."
        )
    return [(f"{name}[:, :, {query}]", signal[:, :, query]) for query in range(signal.shape[2])]


def reference_count(side: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """How many references every target has on one side: [K, N]. side: bool [K, N]. allowed: bool [K, K]."""
    return allowed.astype(np.float64) @ side.astype(np.float64)


def middle(phi: np.ndarray) -> np.ndarray:
    """The (upper) median over all models of every record: [N], around which nothing large is left to cancel."""
    return np.sort(np.ascontiguousarray(phi.T), axis=1)[:, len(phi) // 2]


def moments(
    phi: np.ndarray,
    side: np.ndarray,
    allowed: np.ndarray,
    count: np.ndarray | None = None,
    around: np.ndarray | None = None,
) -> Moments:
    """Moments of the references for every target. phi: [K, N]. side: bool [K, N]. allowed: bool [K, K].

    count, around: `reference_count` and `middle` of these arrays, where they are known already.
    """
    weights = allowed.astype(np.float64)
    count = reference_count(side, allowed) if count is None else count
    around = middle(phi) if around is None else around
    shifted = (phi - around) * side
    safe = np.maximum(count, 1.0)
    mean = (weights @ shifted) / safe
    residual = np.maximum(weights @ shifted**2 - safe * mean**2, 0.0)
    return Moments(count, mean + around, residual)


def medians(phi: np.ndarray, side: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Median of the references for every target: [K, N], NaN where there are none; arguments as `moments`.

    The models on this side are sorted once for each record. A target's median is then the entry at
    its place among those left when the few that are not its references are skipped.
    """
    somebodys = np.asarray(allowed.any(axis=0))
    listed = side & somebodys[:, None]
    values = np.ascontiguousarray(np.where(listed, phi, np.inf).T)
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    rank = np.empty(order.shape, np.int32)
    np.put_along_axis(rank, order, np.arange(len(phi), dtype=np.int32)[None, :], axis=1)
    rank = np.where(listed, rank.T, np.int32(len(phi)))  # beyond all places: nothing to skip
    total = listed.sum(axis=0, dtype=np.int32)
    found = np.empty(phi.shape)
    for target, row in enumerate(allowed):
        skipped = np.sort(rank[somebodys & ~row], axis=0)
        count = total - (skipped < len(phi)).sum(axis=0, dtype=np.int32)
        found[target] = 0.5 * sum(_entry(ordered, place, skipped) for place in ((count - 1) // 2, count // 2))
        found[target, count == 0] = np.nan
    return found


def deviation(side: Moments, variance: Variance, enough: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """The references' standard deviation with its floor: [K, N], or [K, 1] where global.

    enough: bool [K, N], where "auto" takes the record's own. pooled: [K, 1], of all records.
    """
    floor = np.maximum(FLOOR * pooled, TINY)
    if variance == "global":
        return np.maximum(pooled, floor)
    own = np.sqrt(side.residual / np.maximum(side.count, 1.0))
    return np.maximum(np.where(enough, own, pooled) if variance == "auto" else own, floor)


def _entry(ordered: np.ndarray, place: np.ndarray, skipped: np.ndarray) -> np.ndarray:
    """Of sorted entries [N, K] the one at `place` [N] once those at `skipped` [S, N], rising, are left out."""
    at = place.copy()
    for passed in skipped:
        at += passed <= at
    return ordered[np.arange(len(ordered)), np.minimum(at, ordered.shape[1] - 1)]


def _score(phi: np.ndarray, out: Gaussian, inside: Gaussian | None = None) -> np.ndarray:
    """The offline score, or the online one where there is an IN side too."""
    if inside is None:
        return (phi - out.centre) / out.sigma
    return _log_density(phi, inside) - _log_density(phi, out)


def _log_density(phi: np.ndarray, fitted: Gaussian) -> np.ndarray:
    """log N(phi; centre, sigma) up to the constant that both sides share."""
    return -np.log(fitted.sigma) - 0.5 * ((phi - fitted.centre) / fitted.sigma) ** 2


def _too_few(name: str, count: np.ndarray, usable: np.ndarray, missing: str) -> np.ndarray:
    """Where a valid target has fewer than two references on this side: bool [K, N], or ValueError."""
    short = (count < 2) & usable[:, None]
    if missing == "raise" and short.any():
        k, n = (int(i) for i in np.argwhere(short)[0])
        raise ValueError(
            f"record {n} has {int(count[k, n])} of the 2 reference models that are needed on the {name} side when "
            f'model {k} is the target: train more models, or pass missing="nan".'
        )
    return short
