"""What an attack is: arrays in, one score per target and record out; larger = more likely a member."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.sparse import csgraph

from mia_jax.keys import check_key
from mia_jax.types import Array, Key, Side
from mia_jax.validation import as_mask, as_numbers, check_whole


class Observations(NamedTuple):
    """What an attacker holds at one checkpoint; what nobody recorded is None.

    member: bool [K, N]. valid: bool [K], False for models that diverged; None: all are fit.
    exclude: bool [K, K], references to leave out beside the target. key: drives every random draw.

    Of the pool: log_prob, scaled_logit, entropy, modified_entropy, correct: float [K, N]. logits:
    [K, N, C]. step_logits: [K, N, L, C], after every step of a sequence. trajectory: [K, T, N], log_prob
    at the checkpoints up to this one. query_log_prob, query_scaled_logit: [K, N, Q], of changed
    versions of the record, the record itself first. gradient_norm, adversarial_distance,
    embedding_norm: [K, N]. labels: int [N]. features: [N, D], the records themselves.

    Of the population: population_log_prob, population_scaled_logit: [K, Z]. population_features:
    [Z, D].
    """

    member: Array
    valid: Array | None = None
    exclude: Array | None = None
    key: Key | None = None
    log_prob: Array | None = None
    scaled_logit: Array | None = None
    entropy: Array | None = None
    modified_entropy: Array | None = None
    correct: Array | None = None
    logits: Array | None = None
    step_logits: Array | None = None
    trajectory: Array | None = None
    query_log_prob: Array | None = None
    query_scaled_logit: Array | None = None
    gradient_norm: Array | None = None
    adversarial_distance: Array | None = None
    embedding_norm: Array | None = None
    labels: Array | None = None
    features: Array | None = None
    population_log_prob: Array | None = None
    population_scaled_logit: Array | None = None
    population_features: Array | None = None


APART = frozenset(
    {"valid", "exclude", "key", "population_log_prob", "population_scaled_logit", "population_features"}
)
"""The fields of `Observations` without an axis of the pool's records."""

RECORDS = {"labels": 0, "features": 0, "trajectory": 2}
"""The axis of the pool's records of fields where it is not the second."""


class Blocks(NamedTuple):
    """The records of a pool in blocks, to be gone through any number of times.

    parts: their records, none twice and in order. read(part, fields) -> observations of these records, with
    member, valid, exclude and key, and of the other fields those that are named (None: all there are).
    """

    parts: Sequence[slice]
    read: Callable[[slice, Collection[str] | None], Observations]

    def each(self) -> Iterator[Observations]:
        """Every block, with every field."""
        return (self.read(part, None) for part in self.parts)

    def only(self, *fields: str) -> Iterator[Observations]:
        """Every block, with these fields alone."""
        return (self.read(part, fields) for part in self.parts)

    def first(self, *fields: str) -> Observations:
        """The first block, with these fields alone: for what all blocks have alike."""
        return self.read(self.parts[0], fields)


def _nothing(blocks: Any) -> None:
    """The fit of attacks that look at each record by itself."""


class Attack(NamedTuple):
    """An attack as data.

    fit(blocks) -> what is learnt from all records together, of a size that does not grow with their number
    (None where each is looked at by itself). judge(observations, fitted) -> float64 [K, N'], the scores of one
    block's records, each model in turn the target; NaN where one cannot be scored. sides: references it uses,
    "in" (trained on the record) or "out". needs: the fields of `Observations` it reads, beside member, valid,
    exclude and key. title, threat_model (who holds what) and source are for readers.

    Blocks change scores by rounding alone: float64's, or float32's where networks judge.
    """

    name: str
    title: str
    threat_model: str
    source: str
    sides: frozenset[Side]
    needs: frozenset[str]
    judge: Callable[[Observations, Any], np.ndarray]
    fit: Callable[[Blocks], Any] = _nothing

    @property
    def learns(self) -> bool:
        """Whether anything is fitted to all records together."""
        return self.fit is not _nothing

    def score(self, seen: Observations) -> np.ndarray:
        """Scores float64 [K, N] of observations that are a whole pool, in one block. Raises ValueError.

        The error names the arrays of `needs` that are not there.
        """
        lacking = sorted(name for name in self.needs if getattr(seen, name) is None)
        if lacking:
            raise ValueError(
                f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} None: the attack {self.name} reads "
                f"{', '.join(sorted(self.needs))}; give all of these to Observations."
            )
        return self.judge(seen, self.fit(one_block(seen)))


