"""Who holds what: sizes, independence of the models, growth, and whether references suffice."""

import re

import jax
import numpy as np
import pytest
from scipy import stats

from mia_jax import keys
from mia_jax.config import ConfigError, MembershipConfig
from mia_jax.membership import (
    MAX_EXPECTED_SHORT,
    check_references,
    draw,
    exclusions,
    expected_short_records,
    longest,
    padded_indices,
)
from mia_jax.types import Membership

DESIGNS = ("fixed_size", "paired", "bernoulli")


def design(name="fixed_size", num_models=64, train_size=500):
    return MembershipConfig(design=name, num_models=num_models, train_size=train_size)


def drawn(name="fixed_size", num_models=64, train_size=500, pool_size=1000, seed=0):
    """The default shape is compiled once for most tests."""
    return draw(jax.random.key(seed), design(name, num_models, train_size), pool_size)


def member_correlation(member, others):
    """Correlation over records of each target's membership with a count over models, averaged: a scalar."""
    target = member - member.mean(axis=1, keepdims=True)
    others = others - others.mean(axis=1, keepdims=True)
    norms = np.sqrt((target**2).sum(axis=1) * (others**2).sum(axis=1))
    return ((target * others).sum(axis=1) / norms).mean()


@pytest.mark.parametrize("name", DESIGNS)
def test_fields_have_their_shapes_and_types(name):
    membership = drawn(name)
    assert (membership.member.shape, membership.member.dtype) == ((64, 1000), bool)
    assert membership.indices.shape == membership.mask.shape
    assert (membership.indices.dtype, membership.mask.dtype, membership.twin.dtype) == (
        np.int32,
        bool,
        np.int32,
    )
    assert all(isinstance(field, np.ndarray) for field in membership)


@pytest.mark.parametrize("name", DESIGNS)
def test_indices_list_exactly_the_members(name):
    membership = drawn(name)
    for member, indices, mask in zip(*membership[:3], strict=True):
        assert sorted(indices[mask]) == np.flatnonzero(member).tolist()
        assert (np.diff(mask.astype(int)) <= 0).all()


@pytest.mark.parametrize("name", ["fixed_size", "paired"])
def test_designs_of_fixed_size_give_every_model_exactly_its_size(name):
    membership = drawn(name)
    assert (membership.member.sum(axis=1) == 500).all()
    assert membership.mask.all()
    assert membership.indices.shape == (64, 500)


def test_bernoulli_sizes_are_binomial():
    sizes = drawn("bernoulli").member.sum(axis=1)
    deviation = np.sqrt(1000 * 0.5 * 0.5)
    assert abs(sizes.mean() - 500) < 5 * deviation / np.sqrt(64)
    assert abs(sizes.std() / deviation - 1) < 5 / np.sqrt(2 * 64)


@pytest.mark.parametrize("name", DESIGNS)
def test_every_record_is_held_equally_often(name):
    counts = drawn(name).member.sum(axis=0)
    if name == "paired":
        np.testing.assert_array_equal(counts, 32)
    # Chi-square with about 1,000 degrees of freedom, five deviations of sqrt(2,000) above its mean.
    assert ((counts - 32) ** 2 / (64 * 0.5 * 0.5)).sum() < 1000 + 5 * np.sqrt(2000)


@pytest.mark.parametrize("name", DESIGNS)
def test_more_models_keep_those_that_were_there(name):
    for before, after in zip(drawn(name), drawn(name, num_models=80), strict=True):
        np.testing.assert_array_equal(after[:64], before)


@pytest.mark.parametrize("name", DESIGNS)
def test_models_and_seeds_draw_differently(name):
    first, second = drawn(name).member, drawn(name, seed=1).member
    assert len(np.unique(first, axis=0)) == 64
    assert (first != second).any(axis=1).all()


@pytest.mark.parametrize("name", ["fixed_size", "bernoulli"])
def test_counts_of_the_other_models_say_nothing_about_the_target(name):
    member = drawn(name).member.astype(float)
    correlation = member_correlation(member, member.sum(axis=0) - member)
    # The mean over targets of nearly independent correlations, each with deviation 1/sqrt(1,000).
    assert abs(correlation) < 5 / np.sqrt(1000 * 64 / 2)


