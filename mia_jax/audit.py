"""What canaries prove: lower bounds on epsilon from the models of a study.

Every canary is in every model by a fair coin of its own (`mia_jax.membership.draw`), independent of
the model's records, its other canaries, its keys and all other models. The relation is therefore
add-or-remove: one record more or less in the training set; the batches are drawn from what is there, or
(DP-SGD on shuffled batches) its place stays empty, which is zero-out. What a bound refutes is that this
training is (epsilon, delta)-DP for any smaller epsilon.

joint_runs   all canaries of many models together, as one mechanism; by far the largest ceiling where delta times
             the number of canaries over all models is small (its slack grows with that product)
one_run      the canaries of a single model: of the first one, or the median over models
many_runs    one canary over independently trained models, the classical audit

Each bound has its confidence by itself, and the largest of several has less: which one counts must be
said before it is seen. `audit_rows` begins with `joint_runs`; ceilings depend on counts, delta and
confidence alone, and may be compared before any bound is looked at.

A model that is not usable keeps its place: in `many_runs` its score is the lowest, elsewhere the
attacker abstains. To leave it out, or to take another in its place, could turn a bound wrong, for it
may have failed because of a canary. For the same reason `valid` must be judged without the coins.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from mia_jax.attacks import lira
from mia_jax.attacks.base import check_signal
from mia_jax.auditing import epsilon_ceiling, epsilon_lower_bound, one_run_epsilon
from mia_jax.types import Array
from mia_jax.validation import as_mask, as_numbers, as_twin, check_confidence, check_number

RELATION = "add-or-remove"

CHOOSING = 8
"""One in so many models only chooses the canary of `many_runs`."""

REFERRING = 4
"""One in so many models is only a reference in `joint_runs`."""

FEWEST_REFERENCES = 8
"""Reference models below which canaries are ranked by their scaled logits alone: LiRA is then no better."""

STEADYING = 4.0
"""Degrees of freedom that the spread of all canaries adds to a canary's own, of which few are known."""


class Bound(NamedTuple):
    """A lower bound on epsilon, and the most that so many trials can prove (a perfect attack's bound).

    trials: independent models, or guesses on canaries. canaries: those whose coins were drawn for
    these trials. meaning: how it came about, for readers.
    """

    epsilon: float
    ceiling: float
    trials: int
    canaries: int
    meaning: str


class _Seen(NamedTuple):
    """phi: float64 [K, M], 0 where not usable. member: bool [K, M]. usable: bool [K]."""

    phi: np.ndarray
    member: np.ndarray
    usable: np.ndarray


def audit_rows(
    scaled_logit: Array,
    member: Array,
    *,
    delta: float,
    guesses: float = 0.5,
    confidence: float = 0.95,
    valid: Array | None = None,
    twin: Array | None = None,
) -> list[dict[str, Any]]:
    """Every bound that these canaries allow, one plain dict each; none without canaries.

    scaled_logit: float [K, M], of the M canaries at one checkpoint. member: bool [K, M]. valid: bool
    [K], judged without the canaries' coins; a model with a canary that is not finite counts as not
    valid. twin: int [K], the model with the complementary half, -1 for none. guesses: the share of a
    model's canaries that is guessed on.

    A row has method, relation, epsilon, ceiling, delta, confidence, trials, canaries, diverged (how
    many of the K models were not usable) and meaning. What could prove nothing (a ceiling of 0) has no
    row. Raises ValueError for arrays that do not fit and for shares that are none.
    """
    if np.ndim(scaled_logit) == 2 and not np.shape(scaled_logit)[1]:
        return []
    usable = _checked(scaled_logit, member, valid).usable
    check_confidence(confidence)
    one = one_run(scaled_logit, member, delta=delta, guesses=guesses, confidence=confidence, valid=valid)
    bounds = {
        "joint_runs": joint_runs(
            scaled_logit, member, delta=delta, guesses=guesses, confidence=confidence, valid=valid
        ),
        "one_run_median": one["median"],
        "one_run_first": one["first"],
        "many_runs": many_runs(
            scaled_logit, member, delta=delta, confidence=confidence, valid=valid, twin=twin
        ),
    }
    return [
        {
            "method": method,
            "relation": RELATION,
            "epsilon": bound.epsilon,
            "ceiling": bound.ceiling,
            "delta": float(delta),
            "confidence": float(confidence),
            "trials": bound.trials,
            "canaries": bound.canaries,
            "diverged": int(np.sum(~usable)),
            "meaning": bound.meaning,
        }
        for method, bound in bounds.items()
        if bound.ceiling > 0
    ]


