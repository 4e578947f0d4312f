"""LpLA: a likelihood ratio on the norms of embeddings, which needs neither labels nor gradients.

arXiv 2506.05743; every model in turn the target. Members' and non-members' densities are fitted to the
references' records, all together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from mia_jax.attacks.base import (
    NO_SIDE,
    WITH_SHADOWS,
    Attack,
    Blocks,
    Observations,
    check_choice,
    check_signal,
    one_block,
    references,
    sum_of,
)
from mia_jax.config import AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask, as_numbers, check_number

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
    blocks = one_block(Observations(member, valid, exclude, embedding_norm=norm))
    return _judge(blocks.first("embedding_norm"), _fit(blocks, density))


def embedding_norms(embedding: Array, p: float = 2.0) -> np.ndarray:
    """The p-norm of embeddings [..., E]: float64 [...]. p: at least 1, infinity included (ValueError)."""
    check_number("p", p, lambda p: p >= 1, "be at least 1 (inf is allowed)")
    size = np.abs(as_numbers("embedding", embedding))
    largest = size.max(axis=-1, initial=0.0)
    if np.isinf(p):
        return largest
    # Relative to the largest, no power overflows.
    share = size / np.where(largest > 0, largest, 1.0)[..., None]
    return largest * np.sum(share**p, axis=-1) ** (1.0 / p)


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """The choice of `--attacks` that reads embedding norms."""
    return (
        Attack(
            "embedding_norm",
            "Embedding-norm likelihood (LpLA)",
            f"The attacker holds the record, not its label, sees the target's embedding of it, {WITH_SHADOWS}.",
            SOURCE,
            NO_SIDE,
            frozenset({"embedding_norm"}),
            _judge,
            lambda blocks: _fit(blocks, config.embedding_density),
        ),
    )


class Curve(NamedTuple):
    """A log density on even places: values [P], the first of them at first * width, `width` apart."""

    first: int
    width: float
    values: np.ndarray


class Side(NamedTuple):
    """What one side's density is made of. curves: of each target's kernels, None where there are none."""

    fit: Fit
    curves: list[Curve | None] | None


class LogNorms(NamedTuple):
    """Of a block's records: x, log-norms [K, N] where `positive` [K, N]; sides: bool [K, N], members first."""

    x: np.ndarray
    positive: np.ndarray
    sides: tuple[np.ndarray, np.ndarray]
    allowed: np.ndarray
    usable: np.ndarray


def _log_norms(seen: Observations) -> LogNorms:
    """A block's log-norms, checked. Raises ValueError."""
    assert seen.embedding_norm is not None
    allowed, usable = references(len(np.asarray(seen.embedding_norm)), seen.exclude, seen.valid)
    values = check_signal("norm", seen.embedding_norm, usable)
    held = as_mask("member", seen.member, values.shape)
    if values.min(initial=0.0) < 0:
        where = [int(i) for i in np.unravel_index(np.argmin(values), values.shape)]
        raise ValueError(
            f"norm{where} is {values[tuple(where)]}: it must be at least 0; give the norm, not its logarithm."
        )
    positive = values > 0
    x = np.log(np.where(positive, values, 1.0))
    return LogNorms(x, positive, (held & positive, ~held & positive), allowed, usable)


def _fit(blocks: Blocks, density: Density) -> tuple[Side, Side]:
    """Members' and non-members' densities for every target."""
    fits = _fits(blocks)
    curves = [_curves(blocks, side, fits[side]) if density == "kde" else None for side in (0, 1)]
    return Side(fits[0], curves[0]), Side(fits[1], curves[1])


def _judge(seen: Observations, sides: tuple[Side, Side]) -> np.ndarray:
    """The log density under members less that under non-members: [K, N]."""
    norms = _log_norms(seen)
    inside, outside = (_log_density(norms.x, side) for side in sides)
    known = norms.usable & (sides[0].fit.count >= 2) & (sides[1].fit.count >= 2)
    return np.where(norms.positive & known[:, None], inside - outside, np.nan)


def _fits(blocks: Blocks) -> list[Fit]:
    """Mean and deviation of both sides' log-norms for every target, from one row of sums per model."""
    # Around a value in their midst nothing large is left to cancel.
    around = _middle(_log_norms(blocks.first("embedding_norm")))
    sums = sum_of(_powers(_log_norms(seen), around) for seen in blocks.each())
    together = _spread(sums[0] + sums[1])
    floor = np.maximum(FLOOR * together, TINY)
    return [
        Fit(side[0], around + side[1] / np.maximum(side[0], 1.0), np.maximum(_spread(side), floor))
        for side in sums
    ]


def _middle(norms: LogNorms) -> float:
    """The median of the log-norms, 0 where there are none."""
    return float(np.median(norms.x[norms.positive])) if norms.positive.any() else 0.0