NO_SIDE: frozenset[Side] = frozenset()
ONLY_OUT: frozenset[Side] = frozenset({"out"})
BOTH_SIDES: frozenset[Side] = frozenset({"in", "out"})

# The parts that sentences on who holds what are made of.
QUERY = "The attacker holds the record with its label and sees the target's logits for it"
WITH_BOTH = "and trains reference models on data like the target's, some with the record and some without"
WITH_OUT = "and holds reference models that were not trained on the record, made before the record was known"
WITH_SHADOWS = "and trains shadow models on data like the target's, whose members are known"


def one_block(seen: Observations) -> Blocks:
    """Observations as a pool of one block. Raises ValueError for a membership that is not [K, N]."""
    if np.ndim(seen.member) != 2:
        raise ValueError(f"member has shape {np.shape(seen.member)}: it must be [K, N], model by record.")
    records = slice(0, np.shape(seen.member)[1])
    return Blocks([records], lambda _, fields: seen if fields is None else only_fields(seen, fields))


def only_fields(seen: Observations, fields: Collection[str]) -> Observations:
    """The same with these fields alone, beside member, valid, exclude and key."""
    named = {name: getattr(seen, name) for name in fields}
    return Observations(seen.member, seen.valid, seen.exclude, seen.key, **named)


def of_records(seen: Observations, rows: np.ndarray | slice) -> Observations:
    """The same of some records of the pool alone. rows: bool [N], or a slice."""
    parts: dict[str, Any] = {}
    for name, value in seen._asdict().items():
        if value is None or name in APART:
            continue
        axis, array = RECORDS.get(name, 1), np.asarray(value)
        some = (slice(None),) * axis + (rows,)
        parts[name] = array[some] if isinstance(rows, slice) else np.compress(rows, array, axis=axis)
    return seen._replace(**parts)


def sum_of(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """The sum of one array for each block, in their order: of a single one that array itself."""
    return functools.reduce(np.add, blocks)


def references(num_models: int, exclude: Array | None, valid: Array | None) -> tuple[np.ndarray, np.ndarray]:
    """Who is a reference for whom: bool [K, K] (row: target), and the valid models, bool [K].

    A target is never its own reference; an invalid model is nobody's.
    """
    usable = np.ones(num_models, bool) if valid is None else as_mask("valid", valid, (num_models,))
    allowed = ~np.eye(num_models, dtype=bool) & usable[None, :]
    if exclude is not None:
        allowed &= ~as_mask("exclude", exclude, (num_models, num_models))
    return allowed, usable


def folds(num_models: int, count: int, exclude: Array | None = None) -> np.ndarray:
    """The fold of every model, int [K] in 0 to at most count - 1; models that exclude each other share one.

    What is fitted for the targets of one fold has seen the models of all others only.
    """
    check_whole("folds", count, 2, ", or nothing is left to fit on")
    tied = np.eye(num_models, dtype=bool)
    if exclude is not None:
        tied |= as_mask("exclude", exclude, (num_models, num_models))
    groups = csgraph.connected_components(tied, directed=False)[1]
    return (groups % count).astype(np.int64)


def key_of(seen: Observations) -> Key:
    """The key of what an attack draws; the one of seed 0 where the attacker brought none. Raises ValueError."""
    if seen.key is None:
        return jax.random.key(0)
    check_key("key", seen.key)
    return seen.key


def check_signal(
    name: str, values: Array, usable: np.ndarray, shape: Collection[int | None] = (None,)
) -> np.ndarray:
    """A signal [K, …] in float64, finite for every usable model (others become 0). Raises ValueError.

    shape: what follows K, None where any length will do.
    """
    signal = np.array(as_numbers(name, values, keep=True), np.float64)
    wanted = (usable.size, *shape)
    fits = signal.ndim == len(wanted) and all(
        b is None or a == b for a, b in zip(signal.shape, wanted, strict=True)
    )
    if not fits:
        expected = ", ".join("…" if length is None else str(length) for length in wanted)
        raise ValueError(f"{name} has shape {signal.shape}: it must have shape [{expected}].")
    signal[~usable] = 0.0
    bad = np.argwhere(~np.isfinite(signal))
    if bad.size:
        where = [int(i) for i in bad[0]]
        raise ValueError(
            f"{name}{where} is {signal[tuple(where)]}: signals of a valid model must be finite; "
            f"mark model {where[0]} in `valid`."
        )
    return signal


def check_choice(name: str, value: str, allowed: Collection[str]) -> None:
    """Refuse an option that is not there."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}: it must be one of {', '.join(map(repr, allowed))}.")
