"""Confidence intervals of pooled estimates and of differences between two arms: NumPy, float64.

Scores and membership are [K, N], target by record; entries are clustered both ways (`clustering`).
The intervals cover what other targets and other records of the same kind would give; for one fixed
pool they are wide. benchmarks/coverage.py measures how often they cover the truth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special, stats

from mia_jax.clustering import Spread, auc_of, clusters, ranking, rate_influence, spread
from mia_jax.roc import (
    check_prior,
    check_rate,
    estimable,
    ppv,
    refuse_one_side,
    roc_curve,
    step,
    target_by_record,
)
from mia_jax.types import Array
from mia_jax.validation import as_mask

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


class Rate(NamedTuple):
    """A TPR at an FPR, what each entry [K, N] adds to its error downwards and upwards, the lowest and
    highest step of the ROC that the threshold's own error could lead to, and the latter's threshold.
    """

    tpr: float
    below: np.ndarray
    above: np.ndarray
    lowest: float
    highest: float
    last_threshold: float


def auc_interval(
    scores: Array, member: Array, confidence: float = 0.95, twin: Array | None = None
) -> Interval:
    """Interval of the pooled AUC.

    scores, member: [K, N]; NaN scores are missing. twin: int [K], the other model of a pair of
    complementary halves (-1: none); a pair is one target.
    """
    scores, held = target_by_record(scores, member)
    known = ~np.isnan(scores)
    value, influence = _auc(scores, held, known)
    error = spread(influence, known, twin)
    return Interval(*share_ends(value, error, error, known, confidence))


def auc_p_value(scores: Array, member: Array, twin: Array | None = None) -> float:
    """Two-sided p-value of a pooled AUC of 0.5: below 1 - confidence where the interval leaves 0.5 out.

    Arguments as for `auc_interval`.
    """
    scores, held = target_by_record(scores, member)
    known = ~np.isnan(scores)
    value, influence = _auc(scores, held, known)
    error = spread(influence, known, twin)
    if error.error == 0.0 or value in (0.0, 1.0):
        return 1.0 if value == 0.5 else 2.0 * 0.5 ** min(clusters(known))
    distance = abs(special.logit(value)) * value * (1.0 - value) / error.error
    return float(2.0 * stats.t.sf(distance, error.degrees))


def auc_difference(
    scores_a: Array, scores_b: Array, member: Array, confidence: float = 0.95, twin: Array | None = None
) -> Difference:
    """AUC of a less AUC of b over the same targets and records.

    scores_a, scores_b, member: [K, N]; entries missing (NaN) on either side are left out of both.
    twin: as for `auc_interval`.
    """
    a, b, held, known = _paired_arms(scores_a, scores_b, member)
    (auc_a, influence_a), (auc_b, influence_b) = (_auc(scores, held, known) for scores in (a, b))
    error = spread(influence_a - influence_b, known, twin)
    return difference(auc_a - auc_b, error, error, known, confidence)


def tpr_interval(
    scores: Array, member: Array, fpr: float, confidence: float = 0.95, twin: Array | None = None
) -> Interval:
    """Interval of the pooled TPR at `fpr`; the threshold's own error is counted.

    scores, member: [K, N]; NaN scores are missing. (None, None) with fewer than one expected false
    positive. Where tied scores make the TPR jump from step to step, each end allows for the steps
    that the FPR's error could lead to on its side (distances combined as in Zou & Donner 2008).
    With fewer than about ten expected false positives, or a few tied levels only, intervals cover less
    than they say: 90 % of 95 % was measured at three, 86 % with scores of a handful of values.
    twin: as for `auc_interval`.
    """
    scores, held = target_by_record(scores, member)
    known = ~np.isnan(scores)
    rate = tpr_rate(scores, held, known, fpr, twin)
    if not estimable(held[known], fpr):
        return Interval(None, None)
    below, above = spread(rate.below, known, twin), spread(rate.above, known, twin)
    low, high = share_ends(rate.tpr, below, above, known, confidence)
    if 0.0 < rate.tpr < 1.0:
        # A steep ROC at a TPR near 0 would take the end to 1: it ends where that of the last step does.
        own = spread(rate_influence(scores >= rate.last_threshold, known & held), known, twin)
        return Interval(low, min(high, share_ends(rate.highest, own, own, known, confidence)[1]))
    return Interval(min(low, rate.lowest), max(high, rate.highest))


def tpr_difference(
    scores_a: Array,
    scores_b: Array,
    member: Array,
    fpr: float,
    confidence: float = 0.95,
    twin: Array | None = None,
) -> Difference | None:
    """TPR at `fpr` of a less that of b over the same targets and records, each at its own threshold.

    Arguments as for `auc_difference`. None with fewer than one expected false positive.
    """
    a, b, held, known = _paired_arms(scores_a, scores_b, member)
    rate_a, rate_b = (tpr_rate(scores, held, known, fpr, twin) for scores in (a, b))
    if not estimable(held[known], fpr):
        return None
    below = spread(rate_a.below - rate_b.above, known, twin)
    above = spread(rate_a.above - rate_b.below, known, twin)
    return difference(rate_a.tpr - rate_b.tpr, below, above, known, confidence)


def ppv_interval(
    scores: Array,
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
    low, high = tpr_interval(scores, member, fpr, confidence, twin)
    if low is None or high is None:
        return None, Interval(None, None)
    scores, held = target_by_record(scores, member)
    known = ~np.isnan(scores)
    fprs, tprs, _ = roc_curve(scores[known], held[known])
    value = ppv(float(tprs[step(fprs, fpr)]), fpr, prior)
    return value, Interval(ppv(low, fpr, prior), ppv(high, fpr, prior))


def balanced_accuracy_interval(
    decisions: Array, scores: Array, member: Array, confidence: float = 0.95, twin: Array | None = None
) -> tuple[float, Interval]:
    """Balanced accuracy of decisions bool [K, N] where scores are not NaN, and its interval.

    The decisions are taken as they are: that other data would have set other thresholds is not
    counted, which matters little for those of `cross_fit_decisions`.
    """
    scores, held = target_by_record(scores, member)
    known = ~np.isnan(scores)
    called = as_mask("decisions", decisions, scores.shape)
    inside, outside = known & held, known & ~held
    value = float(0.5 * (called[inside].mean() + 1.0 - called[outside].mean()))
    influence = 0.5 * (rate_influence(called, inside) - rate_influence(called, outside))
    error = spread(influence, known, twin)
    return value, Interval(*share_ends(value, error, error, known, confidence))


def advantage_interval(
    decisions: Array, scores: Array, member: Array, confidence: float = 0.95, twin: Array | None = None
) -> tuple[float, Interval]:
    """Membership advantage, TPR - FPR (Yeom et al. 2018), of decisions, and its interval.

    Arguments as for `balanced_accuracy_interval`: the advantage is twice that less one.
    """
    accuracy, (low, high) = balanced_accuracy_interval(decisions, scores, member, confidence, twin)
    assert low is not None
    assert high is not None
    return 2.0 * accuracy - 1.0, Interval(2.0 * low - 1.0, 2.0 * high - 1.0)


def mean_interval(values: Array, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and t-interval of independent values [K]: mean, low, high."""
    _check_confidence(confidence)
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    if values.size < 2:
        return mean, float("nan"), float("nan")
    reach = stats.t.ppf(0.5 + confidence / 2, values.size - 1) * stats.sem(values)
    return mean, float(mean - reach), float(mean + reach)


