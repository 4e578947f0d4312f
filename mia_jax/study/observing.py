"""What an attacker holds of a trained run: arrays of one family at one checkpoint, read when asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from mia_jax import data, keys, membership
from mia_jax.attacks import Blocks, Observations, leaving_out, width_of
from mia_jax.blocks import blocks_of, records_at_once, whole
from mia_jax.config import CanariesConfig, Config, ConfigError, DataConfig
from mia_jax.data.features import features
from mia_jax.runs.identity import RunError
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.types import Dataset, Membership

STORED = {
    "log_prob": "pool/log_prob",
    "scaled_logit": "pool/scaled_logit",
    "entropy": "pool/entropy",
    "modified_entropy": "pool/modified_entropy",
    "correct": "pool/correct",
    "logits": "pool/logits",
    "step_logits": "pool/step_logits",
    "query_log_prob": "pool/query_log_prob",
    "query_scaled_logit": "pool/query_scaled_logit",
    "gradient_norm": "pool/gradient_norm",
    "adversarial_distance": "pool/adversarial_distance",
    "embedding_norm": "pool/embedding_norm",
    "population_log_prob": "population/log_prob",
    "population_scaled_logit": "population/scaled_logit",
}
"""Where the fields of `Observations` stand among a family's signals, where they were recorded."""

RECORDED_BY = {
    "logits": 'config.recording.logits="final"',
    "step_logits": "config.recording.signals=step_logits, by models that read step by step",
    "query_log_prob": "config.recording.queries",
    "query_scaled_logit": "config.recording.queries",
    "gradient_norm": "config.recording.signals=gradient_norm",
    "adversarial_distance": "config.recording.signals=adversarial_distance",
    "embedding_norm": "config.recording.signals=embedding_norm",
}
"""What would have recorded a field that is not there."""

POPULATION = ("population_log_prob", "population_scaled_logit")
"""Those of them that the population's records have."""

MODEL_SIGNALS = ("gradient_norm", "adversarial_distance", "embedding_norm")
"""Signals that need the model itself, one number a record."""

DIVERGED_LOSS = 3.0
"""A model whose mean loss on its own members exceeds this many times log C has diverged."""

Part = Literal["pool", "canaries"]


def available(run: RunDirectory, family: str, checkpoint: int) -> frozenset[str]:
    """The fields of `Observations` that one family's models gave at a checkpoint."""
    recorded = run.segments(family).recorded(checkpoint)
    stored = {field for field, name in STORED.items() if name in recorded}
    return frozenset(stored | {"labels", "features", "population_features", "trajectory"})


def observations(
    run: RunDirectory,
    family: str,
    checkpoint: int,
    fields: Collection[str] = (),
    part: Part = "pool",
    valid: np.ndarray | None = None,
    *,
    records: slice | None = None,
) -> Observations:
    """What an attacker holds of one family at one checkpoint: membership, and the `fields` asked for.

    part: the records of the pool, or the canaries planted among them. valid: bool [K], what
    `usable_models` says, where it was asked before. records: some of the part's alone; what a model says of all
    of them still decides whether it is valid.
    """
    valid = usable_models(run, family, checkpoint) if valid is None else valid
    if "trajectory" in fields:
        valid = valid & finite_until(run, family, checkpoint, part)
    read = reader(run, family, checkpoint, fields, valid, part=part)
    return read(slice(None) if records is None else records, fields)


def blocks(
    run: RunDirectory,
    family: str,
    checkpoint: int,
    fields: Collection[str],
    valid: np.ndarray,
    never: np.ndarray | None = None,
    *,
    drawn: Membership | None = None,
) -> Blocks:
    """The pool's own records at one checkpoint in blocks, with `fields`, as many at once as memory allows.

    valid: bool [K], of the models that are fit. never: bool [N], records that are left out; blocks of nothing
    else are, too. drawn: the run's membership, where it was read before.
    """
    read = reader(run, family, checkpoint, fields, valid, drawn=drawn)
    size = run.config.data.pool_size
    parts = blocks_of(size, width_of(read(slice(0, 1), fields)))
    return leaving_out(Blocks(parts, lambda part, some: read(part, fields if some is None else some)), never)


def reader(
    run: RunDirectory,
    family: str,
    checkpoint: int,
    fields: Collection[str],
    valid: np.ndarray,
    *,
    part: Part = "pool",
    drawn: Membership | None = None,
) -> Callable[[slice, Collection[str]], Observations]:
    """How some records of a part, and some of `fields`, are read at one checkpoint; valid: bool [K].

    What does not belong to records of the part, and is not large, is read once: membership, the population's.
    """
    segments, ours = run.segments(family), columns(run.config, part)
    drawn = run.membership(lists=False) if drawn is None else drawn
    member, exclude = np.asarray(drawn.member)[:, ours], membership.exclusions(drawn)
    key = keys.roots(run.config.seed).attack
    beside: dict[str, Any] = {
        field: segments.signal(STORED[field], checkpoint) for field in POPULATION if field in fields
    }
    told: dict[str, Any] = {"labels": run.labels("pool")[ours]} if "labels" in fields else {}
    if {"features", "population_features"} & set(fields):
        dataset = _records(run.config.data, run.config.canaries, run.fingerprint)
        beside["population_features"] = features(dataset.population, dataset.vocabulary_size)

    def read(records: slice, some: Collection[str]) -> Observations:
        first, last = whole(records, member.shape[1])
        stored = slice((ours.start or 0) + first, (ours.start or 0) + last)
        found = {field: values for field, values in beside.items() if field in some}
        found |= {field: values[first:last] for field, values in told.items() if field in some}
        for field in set(some) & STORED.keys() - set(POPULATION):
            found[field] = segments.signal(STORED[field], checkpoint, records=stored)
        if "trajectory" in some:
            found["trajectory"] = np.stack(
                [
                    segments.signal(STORED["log_prob"], earlier, records=stored)
                    for earlier in range(checkpoint + 1)
                ],
                axis=1,
            )
        if "features" in some:
            own = jax.tree.map(lambda leaf: np.asarray(leaf)[stored], dataset.pool)
            found["features"] = features(own, dataset.vocabulary_size)
        return Observations(member[:, first:last], valid=valid, exclude=exclude, key=key, **found)

    return read


