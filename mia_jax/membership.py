"""Which model is trained on which record: the designs, and whether they leave enough references.

Each model of the `fixed_size` and `bernoulli` designs draws its own records independently of all
others, so the other models' counts say nothing about the target's membership. The halves of the
`paired` design are complementary: a target's twin gives its membership away and is left out too.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from mia_jax.config import ConfigError, MembershipConfig
from mia_jax.keys import per_model
from mia_jax.types import Array, Key, Membership

MAX_EXPECTED_SHORT = 0.05
"""Expected number of records with too few references above which a design is refused."""


def draw(key: Key, config: MembershipConfig, pool_size: int) -> Membership:
    """Draw the membership of every model.

    key: the study's membership root. pool_size: N.
    Returns a `Membership` of NumPy arrays; model k depends on the key and on k only, so a larger
    `num_models` keeps the models that were there.
    """
    drawers = {"fixed_size": _fixed_size, "paired": _paired, "bernoulli": _bernoulli}
    member = np.asarray(drawers[config.design](key, config, pool_size))
    indices, mask = padded_indices(member)
    models = np.arange(config.num_models, dtype=np.int32)
    twin = models ^ 1 if config.design == "paired" else np.full_like(models, -1)
    return Membership(member, indices, mask, twin)


def padded_indices(member: Array) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each model's records, padded to the longest. member: bool [K, N].

    Returns indices int32 [K, n] and mask bool [K, n], valid entries first.
    """
    member = np.asarray(member)
    sizes = member.sum(axis=1)
    order = np.argsort(~member, axis=1, kind="stable")[:, : sizes.max()]
    mask = np.arange(sizes.max()) < sizes[:, None]
    return np.where(mask, order, 0).astype(np.int32), mask


def exclusions(membership: Membership) -> np.ndarray | None:
    """References to leave out beside the target: bool [K, K], or None where there are no twins."""
    twin = np.asarray(membership.twin)
    if (twin < 0).all():
        return None
    return twin[:, None] == np.arange(twin.size)[None, :]


def expected_short_records(config: MembershipConfig, pool_size: int, *, needs_in: bool = True) -> float:
    """Expected number of records for which some target lacks two references on a needed side.

    A target that holds the record counts itself on the IN side, so three models are needed there
    (likewise OUT). needs_in: whether any attack uses references that hold the record.
    """
    if config.design == "paired":
        # Without target and twin every other pair holds a record exactly once on each side.
        return 0.0 if config.num_models // 2 - 1 >= 2 else float(pool_size)
    rate = config.train_size / pool_size
    count = stats.binom(config.num_models, rate)
    too_few_out = count.sf(config.num_models - 3)
    too_few_in = count.cdf(2) if needs_in else 0.0
    return float(pool_size * (too_few_in + too_few_out))


def check_references(config: MembershipConfig, pool_size: int, *, needs_in: bool = True) -> None:
    """Refuse a design that is likely to leave a record with too few references (`ConfigError`)."""
    short = expected_short_records(config, pool_size, needs_in=needs_in)
    if short <= MAX_EXPECTED_SHORT:
        return
    step = 2 if config.design == "paired" else 1
    enough = config.num_models
    while (
        expected_short_records(_with_models(config, enough), pool_size, needs_in=needs_in)
        > MAX_EXPECTED_SHORT
    ):
        enough += step
    raise ConfigError(
        f"config.membership.num_models is {config.num_models}: of {pool_size} records about {short:.2g} would "
        f"have fewer than two reference models on a side; with this train_size at least {enough} are needed."
    )


def _with_models(config: MembershipConfig, num_models: int) -> MembershipConfig:
    """The same design with another K."""
    return MembershipConfig(num_models=num_models, train_size=config.train_size, design=config.design)


def _first_of_permutation(key: Key, pool_size: int, size: int) -> Array:
    """A random subset of exactly `size` records: bool [N]."""
    return jnp.zeros(pool_size, bool).at[jax.random.permutation(key, pool_size)[:size]].set(True)


def _fixed_size(key: Key, config: MembershipConfig, pool_size: int) -> Array:
    """Every model draws its own train_size records: bool [K, N]."""
    return jax.lax.map(
        lambda k: _first_of_permutation(k, pool_size, config.train_size),
        per_model(key, np.arange(config.num_models)),
    )


def _paired(key: Key, config: MembershipConfig, pool_size: int) -> Array:
    """Models 2i and 2i+1 hold complementary halves: bool [K, N]."""
    half = jax.lax.map(
        lambda k: _first_of_permutation(k, pool_size, config.train_size),
        per_model(key, np.arange(config.num_models // 2)),
    )
    return jnp.stack([half, ~half], axis=1).reshape(config.num_models, pool_size)


def _bernoulli(key: Key, config: MembershipConfig, pool_size: int) -> Array:
    """Every record with probability train_size / pool_size, independently: bool [K, N]."""
    rate = config.train_size / pool_size
    return jax.lax.map(
        lambda k: jax.random.bernoulli(k, rate, (pool_size,)), per_model(key, np.arange(config.num_models))
    )
