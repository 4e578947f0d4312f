"""Metric thresholds by class, calibrated on other models of the study: Song & Mittal 2021.

Targets are judged in folds: what is fitted for the targets of one fold has seen the models of all
other folds only, so that there is one fit for each fold and class, not one for each target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mia_jax.attacks.base import (
    NO_SIDE,
    QUERY,
    WITH_SHADOWS,
    Attack,
    Blocks,
    Observations,
    check_signal,
    folds,
    references,
)
from mia_jax.attacks.gathering import gathered
from mia_jax.attacks.metric_threshold import (
    METRICS,
    SIGNALS,
    SOURCE,
    Metric,
    best_threshold,
    check_labels,
    check_signs,
    observed_scores,
    risk_bins,
    risk_in_bins,
)
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask


class Calibration(NamedTuple):
    """What is done with the scores of one fold and class.

    fit(members' scores [I], non-members' scores [J]) -> fitted. judge(own [k, n], fitted) -> scores [k, n].
    check(scores) raises ValueError for scores that it cannot be done with.
    """

    fit: Callable[[np.ndarray, np.ndarray], Any]
    judge: Callable[[np.ndarray, Any], np.ndarray]
    check: Callable[[np.ndarray], None]


class Calibrated(NamedTuple):
    """fold: int [K]. fitted: what was fitted for the targets of a fold and the records of a class."""

    fold: np.ndarray
    fitted: dict[tuple[int, int], Any]


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
    seen = _Scored(score, member, labels, exclude, valid)
    return _judged(seen, THRESHOLDS, _calibrated(seen, THRESHOLDS, num_folds))


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
    seen, risks = _Scored(score, member, labels, exclude, valid), _risks(num_bins)
    return _judged(seen, risks, _calibrated(seen, risks, num_folds))


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
        _attack(config, name, f"{METRICS[metric]} threshold by class", metric, THRESHOLDS)
        for metric, name in names.items()
    ]
    risk = _attack(config, "privacy_risk_score", "Privacy risk score", "modified_entropy", _risks())
    return (*thresholds, risk)


THRESHOLDS = Calibration(best_threshold, lambda own, threshold: own - threshold, lambda scores: None)
"""Scores less the best threshold."""


def _risks(num_bins: int = 5) -> Calibration:
    """The members' share of a score's bin."""
    return Calibration(
        lambda inside, outside: risk_bins(inside, outside, num_bins),
        risk_in_bins,
        lambda scores: check_signs("score", scores),
    )


class _Scored(NamedTuple):
    """A metric's scores [K, N] of records with labels [N], and what `metric_by_class` says of the others."""

    score: Array
    member: Array
    labels: Array
    exclude: Array | None
    valid: Array | None


def _attack(
    config: AttacksConfig, name: AttackName, title: str, metric: Metric, calibration: Calibration
) -> Attack:
    """One metric, calibrated by class."""

    def scored(seen: Observations) -> _Scored:
        assert seen.labels is not None
        return _Scored(observed_scores(seen, metric), seen.member, seen.labels, seen.exclude, seen.valid)

    def fit(blocks: Blocks) -> Calibrated:
        taught = gathered(blocks, (SIGNALS[metric], "labels"), by_label=True)
        return _calibrated(scored(taught), calibration, config.folds)

    def judge(seen: Observations, calibrated: Calibrated) -> np.ndarray:
        return _judged(scored(seen), calibration, calibrated)

    # No record needs references of its own: all records of a class are pooled.
    needs = frozenset({SIGNALS[metric], "labels"})
    return Attack(name, title, f"{QUERY}, {WITH_SHADOWS}.", SOURCE, NO_SIDE, needs, judge, fit)


def _calibrated(seen: _Scored, calibration: Calibration, num_folds: int) -> Calibrated:
    """What the scores of every fold and class say; nothing where there are no members or no non-members."""
    values, held, y, usable = _checked(seen, calibration)
    fold = folds(len(values), num_folds, seen.exclude)
    found = {}
    for label in np.unique(y):
        records = np.flatnonzero(y == label)
        mine, known = values[:, records], held[:, records]
        for number in np.unique(fold):
            shadows = usable & (fold != number)
            inside, outside = mine[shadows][known[shadows]], mine[shadows][~known[shadows]]
            if inside.size and outside.size and (usable & (fold == number)).any():
                found[int(number), int(label)] = calibration.fit(inside, outside)
    return Calibrated(fold, found)


def _judged(seen: _Scored, calibration: Calibration, calibrated: Calibrated) -> np.ndarray:
    """The scores that what was fitted makes of these records' own: [K, N], NaN where nothing was."""
    values, _, y, usable = _checked(seen, calibration)
    found = np.full(values.shape, np.nan)
    for label in np.unique(y):
        records = np.flatnonzero(y == label)
        for number in np.unique(calibrated.fold):
            targets = usable & (calibrated.fold == number)
            fitted = calibrated.fitted.get((int(number), int(label)))
            if fitted is not None and targets.any():
                found[np.ix_(targets, records)] = calibration.judge(values[np.ix_(targets, records)], fitted)
    return found


def _checked(
    seen: _Scored, calibration: Calibration
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The scores and membership [K, N], labels [N] and usable models [K], checked."""
    usable = references(len(np.asarray(seen.score)), seen.exclude, seen.valid)[1]
    values = check_signal("score", seen.score, usable)
    calibration.check(values)
    held = as_mask("member", seen.member, values.shape)
    num_labels = int(np.max(seen.labels, initial=0)) + 1
    return values, held, check_labels("labels", seen.labels, values.shape[1:], num_labels), usable
