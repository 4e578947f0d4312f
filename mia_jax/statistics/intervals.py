"""Confidence intervals of pooled estimates and of differences between two arms: NumPy, float64.

Scores and membership are [K, N], target by record, an array or a `ScoreTable`; entries are clustered both
ways (`clustering`). Functions whose name begins with `pooled_` read what is pooled already, once for all.
The intervals cover what other targets and other records of the same kind would give; for one fixed
pool they are wide. benchmarks/coverage.py measures how often they cover the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from mia_jax.statistics.clustering import Spread, clusters
from mia_jax.statistics.pooled import Block, Pooled, called_influence, spreads
from mia_jax.statistics.pooled_roc import PooledRoc
from mia_jax.statistics.roc import check_prior, check_rate, enough_false, ppv
from mia_jax.statistics.score_table import KnownToBoth, ScoreTable, as_table
from mia_jax.types import Array
from mia_jax.validation import as_mask, as_numbers, check_confidence

WINDOW = 2.0
"""On other data the threshold may lie elsewhere: within so many standard errors of its FPR."""

FEW_STEPS = 8
"""With fewer steps than this in its window a ROC is a staircase and has no slope there."""


class Interval(NamedTuple):
    """A confidence interval; both ends None where it cannot be estimated."""

    low: float | None
    high: float | None


class Difference(NamedTuple):
    """A difference, its confidence interval, and the two-sided p-value of there being none."""

    value: float
    low: float
    high: float
    p: float


class Estimate(NamedTuple):
    """An estimate and its interval; None where it cannot be estimated."""

    value: float | None
    ends: Interval


class _Called(NamedTuple):
    """A threshold and its FPR."""

    threshold: float
    fpr: float

    def influence(self, block: Block, others: int) -> np.ndarray:
        """Influence of every entry of some targets on the FPR: [k, N]. others: all non-members."""
        return called_influence(block.scores >= self.threshold, block.outside, self.fpr, others)


class Rate(NamedTuple):
    """A TPR at an FPR, and what its errors downwards and upwards are made of.

    here, beyond: the step, of an FPR at most the one that was asked for, and the next. slopes: of the
    ROC below and above. lowest, highest: the steps of the ROC that the threshold's own error could
    lead to; last_threshold: that of the latter. members, others: how many.
    """

    tpr: float
    here: _Called
    beyond: _Called
    slopes: tuple[float, float]
    lowest: float
    highest: float
    last_threshold: float
    members: int
    others: int

    def influences(self, block: Block) -> Iterator[np.ndarray]:
        """What each entry of some targets adds to the errors downwards and upwards: [k, N] each."""
        own = called_influence(block.scores >= self.here.threshold, block.inside, self.tpr, self.members)
        for slope, at in zip(self.slopes, (self.here, self.beyond), strict=True):
            yield own - slope * at.influence(block, self.others)


def auc_interval(
    scores: Array | ScoreTable, member: Array, confidence: float = 0.95, twin: Array | None = None
) -> Interval:
    """Interval of the pooled AUC.

    scores, member: [K, N]; NaN scores are missing. twin: int [K], the other model of a pair of
    complementary halves (-1: none); a pair is one target.
    """
    return pooled_auc(Pooled(scores, member, twin), confidence).ends


def pooled_auc(pooled: Pooled, confidence: float) -> Estimate:
    """The pooled AUC and its interval. Raises ValueError without members or non-members."""
    pooled.require_both_sides()
    value, error = pooled.roc.area, pooled.auc_spread
    return Estimate(value, Interval(*share_ends(value, error, error, pooled.fewest, confidence)))


def auc_p_value(scores: Array | ScoreTable, member: Array, twin: Array | None = None) -> float:
    """Two-sided p-value of a pooled AUC of 0.5: below 1 - confidence where the interval leaves 0.5 out.

    Arguments as for `auc_interval`.
    """
    return pooled_auc_p_value(Pooled(scores, member, twin))


def pooled_auc_p_value(pooled: Pooled) -> float:
    """The same of what is pooled already."""
    pooled.require_both_sides()
    value, error = pooled.roc.area, pooled.auc_spread
    if error.error == 0.0 or value in (0.0, 1.0):
        return 1.0 if value == 0.5 else 2.0 * 0.5**pooled.fewest
    distance = abs(special.logit(value)) * value * (1.0 - value) / error.error
    return float(2.0 * stats.t.sf(distance, error.degrees))


def auc_difference(
    scores_a: Array | ScoreTable,
    scores_b: Array | ScoreTable,
    member: Array,
    confidence: float = 0.95,
    twin: Array | None = None,
) -> Difference:
    """AUC of a less AUC of b over the same targets and records.

    scores_a, scores_b, member: [K, N]; entries missing (NaN) on either side are left out of both.
    twin: as for `auc_interval`.
    """
    return pooled_auc_difference(*paired_arms(scores_a, scores_b, member, twin), confidence)


def pooled_auc_difference(a: Pooled, b: Pooled, confidence: float) -> Difference:
    """The same of the arms of `paired_arms`."""
    for arm in (a, b):
        arm.require_both_sides()
    (error,) = spreads(lambda of_a, of_b: [a.auc_influence(of_a) - b.auc_influence(of_b)], a, b)
    return difference(a.roc.area - b.roc.area, error, error, a.fewest, confidence)


def tpr_interval(
    scores: Array | ScoreTable,
    member: Array,
    fpr: float,
    confidence: float = 0.95,
    twin: Array | None = None,
) -> Interval:
    """Interval of the pooled TPR at `fpr`; the threshold's own error is counted.

    scores, member: [K, N]; NaN scores are missing. (None, None) with fewer than one expected false
    positive. Where tied scores make the TPR jump from step to step, each end allows for the steps
    that the FPR's error could lead to on its side (distances combined as in Zou & Donner 2008).
    With fewer than about ten expected false positives, or a few tied levels only, intervals cover less
    than they say: 90 % of 95 % was measured at three, 86 % with scores of a handful of values.
    twin: as for `auc_interval`.
    """
    return pooled_tprs(Pooled(scores, member, twin), [fpr], confidence)[0].ends


def pooled_tprs(pooled: Pooled, fprs: Sequence[float], confidence: float) -> list[Estimate]:
    """The pooled TPRs at several FPRs and their intervals, in two readings of the scores; see `tpr_interval`."""
    for fpr in fprs:
        check_rate("fpr", fpr)
    pooled.require_both_sides()
    judged = [fpr for fpr in fprs if enough_false(fpr, pooled.roc.others)]
    rates = tpr_rates(pooled, judged)

    def influences(block: Block) -> Iterator[np.ndarray]:
        for rate in rates:
            yield from rate.influences(block)
            called = block.scores >= rate.last_threshold
            yield called_influence(called, block.inside, rate.highest, rate.members)

    errors = pooled.spreads(influences) if rates else []
    each = zip(errors[::3], errors[1::3], errors[2::3], strict=True)
    by_fpr = {
        fpr: Estimate(rate.tpr, _tpr_ends(rate, below, above, at_last, pooled.fewest, confidence))
        for fpr, rate, (below, above, at_last) in zip(judged, rates, each, strict=True)
    }
    return [by_fpr.get(fpr, Estimate(None, Interval(None, None))) for fpr in fprs]


def _tpr_ends(
    rate: Rate, below: Spread, above: Spread, at_last: Spread, fewest: int, confidence: float
) -> Interval:
    """The ends of a TPR's interval. at_last: the error of the highest step alone."""
    low, high = share_ends(rate.tpr, below, above, fewest, confidence)
    if 0.0 < rate.tpr < 1.0:
        # A steep ROC at a TPR near 0 would take the end to 1: it ends where that of the last step does.
        return Interval(low, min(high, share_ends(rate.highest, at_last, at_last, fewest, confidence)[1]))
    return Interval(min(low, rate.lowest), max(high, rate.highest))


