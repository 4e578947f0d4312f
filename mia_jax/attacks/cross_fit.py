"""Classifiers of members that are fitted in folds: who teaches whom, with which rows, and who judges.

The classifier that judges the targets of one fold has been trained on the models of all others. One
per target would cost K trainings a checkpoint.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from mia_jax.attacks import base
from mia_jax.attacks.base import Blocks, Observations
from mia_jax.attacks.learner import Lessons, ask, fit, parts
from mia_jax.config import TrainingConfig
from mia_jax.keys import check_key, per_model
from mia_jax.models.base import Model
from mia_jax.training.segment import Recipe
from mia_jax.types import Array, Key, Params
from mia_jax.validation import as_mask, check_whole

BATCH = 64
"""Rows of a step of a classifier's training."""

NUMBERS_GATHERED = 2**26
"""Inputs of rows that are held at once while the blocks of a pool are gone through for them."""

Say = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(models, records), int arrays that broadcast to [...] -> what a classifier reads, float [..., D]."""


Read = Callable[[Observations], Say]
"""A block's observations, checked (ValueError) -> what a classifier reads of its records."""


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


class Lesson(NamedTuple):
    """Which classifiers an attack is made of. by_label: one for each label, of its records alone."""

    classifier: Classifier
    read: Read
    folds: int
    by_label: bool = False


class Learned(NamedTuple):
    """The classifiers of a pool of so many records. fold: int [K]. labels: of the groups, None for a single one."""

    taught: Taught
    classifiers: list[tuple[int, int]]
    fold: np.ndarray
    usable: np.ndarray
    labels: np.ndarray | None
    num_records: int


def cross_fit(classifier: Classifier, plan: Plan, say: Say, key: Key) -> np.ndarray:
    """Log-odds of membership, float64 [K, N], of each target by its own fold's classifiers.

    NaN for models that are not usable, and where the other folds' models are all members or all not.
    Nothing that a fold's classifiers are made of depends on the membership of its own models, the
    number of rows and their order included.
    """
    taught = _taught(classifier, plan, lambda some: (say(*one[:2]) for one in some), _width(say), key)
    learned = Learned(taught, plan.classifiers, plan.fold, plan.usable, None, plan.member.shape[1])
    return _judge(classifier, learned, plan.groups, say, plan.member.shape)


def learn(lesson: Lesson, blocks: Blocks) -> Learned:
    """The classifiers of every fold (and label), taught by rows from all blocks: what `cross_fit` does first.

    The rows are the same whatever the blocks, and so are the classifiers.
    """
    first = blocks.read(blocks.parts[0], None)
    width = _width(lesson.read(first))
    told = list(blocks.only(*(["labels"] if lesson.by_label else [])))
    sizes = [np.shape(block.member)[1] for block in told]
    member = np.concatenate([np.asarray(block.member) for block in told], axis=1)
    usable = base.references(len(member), first.exclude, first.valid)[1]
    plan, labels = plan_of(member, member.shape, usable, lesson.folds, first.exclude), None
    if lesson.by_label:
        y = np.concatenate([np.asarray(block.labels) for block in told])
        labels = np.unique(y)
        plan = plan._replace(groups=[np.flatnonzero(y == label) for label in labels])
    gather = functools.partial(_gathered, blocks, sizes, lesson.read, width)
    taught = _taught(lesson.classifier, plan, gather, width, base.key_of(first))
    return Learned(taught, plan.classifiers, plan.fold, plan.usable, labels, member.shape[1])


def judge(lesson: Lesson, seen: Observations, learned: Learned) -> np.ndarray:
    """The log-odds of a block's records, float64 [K, N']: what `cross_fit` does then."""
    say, shape = lesson.read(seen), np.shape(seen.member)
    if learned.labels is None:
        groups = [np.arange(shape[1])]
    else:
        groups = [np.flatnonzero(np.asarray(seen.labels) == label) for label in learned.labels]
    return _judge(lesson.classifier, learned, groups, say, shape)


def draw(plan: Plan, rows: int, key: Key) -> Drawn:
    """For every classifier at most `rows` pairs of a model outside its fold and a record of its group.

    As many members as non-members, each side without replacement, every pair equally likely. The
    length n is what the sizes of folds and groups allow at most: membership has no part in it.
    """
    check_whole("rows", rows, 2, ", one member and one non-member")
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
    every = group.size == plan.member.shape[1]
    inside = np.array([np.count_nonzero(plan.member[k] if every else plan.member[k, group]) for k in models])
    counts = [inside, group.size - inside]
    each = min(most, *(int(count.sum()) for count in counts))
    found = []
    for held, count in zip((True, False), counts, strict=True):
        # Places among the side's pairs, in the order of models: a list of all pairs would be as long as the pool.
        places = (
            rng.choice(int(count.sum()), each, replace=False, shuffle=False) if each else np.zeros(0, int)
        )
        found.append(_pairs_at(plan.member, models, group, held, count, places))
    return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])


