"""Canaries: records planted in the pool so that an audit has teeth.

What they are depends on the records and config.data.seed alone; whom they are given to is
`mia_jax.membership`'s to draw.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mia_jax.config import CanariesConfig, ConfigError, DataConfig
from mia_jax.data.source import Table, valid_steps
from mia_jax.data.tables import joined, new_rows, take

STREAM = 2
"""Beside config.data.seed, the seed of all that is drawn here: the stream that parts the records is another."""

ATTEMPTS = 100
"""How often noise that equals a record is drawn again."""

MADE: Mapping[str, str] = {
    "mislabelled": "records of the source that are in no other part, each with a label drawn uniformly from all "
    "but its own",
    "out_of_distribution": "features drawn uniformly between their smallest and largest value in the pool, or "
    "token ids drawn uniformly (lengths as in the pool), with a label drawn uniformly",
}
"""How each kind of canary is made, for readers."""


def account(config: CanariesConfig) -> dict[str, str | int]:
    """What `Dataset.facts` says of the canaries."""
    return {"kind": config.kind, "count": config.count, "made": MADE[config.kind]}


def plant(
    canaries: CanariesConfig,
    config: DataConfig,
    pool: Table,
    population: Table,
    test: Table,
    spare: Table,
    *,
    num_classes: int,
    vocabulary_size: int,
) -> Table:
    """The M canaries, none of them equal to a record of the other parts, before standardisation.

    spare: the M records of the source to mislabel, empty for noise. Raises `ConfigError` where there
    is not enough noise that differs from all records.
    """
    rng = np.random.default_rng((config.seed, STREAM))
    if canaries.kind == "mislabelled":
        return mislabelled(spare, num_classes, rng)
    made, seen = spare, {}
    for part in (pool, population, test) if canaries.count else ():
        # Noise is float32 also where features are small integers.
        values = part.values if vocabulary_size else part.values.astype(np.float32, copy=False)
        new_rows(part._replace(values=values), seen)
    for _ in range(ATTEMPTS):
        missing = canaries.count - len(made.y)
        if not missing:
            return made
        noise = out_of_distribution(
            pool, missing, num_classes=num_classes, vocabulary_size=vocabulary_size, rng=rng
        )
        made = joined(made, take(noise, new_rows(noise, seen)[0]))
    raise ConfigError(
        f"config.canaries.count is {canaries.count}: of {config.source!r} only {len(made.y)} records of noise were "
        'found that equal no other record; lower it, or set config.canaries.kind to "mislabelled".'
    )


def mislabelled(spare: Table, num_classes: int, rng: np.random.Generator) -> Table:
    """The records of `spare` [M, ...], each with a label drawn uniformly from the C - 1 wrong ones."""
    moved = rng.integers(1, num_classes, size=len(spare.y))
    return spare._replace(y=((spare.y + moved) % num_classes).astype(np.int32))


def out_of_distribution(
    pool: Table, count: int, *, num_classes: int, vocabulary_size: int, rng: np.random.Generator
) -> Table:
    """`count` records of noise, in the shape of the pool's, labels uniform over the C classes.

    Features are float32, each uniform between its smallest and largest value in the pool (of ragged
    sequences: over their valid steps); token ids (vocabulary_size > 0) are uniform. Lengths are drawn
    from the pool's, and what stands after them is zero.
    """
    shape = (count, *pool.values.shape[1:])
    length = None if pool.length is None else rng.choice(pool.length, count)
    if vocabulary_size:
        values = rng.integers(vocabulary_size, size=shape, dtype=np.int32)
    else:
        low, high = _range(pool)
        values = (low + (high - low) * rng.random(shape)).astype(np.float32)
    if length is not None:
        values[~valid_steps(shape[1], length)] = 0
    return Table(values, length, rng.integers(num_classes, size=count).astype(np.int32))


def _range(pool: Table) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest value of every feature, float64."""
    values = pool.values
    if pool.length is not None:
        values = values[valid_steps(values.shape[1], pool.length)]
    return values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