def test_counts_of_the_other_models_give_a_paired_target_away_unless_its_twin_is_left_out():
    membership = drawn("paired")
    member = membership.member.astype(float)
    others = member.sum(axis=0) - member
    assert member_correlation(member, others) == pytest.approx(-1.0)
    without_twin = others - exclusions(membership) @ member
    np.testing.assert_array_equal(without_twin, np.full(member.shape, 31))


def test_exclusions_mark_exactly_the_twin():
    membership = drawn("paired")
    expected = np.kron(np.eye(32), [[0, 1], [1, 0]]).astype(bool)
    np.testing.assert_array_equal(exclusions(membership), expected)
    for model, twin in enumerate(membership.twin):
        np.testing.assert_array_equal(membership.member[model], ~membership.member[twin])


@pytest.mark.parametrize("name", ["fixed_size", "bernoulli"])
def test_independent_designs_have_no_twins(name):
    membership = drawn(name)
    assert (membership.twin == -1).all()
    assert exclusions(membership) is None


@pytest.mark.parametrize("train_size", [5, 50, 500, 990])
def test_the_list_of_members_is_as_long_for_any_models_and_holds_the_largest(train_size):
    for name in ("fixed_size", "paired"):
        assert longest(design(name, train_size=train_size), 1000) == train_size
    lengths = {longest(design("bernoulli", K, train_size), 1000) for K in (4, 64, 1000)}
    assert len(lengths) == 1
    length = lengths.pop()
    assert length <= 1000
    # The chance that one of a thousand models holds more.
    assert 1000 * stats.binom(1000, train_size / 1000).sf(length) < 1e-3


def test_padded_indices_list_members_first_and_pad_to_the_width():
    member = np.asarray([[0, 1, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], bool)
    for width in (3, 4):
        indices, mask = padded_indices(member, width)
        assert indices.shape == mask.shape == (3, width)
        assert mask.sum(axis=1).tolist() == [3, 1, 0]
        assert indices[mask].tolist() == [1, 3, 4, 4]
        assert ((indices >= 0) & (indices < 5)).all()


def test_padded_indices_refuse_a_model_that_does_not_fit():
    member = np.asarray([[1, 0, 0], [1, 1, 1]], bool)
    with pytest.raises(
        ConfigError, match=r"config\.seed gives model 1 3 members: it must give at most the 2 that"
    ):
        padded_indices(member, 2)


def short_records(membership, sides=("in", "out")):
    """The number of records for which some target lacks two references on a needed side."""
    excluded = exclusions(membership)
    left_out = np.eye(len(membership.member), dtype=bool) | (False if excluded is None else excluded)
    allowed, member = (~left_out).astype(int), membership.member
    references = {"in": allowed @ member, "out": allowed @ ~member}
    short = [references[side] < 2 for side in sides]
    return int(np.any(short, axis=(0, 1)).sum())


SIDES = (("in", "out"), ("out",), ("in",))


def simulated(name, num_models, train_size, pool_size):
    """A membership of the design, drawn by NumPy."""
    rng = np.random.default_rng(3)
    order = rng.permuted(np.tile(np.arange(pool_size), (num_models, 1)), axis=1)
    member = (
        rng.random((num_models, pool_size)) < train_size / pool_size
        if name == "bernoulli"
        else order < train_size
    )
    twin = np.full(num_models, -1)
    if name == "paired":
        member[1::2], twin = ~member[::2], np.arange(num_models) ^ 1
    return Membership(member, *padded_indices(member, pool_size), twin)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize(
    ("name", "num_models", "train_size"),
    [
        ("fixed_size", 8, 1600),
        ("fixed_size", 5, 2000),
        ("fixed_size", 4, 2000),
        ("bernoulli", 9, 2800),
        ("bernoulli", 20, 600),
    ],
)
def test_expected_short_records_are_those_of_a_simulation(name, num_models, train_size, sides):
    found = short_records(simulated(name, num_models, train_size, 4000), sides)
    expected = expected_short_records(design(name, num_models, train_size), 4000, sides)
    assert 0 <= expected <= 4000
    assert abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected / 4000))


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize(("num_models", "short"), [(4, 40), (6, 0)])
def test_paired_designs_are_short_everywhere_or_nowhere(num_models, short, sides):
    assert short_records(simulated("paired", num_models, 20, 40), sides) == short
    assert expected_short_records(design("paired", num_models, 20), 40, sides) == short


