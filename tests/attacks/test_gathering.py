"""Which records a fit over all records is made of, and how many are held at once."""

import jax
import numpy as np
import pytest

from mia_jax import blocks
from mia_jax.attacks import Observations, catalogue, cut, gathering, leaving_out, of_records, width_of
from mia_jax.attacks.gathering import gathered
from mia_jax.attacks.likelihood_ratio import lira
from mia_jax.attacks.relative import share_beaten
from mia_jax.config import AttacksConfig

K, N = 4, 50
LABELS = np.r_[np.zeros(40, int), np.ones(7, int), np.full(3, 2)]


def observed(key=0, **fields):
    """Observations whose signal is the number of the record."""
    member = np.random.default_rng(0).random((K, N)) < 0.5
    signal = np.broadcast_to(np.arange(N, dtype=np.float32), (K, N))
    return Observations(member, key=jax.random.key(key), log_prob=signal, labels=LABELS, **fields)


def taken(seen, width=None, by_label=False):
    """The records that are gathered, in order."""
    found = gathered(cut(seen, width), ("log_prob", "labels"), by_label=by_label)
    rows = np.asarray(found.log_prob)[0].astype(int)
    np.testing.assert_array_equal(found.member, np.asarray(seen.member)[:, rows])
    np.testing.assert_array_equal(found.labels, LABELS[rows])
    return rows


@pytest.mark.parametrize("width", [None, 1, 7, 50])
def test_all_records_are_taken_while_memory_allows(width):
    np.testing.assert_array_equal(taken(observed(), width), np.arange(N))


@pytest.mark.parametrize("by_label", [False, True])
def test_a_part_depends_on_the_key_and_not_on_the_blocks(monkeypatch, by_label):
    monkeypatch.setattr(gathering, "ENTRIES_FITTED", K * 20)
    rows = taken(observed(), by_label=by_label)
    assert rows.size == 20
    assert (np.diff(rows) > 0).all()
    for width in (1, 7, 49):
        np.testing.assert_array_equal(taken(observed(), width, by_label), rows)
    assert not np.array_equal(taken(observed(1), by_label=by_label), rows)


def test_rare_labels_are_taken_whole(monkeypatch):
    monkeypatch.setattr(gathering, "ENTRIES_FITTED", K * 20)
    counts = np.bincount(LABELS[taken(observed(), by_label=True)])
    np.testing.assert_array_equal(counts, [10, 7, 3])
    monkeypatch.setattr(gathering, "ENTRIES_FITTED", K * 9)
    np.testing.assert_array_equal(np.bincount(LABELS[taken(observed(), by_label=True)]), [3, 3, 3])


def test_every_record_is_as_likely_as_any_other(monkeypatch):
    monkeypatch.setattr(gathering, "ENTRIES_FITTED", K * 10)
    counts = np.zeros(N)
    for key in range(300):
        counts[taken(observed(key), 7)] += 1
    assert counts.sum() == 3000
    np.testing.assert_allclose(counts, 60, atol=5 * np.sqrt(60 * 0.8))


def test_records_that_are_left_out_are_not_read(monkeypatch):
    seen, never = observed(), np.isin(np.arange(N), [*range(10, 20), 49])
    left = leaving_out(cut(seen, 10), never)
    assert [part.start for part in left.parts] == [0, 20, 30, 40]
    rows = np.concatenate([np.asarray(block.log_prob)[0] for block in left.each()])
    np.testing.assert_array_equal(rows, np.flatnonzero(~never))
    assert all(block.log_prob is None and block.labels is not None for block in left.only("labels"))


def test_some_records_of_every_field():
    rng = np.random.default_rng(1)
    seen = Observations(
        rng.random((K, N)) < 0.5,
        trajectory=rng.normal(size=(K, 3, N)),
        logits=rng.normal(size=(K, N, 2)),
        labels=LABELS,
        features=rng.normal(size=(N, 5)),
        population_log_prob=rng.normal(size=(K, 9)),
    )
    rows = np.isin(np.arange(N), range(4, 9))
    for some in (slice(4, 9), rows):
        part = of_records(seen, some)
        np.testing.assert_array_equal(part.trajectory, seen.trajectory[:, :, 4:9])
        np.testing.assert_array_equal(part.logits, seen.logits[:, 4:9])
        np.testing.assert_array_equal(part.labels, LABELS[4:9])
        np.testing.assert_array_equal(part.features, seen.features[4:9])
        assert part.population_log_prob is seen.population_log_prob


def test_fewer_records_at_once_where_each_has_many_numbers(monkeypatch):
    monkeypatch.setattr(blocks, "ENTRIES", 2**10)
    member = np.zeros((4, 1000), bool)
    assert width_of(Observations(member)) == 256
    assert width_of(Observations(member, log_prob=member, population_log_prob=np.zeros((4, 5000)))) == 256
    assert width_of(Observations(member, logits=np.zeros((4, 1000, 16)))) == 64
    assert width_of(Observations(member, trajectory=np.zeros((4, 32, 1000)))) == 32
    assert width_of(Observations(member, step_logits=np.zeros((4, 2, 100, 1000)))) == 1
    assert width_of(Observations(member, features=np.zeros((1000, 1024)))) == 16


def test_few_records_among_a_large_population_beat_the_same_share():
    rng = np.random.default_rng(2)
    ratios = np.sort(rng.normal(size=(3, 200)).round(1), axis=1)
    own = np.concatenate([rng.normal(size=(3, 300)).round(1), np.full((3, 1), np.nan)], axis=1)
    whole = share_beaten(own, ratios, 0.1)
    naive = (own[:, :, None] - 0.1 >= ratios[:, None, :]).mean(axis=2)
    naive[:, -1] = np.nan
    np.testing.assert_array_equal(whole, naive)
    for part in (slice(0, 20), slice(20, 199), slice(199, 301)):
        np.testing.assert_array_equal(share_beaten(own[:, part], ratios, 0.1), naive[:, part])


def test_the_floor_of_a_records_own_variance_is_that_of_all_records():
    """A block of records without any spread is floored by the others' spread, not by its own."""
    rng = np.random.default_rng(3)
    member = np.arange(8)[:, None] % 2 == np.arange(12)[None, :] % 2
    logit = np.where(np.arange(12) < 4, 1.0, rng.normal(size=(8, 12)))
    seen = Observations(member, scaled_logit=logit)
    attack = catalogue(AttacksConfig())["lira_offline"]
    parts = cut(seen, 4)
    fitted = attack.fit(parts)
    got = np.concatenate([attack.judge(block, fitted) for block in parts.each()], axis=1)
    np.testing.assert_allclose(got, lira(logit, member, mode="offline"), rtol=1e-9)
