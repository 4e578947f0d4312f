"""Which model is trained on which record: the designs, and whether they leave enough references.

Each model of the `fixed_size` and `bernoulli` designs draws its own records independently of all
others, so the other models' counts say nothing about the target's membership. The halves of the
`paired` design are complementary: a target's twin gives its membership away and is left out too.

Canaries are no part of a design: each is in each model by a fair coin of its own, independent of all
else, twins included, so that of a canary the twin says no more than any other model.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from mia_jax.config import ConfigError, MembershipConfig
from mia_jax.keys import per_model
from mia_jax.types import Array, Key, Membership, Side
from mia_jax.validation import check_whole

MOST_MODELS = 4096
"""Above which a refusal names no number of models, but asks for another train_size."""

CANARIES = 0x63616E61
"""What is folded into a model's key for the coins of its canaries.

Splitting a key is folding in 0, 1, …, and bits are counted from 0: a small number here would give the
coins the very bits that draw the model's records.
"""

MAX_EXPECTED_SHORT = 0.05
"""Expected number of records with too few references above which a design is refused."""


def draw(
    key: Key, config: MembershipConfig, pool_size: int, num_canaries: int = 0, without: Array | None = None
) -> Membership:
    """Draw the membership of every model.

    key: the study's membership root. pool_size: N. num_canaries: M, records N, …, N + M - 1, each
    with probability one half. The first N columns are the same for any M. without: int [R], records that no
    model gets: all draw from the others. Raises `ConfigError` where too few are left for the design, and ValueError
    for what is no key, no size or no record.
    Returns a `Membership` of NumPy arrays, `member` [K, N + M]; model k depends on the key and on k
    only, so a larger `num_models` keeps the models that were there.
    """
    drawers = {"fixed_size": _fixed_size, "paired": _paired, "bernoulli": _bernoulli}
    check_whole("pool_size", pool_size, 1)
    check_whole("num_canaries", num_canaries, 0)
    left = np.ones(pool_size, bool)
    left[_rows_of(without, pool_size)] = False
    _check_left(config, int(left.sum()))
    member = np.asarray(drawers[config.design](key, config, left))
    if num_canaries:
        member = np.concatenate([member, np.asarray(_coins(key, config.num_models, num_canaries))], axis=1)
    indices, mask = padded_indices(member, longest(config, pool_size, num_canaries))
    models = np.arange(config.num_models, dtype=np.int32)
    twin = models ^ 1 if config.design == "paired" else np.full_like(models, -1)
    return Membership(member, indices, mask, twin)


def _rows_of(without: Array | None, pool_size: int) -> np.ndarray:
    """The records that no model gets, int [R]. Raises ValueError."""
    rows = np.asarray([] if without is None else without)
    if rows.size and rows.dtype.kind not in "iu":
        raise ValueError(f"without has dtype {rows.dtype}: it must hold integers, the numbers of records.")
    outside = rows[(rows < 0) | (rows >= pool_size)]
    if outside.size:
        raise ValueError(
            f"without holds {outside[0]}: it must hold numbers of records, 0 to {pool_size - 1}."
        )
    return rows.astype(np.int64)


def longest(config: MembershipConfig, pool_size: int, num_canaries: int = 0) -> int:
    """The length n of every model's list of members, padding included; it has room for all canaries.

    It must not depend on the models that were drawn, or adding models would change the old ones'
    steps: a Bernoulli list is padded to six standard deviations above its mean.
    """
    if config.design != "bernoulli":
        return config.train_size + num_canaries
    spread = np.sqrt(config.train_size * (1.0 - config.train_size / pool_size))
    return min(pool_size, int(np.ceil(config.train_size + 6.0 * spread))) + num_canaries


def padded_indices(member: Array, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each model's records, padded to `width`. member: bool [K, N].

    Returns indices int32 [K, width] and mask bool [K, width], valid entries first. Raises
    `ConfigError` for a model with more members.
    """
    member = np.asarray(member)
    sizes = member.sum(axis=1)
    if sizes.max() > width:
        raise ConfigError(
            f"config.seed gives model {sizes.argmax()} {sizes.max()} members: it must give at most the {width} that "
            "are provided for; choose another."
        )
    order = np.argsort(~member, axis=1, kind="stable")[:, :width]
    mask = np.arange(width) < sizes[:, None]
    return np.where(mask, order, 0).astype(np.int32), mask


def exclusions(membership: Membership) -> np.ndarray | None:
    """References to leave out beside the target: bool [K, K], or None where there are no twins."""
    twin = np.asarray(membership.twin)
    if (twin < 0).all():
        return None
    return twin[:, None] == np.arange(twin.size)[None, :]


