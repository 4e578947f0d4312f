"""LiRA: the likelihood-ratio attack of Carlini et al. 2022, every model in turn the target.

Sums over references are products with the [K, K] matrix that says who is whose reference, in
float64: exact leave-one-out without one pass per target, and nothing is subtracted from a total.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from mia_jax.attacks.base import (
    BOTH_SIDES,
    ONLY_OUT,
    QUERY,
    WITH_BOTH,
    WITH_OUT,
    Attack,
    Observations,
    check_choice,
    check_signal,
    references,
)
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask

Mode = Literal["online", "offline"]
Variance = Literal["per_example", "global"]

SOURCE = "Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022"

FLOOR = 1e-6
"""Smallest standard deviation, relative to the pooled one."""

TINY = 1e-12
"""Smallest standard deviation where even the pooled one vanishes (logits)."""


class Moments(NamedTuple):
    """Of the references on one side: count, mean and sum of squared residuals, each [K, N]."""

    count: np.ndarray
    mean: np.ndarray
    residual: np.ndarray


def lira(
    logit: Array,
    member: Array,
    *,
    mode: Mode = "online",
    variance: Variance = "per_example",
    exclude: Array | None = None,
    valid: Array | None = None,
    missing: Literal["raise", "nan"] = "raise",
) -> np.ndarray:
    """Likelihood-ratio scores, float64 [K, N]; larger = more likely a member.

    logit: float [K, N], the scaled logit. member: bool [K, N]. Each model in turn is the target and
    all others its references, less those that `exclude` [K, K] marks in its row; models that are
    not `valid` [K] are no references and get NaN.

    online: log N(phi; mu_in, sigma_in) - log N(phi; mu_out, sigma_out). offline: (phi - mu_out) /
    sigma_out. sigma has ddof 0 and is the record's own ("per_example") or that of the residuals
    around each record's mean, pooled over records, IN and OUT apart ("global"); it is floored at
    1e-6 of the global one. Fewer than two references on a needed side: ValueError naming the record,
    or NaN there with missing="nan". Carlini et al. 2022, algorithm 1 and section VI.
    """
    check_choice("mode", mode, ("online", "offline"))
    check_choice("variance", variance, ("per_example", "global"))
    check_choice("missing", missing, ("raise", "nan"))
    allowed, usable = references(len(np.asarray(logit)), exclude, valid)
    phi = check_signal("logit", logit, usable)
    held = as_mask("member", member, phi.shape)
    out = moments(phi, ~held, allowed)
    sides = [("out", out)]
    if mode == "online":
        sides.append(("in", moments(phi, held, allowed)))
    short = np.zeros(phi.shape, bool)
    for name, side in sides:
        short |= _too_few(name, side, usable, missing)
    if mode == "offline":
        scores = (phi - out.mean) / deviation(out, variance)
    else:
        scores = _log_density(phi, sides[1][1], variance) - _log_density(phi, out, variance)
    scores[short | ~usable[:, None]] = np.nan
    return scores


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """LiRA's choices of `--attacks`."""
    return (
        _attack("lira_online", "LiRA, online, a variance per record", "online", "per_example"),
        _attack("lira_online_global", "LiRA, online, one variance", "online", "global"),
        _attack("lira_offline", "LiRA, offline, a variance per record", "offline", "per_example"),
        _attack("lira_offline_global", "LiRA, offline, one variance", "offline", "global"),
    )


def _attack(name: AttackName, title: str, mode: Mode, variance: Variance) -> Attack:
    """One of LiRA's variants."""

    def score(seen: Observations) -> np.ndarray:
        assert seen.scaled_logit is not None
        return lira(
            seen.scaled_logit,
            seen.member,
            mode=mode,
            variance=variance,
            exclude=seen.exclude,
            valid=seen.valid,
            missing="nan",
        )

    holds, sides = (WITH_BOTH, BOTH_SIDES) if mode == "online" else (WITH_OUT, ONLY_OUT)
    return Attack(name, title, f"{QUERY}, {holds}.", SOURCE, sides, frozenset({"scaled_logit"}), score)


def moments(phi: np.ndarray, side: np.ndarray, allowed: np.ndarray) -> Moments:
    """Moments of the references for every target. phi: [K, N]. side: bool [K, N]. allowed: bool [K, K]."""
    weights = allowed.astype(np.float64)
    # Around each record's median nothing large is left to cancel.
    centre = np.median(phi, axis=0)
    shifted = np.where(side, phi - centre, 0.0)
    count = weights @ side.astype(np.float64)
    safe = np.maximum(count, 1.0)
    mean = (weights @ shifted) / safe
    residual = np.maximum(weights @ shifted**2 - safe * mean**2, 0.0)
    return Moments(count, mean + centre, residual)


def deviation(side: Moments, variance: Variance) -> np.ndarray:
    """The references' standard deviation with its floor: [K, N], or [K, 1] where global."""
    counted = side.count >= 2
    total = np.where(counted, side.residual, 0.0).sum(axis=1, keepdims=True)
    number = np.where(counted, side.count, 0.0).sum(axis=1, keepdims=True)
    pooled = np.sqrt(total / np.maximum(number, 1.0))
    floor = np.maximum(FLOOR * pooled, TINY)
    own = pooled if variance == "global" else np.sqrt(side.residual / np.maximum(side.count, 1.0))
    return np.maximum(own, floor)


def _log_density(phi: np.ndarray, side: Moments, variance: Variance) -> np.ndarray:
    """log N(phi; mean, sigma) up to the constant that both sides share."""
    sigma = deviation(side, variance)
    return -np.log(sigma) - 0.5 * ((phi - side.mean) / sigma) ** 2


def _too_few(name: str, side: Moments, usable: np.ndarray, missing: str) -> np.ndarray:
    """Where a valid target has fewer than two references on this side: bool [K, N], or ValueError."""
    short = (side.count < 2) & usable[:, None]
    if missing == "raise" and short.any():
        k, n = (int(i) for i in np.argwhere(short)[0])
        raise ValueError(
            f"record {n} has {int(side.count[k, n])} reference models on the {name.upper()} side when model {k} is "
            'the target: at least 2 are needed; train more models, or pass missing="nan".'
        )
    return short
