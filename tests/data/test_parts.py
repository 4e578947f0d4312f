"""Duplicates, parting, standardising and the fingerprint, whatever the source."""

import numpy as np
import pytest

from mia_jax.config import ConfigError, DataConfig
from mia_jax.data import load
from mia_jax.data.parts import dataset, distinct, pool_moments, standardized
from mia_jax.data.source import Source, Table, table
from mia_jax.types import Ragged

CONFIG = DataConfig(source="npz:made in the test", pool_size=20, population_size=15, standardize=False)


def made(x, y=None, length=None, tokens=False):
    """A checked table."""
    return table(CONFIG, x, np.arange(len(x)) % 2 if y is None else y, length, tokens=tokens)


def parted(train, test=None, tokens=False, **settings):
    """The dataset of tables."""
    config = DataConfig(**({"source": CONFIG.source, "pool_size": 20, "population_size": 15} | settings))
    return dataset(Source(train, test, tokens, 0, {}), config)


def rows(records):
    """Every record of a part as bytes, to compare parts as sets."""
    values = records.x.values if isinstance(records.x, Ragged) else records.x
    return {value.tobytes() for value in values}


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(60, 5)).astype(np.float32)


# Duplicates


def test_nothing_is_dropped_without_duplicates(vectors):
    train, test, counts = distinct(made(vectors), None)
    assert (train.values == vectors).all()
    assert test is None
    assert set(counts.values()) == {0}


def test_the_first_of_equal_records_is_kept_whatever_its_label(vectors):
    x, y = vectors[[0, 1, 0, 2, 0, 1]], np.array([0, 1, 1, 0, 0, 1])
    train, _, counts = distinct(made(x, y), None)
    np.testing.assert_array_equal(train.values, vectors[:3])
    np.testing.assert_array_equal(train.y, [0, 1, 0])
    assert counts["duplicates_dropped"] == 3
    assert counts["duplicates_with_another_label"] == 1


def test_duplicates_across_train_and_test_leave_test(vectors):
    x_test = vectors[[50, 3, 51, 50, 4]]
    train, test, counts = distinct(made(vectors[:10]), made(x_test))
    assert len(train.y) == 10
    np.testing.assert_array_equal(test.values, vectors[[50, 51]])
    assert (counts["duplicates_dropped"], counts["duplicates_dropped_from_test"]) == (3, 3)


@pytest.mark.parametrize("tokens", [True, False])
def test_padding_makes_no_difference_and_length_does(tokens):
    x = np.array([[1, 2, 0, 0], [1, 2, 9, 9], [1, 2, 0, 7], [1, 2, 0, 0], [0, 1, 2, 0], [1, 2, 3, 4]])
    length = np.array([2, 2, 3, 4, 3, 2])
    train, _, counts = distinct(made(x, length=length, tokens=tokens), None)
    np.testing.assert_array_equal(train.length, [2, 3, 4, 3])
    np.testing.assert_array_equal(train.values.reshape(4, 4)[:2], [[1, 2, 0, 0], [1, 2, 0, 0]])
    assert counts["duplicates_dropped"] == 2


def test_equal_to_the_model_is_equal():
    x = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0 + 1e-12], [0.0, 1.1]])
    assert distinct(made(x), None)[2]["duplicates_dropped"] == 2


def test_many_records_against_numpy(rng):
    x = rng.integers(0, 3, (5000, 6))
    train, _, counts = distinct(made(x), None)
    expected = np.unique(x, axis=0)
    assert len(train.y) == len(expected)
    assert counts["duplicates_dropped"] == 5000 - len(expected)
    np.testing.assert_array_equal(np.unique(train.values, axis=0), expected)


# Parting


@pytest.mark.parametrize("test_size", [0, 7])
def test_parts_are_disjoint_and_come_from_the_source(vectors, test_size):
    result = parted(made(vectors), standardize=False, test_size=test_size)
    parts = [rows(part) for part in (result.pool, result.population, result.test)]
    assert [len(part) for part in parts] == [20, 15, test_size or 25]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert set.union(*parts) <= {row.tobytes() for row in vectors}


