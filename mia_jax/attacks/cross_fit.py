"""Classifiers of members that are fitted in folds: who teaches whom, with which rows, and who judges.

The classifier that judges the targets of one fold has been trained on the models of all others. One
per target would cost K trainings a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from mia_jax.attacks import base
from mia_jax.attacks.learner import Lessons, ask, fit, parts
from mia_jax.config import TrainingConfig
from mia_jax.keys import per_model
from mia_jax.models.base import Model
from mia_jax.training.segment import Recipe
from mia_jax.types import Array, Key, Params
from mia_jax.validation import as_mask

BATCH = 64
"""Rows of a step of a classifier's training."""

Say = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(models, records), int arrays that broadcast to [...] -> what a classifier reads, float [..., D]."""


class Classifier(NamedTuple):
    """A network with two outputs, the logits of non-members and of members, and its training.

    rows: at most so many teach one classifier. epochs: over them. learning_rate: Adam's.
    standardise: put every input on one scale by the moments of the classifier's own rows.
    """

    network: Model
    rows: int
    epochs: int
    learning_rate: float
    standardise: bool = False


class Plan(NamedTuple):
    """Who is judged by whom. member: bool [K, N]. usable: bool [K]. fold: int [K].

    groups: int arrays of records; each has a classifier of its own in every fold.
    """

    member: np.ndarray
    usable: np.ndarray
    fold: np.ndarray
    groups: Sequence[np.ndarray]

    @property
    def classifiers(self) -> list[tuple[int, int]]:
        """The fold and the group of every classifier."""
        return [(int(fold), group) for fold in np.unique(self.fold) for group in range(len(self.groups))]


class Drawn(NamedTuple):
    """The rows that teach F classifiers: models and records int [F, n], mask bool [F, n]."""

    models: np.ndarray
    records: np.ndarray
    mask: np.ndarray


class Taught(NamedTuple):
    """F classifiers. params: leaves [F, ...]. centre, scale: of what they read, [F, 1, ...].

    able: bool [F], False where there was nothing to learn from.
    """

    params: Params
    centre: np.ndarray
    scale: np.ndarray
    able: np.ndarray


def plan_of(
    member: Array, shape: tuple[int, ...], usable: np.ndarray, folds: int, exclude: Array | None
) -> Plan:
    """The folds of K targets, and all N records as one group. shape: (K, N)."""
    held = as_mask("member", member, shape)
    return Plan(held, usable, base.folds(shape[0], folds, exclude), [np.arange(shape[1])])


def cross_fit(classifier: Classifier, plan: Plan, say: Say, key: Key) -> np.ndarray:
    """Log-odds of membership, float64 [K, N], of each target by its own fold's classifiers.

    NaN for models that are not usable, and where the other folds' models are all members or all not.
    Nothing that a fold's classifiers are made of depends on the membership of its own models, the
    number of rows and their order included.
    """
    drawing, learning = jax.random.split(key)
    drawn = draw(plan, classifier.rows, drawing)
    taught = _teach(classifier, plan, say, drawn, learning)
    scores = _judge(classifier, plan, say, taught)
    scores[~plan.usable] = np.nan
    return scores


def draw(plan: Plan, rows: int, key: Key) -> Drawn:
    """For every classifier at most `rows` pairs of a model outside its fold and a record of its group.

    As many members as non-members, each side without replacement, every pair equally likely. The
    length n is what the sizes of folds and groups allow at most: membership has no part in it.
    """
    if rows < 2:
        raise ValueError(f"rows is {rows}: it must be at least 2, one member and one non-member.")
    found = plan.classifiers
    seeds = np.asarray(jax.random.key_data(per_model(key, np.arange(len(found)))))
    pairs = max(np.sum(plan.fold != fold) * plan.groups[group].size for fold, group in found)
    side = max(1, min(rows, int(pairs)) // 2)
    drawn = Drawn(*(np.zeros((len(found), 2 * side), kind) for kind in (int, int, bool)))
    for number, (fold, group) in enumerate(found):
        models, records = _pairs(plan, fold, plan.groups[group], side, np.random.default_rng(seeds[number]))
        drawn.models[number, : models.size] = models
        drawn.records[number, : models.size] = records
        drawn.mask[number, : models.size] = True
    return drawn


def _pairs(
    plan: Plan, fold: int, group: np.ndarray, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Models and records of one classifier's rows: at most `most` members and as many non-members."""
    models = np.flatnonzero((plan.fold != fold) & plan.usable)
    held = plan.member[np.ix_(models, group)]
    sides = [np.flatnonzero(held), np.flatnonzero(~held)]
    each = min(most, *(side.size for side in sides))
    chosen = np.concatenate([rng.choice(side, each, replace=False, shuffle=False) for side in sides])
    return models[chosen // group.size], group[chosen % group.size]


def _teach(classifier: Classifier, plan: Plan, say: Say, drawn: Drawn, key: Key) -> Taught:
    """Train all classifiers, as many at a time as memory allows."""
    count, size = drawn.mask.shape
    config = TrainingConfig(
        epochs=classifier.epochs, batch_size=BATCH, learning_rate=classifier.learning_rate
    )
    # A classifier that finds fewer rows than another has batches that are empty.
    recipe = Recipe(classifier.network, config, size, sizes_vary=True)
    found = []
    for number, part in enumerate(parts(count, size * _width(say))):
        models, records, mask = (values[part] for values in drawn)
        x = say(models, records)
        centre, scale = _scales(x, mask, classifier.standardise)
        lessons = Lessons(
            ((x - centre) / scale).astype(np.float32),
            plan.member[models, records].astype(np.int32),
            np.broadcast_to(np.arange(size, dtype=np.int32), mask.shape),
            mask,
            own_x=True,
            own_y=True,
        )
        found.append((fit(recipe, lessons, jax.random.fold_in(key, number)), centre, scale))
    params, centre, scale = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    return Taught(params, centre, scale, np.asarray(drawn.mask.any(axis=1)))


def _judge(classifier: Classifier, plan: Plan, say: Say, taught: Taught) -> np.ndarray:
    """The log-odds that every target's own classifiers give its records: float64 [K, N]."""
    asked = [
        (int(target), group, number)
        for number, (fold, group) in enumerate(plan.classifiers)
        for target in np.flatnonzero(plan.fold == fold)
    ]
    longest = max(group.size for group in plan.groups)
    records = np.stack([np.resize(group, longest) for group in plan.groups])
    scores = np.full(plan.member.shape, np.nan)
    for part in parts(len(asked), longest * _width(say)):
        targets, groups, numbers = np.array(asked[part]).T
        x = (say(targets[:, None], records[groups]) - taught.centre[numbers]) / taught.scale[numbers]
        said = ask(classifier.network, taught.params, numbers, x.astype(np.float32), own_x=True)
        odds = said[..., 1].astype(np.float64) - said[..., 0]
        odds[~taught.able[numbers]] = np.nan
        for target, group, row in zip(targets, groups, odds, strict=True):
            own = plan.groups[group]
            scores[target, own] = row[: own.size]
    return scores


def _scales(x: np.ndarray, mask: np.ndarray, standardise: bool) -> tuple[np.ndarray, np.ndarray]:
    """What to subtract from each classifier's inputs and to divide them by, [F, 1, ...]. x: [F, n, ...]."""
    ones = np.ones((len(x), *(1,) * (x.ndim - 1)), np.float32)
    if not standardise:
        return np.zeros_like(ones), ones
    weights = mask / np.maximum(mask.sum(axis=1, keepdims=True), 1)
    mean = np.einsum("fn,fn...->f...", weights, x)[:, None]
    spread = np.sqrt(np.einsum("fn,fn...->f...", weights, (x - mean) ** 2))[:, None]
    return mean, np.where(spread > 0, spread, 1.0)


def _width(say: Say) -> int:
    """How many numbers a classifier reads of one record."""
    return say(np.zeros(1, int), np.zeros(1, int)).size
