"""Attacks on one number that the target says of a record, with thresholds from shadow records if any.

All take probabilities or scores as plain arrays; larger scores mean "more likely a member".
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np

from mia_jax.attacks.base import NO_SIDE, QUERY, Attack, Observations
from mia_jax.attacks.recorded import recorded_score
from mia_jax.config import AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask, as_numbers, check_whole

Metric = Literal["correctness", "confidence", "loss", "entropy", "modified_entropy"]

SOURCE = (
    "Song & Mittal, Systematic Evaluation of Privacy Risks of Machine Learning Models, USENIX Security 2021"
)

YEOM = "Yeom et al., Privacy Risk in Machine Learning, CSF 2018"

SOURCES: dict[Metric, str] = {
    "correctness": YEOM,
    "confidence": SOURCE,
    "loss": YEOM,
    "entropy": "Salem et al., ML-Leaks, NDSS 2019",
    "modified_entropy": SOURCE,
}

METRICS: dict[Metric, str] = {
    "correctness": "Correctness",
    "confidence": "Confidence",
    "loss": "Loss",
    "entropy": "Entropy",
    "modified_entropy": "Modified entropy",
}
"""What each metric is called in a title."""

SIGNALS: dict[Metric, str] = {
    "correctness": "correct",
    "confidence": "log_prob",
    "loss": "scaled_logit",
    "entropy": "entropy",
    "modified_entropy": "modified_entropy",
}
"""The field of `Observations` that each metric is read from."""

SMALLEST = 1e-30
"""Probabilities below this count as this, as in Song & Mittal's own code."""

SMALLEST_BINNED = 1e-10
"""Values below this fall into the first logarithmic bin, likewise."""


