"""How well scores tell members from non-members: NumPy, float64, ties exact.

Point estimates take scores and membership of any shape. Intervals take them as [K, N], target by
record: targets share records and references, so entries are clustered both ways. They cover what
other targets and other records of the same kind would give; for one fixed pool they are wide.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from mia_jax.types import Array
from mia_jax.validation import as_mask


class Interval(NamedTuple):
    """A confidence interval; both ends None where it cannot be estimated."""

    low: float | None
    high: float | None


def roc_curve(scores: Array, member: Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The exact ROC: fpr, tpr and thresholds, one point per distinct score and (0, 0) first.

    A record is called a member where its score >= threshold; tied scores move together. Raises
    ValueError for NaN scores, shapes that differ and a membership with one side only.
    """
    flat, held = _checked(scores, member)
    order = np.argsort(-flat, kind="stable")
    ordered, held = flat[order], held[order]
    last_of_tie = np.append(ordered[1:] != ordered[:-1], True)
    true = np.cumsum(held)[last_of_tie]
    false = np.cumsum(~held)[last_of_tie]
    thresholds = np.concatenate([[np.inf], ordered[last_of_tie]])
    return np.concatenate([[0], false]) / false[-1], np.concatenate([[0], true]) / true[-1], thresholds


def auc(scores: Array, member: Array) -> float:
    """The probability that a member outscores a non-member, ties counting one half."""
    flat, held = _checked(scores, member)
    ranks = stats.rankdata(flat)
    members, others = int(held.sum()), int((~held).sum())
    return float((ranks[held].sum() - members * (members + 1) / 2) / (members * others))


def tpr_at_fpr(scores: Array, member: Array, fpr: float) -> float:
    """The largest TPR whose FPR <= `fpr`: a step of the exact ROC, never interpolated."""
    return _step(*roc_curve(scores, member), fpr)[0]


def balanced_accuracy(scores: Array, member: Array, threshold: float) -> float:
    """The mean of TPR and 1 - FPR when score >= threshold is called a member."""
    flat, held = _checked(scores, member)
    called = flat >= threshold
    return float(0.5 * (called[held].mean() + 1.0 - called[~held].mean()))


def best_threshold(scores: Array, member: Array) -> float:
    """The threshold with the best balanced accuracy on these scores; biased if judged on them too."""
    fpr, tpr, thresholds = roc_curve(scores, member)
    return float(thresholds[np.argmax(tpr - fpr)])


def cross_fit_decisions(
    scores: Array, member: Array, twin: Array | None = None, folds: int = 8
) -> np.ndarray:
    """Decisions at the threshold that was best on other targets and other records.

    Other targets alone are not enough: scores of one record hang together over all targets, and a
    threshold that has seen the record overfits (null balanced accuracy .504 at 150 records).

    scores, member: [K, N]; NaN scores are missing. twin: int [K], models to keep in one fold (-1:
    none). Returns bool [K, N], False where the score is missing or nothing could choose a threshold.
    """
    scores, held = _target_by_record(scores, member)
    models = np.arange(scores.shape[0])
    leader = models if twin is None else np.where(np.asarray(twin) < 0, models, np.minimum(models, twin))
    fold = (np.unique(leader, return_inverse=True)[1] % folds)[:, None]
    half = (np.arange(scores.shape[1]) % 2)[None, :]
    decisions = np.zeros(scores.shape, bool)
    for number, side in itertools.product(np.unique(fold), (0, 1)):
        mine = (fold == number) & (half == side)
        known = (fold != number) & (half != side) & ~np.isnan(scores)
        if held[known].any() and not held[known].all():
            decisions[mine] = scores[mine] >= best_threshold(scores[known], held[known])
    return decisions