def joint_runs(
    scaled_logit: Array,
    member: Array,
    *,
    delta: float,
    guesses: float = 0.5,
    confidence: float = 0.95,
    valid: Array | None = None,
) -> Bound:
    """A bound from all models at once: the first quarter are references, the rest are guessed on.

    Arguments as for `audit_rows`. Given the references and the records of every model, the K' other
    trainings are independent and each canary's coin enters one of them only. Together they are thus
    one mechanism of K' M fair coins that is (epsilon, delta)-DP in each coin wherever a single training
    is, and theorem 5.2 of Steinke, Nasr & Jagielski 2023 holds for the K' r guesses on it as it does for
    one run. A guess on a target reads that target's logits and the references, coins and all; it may not
    read the coins of other targets, as leave-one-out would: their guesses then err together (tried: false
    alarms on 12 % of null canaries where 5 % are stated).

    Scores are LiRA's (online, one variance), or the scaled logits where the references are fewer than 8
    (then all K models are targets). Of every model's M canaries the r / 2 that score highest are called
    in and the r / 2 that score lowest out, r = 2 floor(guesses M / 2), at least 2.
    """
    seen = _checked(scaled_logit, member, valid)
    models, canaries = seen.phi.shape
    referring = models // REFERRING if models // REFERRING >= FEWEST_REFERENCES else 0
    scores = _scores(seen, np.arange(models) < referring)[referring:]
    correct, made = _guess(scores, seen.member[referring:], seen.usable[referring:], guesses)
    targets = models - referring
    rules = (targets * made, targets * canaries, delta, confidence)
    ranked = f"LiRA against {referring} other models" if referring else "the scaled logit"
    return Bound(
        _proven(int(correct.sum()), *rules),
        _proven(targets * made, *rules),
        targets * made,
        targets * canaries,
        f"Joint runs: of each of {targets} models, the {made} of {canaries} canaries that {ranked} ranks highest and "
        "lowest are called in and out. A canary's coin changes one training only, so that all of them together are as "
        "private as one, and each coin is a trial (Steinke et al. 2023, theorem 5.2, on all trainings as one run).",
    )


def one_run(
    scaled_logit: Array,
    member: Array,
    *,
    delta: float,
    guesses: float = 0.5,
    confidence: float = 0.95,
    valid: Array | None = None,
) -> dict[str, Bound]:
    """Bounds from the canaries of one model, all other models its references: "first" and "median".

    Arguments as for `audit_rows`, guesses as for `joint_runs`. Other runs, their coins and a twin
    included, say nothing of a run's own coins, so that its guesses may read all of them. The bound of
    the first model, which was named in advance, holds as it stands. The bounds of several models share
    their references and are not independent, nor need they be: let each exceed epsilon with probability
    at most a / 2, a = 1 - confidence. If their median exceeds epsilon, at least half of them do; the
    expected share that does is at most a / 2, so by Markov's inequality that happens with probability
    at most a. The bound of a model that is not usable is 0. Steinke, Nasr & Jagielski 2023, theorem 5.2.
    """
    seen = _checked(scaled_logit, member, valid)
    models, canaries = seen.phi.shape
    everyone = np.full(models, models > FEWEST_REFERENCES)
    ranked = "LiRA against all other models" if everyone.any() else "the scaled logit"
    correct, made = _guess(_scores(seen, everyone), seen.member, seen.usable, guesses)
    check_confidence(confidence)
    each = 1.0 - (1.0 - confidence) / 2
    bounds = [_proven(count, made, canaries, delta, each) for count in correct.tolist()]
    how = f"the {made} of {canaries} canaries that {ranked} ranks highest and lowest are called in and out"
    return {
        "median": Bound(
            float(np.median(bounds)),
            _proven(made, made, canaries, delta, each),
            made,
            canaries,
            f"One run, median: of each of {models} models, {how}. Each model's own bound holds at "
            f"{100 * each:g}% confidence, and therefore their median at {100 * confidence:g}% (Markov's inequality).",
        ),
        "first": Bound(
            _proven(int(correct[0]), made, canaries, delta, confidence),
            _proven(made, made, canaries, delta, confidence),
            made,
            canaries,
            f"One run, first: of the first model, {how} (Steinke et al. 2023, theorem 5.2).",
        ),
    }


