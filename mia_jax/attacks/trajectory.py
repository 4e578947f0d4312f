"""The loss-trajectory attack: how a record's loss went down tells more than where it ended.

Liu et al. distil the target to guess its trajectory; a study has the target's true checkpoints, and
these are used. That is a stronger attacker than theirs: one who saw the training.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np

from mia_jax.attacks.base import (
    BOTH_SIDES,
    WITH_SHADOWS,
    Attack,
    Observations,
    check_choice,
    check_signal,
    one_block,
    references,
)
from mia_jax.attacks.cross_fit import Classifier, Lesson, Say, judge, learn
from mia_jax.config import AttacksConfig
from mia_jax.models.attack_networks import membership_mlp
from mia_jax.types import Array, Key
from mia_jax.validation import as_mask

SMALLEST_LOSS = 1e-9
"""Losses below this many nats count as this."""

LARGEST_LOSS = 20.0
"""Losses above this many nats count as this: a few outliers must not set the scale of all others."""

ROUNDING = 1e-3
"""How far above 0 a log-probability may lie by rounding."""

NARROWEST = 8
"""The fewest inputs of a classifier. Widths are powers of two: not every checkpoint compiles its own."""

Scale = Literal["log", "raw"]


def loss_trajectory(
    trajectory: Array,
    member: Array,
    *,
    key: Key,
    folds: int = 4,
    rows: int = 20_000,
    epochs: int = 20,
    scale: Scale = "log",
    exclude: Array | None = None,
    valid: Array | None = None,
) -> np.ndarray:
    """Log-odds of membership by a classifier of loss trajectories, float64 [K, N]; larger = member.

    trajectory: float [K, T, N], the log-probability of the label (nats) at T >= 1 checkpoints. member:
    bool [K, N]. scale: losses enter by their logarithm, or "raw" as in the paper, where the small
    losses that tell members from others all look alike. They are clipped to 1e-9 and 20 nats and
    standardised by the moments of the classifier's own rows. The classifier, its training and the
    other arguments are those of `shadow_classifier`.

    Models that are not `valid` [K] teach nothing and get NaN, as does everything where the other folds
    have members or non-members only. Raises ValueError naming an array or option that does not fit.
    Liu et al. 2022, section 4, with true checkpoints in the place of distilled ones.
    """
    check_choice("scale", scale, ("log", "raw"))
    lesson = _lesson(folds, rows, epochs, scale)
    seen = Observations(member, valid, exclude, key, trajectory=trajectory)
    return judge(lesson, seen, learn(lesson, one_block(seen)))


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """The loss trajectory's choice of `--attacks`."""
    lesson = _lesson(config.folds, config.classifier_rows, config.classifier_epochs)
    return (
        Attack(
            "loss_trajectory",
            "Loss trajectory",
            "The attacker holds the record with its label and sees the target's loss on it at every checkpoint so "
            f"far, {WITH_SHADOWS}.",
            "Liu et al., Membership Inference Attacks by Exploiting Loss Trajectory, CCS 2022, with the target's own "
            "checkpoints in the place of distilled ones",
            BOTH_SIDES,
            frozenset({"trajectory"}),
            functools.partial(judge, lesson),
            functools.partial(learn, lesson),
        ),
    )


def _lesson(folds: int, rows: int, epochs: int, scale: Scale = "log") -> Lesson:
    """The classifiers of `loss_trajectory`."""
    classifier = Classifier(membership_mlp(), rows, epochs, 1e-3, standardise=True)
    return Lesson(classifier, functools.partial(_losses, scale), folds)


def _losses(scale: Scale, seen: Observations) -> Say:
    """The losses of a block's records at all checkpoints, checked (ValueError)."""
    assert seen.trajectory is not None
    usable = references(len(np.asarray(seen.trajectory)), seen.exclude, seen.valid)[1]
    log_prob = check_signal("trajectory", seen.trajectory, usable, (None, None))
    _check_log_probabilities(log_prob)
    as_mask("member", seen.member, log_prob[:, 0].shape)
    losses = np.clip(-log_prob, SMALLEST_LOSS, LARGEST_LOSS)
    if scale == "log":
        losses = np.log(losses)
    return lambda models, records: _widened(losses[models, :, records])


def _check_log_probabilities(log_prob: np.ndarray) -> None:
    """Refuse losses in the place of log-probabilities (ValueError)."""
    odd = np.argwhere(log_prob > ROUNDING)
    if odd.size:
        where = tuple(int(i) for i in odd[0])
        raise ValueError(
            f"trajectory{list(where)} is {log_prob[where]:.4g}: log-probabilities must be at most 0; of losses pass "
            "the negative."
        )


def _widened(x: np.ndarray) -> np.ndarray:
    """Inputs [..., T] with columns of zeros up to the next of the widths that classifiers have."""
    length = x.shape[-1]
    width = max(NARROWEST, 2 ** (length - 1).bit_length())
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - length)])