def tpr_difference(
    scores_a: Array | ScoreTable,
    scores_b: Array | ScoreTable,
    member: Array,
    fpr: float,
    confidence: float = 0.95,
    twin: Array | None = None,
) -> Difference | None:
    """TPR at `fpr` of a less that of b over the same targets and records, each at its own threshold.

    Arguments as for `auc_difference`. None with fewer than one expected false positive.
    """
    check_rate("fpr", fpr)
    a, b = paired_arms(scores_a, scores_b, member, twin)
    for arm in (a, b):
        arm.require_both_sides()
    if not enough_false(fpr, a.roc.others):
        return None
    (rate_a,), (rate_b,) = tpr_rates(a, [fpr]), tpr_rates(b, [fpr])

    def influences(of_a: Block, of_b: Block) -> list[np.ndarray]:
        (below_a, above_a), (below_b, above_b) = rate_a.influences(of_a), rate_b.influences(of_b)
        return [below_a - above_b, above_a - below_b]

    below, above = spreads(influences, a, b)
    return difference(rate_a.tpr - rate_b.tpr, below, above, a.fewest, confidence)


def ppv_interval(
    scores: Array | ScoreTable,
    member: Array,
    fpr: float,
    prior: float,
    confidence: float = 0.95,
    twin: Array | None = None,
) -> tuple[float | None, Interval]:
    """PPV at `fpr` and a share `prior` of members, and its interval: those of the TPR, transformed.

    Arguments as for `tpr_interval`. The FPR is the stated one, even where ties let fewer through.
    (None, (None, None)) with fewer than one expected false positive.
    """
    check_prior(prior)
    tpr, (low, high) = pooled_tprs(Pooled(scores, member, twin), [fpr], confidence)[0]
    if tpr is None or low is None or high is None:
        return None, Interval(None, None)
    return ppv(tpr, fpr, prior), Interval(ppv(low, fpr, prior), ppv(high, fpr, prior))


