"""LpLA: a likelihood ratio on the norms of embeddings, which needs neither labels nor gradients.

arXiv 2506.05743; every model in turn the target. Members' and non-members' densities are fitted to the
references' records, all together.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from mia_jax.attacks.base import (
    NO_SIDE,
    WITH_SHADOWS,
    Attack,
    Observations,
    check_choice,
    check_signal,
    references,
)
from mia_jax.config import AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask

Density = Literal["gaussian", "kde"]

SOURCE = "Embedding Lp-Norm Likelihood Attack (LpLA), arXiv 2506.05743, 2025"

FLOOR = 1e-6
"""Smallest standard deviation, relative to that of members and non-members together."""

TINY = 1e-12
"""Smallest standard deviation where even that vanishes (of log-norms)."""

BINS_A_BANDWIDTH = 8
"""The bins of a density estimate are this much narrower than its kernel, or up to twice as much."""

PARTS = 256
"""Parts in which a record is shared out between two bins."""

REACH = 8
"""Bandwidths after which the kernel is cut off: what lies beyond is below double precision."""


class Fit(NamedTuple):
    """Of the references' log-norms on one side: their number, mean and standard deviation, each [K]."""

    count: np.ndarray
    mean: np.ndarray
    sigma: np.ndarray


def embedding_norm_likelihood(
    norm: Array,
    member: Array,
    *,
    density: Density = "gaussian",
    exclude: Array | None = None,
    valid: Array | None = None,
) -> np.ndarray:
    """Log density of the log-norm under members less that under non-members, float64 [K, N].

    norm: float [K, N], norms of embeddings, at least 0. member: bool [K, N]. Both densities are fitted
    to the records of the target's references: all models but itself, less those that `exclude` [K, K]
    marks; models that are not `valid` [K] are no references and get NaN. "gaussian": mean and deviation
    (ddof 0, at least 1e-6 of that of both sides together). "kde": Gaussian kernels of Scott's bandwidth,
    sigma n^(-1/5), on bins of at most an eighth of it; the Gaussian above takes part in it with the
    weight of one more record, which alone counts far out, where no kernel reaches.

    A norm of 0 has no logarithm: it enters no fit and gets NaN, as do all records of a target whose
    references hold fewer than two members or two non-members. Every target
    has fits of its own: pooled over targets the AUC of noise is a little below .5 (.48 at 9 models and 37
    records), that of each target .5. Raises ValueError for arrays that do not
    fit and for negative norms. arXiv 2506.05743.
    """
    check_choice("density", density, ("gaussian", "kde"))
    allowed, usable = references(len(np.asarray(norm)), exclude, valid)
    values = check_signal("norm", norm, usable)
    held = as_mask("member", member, values.shape)
    if values.min(initial=0.0) < 0:
        where = [int(i) for i in np.unravel_index(np.argmin(values), values.shape)]
        raise ValueError(
            f"norm{where} is {values[tuple(where)]}: a norm is at least 0; give it without a logarithm."
        )
    positive = values > 0
    x = np.log(np.where(positive, values, 1.0))
    sides = (held & positive, ~held & positive)
    fits = _fits(x, sides, allowed)
    log_density = _log_kde if density == "kde" else _log_gaussian
    inside, outside = (log_density(x, side, fit, allowed) for side, fit in zip(sides, fits, strict=True))
    known = usable & (fits[0].count >= 2) & (fits[1].count >= 2)
    return np.where(positive & known[:, None], inside - outside, np.nan)


def embedding_norms(embedding: Array, p: float = 2.0) -> np.ndarray:
    """The p-norm of embeddings [..., E]: float64 [...]. p: at least 1, infinity included (ValueError)."""
    if not p >= 1:
        raise ValueError(f"p is {p}: a norm needs p of at least 1 (infinity is allowed).")
    size = np.abs(np.asarray(embedding, np.float64))
    largest = size.max(axis=-1, initial=0.0)
    if np.isinf(p):
        return largest
    # Relative to the largest, no power overflows.
    share = size / np.where(largest > 0, largest, 1.0)[..., None]
    return largest * np.sum(share**p, axis=-1) ** (1.0 / p)


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """The choice of `--attacks` that reads embedding norms."""

    def score(seen: Observations) -> np.ndarray:
        assert seen.embedding_norm is not None
        return embedding_norm_likelihood(
            seen.embedding_norm,
            seen.member,
            density=config.embedding_density,
            exclude=seen.exclude,
            valid=seen.valid,
        )

    return (
        Attack(
            "embedding_norm",
            "Embedding-norm likelihood (LpLA)",
            f"The attacker holds the record, not its label, sees the target's embedding of it, {WITH_SHADOWS}.",
            SOURCE,
            NO_SIDE,
            frozenset({"embedding_norm"}),
            score,
        ),
    )