def test_labels_stay_with_their_records(vectors):
    y = (vectors[:, 0] > 0).astype(int)
    result = parted(made(vectors, y), standardize=False)
    for part in (result.pool, result.population, result.test):
        np.testing.assert_array_equal(part.y, part.x[:, 0] > 0)


def test_a_test_split_of_the_source_is_the_test_part(vectors):
    result = parted(made(vectors[:40]), made(vectors[40:]), standardize=False)
    assert rows(result.test) == {row.tobytes() for row in vectors[40:]}
    assert rows(result.pool) | rows(result.population) <= {row.tobytes() for row in vectors[:40]}
    smaller = parted(made(vectors[:40]), made(vectors[40:]), standardize=False, test_size=6)
    assert rows(smaller.test) < rows(result.test)
    np.testing.assert_array_equal(smaller.pool.x, result.pool.x)


def test_the_pool_keeps_its_records_when_other_sizes_change(vectors):
    one = parted(made(vectors), standardize=False)
    two = parted(made(vectors), standardize=False, population_size=3, test_size=2)
    np.testing.assert_array_equal(one.pool.x, two.pool.x)
    larger = parted(made(vectors), standardize=False, pool_size=30)
    assert rows(one.pool) < rows(larger.pool)


def test_pools_of_one_seed_share_no_record(vectors):
    """Neither do a pool and its population or test records; the first is the one without a number."""
    parts = [
        parted(made(vectors), standardize=False, pool_size=10, pool_number=number) for number in range(3)
    ]
    pools = [rows(part.pool) for part in parts]
    assert len(set().union(*pools)) == 30
    assert pools[0] == rows(parted(made(vectors), standardize=False, pool_size=10).pool)
    for part, pool in zip(parts, pools, strict=True):
        assert not pool & (rows(part.population) | rows(part.test))
    assert rows(parts[2].population).isdisjoint(pools[0] | pools[1])