def balanced_accuracy_interval(
    decisions: Array,
    scores: Array | ScoreTable,
    member: Array,
    confidence: float = 0.95,
    twin: Array | None = None,
) -> tuple[float, Interval]:
    """Balanced accuracy of decisions bool [K, N] where scores are not NaN, and its interval.

    The decisions are taken as they are: that other data would have set other thresholds is not
    counted, which matters little for those of `cross_fit_decisions`.
    """
    pooled = Pooled(scores, member, twin)
    called = as_mask("decisions", decisions, pooled.table.shape)
    pooled.require_both_sides()
    return pooled_accuracy(pooled, lambda block: called[block.models], confidence)


def pooled_accuracy(
    pooled: Pooled, decide: Callable[[Block], np.ndarray], confidence: float
) -> tuple[float, Interval]:
    """The same of what is pooled already. decide: who of some targets is called a member, bool [k, N]."""
    true = false = 0
    for block in pooled.blocks():
        called = decide(block)
        true += np.count_nonzero(called & block.inside)
        false += np.count_nonzero(called & block.outside)
    members, others = pooled.roc.members, pooled.roc.others
    tpr, fpr = true / members, false / others

    def influence(block: Block) -> list[np.ndarray]:
        called = decide(block)
        of_tpr = called_influence(called, block.inside, tpr, members)
        return [0.5 * (of_tpr - called_influence(called, block.outside, fpr, others))]

    (error,) = pooled.spreads(influence)
    value = float(0.5 * (tpr + 1.0 - fpr))
    return value, Interval(*share_ends(value, error, error, pooled.fewest, confidence))


def advantage_interval(
    decisions: Array,
    scores: Array | ScoreTable,
    member: Array,
    confidence: float = 0.95,
    twin: Array | None = None,
) -> tuple[float, Interval]:
    """Membership advantage, TPR - FPR (Yeom et al. 2018), of decisions, and its interval.

    Arguments as for `balanced_accuracy_interval`: the advantage is twice that less one.
    """
    return advantage_of(*balanced_accuracy_interval(decisions, scores, member, confidence, twin))


def advantage_of(accuracy: float, ends: Interval) -> tuple[float, Interval]:
    """The advantage of a balanced accuracy and its interval, with its own."""
    low, high = ends
    assert low is not None
    assert high is not None
    return 2.0 * accuracy - 1.0, Interval(2.0 * low - 1.0, 2.0 * high - 1.0)