def _fits(x: np.ndarray, sides: tuple[np.ndarray, np.ndarray], allowed: np.ndarray) -> list[Fit]:
    """Mean and deviation of both sides' log-norms for every target, from one row of sums per model."""
    weights = allowed.astype(np.float64)
    somewhere = sides[0] | sides[1]
    # Around a value in their midst nothing large is left to cancel.
    around = float(np.median(x[somewhere])) if somewhere.any() else 0.0
    shifted = x - around
    sums = [
        np.stack([weights @ np.where(side, shifted**power, 0.0).sum(axis=1) for power in (0, 1, 2)])
        for side in sides
    ]
    together = _spread(sums[0] + sums[1])
    floor = np.maximum(FLOOR * together, TINY)
    return [
        Fit(side[0], around + side[1] / np.maximum(side[0], 1.0), np.maximum(_spread(side), floor))
        for side in sums
    ]


def _spread(sums: np.ndarray) -> np.ndarray:
    """The standard deviation [K] from sums of powers 0, 1 and 2, [3, K]."""
    mean, square = sums[1:] / np.maximum(sums[0], 1.0)
    return np.sqrt(np.maximum(square - mean**2, 0.0))


def _log_gaussian(x: np.ndarray, side: np.ndarray, fit: Fit, allowed: np.ndarray) -> np.ndarray:
    """Log density [K, N] of each target's Gaussian, up to the constant that both sides share."""
    mean, sigma = fit.mean[:, None], fit.sigma[:, None]
    return -np.log(sigma) - 0.5 * ((x - mean) / sigma) ** 2


def _log_kde(x: np.ndarray, side: np.ndarray, fit: Fit, allowed: np.ndarray) -> np.ndarray:
    """Log density [K, N] of each target's kernels and of one record's worth of its Gaussian, likewise."""
    smooth = _log_gaussian(x, side, fit, allowed)
    bandwidth = fit.sigma * np.maximum(fit.count, 1.0) ** -0.2
    # Widths are powers of two and bins start at 0, so that no other model moves a target's bins.
    widths = 2.0 ** np.floor(np.log2(bandwidth / BINS_A_BANDWIDTH))
    found = np.full(x.shape, -np.inf)
    for width in np.unique(widths):
        targets = np.flatnonzero((widths == width) & (fit.count > 0))
        _add_binned(found, x, side, targets, allowed, width, bandwidth)
    count = np.maximum(fit.count, 1.0)[:, None]
    return np.logaddexp(found + np.log(count / (count + 1.0)), smooth - np.log(count + 1.0))


def _add_binned(
    found: np.ndarray,
    x: np.ndarray,
    side: np.ndarray,
    targets: np.ndarray,
    allowed: np.ndarray,
    width: float,
    bandwidth: np.ndarray,
) -> None:
    """Write the log density of these targets' kernels into `found`; their bins are `width` wide.

    A record is shared out between the two bins beside it, in whole parts, so that taking models off the
    histogram of all is exact.
    """
    used = np.asarray(allowed[targets].any(axis=0))
    entries = side & used[:, None]
    place = x / width
    bins = np.floor(place)
    share = np.round((place - bins) * PARTS)
    first = bins[entries].min()
    size = int(bins[entries].max() - first) + 2

    def histogram(mine: np.ndarray, below: np.ndarray, part: np.ndarray) -> np.ndarray:
        at = (below[mine] - first).astype(np.int64)
        lower = np.bincount(at, weights=PARTS - part[mine], minlength=size)
        return lower + np.bincount(at + 1, weights=part[mine], minlength=size)

    total = histogram(entries, bins, share)
    for target in targets:
        left = total.copy()
        for other in np.flatnonzero(used & ~allowed[target]):
            left -= histogram(entries[other], bins[other], share[other])
        h = bandwidth[target]
        reach = int(np.ceil(REACH * h / width))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * width / h) ** 2) / (h * left.sum())
        log_density = np.log(np.maximum(np.convolve(left, kernel), np.finfo(np.float64).tiny))
        places = (first + np.arange(log_density.size) - reach) * width
        found[target] = np.interp(x[target], places, log_density, left=-np.inf, right=-np.inf)