def metric_scores(probs: Array, labels: Array, metric: Metric) -> np.ndarray:
    """What `metric` makes of probabilities [..., C] and labels int [...]: float64 [...].

    Larger = more likely a member: correctness is 1 or 0, confidence p_y, loss log p_y, entropy
    sum_i p_i log p_i, and modified_entropy (1 - p_y) log p_y + sum_{i != y} p_i log(1 - p_i). Raises
    ValueError for a metric that is not there and for what are no probabilities or labels. Song &
    Mittal 2021, section 3.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric is {metric!r}: it must be one of {', '.join(map(repr, get_args(Metric)))}.")
    probs = as_numbers("probs", probs)
    if not probs.ndim:
        raise ValueError("probs has shape (): it must be [..., C], one probability of each class.")
    labels = check_labels("labels", labels, probs.shape[:-1], probs.shape[-1])
    _check_probabilities(probs)
    of_label = np.take_along_axis(probs, labels[..., None], axis=-1)[..., 0]
    if metric == "correctness":
        return (probs.argmax(axis=-1) == labels).astype(np.float64)
    if metric == "confidence":
        return of_label
    if metric == "loss":
        return _log(of_label)
    if metric == "entropy":
        return np.sum(probs * _log(probs), axis=-1)
    others = np.where(np.arange(probs.shape[-1]) == labels[..., None], 0.0, probs * _log(1.0 - probs))
    return (1.0 - of_label) * _log(of_label) + np.sum(others, axis=-1)


def class_thresholds(
    shadow_scores: Array,
    shadow_labels: Array,
    shadow_member: Array,
    target_scores: Array,
    target_labels: Array,
    num_classes: int,
) -> np.ndarray:
    """Which target records are called members, at a threshold for each class: bool [N].

    shadow_scores, shadow_labels, shadow_member: [M], of records whose membership is known.
    target_scores, target_labels: [N]. Of each class the shadow score v with the best balanced accuracy
    of "score >= v is a member" is taken; where several tie the first, members' scores before
    non-members'. Raises ValueError for a class of the target without shadow members or non-members.
    Song & Mittal 2021, section 4.2.
    """
    decisions = np.zeros(np.shape(target_scores), bool)
    for mine, inside, outside in _by_class(
        shadow_scores, shadow_labels, shadow_member, target_scores, target_labels, num_classes
    ):
        decisions[mine] = np.asarray(target_scores)[mine] >= best_threshold(inside, outside)
    return decisions


def privacy_risk_score(
    shadow_scores: Array,
    shadow_labels: Array,
    shadow_member: Array,
    target_scores: Array,
    target_labels: Array,
    num_classes: int,
    *,
    num_bins: int = 5,
) -> np.ndarray:
    """The probability that each target record is a member, from shadow histograms: float64 [N].

    Arguments as for `class_thresholds`, scores at most 0 (as those of loss, entropy and modified
    entropy are). Of each class, members' and non-members' shadow scores are counted in `num_bins` bins
    even on the logarithm of the negative score; the risk of a record is its bin's share of members
    over both shares, .5 for an empty bin; scores beyond the outer bins belong to these. Song & Mittal
    2021, section 5.
    """
    risk = np.zeros(np.shape(target_scores))
    check_signs("shadow_scores", shadow_scores)
    check_signs("target_scores", target_scores)
    for mine, inside, outside in _by_class(
        shadow_scores, shadow_labels, shadow_member, target_scores, target_labels, num_classes
    ):
        risk[mine] = risk_in_bins(np.asarray(target_scores)[mine], risk_bins(inside, outside, num_bins))
    return risk


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """The choices of `--attacks` that put one threshold on one number."""
    return tuple(_attack(metric) for metric in METRICS)


def observed_scores(seen: Observations, metric: Metric) -> np.ndarray:
    """A metric's scores from what was recorded, float64 [K, N]; larger = more likely a member.

    Where numbers near 1 would round together, another with the same order stands in: the scaled logit
    for the loss, the log-probability for the confidence. NaN for models that are not valid.
    """
    recorded = {
        "correctness": seen.correct,
        "confidence": seen.log_prob,
        "loss": seen.scaled_logit,
        "entropy": seen.entropy,
        "modified_entropy": seen.modified_entropy,
    }[metric]
    assert recorded is not None
    sign = -1.0 if metric in ("entropy", "modified_entropy") else 1.0
    return recorded_score(SIGNALS[metric], recorded, seen.member, seen.valid, sign)


def best_threshold(inside: np.ndarray, outside: np.ndarray) -> float:
    """Of the scores of members [I] and of non-members [J] the first with the best balanced accuracy.

    "score >= threshold is a member" is judged at every score. Where several are equally good the first
    counts, members' scores before non-members'.
    """
    ranked_in, ranked_out = np.sort(inside), np.sort(outside)
    # Rising needles are found several times faster than those in the order given.
    candidates = np.unique(np.r_[ranked_in, ranked_out])
    called_in = inside.size - np.searchsorted(ranked_in, candidates, side="left")
    spared_out = np.searchsorted(ranked_out, candidates, side="left")
    # In whole numbers: two thresholds that are equally good tie exactly.
    right = called_in * outside.size + spared_out * inside.size
    best = candidates[right == right.max()]
    if best.size == 1:
        return float(best[0])
    values = np.r_[inside, outside]
    return float(values[np.argmax(np.isin(values, best))])


class Risk(NamedTuple):
    """The members' share [B] of the bins between `edges` [B - 1], of negative scores."""

    edges: np.ndarray
    share: np.ndarray


def risk_bins(inside: np.ndarray, outside: np.ndarray, num_bins: int = 5) -> Risk:
    """The bins of members' [I] and non-members' [J] scores, and the members' share of each."""
    check_whole("num_bins", num_bins, 1)
    inside, outside = (np.maximum(-values, SMALLEST_BINNED) for values in (inside, outside))
    low, high = min(inside.min(), outside.min()), max(inside.max(), outside.max())
    edges = np.geomspace(low, high, num_bins + 1)[1:-1]
    share_in, share_out = (_shares(values, edges, num_bins) for values in (inside, outside))
    total = share_in + share_out
    return Risk(edges, np.where(total > 0, share_in / np.where(total > 0, total, 1.0), 0.5))


