"""Canaries: behind the pool, unlike every other record, and nothing changes for those who plant none."""

import json

import numpy as np
import pytest
from scipy import stats

from mia_jax.config import CanariesConfig, ConfigError, DataConfig
from mia_jax.data import load
from mia_jax.data.parts import dataset
from mia_jax.data.source import Source, table
from mia_jax.types import Ragged

CONFIG = DataConfig(source="npz:made in the test", pool_size=40, population_size=20, standardize=False)
KINDS = ("mislabelled", "out_of_distribution")
GAUSSIAN = DataConfig(source="synthetic:gaussian,classes=4,features=6", pool_size=60, population_size=30)
MARKOV = DataConfig(source="synthetic:markov,classes=3,symbols=50,steps=9", pool_size=60, population_size=30)


def parted(x, y, count=0, kind="mislabelled", length=None, tokens=False, test=None, **settings):
    """The dataset of arrays with canaries; test: (x, y) of the source's own test split."""
    config = DataConfig(**({"source": CONFIG.source, "pool_size": 40, "population_size": 20} | settings))
    train = table(config, x, y, length, tokens=tokens)
    own_test = None if test is None else table(config, *test, tokens=tokens)
    source = Source(train, own_test, tokens, 0, {})
    return dataset(source, config, CanariesConfig(count=count, kind=kind))


def keys(x):
    """Every record as bytes, its length among them."""
    if isinstance(x, Ragged):
        return [v[:n].tobytes() + bytes([n]) for v, n in zip(x.values, x.length, strict=True)]
    return [value.tobytes() for value in x]


def same(one, other):
    """Two inputs are the same bytes."""
    pairs = zip(one, other, strict=True) if isinstance(one, Ragged) else [(one, other)]
    return all(a.tobytes() == b.tobytes() and a.dtype == b.dtype for a, b in pairs)


@pytest.fixture
def vectors(rng):
    return rng.normal(2, 3, size=(120, 5)).astype(np.float32), rng.integers(0, 4, 120)


@pytest.fixture
def sequences(rng):
    return rng.normal(size=(120, 7, 2)), rng.integers(0, 3, 120), rng.integers(2, 8, 120)


# Without canaries


@pytest.mark.parametrize("config", [DataConfig(), GAUSSIAN, MARKOV], ids=lambda config: config.source)
@pytest.mark.parametrize("kind", KINDS)
def test_a_count_of_none_is_as_without(config, kind):
    plain, none = load(config), load(config, CanariesConfig(count=0, kind=kind))
    assert plain.facts == none.facts
    assert "canaries" not in plain.facts
    assert plain.num_canaries == none.num_canaries == 0
    for part in ("pool", "population", "test"):
        one, other = getattr(plain, part), getattr(none, part)
        assert same(one.x, other.x)
        assert same(one.y, other.y)


# Where they stand


@pytest.mark.parametrize("config", [DataConfig(), GAUSSIAN, MARKOV], ids=lambda config: config.source)
@pytest.mark.parametrize("kind", KINDS)
def test_they_stand_behind_a_pool_that_is_as_without(config, kind):
    plain, planted = load(config), load(config, CanariesConfig(count=9, kind=kind))
    size = config.pool_size
    assert planted.num_canaries == 9
    assert planted.pool.x.shape == (size + 9, *plain.pool.x.shape[1:])
    assert planted.pool.y.shape == (size + 9,)
    assert (planted.pool.x.dtype, planted.pool.y.dtype) == (plain.pool.x.dtype, plain.pool.y.dtype)
    assert same(planted.pool.x[:size], plain.pool.x)
    assert same(planted.pool.y[:size], plain.pool.y)
    assert same(planted.population.x, plain.population.x)
    assert (planted.num_classes, planted.vocabulary_size) == (plain.num_classes, plain.vocabulary_size)
    taken = 9 if kind == "mislabelled" else 0
    assert planted.test.size == plain.test.size - taken
    assert same(planted.test.x, plain.test.x[: plain.test.size - taken])


@pytest.mark.parametrize("kind", KINDS)
def test_a_test_part_of_a_stated_size_stays_as_it_was(vectors, kind):
    plain, planted = parted(*vectors, test_size=12), parted(*vectors, 10, kind, test_size=12)
    assert same(planted.test.x, plain.test.x)
    assert same(planted.test.y, plain.test.y)


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_the_same_for_the_same_seed_and_whatever_the_sizes(vectors, kind):
    one, two = parted(*vectors, 10, kind), parted(*vectors, 10, kind)
    assert one.facts == two.facts
    assert same(one.pool.x, two.pool.x)
    assert not same(one.pool.y[-10:], parted(*vectors, 10, kind, seed=1).pool.y[-10:])
    if kind == "mislabelled":
        smaller = parted(*vectors, 10, kind, pool_size=30, population_size=5, standardize=False)
        raw = parted(*vectors, 10, kind, standardize=False)
        assert same(smaller.pool.x[-10:], raw.pool.x[-10:])
        assert same(smaller.pool.y[-10:], raw.pool.y[-10:])