def many_runs(
    scaled_logit: Array,
    member: Array,
    *,
    delta: float,
    confidence: float = 0.95,
    valid: Array | None = None,
    twin: Array | None = None,
) -> Bound:
    """A bound from one canary over independent models: the first eighth choose it, the rest are trials.

    Arguments as for `audit_rows`. Trials must be independent: a model's M canaries are not, and of
    twins, whose records depend on each other, only the first is one. For the same reason a score reads
    its own model alone: it is the scaled logit. The canary is the one whose members and non-members lie
    furthest apart, in standard errors, in the models that choose. Choosing costs an eighth of the models;
    to bound every canary at 1 - (1 - confidence) / M costs more (with 64 models and 32 canaries, a
    ceiling of 1.24 instead of 1.60).
    """
    seen = _checked(scaled_logit, member, valid)
    own = _one_of_twins(len(seen.phi), twin)
    choosing, trying = np.split(own, [own.size // CHOOSING])
    choosing = choosing[seen.usable[choosing]]
    canary = _furthest_apart(seen.phi[choosing], seen.member[choosing])
    held = seen.member[trying, canary]
    inside, outside = int(held.sum()), int((~held).sum())
    meaning = (
        f"Many runs: one canary, chosen on {own.size // CHOOSING} models, is in or out of {trying.size} others, "
        "which were trained independently; a threshold on its scaled logit tells them apart "
        "(Clopper-Pearson, all thresholds paid for)."
    )
    if not inside or not outside:
        return Bound(0.0, 0.0, trying.size, 1, meaning)
    scores = np.where(seen.usable[trying], seen.phi[trying, canary], -np.inf)
    return Bound(
        epsilon_lower_bound(scores, held, delta=delta, confidence=confidence),
        _provable(inside, outside, delta, confidence),
        trying.size,
        1,
        meaning,
    )


def _checked(scaled_logit: Array, member: Array, valid: Array | None) -> _Seen:
    """The arrays in their types; ValueError where they do not fit."""
    phi = as_numbers("scaled_logit", scaled_logit)
    if phi.ndim != 2 or not phi.size:
        raise ValueError(
            f"scaled_logit has shape {phi.shape}: it must be [K, M], models by canaries, at least one of each."
        )
    held = as_mask("member", member, phi.shape)
    usable = np.asarray(np.isfinite(phi).all(axis=1))
    if valid is not None:
        usable &= as_mask("valid", valid, usable.shape)
    return _Seen(check_signal("scaled_logit", phi, usable, (None,)), held, usable)


def _one_of_twins(models: int, twin: Array | None) -> np.ndarray:
    """The models that are independent of each other: all, but the second of two twins. int [...]."""
    ids = np.arange(models)
    if twin is None:
        return ids
    other = as_twin(twin, models)
    return ids[(other < 0) | (ids < other)]


def _scores(seen: _Seen, referring: np.ndarray) -> np.ndarray:
    """Scores [K, M] of every model's canaries against the models `referring` [K], without which: phi.

    A canary that too few references tell anything of scores 0, a likelihood ratio of 1.
    """
    if not referring.any():
        return seen.phi
    exclude = np.broadcast_to(~referring, (len(referring), len(referring)))
    scores = lira(seen.phi, seen.member, variance="global", exclude=exclude, valid=seen.usable, missing="nan")
    return np.nan_to_num(scores, nan=0.0)


def _guess(
    scores: np.ndarray, member: np.ndarray, usable: np.ndarray, share: float
) -> tuple[np.ndarray, int]:
    """Right guesses of each model, int [K], none where it is not usable; and how many each is allowed."""
    check_number("guesses", share, lambda share: 0 < share <= 1, "lie in (0, 1], a share of the canaries")
    canaries = scores.shape[1]
    half = min(max(1, int(round(share * canaries / 2, 9))), canaries // 2)
    # Ties fall to the first canary: their order must not depend on the coins.
    order = np.argsort(scores, axis=1, kind="stable")
    ranked = np.take_along_axis(member, order, axis=1)
    right = (~ranked[:, :half]).sum(axis=1) + ranked[:, canaries - half :].sum(axis=1)
    return np.where(usable, right, 0), 2 * half


@functools.lru_cache(maxsize=4096)
def _proven(correct: int, guesses: int, canaries: int, delta: float, confidence: float) -> float:
    """What so many right guesses prove; few counts come up, and again at every checkpoint."""
    return one_run_epsilon(correct, guesses, num_canaries=canaries, delta=delta, confidence=confidence)


@functools.lru_cache(maxsize=4096)
def _provable(inside: int, outside: int, delta: float, confidence: float) -> float:
    """What so many trials on each side can prove."""
    return epsilon_ceiling(inside, outside, delta=delta, confidence=confidence)


def _furthest_apart(phi: np.ndarray, member: np.ndarray) -> int:
    """The canary whose two sides differ most, in standard errors; the first where none has both sides."""
    both = member.any(axis=0) & (~member).any(axis=0)
    if not both.any():
        return 0
    count_in, mean_in, squares_in = _of_side(phi, member)
    count_out, mean_out, squares_out = _of_side(phi, ~member)
    squares, freedom = squares_in + squares_out, max(len(member) - 2, 0)
    common = squares[both].sum() / max(freedom * int(both.sum()), 1)
    variance = (squares + STEADYING * common) / (freedom + STEADYING)
    error = np.sqrt(np.maximum(variance, np.finfo(float).tiny) * (1 / count_in + 1 / count_out))
    return int(np.argmax(np.where(both, (mean_in - mean_out) / error, -np.inf)))


def _of_side(phi: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count (at least 1), mean and sum of squared residuals of one side of every canary, each [M]."""
    count = np.maximum(side.sum(axis=0), 1)
    mean = np.where(side, phi, 0.0).sum(axis=0) / count
    return count, mean, np.where(side, (phi - mean) ** 2, 0.0).sum(axis=0)