@pytest.mark.parametrize("name", DESIGNS)
def test_attacks_without_references_need_none(name):
    assert expected_short_records(design(name, 4), 1000, ()) == 0.0
    check_references(design(name, 4), 1000, ())


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize(("name", "train_size"), [("fixed_size", 20), ("bernoulli", 8), ("paired", 20)])
def test_too_few_models_are_refused_with_the_number_that_is_needed(name, train_size, sides):
    with pytest.raises(ConfigError) as caught:
        check_references(design(name, 4, train_size), 40, sides)
    pairs = r"(?:, or (\d+) with config\.membership\.design \"paired\")?"
    said = re.match(
        rf"config\.membership\.num_models is 4: .*at least (\d+) are needed{pairs}\.$", str(caught.value)
    )
    assert said, str(caught.value)
    assert said[2] == (
        "6" if name == "fixed_size" else None
    )  # whoever trains on half of the pool may take pairs
    enough = int(said[1])
    check_references(design(name, enough, train_size), 40, sides)
    fewer = design(name, enough - (2 if name == "paired" else 1), train_size)
    assert expected_short_records(fewer, 40, sides) > MAX_EXPECTED_SHORT


def test_attacks_without_in_references_need_fewer_models():
    check_references(design(num_models=32, train_size=4), 40, ("out",))
    with pytest.raises(ConfigError):
        check_references(design(num_models=32, train_size=4), 40)


@pytest.mark.parametrize("name", ["fixed_size", "bernoulli"])
def test_shares_too_small_for_any_number_of_models_are_refused(name):
    with pytest.raises(ConfigError, match=r"on a side; choose another config.membership.train_size\.$"):
        check_references(design(name, 4, 10), 100_000)


# Canaries


def with_canaries(name="fixed_size", num_models=64, train_size=20, pool_size=40, num_canaries=30, seed=0):
    return draw(jax.random.key(seed), design(name, num_models, train_size), pool_size, num_canaries)


@pytest.mark.parametrize("name", DESIGNS)
def test_canaries_change_nothing_of_the_records_of_the_pool(name):
    plain, planted = with_canaries(name, num_canaries=0), with_canaries(name)
    before = draw(jax.random.key(0), design(name, 64, 20), 40)
    for one, other in zip(plain, before, strict=True):
        assert one.tobytes() == other.tobytes()
    assert planted.member[:, :40].tobytes() == plain.member.tobytes()
    assert planted.member.shape == (64, 70)
    np.testing.assert_array_equal(planted.twin, plain.twin)


@pytest.mark.parametrize("name", DESIGNS)
def test_lists_of_members_have_room_for_every_canary(name):
    membership, config = with_canaries(name), design(name, 64, 20)
    assert membership.indices.shape == membership.mask.shape == (64, longest(config, 40) + 30)
    assert longest(config, 40, 30) == longest(config, 40) + 30
    assert not membership.mask.all()
    for member, indices, mask in zip(*membership[:3], strict=True):
        assert sorted(indices[mask]) == np.flatnonzero(member).tolist()
    every = np.concatenate([membership.member[:, :40], np.ones((64, 30), bool)], axis=1)
    padded_indices(every, longest(config, 40, 30))