def expected_short_records(
    config: MembershipConfig, pool_size: int, sides: Collection[Side] = ("in", "out")
) -> float:
    """Expected number of records for which some target lacks two references on a needed side.

    A target that holds the record counts itself on the IN side, so three models are needed there
    (likewise OUT). sides: those whose references any attack uses.
    """
    if config.design == "paired":
        # Without target and twin every other pair holds a record exactly once on each side.
        return 0.0 if not sides or config.num_models // 2 - 1 >= 2 else float(pool_size)
    count = stats.binom(config.num_models, config.train_size / pool_size)
    too_few = {"in": count.cdf(2), "out": count.sf(config.num_models - 3)}
    return float(pool_size * min(1.0, sum(too_few[side] for side in sides)))


def _shown(count: float) -> str:
    """An expected count with two digits, never as a power of ten."""
    return f"{count:.2g}" if count < 100 else f"{count:.0f}"


def check_references(
    config: MembershipConfig, pool_size: int, sides: Collection[Side] = ("in", "out")
) -> None:
    """Refuse a design that is likely to leave a record with too few references (`ConfigError`)."""
    short = expected_short_records(config, pool_size, sides)
    if short <= MAX_EXPECTED_SHORT:
        return
    enough = _enough_models(config, pool_size, sides)
    remedy = (
        f"with this config.membership.train_size at least {enough} are needed"
        if enough
        else "choose another config.membership.train_size"
    )
    if config.design != "paired" and 2 * config.train_size == pool_size:
        pairs = _enough_models(dataclasses.replace(config, design="paired", num_models=4), pool_size, sides)
        remedy += f', or {pairs} with config.membership.design "paired"'
    raise ConfigError(
        f"config.membership.num_models is {config.num_models}: of {pool_size} records about {_shown(short)} would "
        f"have fewer than two reference models on a side; {remedy}."
    )


def _enough_models(config: MembershipConfig, pool_size: int, sides: Collection[Side]) -> int | None:
    """The smallest (even) number of models that leaves enough references; None above MOST_MODELS."""
    counts = range(4, MOST_MODELS + 1, 2 if config.design == "paired" else 1)

    def enough(count: int) -> bool:
        return expected_short_records(_with_models(config, count), pool_size, sides) <= MAX_EXPECTED_SHORT

    index = bisect.bisect_left(counts, True, key=enough)
    return counts[index] if index < len(counts) else None


def _with_models(config: MembershipConfig, num_models: int) -> MembershipConfig:
    """The same design with another K."""
    return MembershipConfig(num_models=num_models, train_size=config.train_size, design=config.design)


def _check_left(config: MembershipConfig, left: int) -> None:
    """Refuse a design for which config.without leaves too few records (`ConfigError`)."""
    n = config.train_size
    if config.design == "paired" and 2 * n != left:
        raise ConfigError(
            f'config.membership.train_size is {n}: the "paired" design needs exactly half of the {left} records that '
            "config.membership.without leaves."
        )
    if n >= left:
        raise ConfigError(
            f"config.membership.train_size is {n}: it must be below {left}, the records that "
            "config.membership.without leaves, or no record is ever a non-member."
        )


def _first_of_permutation(key: Key, left: np.ndarray, size: int) -> Array:
    """A random subset of exactly `size` of the records that are `left`, bool [N]: bool [N]."""
    order = jax.random.permutation(key, left.size)
    if not left.all():
        order = order[jnp.argsort(~jnp.asarray(left)[order], stable=True)]
    return jnp.zeros(left.size, bool).at[order[:size]].set(True)


def _fixed_size(key: Key, config: MembershipConfig, left: np.ndarray) -> Array:
    """Every model draws its own train_size records: bool [K, N]."""
    return jax.lax.map(
        lambda k: _first_of_permutation(k, left, config.train_size),
        per_model(key, np.arange(config.num_models)),
    )


def _paired(key: Key, config: MembershipConfig, left: np.ndarray) -> Array:
    """Models 2i and 2i+1 hold complementary halves: bool [K, N]."""
    half = jax.lax.map(
        lambda k: _first_of_permutation(k, left, config.train_size),
        per_model(key, np.arange(config.num_models // 2)),
    )
    return jnp.stack([half, ~half & jnp.asarray(left)[None]], axis=1).reshape(config.num_models, left.size)


def _bernoulli(key: Key, config: MembershipConfig, left: np.ndarray) -> Array:
    """Every record that is left with the same probability, independently: bool [K, N]."""
    rate = config.train_size / int(left.sum())
    return jax.lax.map(
        lambda k: jax.random.bernoulli(k, rate, (left.size,)) & left,
        per_model(key, np.arange(config.num_models)),
    )


def _coins(key: Key, num_models: int, num_canaries: int) -> Array:
    """Whether each model holds each canary, a fair coin each: bool [K, M]."""
    return jax.lax.map(
        lambda k: jax.random.bernoulli(jax.random.fold_in(k, CANARIES), 0.5, (num_canaries,)),
        per_model(key, np.arange(num_models)),
    )