def tpr_rate(
    scores: np.ndarray, held: np.ndarray, known: np.ndarray, fpr: float, twin: Array | None = None
) -> Rate:
    """The TPR at `fpr` with its influence values, the threshold's included.

    The threshold's part is the FPR's influence times the slope of the ROC over the window that the
    FPR's error spans. Where the window holds a few steps only, as with tied scores, each side has
    its own slope: that of the jump which the error could lead to.
    """
    check_rate("fpr", fpr)
    fprs, tprs, thresholds = roc_curve(scores[known], held[known])
    here = step(fprs, fpr)
    next_one = min(here + 1, fprs.size - 1)
    called, called_next = scores >= thresholds[here], scores >= thresholds[next_one]
    outside = known & ~held
    fpr_here, fpr_next = rate_influence(called, outside), rate_influence(called_next, outside)
    down, up = (WINDOW * spread(influence, known, twin).error for influence in (fpr_here, fpr_next))
    first, last = step(fprs, fpr - down), step(fprs, fpr + up)
    fall, rise = tprs[here] - tprs[first], tprs[last] - tprs[here]
    if last - first < FEW_STEPS:
        slopes = fall / down if down > 0 else 0.0, rise / up if up > 0 else 0.0
    else:
        slopes = ((fall + rise) / (down + up),) * 2
    own = rate_influence(called, known & held)
    below, above = own - slopes[0] * fpr_here, own - slopes[1] * fpr_next
    ends = (float(tprs[first]), float(tprs[last]), float(thresholds[last]))
    return Rate(float(tprs[here]), below, above, *ends)