@pytest.mark.parametrize("name", DESIGNS)
def test_every_canary_is_a_fair_coin_in_every_model(name):
    coins = with_canaries(name, num_models=400).member[:, 40:]
    assert abs(coins.mean() - 0.5) < 4 * 0.5 / np.sqrt(400 * 30)
    assert (abs(coins.mean(axis=0) - 0.5) < 4 * 0.5 / np.sqrt(400)).all()
    assert (abs(coins.mean(axis=1) - 0.5) < 4.5 * 0.5 / np.sqrt(30)).all()


@pytest.mark.parametrize("name", DESIGNS)
def test_coins_are_independent_of_records_of_each_other_and_of_other_models(name):
    """Correlations over 2,000 models of every coin with every column, and with the next models' coins."""
    member = with_canaries(name, num_models=2000, pool_size=40, num_canaries=20).member.astype(float)
    centred = (member - member.mean(axis=0)) / member.std(axis=0)
    coins = centred[:, 40:]
    most = 5 / np.sqrt(2000)
    assert abs(coins.T @ centred[:, :40] / 2000).max() < most
    assert abs(np.triu(coins.T @ coins / 2000, 1)).max() < most
    # A model's twin is the next one, or the one before.
    assert abs(coins[::2].T @ coins[1::2] / 1000).max() < 5 / np.sqrt(1000)
    assert abs(coins[1:-1:2].T @ coins[2::2] / 999).max() < 5 / np.sqrt(999)
    assert abs((coins[::2] * coins[1::2]).mean()) < 5 / np.sqrt(1000 * 20)


@pytest.mark.parametrize("name", DESIGNS)
def test_more_models_keep_the_canaries_of_those_that_were_there(name):
    for before, after in zip(with_canaries(name), with_canaries(name, num_models=80), strict=True):
        assert after[:64].tobytes() == before.tobytes()


def test_seeds_draw_other_coins():
    one, other = (with_canaries(seed=seed).member[:, 40:] for seed in (0, 1))
    assert 0.4 < (one != other).mean() < 0.6


def test_coins_are_not_of_the_bits_that_draw_the_records():
    """Folding in 0, 1, … is what splitting does; `draw` must stay away from such keys."""
    root = jax.random.key(0)
    coins = with_canaries(num_models=4).member[:, 40:]
    for number in range(8):
        keys = [jax.random.fold_in(jax.random.fold_in(root, model), number) for model in range(4)]
        near = np.stack([jax.random.bernoulli(key, 0.5, (30,)) for key in keys])
        assert (near != coins).any(axis=1).all()


# Records that no model gets


def size_of(name, left):
    """A train_size that the design takes of so many records."""
    return left // 2 if name == "paired" else 15


def drawn_without(name, without, num_models=64, pool_size=60, num_canaries=0, seed=0):
    config = design(name, num_models, size_of(name, pool_size - len(without)))
    return draw(jax.random.key(seed), config, pool_size, num_canaries, np.asarray(without, int))


LEFT_OUT = (0, 7, 8, 30, 31, 58, 59, 12)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("num_canaries", [0, 9])
def test_records_left_out_are_in_no_model_and_sizes_are_as_asked(name, num_canaries):
    membership = drawn_without(name, LEFT_OUT, num_canaries=num_canaries)
    member, n = membership.member[:, :60], size_of(name, 52)
    assert membership.member.shape == (64, 60 + num_canaries)
    assert not member[:, LEFT_OUT].any()
    if name != "bernoulli":
        assert (member.sum(axis=1) == n).all()
        assert membership.indices.shape == (64, n + num_canaries)
    for held, indices, mask in zip(*membership[:3], strict=True):
        assert sorted(indices[mask]) == np.flatnonzero(held).tolist()


