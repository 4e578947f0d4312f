"""The shadow classifier: a network that learns from shadow models what members look like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import softmax

from mia_jax.attacks.base import (
    BOTH_SIDES,
    QUERY,
    WITH_SHADOWS,
    Attack,
    Observations,
    check_signal,
    references,
)
from mia_jax.attacks.cross_fit import Classifier, Say, cross_fit, plan_of
from mia_jax.attacks.learner import key_of
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.models.attack_networks import membership_lstm, membership_mlp
from mia_jax.types import Array, Key

SOURCE = (
    "Shokri et al., Membership Inference Attacks Against Machine Learning Models, IEEE S&P 2017, with the "
    "networks of Yang, Gohari & Topcu, arXiv 2110.03054, 2021"
)


def shadow_classifier(
    logits: Array,
    labels: Array,
    member: Array,
    *,
    key: Key,
    folds: int = 4,
    rows: int = 20_000,
    epochs: int = 20,
    by_class: bool = False,
    exclude: Array | None = None,
    valid: Array | None = None,
) -> np.ndarray:
    """Log-odds of membership by a classifier of posteriors, float64 [K, N]; larger = more likely a member.

    logits: float [K, N, C]. labels: int [N] in [0, C). member: bool [K, N]. key: draws rows, first
    weights, orders and dropout. folds: groups of targets; models that `exclude` [K, K] ties share one.
    The classifier of a fold reads the softmax of the logits and the one-hot label. It is trained by
    Adam (.001, batches of 64) for `epochs` on at most `rows` records of the models outside the fold,
    half of them members. by_class: one classifier for each class, of the softmax alone.

    Models that are not `valid` [K] teach nothing and get NaN, as do records (of a class) that are
    members of all the other models or of none. Raises ValueError naming an array or option that does
    not fit. Shokri et al. 2017, section V; network and training of Yang, Gohari & Topcu 2021.
    """
    usable = references(len(np.asarray(logits)), exclude, valid)[1]
    z = check_signal("logits", logits, usable, (None, None))
    y = _labels(labels, *z.shape[1:])
    plan = plan_of(member, z.shape[:2], usable, folds, exclude)
    if by_class:
        plan = plan._replace(groups=[np.flatnonzero(y == label) for label in np.unique(y)])
    say = _posteriors(z, None if by_class else y)
    return cross_fit(Classifier(membership_mlp(), rows, epochs, 1e-3), plan, say, key)


def step_classifier(
    step_logits: Array,
    labels: Array,
    member: Array,
    *,
    key: Key,
    folds: int = 4,
    rows: int = 20_000,
    epochs: int = 20,
    exclude: Array | None = None,
    valid: Array | None = None,
) -> np.ndarray:
    """Log-odds of membership by an LSTM that reads the posteriors of every step, float64 [K, N].

    step_logits: float [K, N, L, C], after each step of a sequence. The other arguments, and what is
    returned and raised, are those of `shadow_classifier`; the one-hot label stands beside the softmax
    at every step, and Adam's learning rate is .01. Yang, Gohari & Topcu 2021.
    """
    usable = references(len(np.asarray(step_logits)), exclude, valid)[1]
    z = check_signal("step_logits", step_logits, usable, (None, None, None))
    y = _labels(labels, z.shape[1], z.shape[-1])
    plan = plan_of(member, z.shape[:2], usable, folds, exclude)
    return cross_fit(Classifier(membership_lstm(), rows, epochs, 1e-2), plan, _posteriors(z, y), key)


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """The shadow classifier's choices of `--attacks`."""

    def of_posteriors(seen: Observations, by_class: bool) -> np.ndarray:
        assert seen.logits is not None
        assert seen.labels is not None
        return shadow_classifier(
            seen.logits,
            seen.labels,
            seen.member,
            key=key_of(seen),
            folds=config.folds,
            rows=config.classifier_rows,
            epochs=config.classifier_epochs,
            by_class=by_class,
            exclude=seen.exclude,
            valid=seen.valid,
        )

    def of_steps(seen: Observations) -> np.ndarray:
        assert seen.step_logits is not None
        assert seen.labels is not None
        return step_classifier(
            seen.step_logits,
            seen.labels,
            seen.member,
            key=key_of(seen),
            folds=config.folds,
            rows=config.classifier_rows,
            epochs=config.classifier_epochs,
            exclude=seen.exclude,
            valid=seen.valid,
        )

    return (
        _attack("shadow_classifier", "Shadow classifier", "logits", lambda seen: of_posteriors(seen, False)),
        _attack(
            "shadow_classifier_by_class",
            "Shadow classifier, one for each class",
            "logits",
            lambda seen: of_posteriors(seen, True),
        ),
        _attack("shadow_classifier_steps", "Shadow classifier of all steps", "step_logits", of_steps),
    )


def _attack(name: AttackName, title: str, needs: str, score: Callable[[Observations], np.ndarray]) -> Attack:
    """One of the shadow classifier's variants."""
    threat = f"{QUERY}, {WITH_SHADOWS}."
    return Attack(name, title, threat, SOURCE, BOTH_SIDES, frozenset({needs, "labels"}), score)


def _posteriors(logits: np.ndarray, labels: np.ndarray | None) -> Say:
    """The softmax of logits [K, N, ..., C], and beside it the one-hot label where labels are given."""

    def say(models: np.ndarray, records: np.ndarray) -> np.ndarray:
        posterior = softmax(logits[models, records], axis=-1).astype(np.float32)
        if labels is None:
            return posterior
        models, records = np.broadcast_arrays(models, records)
        one_hot = np.eye(logits.shape[-1], dtype=np.float32)[labels[records]]
        one_hot = one_hot.reshape(*records.shape, *(1,) * (logits.ndim - 3), -1)
        return np.concatenate([posterior, np.broadcast_to(one_hot, posterior.shape)], axis=-1)

    return say


def _labels(labels: Array, num_records: int, num_classes: int) -> np.ndarray:
    """Labels, int [N] in [0, C). Raises ValueError naming the first that is not."""
    labels = np.asarray(labels)
    if labels.shape != (num_records,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels is {labels.dtype} of shape {labels.shape}: it must be integers of shape ({num_records},)."
        )
    odd = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if odd.size:
        raise ValueError(
            f"labels[{odd[0]}] is {labels[odd[0]]}: labels lie in 0 to {num_classes - 1}, the classes of the logits."
        )
    return labels