@pytest.mark.parametrize("kind", KINDS)
def test_facts_and_fingerprint_speak_of_them(vectors, kind):
    results = [parted(*vectors, count, kind) for count in (0, 5, 6)]
    assert len({result.facts["fingerprint"] for result in results}) == 3
    facts = results[1].facts
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["canaries"]["kind"], facts["canaries"]["count"]) == (kind, 5)
    assert "uniformly" in facts["canaries"]["made"]
    assert facts["pool_size"] == 40
    assert facts["fingerprint"] != parted(*vectors, 5, KINDS[1 - KINDS.index(kind)]).facts["fingerprint"]


def test_the_fingerprint_notices_another_canary_label(vectors):
    x, y = vectors
    one = parted(x, y, 5)
    place = np.flatnonzero((x == parted(x, y, 5, standardize=False).pool.x[-1]).all(axis=1))[0]
    changed = y.copy()
    changed[place] = (y[place] + 1) % 4
    assert parted(x, changed, 5).facts["fingerprint"] != one.facts["fingerprint"]


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_standardised_as_the_pool_is(vectors, kind):
    raw, scaled = (parted(*vectors, 10, kind, standardize=flag) for flag in (False, True))
    mean, std = raw.pool.x[:40].mean(0, dtype=float), raw.pool.x[:40].std(0, dtype=float)
    np.testing.assert_allclose(scaled.pool.x[-10:], (raw.pool.x[-10:] - mean) / std, atol=1e-5)


# Mislabelled


def test_mislabelled_records_are_of_no_other_part_and_their_labels_are_wrong(rng):
    x, y = rng.normal(size=(400, 3)).astype(np.float32), rng.integers(0, 5, 400)
    result = parted(x, y, 300, standardize=False)
    true = dict(zip(keys(x), y.tolist(), strict=True))
    parts = [keys(part.x) for part in (result.pool, result.population, result.test)]
    assert len(set().union(*parts)) == sum(map(len, parts)) == 400
    assert set().union(*parts) == set(true)
    moved = [
        (label - true[key]) % 5 for key, label in zip(parts[0][40:], result.pool.y[40:].tolist(), strict=True)
    ]
    assert min(moved) == 1
    assert stats.chisquare(np.bincount(moved, minlength=5)[1:]).pvalue > 1e-4
    assert all(true[key] == label for key, label in zip(parts[0][:40], result.pool.y.tolist(), strict=False))


def test_with_two_classes_the_label_is_the_other(vectors):
    x, _ = vectors
    y = (x[:, 0] > 2).astype(int)
    result = parted(x, y, 20, standardize=False)
    np.testing.assert_array_equal(result.pool.y[-20:], result.pool.x[-20:, 0] <= 2)


def test_a_source_with_its_own_test_split_gives_canaries_of_its_training_split(vectors):
    x, y = vectors
    result = parted(x[:80], y[:80], 20, test=(x[80:], y[80:]), standardize=False)
    assert set(keys(result.test.x)) == set(keys(x[80:]))
    assert set(keys(result.pool.x)) | set(keys(result.population.x)) == set(keys(x[:80]))


@pytest.mark.parametrize(("count", "settings", "left"), [(60, {}, 59), (50, {"test_size": 11}, 49)])
def test_too_few_records_to_mislabel_are_counted(vectors, count, settings, left):
    with pytest.raises(
        ConfigError, match=rf"^config\.canaries\.count is {count}: .* has {left} distinct records to"
    ):
        parted(*vectors, count, **settings)
    assert parted(*vectors, left, **settings).num_canaries == left
    assert parted(*vectors, count, "out_of_distribution", **settings).num_canaries == count


def test_too_few_records_to_mislabel_beside_a_test_split(vectors):
    x, y = vectors
    with pytest.raises(ConfigError, match=r"^config\.canaries\.count is 21: .* has 20 distinct records to"):
        parted(x[:80], y[:80], 21, test=(x[80:], y[80:]))


# Out of distribution