def test_another_seed_draws_another_pool(vectors):
    one, two = (parted(made(vectors), standardize=False, seed=seed) for seed in (0, 1))
    assert rows(one.pool) != rows(two.pool)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        (
            {"pool_size": 15, "population_size": 15, "pool_number": 3},
            r"config.data.pool_number 3 x pool_size 15 before it \+ config.data.pool_size 15",
        ),
        (
            {"pool_size": 45, "population_size": 15},
            r"\+ test_size 0 \(at least 1\) is 61: .* has 60 distinct",
        ),
        ({"test_size": 26}, r"is 61: .* has 60 distinct records"),
    ],
)
def test_sizes_that_do_not_fit(vectors, sizes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parted(made(vectors), **sizes)


def test_sizes_that_do_not_fit_a_given_split(vectors):
    train, test = made(vectors[:40]), made(vectors[40:])
    with pytest.raises(ConfigError, match=r"population_size 15 is 41: .* has 40 distinct"):
        parted(train, test, pool_size=26)
    with pytest.raises(ConfigError, match=r"config\.data\.test_size is 21: .* has 20 distinct"):
        parted(train, test, test_size=21)
    with pytest.raises(ConfigError, match=r"config\.data\.test_size is 0: .* has 0 distinct"):
        parted(train, made(vectors[:9]))


def test_every_record_can_be_used(vectors):
    result = parted(made(vectors), pool_size=40, population_size=19)
    assert result.test.size == 1


def test_holes_among_the_labels_are_said(vectors):
    y = np.array([0, 2, 5])[np.arange(60) % 3]
    y[59] = 7
    facts = parted(made(vectors, y), seed=2).facts
    assert facts["num_classes"] == 8
    assert facts["labels_absent"] == [1, 3, 4, 6]
    assert facts["labels_absent_from_pool"] in ([1, 3, 4, 6], [1, 3, 4, 6, 7])


# Standardising


def test_statistics_come_from_the_pool_alone(vectors):
    raw, before = parted(made(vectors), standardize=False), parted(made(vectors))
    outside = ~np.isin(vectors[:, 0], raw.pool.x[:, 0])
    changed = vectors.copy()
    changed[outside] = 1000 * changed[outside] + 7
    after = parted(made(changed))
    assert outside.sum() == 40
    assert after.pool.x.tobytes() == before.pool.x.tobytes()
    assert after.test.x.tobytes() != before.test.x.tobytes()


def test_vectors_are_standardised_by_feature(vectors):
    result = parted(made(vectors * [1, 2, 3, 4, 1e4] + [0, 5, 6, 7, 1e4]))
    np.testing.assert_allclose(result.pool.x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(result.pool.x.std(0), 1, atol=1e-5)
    assert result.pool.x.dtype == result.population.x.dtype == result.test.x.dtype == np.float32
    assert result.facts["standardized"].startswith("per feature")
    raw = parted(made(vectors), standardize=False)
    mean, std = raw.pool.x.mean(0, dtype=float), raw.pool.x.std(0, dtype=float)
    np.testing.assert_allclose(parted(made(vectors)).test.x, (raw.test.x - mean) / std, atol=1e-5)


def test_a_constant_feature_becomes_zero_and_stays_finite(vectors):
    vectors[:, 1] = 0.1
    result = parted(made(vectors))
    assert (result.pool.x[:, 1] == 0).all()
    assert (result.test.x[:, 1] == 0).all()


def test_pictures_keep_their_geometry(rng):
    x = rng.integers(0, 256, (60, 4, 4)).astype(np.uint8)
    x[:, 0, 0] = 0
    raw, result = parted(made(x), standardize=False), parted(made(x))
    pixels = raw.pool.x.astype(float)
    expected = (raw.test.x - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(result.test.x, expected, atol=1e-5)
    assert result.facts["standardized"].startswith("all positions")


def test_ragged_statistics_leave_padding_out_and_at_zero(rng):
    x, length = rng.normal(3, 2, (60, 7, 2)), rng.integers(1, 8, 60)
    result = parted(made(x, length=length))
    valid = np.arange(7) < result.pool.x.length[:, None]
    np.testing.assert_allclose(result.pool.x.values[valid].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(result.pool.x.values[valid].std(0), 1, atol=1e-5)
    for part in (result.pool, result.population, result.test):
        assert (part.x.values[np.arange(7) >= part.x.length[:, None]] == 0).all()


def test_large_pools_are_summed_in_blocks(rng):
    values = rng.normal(5, 3, (20_000, 64)).astype(np.float32)
    pool = Table(values, None, np.zeros(len(values), np.int32))
    moments = pool_moments(pool)
    np.testing.assert_allclose(moments.mean, values.mean(0, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(moments.std, values.std(0, dtype=float), rtol=1e-12)
    expected = (values - values.mean(0, dtype=float)) / values.std(0, dtype=float)
    np.testing.assert_allclose(standardized(pool, moments).values, expected, atol=1e-6)


def test_tokens_are_left_alone(rng):
    x = rng.integers(0, 1000, (60, 8))
    result = parted(made(x, tokens=True), tokens=True)
    assert result.pool.x.dtype == np.int32
    assert rows(result.pool) <= {row.tobytes() for row in x.astype(np.int32)}
    assert result.facts["standardized"] == "no"


# Fingerprint


def test_the_fingerprint_notices_content_parting_and_sizes(vectors):
    base = parted(made(vectors)).facts["fingerprint"]
    assert parted(made(vectors), standardize=False).facts["fingerprint"] == base
    changed = vectors.copy()
    changed[-1, -1] = np.nextafter(changed[-1, -1], np.float32(9))
    y = np.arange(60) % 2
    y[5] = 1 - y[5]
    others = [
        parted(made(changed)),
        parted(made(vectors, y)),
        parted(made(vectors), seed=1),
        parted(made(vectors), pool_size=21),
        parted(made(vectors), test_size=24),
    ]
    assert len({base, *(other.facts["fingerprint"] for other in others)}) == 6


def test_the_fingerprint_is_known():
    """A published digest: whoever changes what it covers has to say so here and in the changelog."""
    assert load(DataConfig()).facts["fingerprint"].startswith("6ade3d7d43b37e6c")