def of_models(seen: Observations, models: np.ndarray) -> Observations:
    """The same of some models alone, as if there were no others. models: bool [K]."""
    apart = {"exclude", "key", "labels", "features", "population_features"}
    parts: dict[str, Any] = {
        name: np.asarray(value)[models]
        for name, value in seen._asdict().items()
        if value is not None and name not in apart
    }
    if seen.exclude is not None:
        parts["exclude"] = np.asarray(seen.exclude)[np.ix_(models, models)]
    return seen._replace(**parts)


class Fitness(NamedTuple):
    """Of a family's models, bool [K]: fit to be attacked; with a finite loss on all records of the pool."""

    usable: np.ndarray
    finite: np.ndarray


def fitness(run: RunDirectory, family: str, checkpoint: int, *, drawn: Membership | None = None) -> Fitness:
    """Which models of a family are fit to be attacked: all signals are finite, and the mean loss on members is at most
    3 log C. drawn: the run's membership, where it was read before.

    Canaries have no say in it: an audit must not choose its trials by what it tests.
    """
    signal, ours = run.segments(family).signal, columns(run.config, "pool")
    member = np.asarray((drawn or run.membership(lists=False)).member)[:, ours]
    count = np.sum(member, axis=1)
    finite, others = np.ones(len(member), bool), np.ones(len(member), bool)
    loss = np.zeros(len(member))
    for part in blocks_of(member.shape[1], records_at_once(len(member))):
        log_prob = signal(STORED["log_prob"], checkpoint, records=part)
        here = np.asarray(np.isfinite(log_prob).all(axis=1))
        finite &= here
        others &= np.isfinite(signal(STORED["scaled_logit"], checkpoint, records=part)).all(axis=1)
        known = np.where(here[:, None], np.asarray(log_prob, np.float64), 0.0)
        loss -= np.sum(known * member[:, part], axis=1)
    others &= np.isfinite(signal(STORED["population_log_prob"], checkpoint)).all(axis=1)
    low = loss / np.maximum(count, 1) <= DIVERGED_LOSS * np.log(run.num_classes)
    return Fitness(finite & others & low, finite)


def usable_models(run: RunDirectory, family: str, checkpoint: int) -> np.ndarray:
    """The models of a family that are fit to be attacked: bool [K]."""
    return fitness(run, family, checkpoint).usable


def finite_until(run: RunDirectory, family: str, checkpoint: int, part: Part = "pool") -> np.ndarray:
    """The models whose losses on a part's records are finite at all checkpoints up to this one: bool [K]."""
    segments, ours = run.segments(family), columns(run.config, part)
    size = run.config.data.pool_size + run.config.canaries.count
    first, last = whole(ours, size)
    finite = np.ones(run.config.membership.num_models, bool)
    for earlier in range(checkpoint + 1):
        for block in blocks_of(last - first, records_at_once(finite.size)):
            stored = slice(first + block.start, first + block.stop)
            finite &= np.isfinite(segments.signal(STORED["log_prob"], earlier, records=stored)).all(axis=1)
    return finite


def never_members(run: RunDirectory) -> np.ndarray:
    """The pool's own records that config.membership.without keeps from all models: bool [N]."""
    member = np.asarray(run.membership(lists=False).member)[:, columns(run.config, "pool")]
    asked = bool(run.config.membership.without)
    return ~np.any(member, axis=0) if asked else np.zeros(member.shape[1], bool)


def columns(config: Config, part: Part) -> slice:
    """The columns of the pool's signals that belong to a part; canaries come last."""
    size = config.data.pool_size
    return slice(0, size) if part == "pool" else slice(size, None)


def unreadable(run: RunDirectory, needs: Collection[str]) -> str:
    """Why the records themselves, if an attack needs them, cannot be had any more; "" where they can."""
    if not {"features", "population_features"} & set(needs):
        return ""
    try:
        _records(run.config.data, run.config.canaries, run.fingerprint)
    except RunError as error:
        return str(error)
    return ""


def missing(field: str) -> str:
    """What an array that an attack needs is, and how a run comes by it."""
    return f"{field} (recorded with {RECORDED_BY[field]})" if field in RECORDED_BY else field


@functools.lru_cache(maxsize=1)
def _records(config: DataConfig, canaries: CanariesConfig, fingerprint: str) -> Dataset:
    """The records of a run, which are not kept in it, but read again from where they came from.

    `RunError` where they are gone or have changed.
    """
    needed = f"Attacks on features need the records of config.data.source, {config.source!r}, again"
    try:
        dataset = data.load(config, canaries)
    except ConfigError as error:
        raise RunError(f"{needed}, and they cannot be read: {error}") from None
    if dataset.facts["fingerprint"] != fingerprint:
        raise RunError(f"{needed}, but they have changed since the training: leave these attacks out.")
    return dataset