def _pairs_at(
    member: np.ndarray,
    models: np.ndarray,
    group: np.ndarray,
    held: bool,
    count: np.ndarray,
    places: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Models and records at some places in the list of all pairs of a side. count: int [K'], of every model's."""
    ends = np.cumsum(count)
    rows = np.searchsorted(ends, places, side="right")
    records = np.empty(places.size, int)
    for row in np.unique(rows):
        mine = rows == row
        own = group[member[models[row], group] == held]
        records[mine] = own[places[mine] - (ends[row] - count[row])]
    return models[rows], records


def _taught(
    classifier: Classifier,
    plan: Plan,
    gather: Callable[[Sequence[Drawn]], Iterable[np.ndarray]],
    width: int,
    key: Key,
) -> Taught:
    """Draw every classifier's rows and train all, as many at a time as memory allows.

    gather: what is read of the rows of parts of the classifiers, [F', n, ...] each. width: numbers of a row.
    """
    check_key("key", key)
    drawing, learning = jax.random.split(key)
    drawn = draw(plan, classifier.rows, drawing)
    count, size = drawn.mask.shape
    config = TrainingConfig(
        epochs=classifier.epochs, batch_size=BATCH, learning_rate=classifier.learning_rate
    )
    # A classifier that finds fewer rows than another has batches that are empty.
    recipe = Recipe(classifier.network, config, size, sizes_vary=True)
    some = [Drawn(*(values[part] for values in drawn)) for part in parts(count, size * width)]
    found = []
    for number, ((models, records, mask), x) in enumerate(zip(some, gather(some), strict=True)):
        centre, scale = _scales(x, mask, classifier.standardise)
        lessons = Lessons(
            ((x - centre) / scale).astype(np.float32),
            plan.member[models, records].astype(np.int32),
            np.broadcast_to(np.arange(size, dtype=np.int32), mask.shape),
            mask,
            own_x=True,
            own_y=True,
        )
        found.append((fit(recipe, lessons, jax.random.fold_in(learning, number)), centre, scale))
    params, centre, scale = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    return Taught(params, centre, scale, np.asarray(drawn.mask.any(axis=1)))


def _gathered(
    blocks: Blocks, sizes: Sequence[int], read: Read, width: int, some: Sequence[Drawn]
) -> Iterator[np.ndarray]:
    """What is read of the rows of parts of the classifiers, with as few passes over the blocks as memory allows."""
    at_once = max(1, NUMBERS_GATHERED // max(1, width * max(one.mask.size for one in some)))
    for start in range(0, len(some), at_once):
        now = some[start : start + at_once]
        x = _one_pass(blocks, sizes, read, *(np.concatenate([one[i].ravel() for one in now]) for i in (0, 1)))
        ends = np.cumsum([one.mask.size for one in now])[:-1]
        for one, rows in zip(now, np.split(x, ends), strict=True):
            yield rows.reshape(*one.mask.shape, *x.shape[1:])


def _one_pass(
    blocks: Blocks, sizes: Sequence[int], read: Read, models: np.ndarray, records: np.ndarray
) -> np.ndarray:
    """What is read of pairs of a model and a record, [P, ...]; only the blocks that hold any are read."""
    order = np.argsort(records, kind="stable")
    ends = np.searchsorted(records[order], np.cumsum(sizes))
    found, first, start = None, 0, 0
    for part, size, end in zip(blocks.parts, sizes, ends, strict=True):
        mine = order[first:end]
        if mine.size:
            x = read(blocks.read(part, None))(models[mine], records[mine] - start)
            found = np.empty((records.size, *x.shape[1:]), x.dtype) if found is None else found
            found[mine] = x
        first, start = end, start + size
    assert found is not None
    return found


def _judge(
    classifier: Classifier, learned: Learned, groups: Sequence[np.ndarray], say: Say, shape: tuple[int, ...]
) -> np.ndarray:
    """The log-odds that every target's own classifiers give its records: float64 [K, N'], NaN if not usable.

    groups: each group's records.
    """
    asked = [
        (int(target), group, number)
        for number, (fold, group) in enumerate(learned.classifiers)
        for target in np.flatnonzero(learned.fold == fold)
        if groups[group].size
    ]
    longest = max(group.size for group in groups)
    if shape[1] < learned.num_records:
        # Groups of a block are of any size: few lengths are few programs.
        longest = 1 << (longest - 1).bit_length()
    records = np.stack([np.resize(group, longest) for group in groups])
    taught, scores = learned.taught, np.full(shape, np.nan)
    for part in parts(len(asked), longest * _width(say)):
        targets, some, numbers = np.array(asked[part]).T
        x = (say(targets[:, None], records[some]) - taught.centre[numbers]) / taught.scale[numbers]
        said = ask(classifier.network, taught.params, numbers, x.astype(np.float32), own_x=True)
        odds = said[..., 1].astype(np.float64) - said[..., 0]
        odds[~taught.able[numbers]] = np.nan
        for target, group, row in zip(targets, some, odds, strict=True):
            own = groups[group]
            scores[target, own] = row[: own.size]
    scores[~learned.usable] = np.nan
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
