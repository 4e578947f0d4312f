"""The shadow classifier: a network that learns from shadow models what members look like."""

from __future__ import annotations

import functools

import numpy as np
from scipy.special import softmax

from mia_jax.attacks.base import (
    BOTH_SIDES,
    QUERY,
    WITH_SHADOWS,
    Attack,
    Observations,
    check_signal,
    one_block,
    references,
)
from mia_jax.attacks.cross_fit import Classifier, Lesson, Say, judge, learn
from mia_jax.config import AttackName, AttacksConfig
from mia_jax.models.attack_networks import membership_lstm, membership_mlp
from mia_jax.types import Array, Key
from mia_jax.validation import as_mask

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
    lesson = _of_posteriors(folds, rows, epochs, by_class)
    seen = Observations(member, valid, exclude, key, logits=logits, labels=labels)
    return judge(lesson, seen, learn(lesson, one_block(seen)))


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
    lesson = _of_steps(folds, rows, epochs)
    seen = Observations(member, valid, exclude, key, step_logits=step_logits, labels=labels)
    return judge(lesson, seen, learn(lesson, one_block(seen)))


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """The shadow classifier's choices of `--attacks`."""
    constants = config.folds, config.classifier_rows, config.classifier_epochs
    of_all, of_each = (_of_posteriors(*constants, by_class) for by_class in (False, True))
    return (
        _attack("shadow_classifier", "Shadow classifier", "logits", of_all),
        _attack(
            "shadow_classifier_by_class",
            "Shadow classifier, one for each class",
            "logits",
            of_each,
        ),
        _attack(
            "shadow_classifier_steps", "Shadow classifier of all steps", "step_logits", _of_steps(*constants)
        ),
    )


def _attack(name: AttackName, title: str, needs: str, lesson: Lesson) -> Attack:
    """One of the shadow classifier's variants."""
    return Attack(
        name,
        title,
        f"{QUERY}, {WITH_SHADOWS}.",
        SOURCE,
        BOTH_SIDES,
        frozenset({needs, "labels"}),
        functools.partial(judge, lesson),
        functools.partial(learn, lesson),
    )


def _of_posteriors(folds: int, rows: int, epochs: int, by_class: bool) -> Lesson:
    """The classifiers of `shadow_classifier`."""

    def read(seen: Observations) -> Say:
        assert seen.logits is not None
        return _posteriors(seen, "logits", seen.logits, (None, None), labelled=not by_class)

    return Lesson(Classifier(membership_mlp(), rows, epochs, 1e-3), read, folds, by_class)


def _of_steps(folds: int, rows: int, epochs: int) -> Lesson:
    """The classifiers of `step_classifier`."""

    def read(seen: Observations) -> Say:
        assert seen.step_logits is not None
        return _posteriors(seen, "step_logits", seen.step_logits, (None, None, None), labelled=True)

    return Lesson(Classifier(membership_lstm(), rows, epochs, 1e-2), read, folds)


def _posteriors(
    seen: Observations, name: str, values: Array, shape: tuple[None, ...], *, labelled: bool
) -> Say:
    """The softmax of logits [K, N, ..., C], and beside it the one-hot label. Raises ValueError."""
    usable = references(len(np.asarray(values)), seen.exclude, seen.valid)[1]
    logits = check_signal(name, values, usable, shape)
    as_mask("member", seen.member, logits.shape[:2])
    assert seen.labels is not None
    labels = _labels(seen.labels, logits.shape[1], logits.shape[-1])

    def say(models: np.ndarray, records: np.ndarray) -> np.ndarray:
        posterior = softmax(logits[models, records], axis=-1).astype(np.float32)
        if not labelled:
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
            f"labels[{odd[0]}] is {labels[odd[0]]}: labels must lie in 0 to {num_classes - 1}, the classes of the "
            "logits."
        )
    return labels