@pytest.mark.parametrize("name", DESIGNS)
def test_those_that_are_left_are_held_equally_often(name):
    num_models = 1000
    counts = drawn_without(name, LEFT_OUT, num_models).member.sum(axis=0)
    left, share = np.setdiff1d(np.arange(60), LEFT_OUT), size_of(name, 52) / 52
    if name == "paired":
        np.testing.assert_array_equal(counts[left], num_models // 2)
    spread = np.sqrt(num_models * share * (1 - share))
    assert (np.abs(counts[left] - num_models * share) < 4.5 * spread).all()
    assert abs(counts[left].mean() - num_models * share) < 4.5 * spread / np.sqrt(left.size)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("nothing", [None, np.zeros(0, np.int64), []])
def test_with_nothing_left_out_the_draw_is_what_it_always_was(name, nothing):
    config = design(name, 64, 30)
    before = draw(jax.random.key(0), config, 60)
    for one, other in zip(draw(jax.random.key(0), config, 60, 0, nothing), before, strict=True):
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())
    assert before.member.tobytes() == as_it_was(name, 60, 64, 30).tobytes()


def as_it_was(name, pool_size, num_models, train_size):
    """The draw of runs that were made before records could be left out: bool [K, N]."""

    def of_model(k):
        key = jax.random.fold_in(jax.random.key(0), k)
        if name == "bernoulli":
            return np.asarray(jax.random.bernoulli(key, train_size / pool_size, (pool_size,)))
        first = np.asarray(jax.random.permutation(key, pool_size))[:train_size]
        return np.isin(np.arange(pool_size), first)

    if name != "paired":
        return np.stack([of_model(k) for k in range(num_models)])
    halves = [of_model(k) for k in range(num_models // 2)]
    return np.stack([one for half in halves for one in (half, ~half)])


@pytest.mark.parametrize("name", DESIGNS)
def test_with_records_left_out_more_models_keep_those_that_were_there(name):
    before, after = (drawn_without(name, LEFT_OUT, models, num_canaries=9) for models in (64, 70))
    for one, other in zip(before, after, strict=True):
        assert other[:64].tobytes() == one.tobytes()


def test_halves_of_what_is_left_are_complementary():
    membership = drawn_without("paired", LEFT_OUT)
    left = np.setdiff1d(np.arange(60), LEFT_OUT)
    for model, twin in enumerate(membership.twin):
        np.testing.assert_array_equal(membership.member[model, left], ~membership.member[twin, left])


@pytest.mark.parametrize("name", ["fixed_size", "bernoulli"])
@pytest.mark.parametrize("left_out", [45, 46, 60])
def test_a_design_that_needs_more_than_is_left_is_refused(name, left_out):
    with pytest.raises(ConfigError) as caught:
        drawn_without(name, range(left_out))
    assert str(caught.value) == (
        f"config.membership.train_size is 15: it must be below {60 - left_out}, the records that "
        "config.membership.without leaves, or no record is ever a non-member."
    )
    assert not drawn_without(name, range(44)).member[:, :44].any()


@pytest.mark.parametrize("train_size", [25, 27, 30])
def test_paired_models_need_exactly_half_of_what_is_left(train_size):
    with pytest.raises(ConfigError, match=f'train_size is {train_size}: the "paired" design needs exactly'):
        draw(jax.random.key(0), design("paired", 8, train_size), 60, 0, np.asarray(LEFT_OUT))


@pytest.mark.parametrize(
    ("pool_size", "num_canaries", "without", "words"),
    [
        ("a", 0, None, "pool_size is 'a': it must be a whole number of at least 1"),
        (60, -1, None, "num_canaries is -1: it must be at least 0"),
        (60, 0, [3, 99], "without holds 99: it must hold numbers of records, 0 to 59"),
        (60, 0, [-1], "without holds -1: it must hold numbers of records, 0 to 59"),
        (60, 0, [1.5], "without has dtype float64: it must hold integers"),
    ],
)
def test_sizes_and_records_that_are_none_are_refused(pool_size, num_canaries, without, words):
    with pytest.raises(ValueError, match=words):
        draw(jax.random.key(0), design("fixed_size", 8, 15), pool_size, num_canaries, without)


def test_a_seed_is_no_key():
    with pytest.raises(ValueError, match="root is 0: it must be a random key of JAX"):
        draw(0, design("fixed_size", 8, 15), 60)
    for seed in ("a", 1.5, None, True):
        with pytest.raises(ValueError, match=rf"^seed is {seed!r}: it must be a whole number"):
            keys.roots(seed)