def auc_interval(scores: Array, member: Array, confidence: float = 0.95) -> Interval:
    """Two-way clustered interval of the pooled AUC. scores, member: [K, N]; NaN scores are missing."""
    scores, held = _target_by_record(scores, member)
    known = ~np.isnan(scores)
    return _interval(auc(scores[known], held[known]), auc_influence(scores, held), known, confidence)


def auc_difference(
    scores_a: Array, scores_b: Array, member: Array, confidence: float = 0.95
) -> tuple[float, float, float]:
    """AUC of a less AUC of b over the same targets and records: difference, low, high.

    scores_a, scores_b, member: [K, N]; entries missing (NaN) on either side are left out of both.
    """
    known = ~np.isnan(scores_a) & ~np.isnan(scores_b)
    a, held = _target_by_record(np.where(known, scores_a, np.nan), member)
    b = np.where(known, scores_b, np.nan)
    difference = auc(a[known], held[known]) - auc(b[known], held[known])
    influence = auc_influence(a, held) - auc_influence(b, held)
    reach = _quantile(known, confidence) * clustered_error(influence, known)
    return difference, difference - reach, difference + reach


def tpr_interval(scores: Array, member: Array, fpr: float, confidence: float = 0.95) -> Interval:
    """Two-way clustered interval of the pooled TPR at `fpr`; the threshold's own error is counted.

    scores, member: [K, N]; NaN scores are missing. (None, None) with fewer than one expected false
    positive.
    """
    scores, held = _target_by_record(scores, member)
    known = ~np.isnan(scores)
    rates = roc_curve(scores[known], held[known])
    if not estimable(held[known], fpr):
        return Interval(None, None)
    tpr, reached, threshold = _step(*rates, fpr)
    steeper, gentler = _step(*rates, 1.5 * fpr), _step(*rates, 0.5 * fpr)
    slope = (steeper[0] - gentler[0]) / max(steeper[1] - gentler[1], 1.0 / np.sum(~held[known]))
    called = scores >= threshold
    influence = np.where(held, called - tpr, 0.0) / held[known].sum()
    influence -= np.where(held, 0.0, slope * (called - reached)) / (~held[known]).sum()
    return _interval(tpr, np.where(known, influence, 0.0), known, confidence)


def balanced_accuracy_interval(
    decisions: Array, scores: Array, member: Array, confidence: float = 0.95
) -> tuple[float, Interval]:
    """Balanced accuracy of decisions bool [K, N] where scores are not NaN, and its interval."""
    scores, held = _target_by_record(scores, member)
    known = ~np.isnan(scores)
    called = np.asarray(decisions, bool)
    inside, outside = known & held, known & ~held
    tpr, fpr = called[inside].mean(), called[outside].mean()
    influence = np.where(inside, (called - tpr) / inside.sum(), 0.0)
    influence -= np.where(outside, (called - fpr) / outside.sum(), 0.0)
    value = float(0.5 * (tpr + 1.0 - fpr))
    return value, _interval(value, 0.5 * influence, known, confidence)


def estimable(member: Array, fpr: float) -> bool:
    """Whether at least one false positive is expected at `fpr` among the non-members."""
    # The product of a round count and a decimal rate falls short of the whole number by rounding.
    return bool(fpr * np.sum(~np.asarray(member, bool)) >= 1.0 - 1e-9)


def auc_influence(scores: Array, member: Array) -> np.ndarray:
    """Influence of every entry on the pooled AUC: [K, N], 0 where the score is NaN (DeLong 1988)."""
    scores, held = _target_by_record(scores, member)
    inside, outside = ~np.isnan(scores) & held, ~np.isnan(scores) & ~held
    sorted_in, sorted_out = np.sort(scores[inside]), np.sort(scores[outside])
    value = auc(np.r_[sorted_in, sorted_out], np.arange(sorted_in.size + sorted_out.size) < sorted_in.size)
    influence = np.zeros(scores.shape)
    influence[inside] = (_share_below(sorted_out, scores[inside]) - value) / sorted_in.size
    influence[outside] = (1.0 - _share_below(sorted_in, scores[outside]) - value) / sorted_out.size
    return influence


