"""From the records of a source to a `Dataset`: duplicates dropped, parted, standardised, accounted for.

A duplicate could be member and non-member at once, so records are made distinct before anything is
drawn. Which record falls into which part depends on the records and config.data.seed alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mia_jax.config import CanariesConfig, ConfigError, DataConfig
from mia_jax.data import canaries
from mia_jax.data.source import Source, Table, source_error, valid_steps
from mia_jax.data.tables import joined, new_rows, take
from mia_jax.types import Dataset, Ragged, Records

_BLOCK = 1 << 20  # numbers taken to float64 at a time: a large pool is never copied whole


class Parts(NamedTuple):
    """Disjoint tables; that of the canaries may be empty."""

    pool: Table
    population: Table
    test: Table
    canaries: Table


class Moments(NamedTuple):
    """mean, std: float64, of a shape that broadcasts against a record; what: over what they run."""

    mean: np.ndarray
    std: np.ndarray
    what: str


def dataset(source: Source, config: DataConfig, planted: CanariesConfig | None = None) -> Dataset:
    """The `Dataset` of `source`: distinct records, parted by config.seed, standardised if asked.

    planted: canaries, which stand behind the pool's own N records and equal no other record. The pool
    and the population are the same with and without them, and so is their standardisation.

    num_classes is one more than the largest label of the whole source, and vocabulary_size one more
    than its largest token id (or what the source declares, if that is more): neither depends on what
    fell into which part. Features become float32, token ids stay int32.

    Raises `ConfigError` where the sizes do not fit or the labels make no classes.
    """
    planted = planted or CanariesConfig()
    tables = [source.train] if source.test is None else [source.train, source.test]
    present, num_classes = _classes(tables, config)
    train, test, counts = distinct(source.train, source.test)
    vocabulary_size = _vocabulary_size(source, tables)
    parts = divide(train, test, config, planted.count if planted.kind == "mislabelled" else 0)
    made = canaries.plant(planted, config, *parts, num_classes=num_classes, vocabulary_size=vocabulary_size)
    parts = parts._replace(canaries=made)
    facts: dict[str, Any] = {
        "source": config.source,
        "kind": "tokens" if source.tokens else "features",
        "ragged": train.length is not None,
        "record_shape": list(train.values.shape[1:]),
        "records": sum(len(table.y) for table in tables),
        **counts,
        "pool_size": len(parts.pool.y),
        "population_size": len(parts.population.y),
        "test_size": len(parts.test.y),
        "num_classes": num_classes,
        "labels_absent": _absent(present, num_classes),
        "labels_absent_from_pool": _absent(parts.pool.y, num_classes),
        "vocabulary_size": vocabulary_size,
        "standardized": "no",
        "fingerprint": fingerprint(parts),
        **source.facts,
    }
    if planted.count:
        facts["canaries"] = canaries.account(planted)
    if not source.tokens and config.standardize:
        moments = pool_moments(parts.pool)
        facts["standardized"] = moments.what
        parts = Parts(*(standardized(part, moments) for part in parts))
    elif not source.tokens:
        parts = Parts(*(part._replace(values=part.values.astype(np.float32)) for part in parts))
    pool, population, test_records = map(
        _records, (joined(parts.pool, parts.canaries), parts.population, parts.test)
    )
    return Dataset(
        pool, population, test_records, num_classes, vocabulary_size, facts, planted.count, source.vocabulary
    )


def distinct(train: Table, test: Table | None) -> tuple[Table, Table | None, dict[str, int]]:
    """Both tables without the records that came before (in train, then in test), and their counts.

    Two records are duplicates where their lengths are equal and their x up to that length, whatever
    the labels: a model that has seen one has seen the other. The first is kept.
    """
    first_label: dict[bytes, int] = {}
    rows, contradicting = new_rows(train, first_label)
    in_train, in_test = len(train.y) - len(rows), 0
    train = take(train, rows)
    if test is not None:
        rows, more = new_rows(test, first_label)
        in_test, contradicting = len(test.y) - len(rows), contradicting + more
        test = take(test, rows)
    counts = {
        "duplicates_dropped": in_train + in_test,
        "duplicates_dropped_from_test": in_test,
        "duplicates_with_another_label": contradicting,
    }
    return train, test, counts


def divide(train: Table, test: Table | None, config: DataConfig, reserved: int = 0) -> Parts:
    """Pool, population and test, drawn without replacement by config.seed.

    Pool and population come from `train`; so does test where the source has no `test` of its own.
    The pool does not change with the other two sizes, and a larger one holds every smaller one. With a
    `pool_number` above 0 so many pools of that size are passed over, and their records are in no part.
    reserved: how many records of `train` become canaries; they are the same whatever the sizes.

    Raises `ConfigError` that names the sizes and what there is.
    """
    rng = np.random.default_rng(config.seed)
    order = rng.permutation(len(train.y))
    # Canaries are the last of the order, so that they are the same whatever the sizes.
    first, last = config.pool_number * config.pool_size, len(order) - reserved
    drawn = first + config.pool_size + config.population_size
    at_least = max(config.test_size, 1)
    before = f"config.data.pool_number {config.pool_number} x pool_size {config.pool_size} before it + "
    before = before if config.pool_number else ""
    wanted = f"{before}config.data.pool_size {config.pool_size} + population_size {config.population_size}"
    if test is None:
        test, rest, needed = train, order[drawn:last], drawn + at_least
        wanted += f" + test_size {config.test_size} (at least 1)"
    else:
        rest, needed = rng.permutation(len(test.y)), drawn
    if needed > len(train.y):
        raise ConfigError(
            f"{wanted} is {needed}: {config.source!r} has {len(train.y)} distinct records to draw them from; "
            "lower the sizes or bring more records."
        )
    if needed > last:
        raise ConfigError(
            f"config.canaries.count is {reserved}: {config.source!r} has {len(order) - needed} distinct records to "
            "mislabel that are in no other part; lower it or the sizes in config.data, or set "
            'config.canaries.kind to "out_of_distribution".'
        )
    if at_least > len(rest):
        raise ConfigError(
            f"config.data.test_size is {config.test_size}: the test split of {config.source!r} has "
            f"{len(rest)} distinct records that its training split has not; lower it to that (0: all), or "
            "bring more records."
        )
    pool, population = order[first : first + config.pool_size], order[first + config.pool_size : drawn]
    return Parts(
        take(train, pool),
        take(train, population),
        take(test, rest[: config.test_size or None]),
        take(train, order[last:]),
    )


def pool_moments(pool: Table) -> Moments:
    """Mean and standard deviation of the pool's features, in float64; 1 stands for a deviation of 0.

    Vectors [N, D]: of every feature. Ragged sequences [N, L, D]: of every feature of a step, over the
    valid steps. All else (images, fixed sequences): one of each over all positions, so that the
    picture keeps its geometry. The pool holds members and non-members alike, so the statistics say
    nothing of membership; no population and no test record enters them.
    """
    values = pool.values
    if pool.length is not None:
        rows, what = values[valid_steps(values.shape[1], pool.length)], "per feature, over the pool's steps"
    elif values.ndim == 2:
        rows, what = values, "per feature, over the pool"
    else:
        rows, what = values.reshape(-1, 1), "all positions together, over the pool"
    mean = _block_sums(rows, np.zeros(rows.shape[1]), 1) / len(rows)
    std = np.sqrt(_block_sums(rows, mean, 2) / len(rows))
    # float32 sums are exact in float64 for a constant, so a constant feature has a deviation of exactly 0.
    return Moments(mean, np.where(std == 0, 1.0, std), what)


def standardized(part: Table, moments: Moments) -> Table:
    """`part` with float32 values less the mean, over the deviation; zero after `length`."""
    values = np.empty(part.values.shape, np.float32)
    for block in _blocks(part.values):
        values[block] = (part.values[block] - moments.mean) / moments.std
    if part.length is not None:
        values[~valid_steps(values.shape[1], part.length)] = 0
    return part._replace(values=values)


def fingerprint(parts: Parts) -> str:
    """SHA-256, in hex, of the records of every part that is not empty, before they are standardised.

    It covers dtypes, shapes and order: a changed byte in a file, another seed or size changes it;
    another NumPy's rounding does not.
    """
    digest = hashlib.sha256()
    for name, part in zip(Parts._fields, parts, strict=True):
        for field, array in zip(Table._fields, part, strict=True):
            if array is not None and len(part.y):
                digest.update(f"{name} {field} {array.dtype.str} {array.shape};".encode())
                digest.update(np.ascontiguousarray(array).data.cast("B"))
    return digest.hexdigest()


def _classes(tables: list[Table], config: DataConfig) -> tuple[np.ndarray, int]:
    """The labels that occur, and the number of classes."""
    present = np.unique(np.concatenate([table.y for table in tables]))
    num_classes, records = int(present[-1]) + 1, sum(len(table.y) for table in tables)
    if not 2 <= num_classes <= records:
        raise source_error(
            config,
            f"the largest label is {present[-1]} among {records} records; labels must run from 0 to the "
            "number of classes less one, with at least two classes and no more than records: renumber them",
        )
    return present, num_classes


def _vocabulary_size(source: Source, tables: list[Table]) -> int:
    """How many token ids there are, 0 for features."""
    if not source.tokens:
        return 0
    return max(source.vocabulary_size, *(int(table.values.max()) + 1 for table in tables))


def _absent(labels: np.ndarray, num_classes: int) -> list[int]:
    """The classes that do not occur among `labels`."""
    return np.setdiff1d(np.arange(num_classes), labels).tolist()


def _blocks(values: np.ndarray) -> Iterator[slice]:
    """Slices of the first axis that together cover it, a bounded number of numbers each."""
    step = max(1, _BLOCK // max(1, values[:1].size))
    return (slice(start, start + step) for start in range(0, len(values), step))


def _block_sums(rows: np.ndarray, centre: np.ndarray, power: int) -> np.ndarray:
    """The sum over rows [S, F] of (row - centre)**power, float64 [F]."""
    total = np.zeros(rows.shape[1])
    for block in _blocks(rows):
        total += ((rows[block] - centre) ** power).sum(axis=0)
    return total


def _records(table: Table) -> Records:
    """The table in the types of the package."""
    x = table.values if table.length is None else Ragged(table.values, table.length)
    return Records(x, table.y)
