"""Estimates that carry their influence values, so that whatever is made of several has a standard error.

All are of one table, target by record: AUCs of several attacks and families, accuracies, shares. Sums and
differences are exact; a value read off one curve where another reaches a level is by the delta method.
Independent tables, as of disjoint pools, are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from mia_jax.statistics.clustering import Spread, auc_of, clusters, ranking, spread
from mia_jax.statistics.intervals import Difference, difference
from mia_jax.statistics.roc import refuse_one_side, target_by_record
from mia_jax.types import Array
from mia_jax.validation import as_mask


class Measured(NamedTuple):
    """An estimate from a table. influence: of every entry on it, float64 [K, N]. known: who has a say, bool [K, N]."""

    value: float
    influence: np.ndarray
    known: np.ndarray


class Whole(NamedTuple):
    """An estimate of one table with the standard error of `clustering.spread`, and its smaller number of clusters."""

    value: float
    spread: Spread
    fewest: int


def measured_auc(scores: Array, member: Array, among: Array | None = None) -> Measured:
    """The pooled AUC. scores, member: [K, N], NaN where missing. among: bool [N] or [K, N], the entries that count.

    Raises ValueError without members or non-members.
    """
    scores, held = target_by_record(scores, member)
    known = ~np.isnan(scores)
    if among is not None:
        known = known & np.asarray(among, bool)
    refuse_one_side(held[known])
    return Measured(*auc_of(ranking(scores), known & held, known & ~held), known)


def measured_mean(values: Array, among: Array) -> Measured:
    """The mean of some entries, as of a loss, or an accuracy of members. values: [K, N]. among: bool [K, N].

    Raises ValueError where there are none, and for shapes that differ.
    """
    among = as_mask("among", among, np.shape(values))
    count = int(among.sum())
    if not count:
        raise ValueError("among holds no entry: a mean needs at least one.")
    values = np.where(among, np.asarray(values, np.float64), 0.0)
    value = float(values[among].mean())
    return Measured(value, np.where(among, (values - value) / count, 0.0), among)


def measured_accuracy(called: Array, scores: Array, member: Array) -> Measured:
    """The balanced accuracy of decisions bool [K, N] where scores are not NaN; the decisions are taken as they are."""
    scores, held = target_by_record(scores, member)
    known = ~np.isnan(scores)
    refuse_one_side(held[known])
    right = np.asarray(called, bool) == held
    return combined((0.5, measured_mean(right, known & held)), (0.5, measured_mean(right, known & ~held)))


def combined(*parts: tuple[float, Measured]) -> Measured:
    """The sum of estimates of one table, each times its weight. Raises ValueError for shapes that differ."""
    shapes = {part.influence.shape for _, part in parts}
    if len(shapes) != 1:
        raise ValueError(f"parts have the shapes {sorted(shapes)}: they must be of one table [K, N].")
    return Measured(
        sum(weight * part.value for weight, part in parts),
        np.sum([weight * part.influence for weight, part in parts], axis=0),
        np.logical_or.reduce([part.known for _, part in parts]),
    )


def mean_of(parts: Sequence[Measured]) -> Measured:
    """The mean of estimates of one table."""
    return combined(*((1.0 / len(parts), part) for part in parts))


def less(a: Measured, b: Measured) -> Measured:
    """The difference of two estimates of one table."""
    return combined((1.0, a), (-1.0, b))


def reaches(curve: Sequence[float], level: float) -> tuple[int, float] | None:
    """Where a curve comes to a level for good: the last point below, and how far on from it in [0, 1].

    A curve may pass a level, fall back and come again; what counts is from when on it stays. None where it ends
    below, or is never below.
    """
    below = [place for place, value in enumerate(curve) if value < level]
    if not below or below[-1] == len(curve) - 1:
        return None
    before, after = curve[below[-1]], curve[below[-1] + 1]
    return below[-1], (level - before) / (after - before)


def at_level(x: Sequence[Measured], y: Sequence[Measured], level: float) -> Measured | None:
    """What y is where x comes to a level for good, both in straight lines from point to point, all of one table.

    The level is given, not estimated; that x may reach it earlier or later on other data is counted, by the
    slope of y over x. None as in `reaches`.
    """
    found = reaches([point.value for point in x], level)
    if found is None:
        return None
    place, way = found
    slope = (y[place + 1].value - y[place].value) / (x[place + 1].value - x[place].value)
    return combined(
        (1.0 - way, y[place]),
        (way, y[place + 1]),
        (-slope * (1.0 - way), x[place]),
        (-slope * way, x[place + 1]),
    )._replace(value=(1.0 - way) * y[place].value + way * y[place + 1].value)


def whole(estimate: Measured, twin: Array | None = None) -> Whole:
    """An estimate with its standard error, by target and by record. twin: int [K], -1: none."""
    return Whole(
        estimate.value,
        spread(estimate.influence, estimate.known, twin),
        min(clusters(estimate.known)),
    )


def averaged(tables: Sequence[Whole]) -> Whole:
    """The mean of estimates of independent tables; degrees of freedom after Satterthwaite 1946."""
    if not tables:
        raise ValueError("tables is empty: a mean needs at least one.")
    count = len(tables)
    variances = np.array([one.spread.error**2 for one in tables])
    total = float(variances.sum())
    parts = sum(v**2 / one.spread.degrees for v, one in zip(variances, tables, strict=True))
    degrees = total**2 / parts if parts > 0 else min(one.spread.degrees for one in tables)
    return Whole(
        float(np.mean([one.value for one in tables])),
        Spread(float(np.sqrt(total)) / count, float(degrees)),
        sum(one.fewest for one in tables),
    )


def interval(estimate: Whole, confidence: float) -> Difference:
    """An estimate with its interval, and the two-sided p-value of its being 0."""
    return difference(estimate.value, estimate.spread, estimate.spread, estimate.fewest, confidence)


def heterogeneity(tables: Sequence[Whole]) -> float | None:
    """The p-value of independent tables having one true value (Cochran's Q 1954).

    None of fewer than two tables, or where one has no error.
    """
    variances = np.array([one.spread.error**2 for one in tables])
    if len(tables) < 2 or not variances.all():
        return None
    values = np.array([one.value for one in tables])
    mean = np.average(values, weights=1.0 / variances)
    return float(stats.chi2.sf(np.sum((values - mean) ** 2 / variances), len(tables) - 1))