def _powers(norms: LogNorms, around: float) -> np.ndarray:
    """Of both sides and every target the references' sums of powers 0, 1 and 2: [2, 3, K]."""
    weights, shifted = norms.allowed.astype(np.float64), norms.x - around
    return np.stack(
        [
            np.stack([weights @ np.where(side, shifted**power, 0.0).sum(axis=1) for power in (0, 1, 2)])
            for side in norms.sides
        ]
    )


def _spread(sums: np.ndarray) -> np.ndarray:
    """The standard deviation [K] from sums of powers 0, 1 and 2, [3, K]."""
    mean, square = sums[1:] / np.maximum(sums[0], 1.0)
    return np.sqrt(np.maximum(square - mean**2, 0.0))


def _log_density(x: np.ndarray, side: Side) -> np.ndarray:
    """Log density [K, N] of each target's Gaussian, or of its kernels and one record's worth of it.

    Up to the constant that both sides share.
    """
    mean, sigma = side.fit.mean[:, None], side.fit.sigma[:, None]
    smooth = -np.log(sigma) - 0.5 * ((x - mean) / sigma) ** 2
    if side.curves is None:
        return smooth
    found = np.full(x.shape, -np.inf)
    for own, into, curve in zip(x, found, side.curves, strict=True):
        if curve is not None:
            places = (curve.first + np.arange(curve.values.size)) * curve.width
            into[:] = np.interp(own, places, curve.values, left=-np.inf, right=-np.inf)
    count = np.maximum(side.fit.count, 1.0)[:, None]
    return np.logaddexp(found + np.log(count / (count + 1.0)), smooth - np.log(count + 1.0))


def _curves(blocks: Blocks, side: int, fit: Fit) -> list[Curve | None]:
    """The log density of every target's kernels on its bins; None for targets without references."""
    first = _log_norms(blocks.first("embedding_norm"))
    bandwidth = fit.sigma * np.maximum(fit.count, 1.0) ** -0.2
    # Widths are powers of two and bins start at 0, so that no other model moves a target's bins.
    widths = 2.0 ** np.floor(np.log2(bandwidth / BINS_A_BANDWIDTH))
    curves: list[Curve | None] = [None] * fit.count.size
    for width in np.unique(widths):
        targets = np.flatnonzero((widths == width) & (fit.count > 0))
        used = np.asarray(first.allowed[targets].any(axis=0))
        binned = _binned(blocks, side, used, width)
        total = _total(list(binned.values()))
        for target in targets:
            others = [binned[int(other)] for other in np.flatnonzero(used & ~first.allowed[target])]
            curves[target] = _curve(_less(total, others), width, bandwidth[target])
    return curves


class Bins(NamedTuple):
    """Counts in whole parts of consecutive bins, the first of which has the number `first`."""

    first: int
    counts: np.ndarray


def _binned(blocks: Blocks, side: int, used: np.ndarray, width: float) -> dict[int, Bins]:
    """The bins of every used model's records on one side.

    A record is shared out between the two bins beside it, in whole parts, so that taking models off the
    histogram of all is exact, and so is adding up blocks.
    """
    found: dict[int, Bins] = {int(model): Bins(0, np.zeros(0)) for model in np.flatnonzero(used)}
    for seen in blocks.each():
        norms = _log_norms(seen)
        for model in found:
            entries = norms.sides[side][model]
            if entries.any():
                found[model] = _total([found[model], _histogram(norms.x[model, entries] / width)])
    return found


def _histogram(place: np.ndarray) -> Bins:
    """Places [N] in units of a bin, shared out between the bins beside them."""
    below = np.floor(place)
    share = np.round((place - below) * PARTS)
    first = int(below.min())
    at = (below - first).astype(np.int64)
    size = int(at.max()) + 2
    lower = np.bincount(at, weights=PARTS - share, minlength=size)
    return Bins(first, lower + np.bincount(at + 1, weights=share, minlength=size))


def _total(parts: Sequence[Bins]) -> Bins:
    """The sum of histograms; of none, or of empty ones, one without bins."""
    full = [part for part in parts if part.counts.size]
    if not full:
        return Bins(0, np.zeros(0))
    first = min(part.first for part in full)
    counts = np.zeros(max(part.first + part.counts.size for part in full) - first)
    for part in full:
        counts[part.first - first :][: part.counts.size] += part.counts
    return Bins(first, counts)


def _less(total: Bins, others: Sequence[Bins]) -> Bins:
    """A histogram without those of some of the models it is of."""
    left = total.counts.copy()
    for other in others:
        if other.counts.size:
            left[other.first - total.first :][: other.counts.size] -= other.counts
    return Bins(total.first, left)


def _curve(left: Bins, width: float, bandwidth: float) -> Curve:
    """The log density of the kernels that stand on a histogram."""
    reach = int(np.ceil(REACH * bandwidth / width))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * width / bandwidth) ** 2)
    kernel /= bandwidth * left.counts.sum()
    density = np.maximum(np.convolve(left.counts, kernel), np.finfo(np.float64).tiny)
    return Curve(left.first - reach, width, np.log(density))