def mean_interval(values: Array, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and t-interval of independent values [K]: mean, low, high. Raises ValueError for another shape."""
    check_confidence(confidence)
    values = as_numbers("values", values)
    if values.ndim != 1:
        raise ValueError(f"values has shape {values.shape}: it must be [K].")
    mean = float(values.mean())
    if values.size < 2:
        return mean, float("nan"), float("nan")
    reach = stats.t.ppf(0.5 + confidence / 2, values.size - 1) * stats.sem(values)
    return mean, float(mean - reach), float(mean + reach)


def tpr_rates(pooled: Pooled, fprs: Sequence[float]) -> list[Rate]:
    """The TPRs at some FPRs with what their errors are made of, the threshold's included.

    The threshold's part is the FPR's influence times the slope of the ROC over the window that the
    FPR's error spans. Where the window holds a few steps only, as with tied scores, each side has
    its own slope: that of the jump which the error could lead to.
    """
    if not fprs:
        return []
    roc = pooled.roc
    steps = [roc.at_fpr(fpr) for fpr in fprs]
    here = [_Called(step.threshold, step.false / roc.others) for step, _ in steps]
    beyond = [_Called(threshold, roc.called(threshold)[0] / roc.others) for _, threshold in steps]
    errors = pooled.spreads(lambda block: (at.influence(block, roc.others) for at in (*here, *beyond)))
    reaches = [WINDOW * error.error for error in errors]
    windows = zip(reaches[: len(fprs)], reaches[len(fprs) :], strict=True)
    return [
        _rate(roc, fpr, own, after, *window)
        for fpr, own, after, window in zip(fprs, here, beyond, windows, strict=True)
    ]


def _rate(roc: PooledRoc, fpr: float, here: _Called, beyond: _Called, down: float, up: float) -> Rate:
    """The TPR at a step whose FPR could be off so far downwards and upwards."""
    first, own, last = (roc.at_fpr(rate)[0] for rate in (fpr - down, fpr, fpr + up))
    lowest, tpr, highest = (step.true / roc.members for step in (first, own, last))
    fall, rise = tpr - lowest, highest - tpr
    if last.number - first.number < FEW_STEPS:
        slopes = fall / down if down > 0 else 0.0, rise / up if up > 0 else 0.0
    else:
        slopes = ((fall + rise) / (down + up),) * 2
    ends = lowest, highest, last.threshold
    return Rate(tpr, here, beyond, slopes, *ends, roc.members, roc.others)


def share_ends(
    value: float, below: Spread, above: Spread, fewest: int, confidence: float
) -> tuple[float, float]:
    """The ends of the interval of a share in [0, 1]: equally far on the logit scale if the errors are equal.

    fewest: the clusters of the smaller clustering. Where nothing varies the standard error says
    nothing: the ends are then those of as many independent trials.
    """
    check_confidence(confidence)
    if below.error == 0.0 or value in (0.0, 1.0):
        miss = (0.5 - confidence / 2) ** (1.0 / fewest)
        low = miss if value == 1.0 else value * miss
        return low, value if value == 1.0 else 1.0 - (1.0 - value) * miss
    centre, steep = special.logit(value), value * (1.0 - value)
    low = special.expit(centre - _quantile(below, confidence) * below.error / steep)
    high = special.expit(centre + _quantile(above, confidence) * above.error / steep)
    return float(low), float(high)


def difference(
    value: float, below: Spread, above: Spread, known: np.ndarray | int, confidence: float
) -> Difference:
    """A difference of two shares from its errors downwards and upwards; p by the one that faces 0.

    known: where there is an entry, bool [K, N], or the clusters of the smaller clustering. Where nothing
    varies, as many independent trials are thought to have shown it; two arms that are the same differ by 0
    surely.
    """
    check_confidence(confidence)
    if below.error == 0.0:
        count = known if isinstance(known, int) else min(clusters(known))
        reach = 1.0 - (0.5 - confidence / 2) ** (1.0 / count) if value else 0.0
        return Difference(value, value - reach, value + reach, min(1.0, 2.0 * (1.0 - abs(value)) ** count))
    low = value - _quantile(below, confidence) * below.error
    high = value + _quantile(above, confidence) * above.error
    facing = below if value > 0 else above
    p = 2.0 * stats.t.sf(abs(value) / facing.error, facing.degrees)
    return Difference(value, low, high, float(p))


def _quantile(error: Spread, confidence: float) -> float:
    """The t quantile at the degrees of freedom of a standard error."""
    return float(stats.t.ppf(0.5 + confidence / 2, error.degrees))


def paired_arms(
    scores_a: Array | ScoreTable, scores_b: Array | ScoreTable, member: Array, twin: Array | None = None
) -> tuple[Pooled, Pooled]:
    """Both arms, without the entries that either lacks. Raises ValueError for shapes that differ."""
    a, b = as_table(scores_a), as_table(scores_b)
    for table in (a, b):
        held = as_mask("member", member, table.shape)
    return Pooled(KnownToBoth(a, b), held, twin), Pooled(KnownToBoth(b, a), held, twin)