def clustered_error(influence: np.ndarray, known: np.ndarray) -> float:
    """Standard error from influence values [K, N], 0 where not `known`, clustered by target and by record.

    Cameron, Gelbach & Miller 2011: the two clusterings' variances less that of single entries.
    """
    targets, records = _clusters(known)
    by_target = np.sum(influence.sum(axis=1) ** 2) * targets / max(targets - 1, 1)
    by_record = np.sum(influence.sum(axis=0) ** 2) * records / max(records - 1, 1)
    single = np.sum(influence**2)
    return float(np.sqrt(max(by_target + by_record - single, by_target, by_record)))


def mean_interval(values: Array, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and t-interval of independent values [K]: mean, low, high."""
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    if values.size < 2:
        return mean, float("nan"), float("nan")
    reach = stats.t.ppf(0.5 + confidence / 2, values.size - 1) * stats.sem(values)
    return mean, float(mean - reach), float(mean + reach)


def _interval(value: float, influence: np.ndarray, known: np.ndarray, confidence: float) -> Interval:
    """The interval of a share in [0, 1], symmetric on the logit scale.

    Where nothing varies the standard error says nothing: the ends are then those of as many
    independent trials as the smaller clustering has clusters.
    """
    error = clustered_error(influence, known)
    clusters = min(_clusters(known))
    if error == 0.0 or value in (0.0, 1.0):
        miss = (0.5 - confidence / 2) ** (1.0 / clusters)
        return Interval(
            miss if value == 1.0 else value * miss, value if value == 1.0 else 1.0 - (1.0 - value) * miss
        )
    centre = special.logit(value)
    reach = _quantile(known, confidence) * error / (value * (1.0 - value))
    return Interval(float(special.expit(centre - reach)), float(special.expit(centre + reach)))


def _quantile(known: np.ndarray, confidence: float) -> float:
    """The t quantile with as many degrees of freedom as the smaller clustering gives."""
    return float(stats.t.ppf(0.5 + confidence / 2, max(min(_clusters(known)) - 1, 1)))


def _clusters(known: np.ndarray) -> tuple[int, int]:
    """The number of targets and of records that have a score at all."""
    return int(known.any(axis=1).sum()), int(known.any(axis=0).sum())


def _step(fpr: np.ndarray, tpr: np.ndarray, thresholds: np.ndarray, at: float) -> tuple[float, float, float]:
    """TPR, FPR and threshold of the last step of a ROC whose FPR <= `at`."""
    index = int(np.searchsorted(fpr, at, side="right")) - 1
    return float(tpr[index]), float(fpr[index]), float(thresholds[index])


def _share_below(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The share of `ordered` below each value, ties counting one half."""
    left = np.searchsorted(ordered, values, side="left")
    return 0.5 * (left + np.searchsorted(ordered, values, side="right")) / ordered.size


def _target_by_record(scores: Array, member: Array) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64 [K, N] and membership bool [K, N]."""
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2:
        raise ValueError(f"scores have shape {scores.shape}: they must be [K, N], target by record.")
    return scores, as_mask("member", member, scores.shape)


def _checked(scores: Array, member: Array) -> tuple[np.ndarray, np.ndarray]:
    """Flat scores and membership, or a ValueError that says what is wrong."""
    scores = np.asarray(scores, np.float64)
    held = as_mask("member", member, scores.shape).ravel()
    flat = scores.ravel()
    missing = np.flatnonzero(np.isnan(flat))
    if missing.size:
        raise ValueError(
            f"scores hold {missing.size} NaN, the first at {missing[0]}: leave missing scores out."
        )
    if held.all() or not held.any():
        side = "members" if held.any() else "non-members"
        raise ValueError(f"member marks only {side}, {held.size} of them: both sides are needed.")
    return flat, held