def risk_in_bins(own: np.ndarray, bins: Risk) -> np.ndarray:
    """The members' share of the bin of every own score [...]."""
    return bins.share[np.searchsorted(bins.edges, np.maximum(-own, SMALLEST_BINNED), side="right")]


def check_signs(name: str, scores: Array) -> None:
    """Refuse scores above 0, which have no logarithmic bin (ValueError)."""
    if np.max(scores, initial=0.0) > 0:
        raise ValueError(
            f"{name} holds {np.max(scores)}: it must be at most 0, or there are no logarithmic bins."
        )


def check_labels(name: str, labels: Array, shape: tuple[int, ...], num_classes: int) -> np.ndarray:
    """Labels int of `shape` in [0, C). Raises ValueError naming the first that is not."""
    labels = np.asarray(labels)
    if labels.shape != shape or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{name} is {labels.dtype} of shape {labels.shape}: it must be integers of shape {shape}."
        )
    odd = np.argwhere((labels < 0) | (labels >= num_classes))
    if odd.size:
        where = tuple(int(i) for i in odd[0])
        allowed = "be at least 0" if labels[where] < 0 else f"lie in 0 to {num_classes - 1}"
        raise ValueError(f"{name}{list(where)} is {labels[where]}: labels must {allowed}.")
    return labels.astype(np.int64)


def _attack(metric: Metric) -> Attack:
    """One threshold on one metric for all records."""
    return Attack(
        metric,
        f"{METRICS[metric]} threshold",
        f"{QUERY}, and nothing else: one threshold for all records.",
        SOURCES[metric],
        NO_SIDE,
        frozenset({SIGNALS[metric]}),
        lambda seen, _: observed_scores(seen, metric),
    )


def _by_class(
    shadow_scores: Array,
    shadow_labels: Array,
    shadow_member: Array,
    target_scores: Array,
    target_labels: Array,
    num_classes: int,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each class of the target: its records' places, shadow members' and non-members' scores."""
    check_whole("num_classes", num_classes, 1)
    shadow, target = as_numbers("shadow_scores", shadow_scores), as_numbers("target_scores", target_scores)
    shadow_y = check_labels("shadow_labels", shadow_labels, shadow.shape, num_classes)
    target_y = check_labels("target_labels", target_labels, target.shape, num_classes)
    held = as_mask("shadow_member", shadow_member, shadow.shape)
    for name, values in (("shadow_scores", shadow), ("target_scores", target)):
        if np.isnan(values).any():
            raise ValueError(
                f"{name}[{int(np.argmax(np.isnan(values)))}] is NaN: leave records without a score out."
            )
    found = []
    for label in np.unique(target_y):
        inside, outside = (shadow[(shadow_y == label) & side] for side in (held, ~held))
        if not inside.size or not outside.size:
            side = "non-members" if inside.size else "members"
            raise ValueError(
                f"shadow_labels hold no {side} of class {label}, which target_labels holds: add some."
            )
        found.append((np.flatnonzero(target_y == label), inside, outside))
    return found


def _shares(values: np.ndarray, edges: np.ndarray, num_bins: int) -> np.ndarray:
    """The share of `values` in each bin between `edges`, outer bins open."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=num_bins) / values.size


def _log(probability: np.ndarray) -> np.ndarray:
    """The logarithm, of a smallest probability at least."""
    return np.log(np.maximum(probability, SMALLEST))


def _check_probabilities(probs: np.ndarray) -> None:
    """Refuse what are no probabilities, logits above all (ValueError)."""
    odd = np.argwhere(~((probs >= 0) & (probs <= 1)))
    if odd.size:
        where = tuple(int(i) for i in odd[0])
        raise ValueError(
            f"probs{list(where)} is {probs[where]}: it must lie in [0, 1]; of logits pass the softmax."
        )
    far = np.argwhere(np.abs(probs.sum(axis=-1) - 1.0) > 1e-3)
    if far.size:
        where = tuple(int(i) for i in far[0])
        raise ValueError(
            f"probs{list(where)} sum to {probs[where].sum():.4g}: probabilities of a record must sum to 1."
        )
