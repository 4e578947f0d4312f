"""Metric thresholds by class, calibrated on other models of the study: Song & Mittal 2021.

Targets are judged in folds: what is fitted for the targets of one fold has seen the models of all
other folds only, so that there is one fit for each fold and class, not one for each target.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mia_jax.attacks.base import (
    NO_SIDE,
    QUERY,
    WITH_SHADOWS,
    Attack,
    Observations,
    check_signal,
    folds,
    references,
)
from mia_jax.attacks.metric_threshold import (
    METRICS,
    SIGNALS,
    SOURCE,
    Metric,
    best_threshold,
    check_labels,
    check_signs,
    observed_scores,
    risk_in_bins,
)
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask

Judge = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(own [k, n], members' scores [I], non-members' scores [J]) -> scores [k, n]."""


def metric_by_class(
    score: Array,
    member: Array,
    labels: Array,
    *,
    num_folds: int = 4,
    exclude: Array | None = None,
    valid: Array | None = None,
) -> np.ndarray:
    """Scores less the threshold of the record's class, float64 [K, N]: a member where at least 0.

    score: float [K, N], larger = more likely a member. member: bool [K, N]. labels: int [N]. The
    threshold of a class is fitted as in `class_thresholds`, on all records of that class in the models
    outside the target's fold; models that `exclude` [K, K] ties share a fold. Models that are not
    `valid` [K] enter no fit and get NaN, as do records of a class that has no members or no
    non-members in the other folds. Raises ValueError for arrays that do not fit. Song & Mittal 2021,
    section 4.2.
    """

    def judge(own: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        return own - best_threshold(inside, outside)

    return _by_fold_and_class(score, member, labels, num_folds, exclude, valid, judge)


def risk_by_class(
    score: Array,
    member: Array,
    labels: Array,
    *,
    num_folds: int = 4,
    num_bins: int = 5,
    exclude: Array | None = None,
    valid: Array | None = None,
) -> np.ndarray:
    """The probability that each record is a member of each target, float64 [K, N] in [0, 1].

    The risk of `privacy_risk_score`, its histograms counted on all records of the class in the models
    outside the target's fold; arguments as for `metric_by_class`, with scores of at most 0. Song &
    Mittal 2021, section 5.
    """

    def judge(own: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        return risk_in_bins(own, inside, outside, num_bins)

    usable = references(len(np.asarray(score)), exclude, valid)[1]
    check_signs("score", check_signal("score", score, usable))
    return _by_fold_and_class(score, member, labels, num_folds, exclude, valid, judge)


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """The choices of `--attacks` that are calibrated by class."""
    names: dict[Metric, AttackName] = {
        "correctness": "correctness_by_class",
        "confidence": "confidence_by_class",
        "loss": "loss_by_class",
        "entropy": "entropy_by_class",
        "modified_entropy": "modified_entropy_by_class",
    }
    thresholds = [
        _attack(config, name, f"{METRICS[metric]} threshold by class", metric, metric_by_class)
        for metric, name in names.items()
    ]
    risk = _attack(config, "privacy_risk_score", "Privacy risk score", "modified_entropy", risk_by_class)
    return (*thresholds, risk)


def _attack(
    config: AttacksConfig, name: AttackName, title: str, metric: Metric, calibrated: Callable[..., np.ndarray]
) -> Attack:
    """One metric, calibrated by class."""

    def score(seen: Observations) -> np.ndarray:
        assert seen.labels is not None
        return calibrated(
            observed_scores(seen, metric),
            seen.member,
            seen.labels,
            num_folds=config.folds,
            exclude=seen.exclude,
            valid=seen.valid,
        )

    # No record needs references of its own: all records of a class are pooled.
    needs = frozenset({SIGNALS[metric], "labels"})
    return Attack(name, title, f"{QUERY}, {WITH_SHADOWS}.", SOURCE, NO_SIDE, needs, score)


def _by_fold_and_class(
    score: Array,
    member: Array,
    labels: Array,
    num_folds: int,
    exclude: Array | None,
    valid: Array | None,
    judge: Judge,
) -> np.ndarray:
    """What `judge` makes of every fold and class: [K, N], NaN where there is nothing to fit on."""
    usable = references(len(np.asarray(score)), exclude, valid)[1]
    values = check_signal("score", score, usable)
    held = as_mask("member", member, values.shape)
    y = check_labels("labels", labels, values.shape[1:], int(np.max(labels, initial=0)) + 1)
    fold = folds(len(values), num_folds, exclude)
    found = np.full(values.shape, np.nan)
    for label in np.unique(y):
        records = np.flatnonzero(y == label)
        mine, known = values[:, records], held[:, records]
        for number in np.unique(fold):
            shadows, targets = usable & (fold != number), usable & (fold == number)
            inside, outside = mine[shadows][known[shadows]], mine[shadows][~known[shadows]]
            if inside.size and outside.size and targets.any():
                found[np.ix_(targets, records)] = judge(mine[targets], inside, outside)
    return found
