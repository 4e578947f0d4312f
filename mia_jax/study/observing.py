"""What an attacker holds of a trained run: arrays of one family at one checkpoint, read when asked for."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any, Literal

import numpy as np

from mia_jax import data, keys, membership, summary
from mia_jax.attacks import Observations
from mia_jax.config import CanariesConfig, Config, ConfigError, DataConfig
from mia_jax.data.features import features
from mia_jax.identity import RunError
from mia_jax.run_directory import RunDirectory

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

MODEL_SIGNALS = ("gradient_norm", "adversarial_distance", "embedding_norm")
"""Signals that need the model itself, one number a record."""

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
) -> Observations:
    """What an attacker holds of one family at one checkpoint: membership, and the `fields` asked for.

    part: the records of the pool, or the canaries planted among them. valid: bool [K], what
    `usable_models` says, where it was asked before.
    """
    drawn, segments, ours = run.membership(), run.segments(family), columns(run.config, part)
    read: dict[str, Any] = {
        field: segments.signal(STORED[field], checkpoint) for field in fields if field in STORED
    }
    for field in read.keys() - {"population_log_prob", "population_scaled_logit"}:
        read[field] = read[field][:, ours]
    if "trajectory" in fields:
        told = [segments.signal(STORED["log_prob"], earlier)[:, ours] for earlier in range(checkpoint + 1)]
        read["trajectory"] = np.stack(told, axis=1)
    if "labels" in fields:
        read["labels"] = run.labels("pool")[ours]
    if {"features", "population_features"} & set(fields):
        pool, population = _features(run.config.data, run.config.canaries, run.fingerprint)
        read |= {"features": pool[ours], "population_features": population}
    valid = usable_models(run, family, checkpoint) if valid is None else valid
    if "trajectory" in read:
        valid = valid & np.isfinite(read["trajectory"]).all(axis=(1, 2))
    return Observations(
        np.asarray(drawn.member)[:, ours],
        valid=valid,
        exclude=membership.exclusions(drawn),
        key=keys.roots(run.config.seed).attack,
        **read,
    )


def of_records(seen: Observations, rows: np.ndarray) -> Observations:
    """The same of some records of the pool alone. rows: bool [N]."""
    axes = {"labels": 0, "features": 0, "trajectory": 2}
    apart = {
        "valid",
        "exclude",
        "key",
        "population_log_prob",
        "population_scaled_logit",
        "population_features",
    }
    parts: dict[str, Any] = {
        name: np.compress(rows, np.asarray(value), axis=axes.get(name, 1))
        for name, value in seen._asdict().items()
        if value is not None and name not in apart
    }
    return seen._replace(**parts)


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


def usable_models(run: RunDirectory, family: str, checkpoint: int) -> np.ndarray:
    """The models of a family that are fit to be attacked: bool [K].

    Canaries have no say in it: an audit must not choose its trials by what it tests.
    """
    read, ours = run.segments(family).signal, columns(run.config, "pool")
    own = (read(STORED[name], checkpoint)[:, ours] for name in ("log_prob", "scaled_logit"))
    population = read(STORED["population_log_prob"], checkpoint)
    member = np.asarray(run.membership().member)[:, ours]
    return summary.usable_models(member, run.num_classes, *own, population)


def never_members(run: RunDirectory) -> np.ndarray:
    """The pool's own records that config.membership.without keeps from all models: bool [N]."""
    member = np.asarray(run.membership().member)[:, columns(run.config, "pool")]
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
        _features(run.config.data, run.config.canaries, run.fingerprint)
    except RunError as error:
        return str(error)
    return ""


def missing(field: str) -> str:
    """What an array that an attack needs is, and how a run comes by it."""
    return f"{field} (recorded with {RECORDED_BY[field]})" if field in RECORDED_BY else field


@functools.lru_cache(maxsize=1)
def _features(
    config: DataConfig, canaries: CanariesConfig, fingerprint: str
) -> tuple[np.ndarray, np.ndarray]:
    """The records of the pool and of the population as vectors: [N, D], [Z, D].

    They are not kept in a run, but read again from where they came from (`RunError` if that changed).
    """
    needed = f"Attacks on features need the records of config.data.source, {config.source!r}, again"
    try:
        dataset = data.load(config, canaries)
    except ConfigError as error:
        raise RunError(f"{needed}, and they cannot be read: {error}") from None
    if dataset.facts["fingerprint"] != fingerprint:
        raise RunError(f"{needed}, but they have changed since the training: leave these attacks out.")
    pool, population = (
        features(part, dataset.vocabulary_size) for part in (dataset.pool, dataset.population)
    )
    return pool, population