def share_ends(
    value: float, below: Spread, above: Spread, known: np.ndarray, confidence: float
) -> tuple[float, float]:
    """The ends of the interval of a share in [0, 1]: equally far on the logit scale if the errors are equal.

    Where nothing varies the standard error says nothing: the ends are then those of as many
    independent trials as the smaller clustering has clusters.
    """
    _check_confidence(confidence)
    if below.error == 0.0 or value in (0.0, 1.0):
        miss = (0.5 - confidence / 2) ** (1.0 / min(clusters(known)))
        low = miss if value == 1.0 else value * miss
        return low, value if value == 1.0 else 1.0 - (1.0 - value) * miss
    centre, steep = special.logit(value), value * (1.0 - value)
    low = special.expit(centre - _quantile(below, confidence) * below.error / steep)
    high = special.expit(centre + _quantile(above, confidence) * above.error / steep)
    return float(low), float(high)


def difference(
    value: float, below: Spread, above: Spread, known: np.ndarray, confidence: float
) -> Difference:
    """A difference of two shares from its errors downwards and upwards; p by the one that faces 0.

    Where nothing varies, as many independent trials as the smaller clustering has clusters are
    thought to have shown it, as in `share_ends`; two arms that are the same differ by 0 surely.
    """
    _check_confidence(confidence)
    if below.error == 0.0:
        count = min(clusters(known))
        reach = 1.0 - (0.5 - confidence / 2) ** (1.0 / count) if value else 0.0
        return Difference(value, value - reach, value + reach, min(1.0, 2.0 * (1.0 - abs(value)) ** count))
    low = value - _quantile(below, confidence) * below.error
    high = value + _quantile(above, confidence) * above.error
    facing = below if value > 0 else above
    p = 2.0 * stats.t.sf(abs(value) / facing.error, facing.degrees)
    return Difference(value, low, high, float(p))


def _check_confidence(confidence: float) -> None:
    """Refuse what is no confidence."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it must lie in (0, 1), for example 0.95.")


def _auc(scores: np.ndarray, held: np.ndarray, known: np.ndarray) -> tuple[float, np.ndarray]:
    """The pooled AUC and its influence values. Raises ValueError without members or non-members."""
    refuse_one_side(held[known])
    return auc_of(ranking(scores), known & held, known & ~held)


def _quantile(error: Spread, confidence: float) -> float:
    """The t quantile at the degrees of freedom of a standard error."""
    return float(stats.t.ppf(0.5 + confidence / 2, error.degrees))


def _paired_arms(
    scores_a: Array, scores_b: Array, member: Array
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Both arms' scores, NaN where either is, membership, and where both are known. Raises ValueError."""
    a, held = target_by_record(scores_a, member)
    b, _ = target_by_record(scores_b, member)
    known = ~np.isnan(a) & ~np.isnan(b)
    return np.where(known, a, np.nan), np.where(known, b, np.nan), held, known