def test_noise_is_uniform_over_the_range_of_every_feature(vectors):
    x, y = vectors
    x[:, 3] = 1.5
    result = parted(x, y, 2000, "out_of_distribution", standardize=False)
    pool, noise = result.pool.x[:40], result.pool.x[40:]
    assert noise.dtype == np.float32
    assert (noise >= pool.min(0)).all()
    assert (noise <= pool.max(0)).all()
    assert (noise[:, 3] == 1.5).all()
    for feature in (0, 1, 2, 4):
        low, width = pool[:, feature].min(), np.ptp(pool[:, feature])
        assert stats.kstest((noise[:, feature] - low) / width, "uniform").pvalue > 1e-4
    assert stats.chisquare(np.bincount(result.pool.y[40:], minlength=4)).pvalue > 1e-4


def test_noise_is_float_where_features_are_small_integers(rng):
    x = rng.integers(0, 256, (120, 4, 4)).astype(np.uint8)
    raw = parted(x, rng.integers(0, 3, 120), 30, "out_of_distribution", standardize=False).pool.x
    assert raw.dtype == np.float32
    assert (raw[:40] == np.round(raw[:40])).all()
    assert (raw[40:] != np.round(raw[40:])).any()
    assert 0 <= raw.min() <= raw.max() <= 255
    scaled = parted(x, rng.integers(0, 3, 120), 30, "out_of_distribution").pool.x
    np.testing.assert_allclose(
        scaled, (raw - raw[:40].mean(dtype=float)) / raw[:40].std(dtype=float), atol=1e-5
    )


def test_tokens_are_uniform_ids(rng):
    x = rng.integers(0, 20, (200, 6))
    x[0, 0] = 29
    result = parted(x, rng.integers(0, 3, 200), 500, "out_of_distribution", tokens=True)
    noise = result.pool.x[40:]
    assert (noise.shape, noise.dtype) == ((500, 6), np.int32)
    assert stats.chisquare(np.bincount(noise.ravel(), minlength=30)).pvalue > 1e-4


@pytest.mark.parametrize("tokens", [True, False])
def test_ragged_noise_takes_the_lengths_of_the_pool(rng, tokens):
    length = rng.choice([2, 5, 7], 200, p=[0.6, 0.3, 0.1])
    x = rng.integers(1, 40, (200, 7)) if tokens else rng.normal(size=(200, 7, 2))
    result = parted(x, rng.integers(0, 3, 200), 600, "out_of_distribution", length=length, tokens=tokens)
    pool, noise = (
        (result.pool.x.values[at], result.pool.x.length[at]) for at in (slice(40), slice(40, None))
    )
    assert noise[1].dtype == pool[1].dtype == np.int32
    share = np.bincount(pool[1], minlength=8)[[2, 5, 7]] / 40
    assert stats.chisquare(np.bincount(noise[1], minlength=8)[[2, 5, 7]], 600 * share).pvalue > 1e-4
    padding = np.arange(7) >= noise[1][:, None]
    assert (noise[0][padding] == 0).all()
    if not tokens:
        valid = pool[0][np.arange(7) < pool[1][:, None]]
        assert (noise[0][~padding] >= valid.min(axis=0)).all()
        assert (noise[0][~padding] <= valid.max(axis=0)).all()


def test_mislabelled_sequences_keep_their_lengths(sequences):
    x, y, length = sequences
    raw = parted(x, y, 15, length=length, standardize=False)
    assert raw.pool.x.values.shape == (55, 7, 2)
    known = dict(zip(keys(Ragged(*table(CONFIG, x, y, length)[:2])), y.tolist(), strict=True))
    for key, label in zip(keys(raw.pool.x)[40:], raw.pool.y[40:], strict=True):
        assert known[key] != label


def test_no_canary_equals_a_record_or_another_canary():
    """Of 4^3 = 64 possible records 40 + 12 + 2 are taken: the last ten are found, an eleventh is not."""
    x = np.stack(np.unravel_index(np.arange(64), (4, 4, 4)), axis=1)[:54]
    x[0] = 3  # so that there are four ids
    y = np.arange(54) % 2
    sizes = {"pool_size": 40, "population_size": 12, "test_size": 2, "tokens": True}
    result = parted(x, y, 8, "out_of_distribution", **sizes)
    parts = [keys(part.x) for part in (result.pool, result.population, result.test)]
    assert len(set().union(*parts)) == sum(map(len, parts)) == 62
    with pytest.raises(ConfigError, match=r"^config\.canaries\.count is 11: .* only \d+ records of noise"):
        parted(x, y, 11, "out_of_distribution", **sizes)


def test_the_records_that_noise_is_compared_with_may_be_small_integers(rng):
    """Features of two values, all pool records at their ends: noise between them equals none."""
    x = np.unique(rng.integers(0, 2, (400, 9)).astype(np.uint8), axis=0)[:100]
    result = parted(x, np.arange(100) % 2, 30, "out_of_distribution")
    assert len(set(keys(result.pool.x))) == 70
