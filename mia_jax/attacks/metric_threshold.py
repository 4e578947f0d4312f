"""Attacks on one number that the target says of a record, with thresholds from shadow records if any.

All take probabilities or scores as plain arrays; larger scores mean "more likely a member".
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from mia_jax.attacks.base import NO_SIDE, QUERY, Attack, Observations
from mia_jax.config import AttacksConfig
from mia_jax.types import Array
from mia_jax.validation import as_mask

Metric = Literal["correctness", "confidence", "loss", "entropy", "modified_entropy"]

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
    probs = np.asarray(probs, np.float64)
    labels = _labels("labels", labels, probs.shape[:-1], probs.shape[-1])
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
        decisions[mine] = np.asarray(target_scores)[mine] >= _threshold(inside, outside)
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
    for name, scores in (("shadow_scores", shadow_scores), ("target_scores", target_scores)):
        if np.max(scores, initial=0.0) > 0:
            raise ValueError(f"{name} holds {np.max(scores)}: logarithmic bins need scores of at most 0.")
    for mine, inside, outside in _by_class(
        shadow_scores, shadow_labels, shadow_member, target_scores, target_labels, num_classes
    ):
        inside, outside, own = (
            np.maximum(-np.asarray(values, np.float64), SMALLEST_BINNED)
            for values in (inside, outside, np.asarray(target_scores)[mine])
        )
        both = np.r_[inside, outside]
        edges = np.geomspace(both.min(), both.max(), num_bins + 1)[1:-1]
        share_in, share_out = (_shares(values, edges, num_bins) for values in (inside, outside))
        total = share_in + share_out
        bins = np.where(total > 0, share_in / np.where(total > 0, total, 1.0), 0.5)
        risk[mine] = bins[np.searchsorted(edges, own, side="right")]
    return risk


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """The choices of `--attacks` that put one threshold on one number."""

    def loss(seen: Observations) -> np.ndarray:
        # Read from the scaled logit, which orders records as the loss does and does not saturate.
        assert seen.scaled_logit is not None
        phi = np.asarray(seen.scaled_logit, np.float64)
        return phi if seen.valid is None else np.where(np.asarray(seen.valid, bool)[:, None], phi, np.nan)

    return (
        Attack(
            "loss",
            "Loss threshold",
            f"{QUERY}, and nothing else: one threshold for all records.",
            "Yeom et al., Privacy Risk in Machine Learning, CSF 2018",
            NO_SIDE,
            frozenset({"scaled_logit"}),
            loss,
        ),
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
    shadow = np.asarray(shadow_scores, np.float64)
    shadow_y = _labels("shadow_labels", shadow_labels, shadow.shape, num_classes)
    target_y = _labels("target_labels", target_labels, np.shape(target_scores), num_classes)
    held = as_mask("shadow_member", shadow_member, shadow.shape)
    for name, values in (("shadow_scores", shadow), ("target_scores", np.asarray(target_scores))):
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


def _threshold(inside: np.ndarray, outside: np.ndarray) -> float:
    """The first of the scores with the best balanced accuracy."""
    values = np.r_[inside, outside]
    called_in = inside.size - np.searchsorted(np.sort(inside), values, side="left")
    spared_out = np.searchsorted(np.sort(outside), values, side="left")
    # In whole numbers: two thresholds that are equally good tie exactly.
    return float(values[np.argmax(called_in * outside.size + spared_out * inside.size)])


def _shares(values: np.ndarray, edges: np.ndarray, num_bins: int) -> np.ndarray:
    """The share of `values` in each bin between `edges`, outer bins open."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=num_bins) / values.size


def _log(probability: np.ndarray) -> np.ndarray:
    """The logarithm, of a smallest probability at least."""
    return np.log(np.maximum(probability, SMALLEST))


def _labels(name: str, labels: Array, shape: tuple[int, ...], num_classes: int) -> np.ndarray:
    """Labels int of `shape` in [0, C). Raises ValueError naming the first that is not."""
    labels = np.asarray(labels)
    if labels.shape != shape or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{name} is {labels.dtype} of shape {labels.shape}: it must be integers of shape {shape}."
        )
    odd = np.argwhere((labels < 0) | (labels >= num_classes))
    if odd.size:
        where = tuple(int(i) for i in odd[0])
        raise ValueError(f"{name}{list(where)} is {labels[where]}: labels lie in 0 to {num_classes - 1}.")
    return labels.astype(np.int64)


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
            f"probs{list(where)} sum to {probs[where].sum():.4g}: probabilities of a record sum to 1."
        )
