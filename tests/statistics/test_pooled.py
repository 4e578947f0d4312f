"""What is pooled in blocks, chunks and on disk is what a whole table gives, and memory does not grow with it."""

import tracemalloc

import numpy as np
import pytest

from mia_jax import metrics, summary
from mia_jax.config import ReportConfig
from mia_jax.runs.store import StoreError
from mia_jax.statistics import pooled_roc, sorted_scores
from mia_jax.statistics.clustering import auc_of, pairs, ranking, spread
from mia_jax.statistics.cross_fitting import RECORD_PARTS, cross_fit
from mia_jax.statistics.pooled import Pooled
from mia_jax.statistics.roc import auc_and_tprs
from mia_jax.statistics.score_table import (
    KnownToBoth,
    ReadTable,
    ScoreTable,
    as_table,
    blocks_of_targets,
    rows_of,
)
from mia_jax.statistics.sorted_scores import Sorter
from mia_jax.statistics.vulnerability import Vulnerability, blocks_of_records, record_vulnerability

CONFIG = ReportConfig(fpr=(0.1, 0.01, 0.001))
SIZES = {"one row": (1, 32), "some rows": (200, 64), "uneven": (333, 50)}
"""Entries of a block of targets, and scores of a chunk."""


def world(seed, shape=(13, 97), levels=None, missing=None, paired=False):
    """Scores with a signal, members, and twins."""
    rng = np.random.default_rng(seed)
    member = rng.random(shape) < 0.5
    twin = np.full(shape[0], -1)
    if paired:
        member[1::2] = ~member[::2]
        twin = np.arange(shape[0]) ^ 1
    scores = 0.8 * member + rng.normal(size=shape[1]) + 0.3 * rng.normal(size=(shape[0], 1))
    scores += rng.normal(size=shape)
    if levels:
        scores = np.floor(scores * levels) / levels
    if missing == "entries":
        scores[rng.random(shape) < 0.1] = np.nan
    if missing == "targets":
        scores[:3] = np.nan
    if missing == "records":
        scores[:, ::7] = np.nan
    return scores, member, twin


WORLDS = {
    "plain": {},
    "ties": {"levels": 3},
    "two values": {"levels": 0.2},
    "missing entries": {"missing": "entries", "levels": 20},
    "missing targets": {"missing": "targets"},
    "missing records": {"missing": "records"},
    "twins": {"shape": (12, 97), "paired": True},
    "twins with ties": {"shape": (12, 97), "paired": True, "levels": 2, "missing": "entries"},
}
every_world = pytest.mark.parametrize("made", WORLDS.values(), ids=WORLDS)
every_size = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


@pytest.fixture
def small(monkeypatch):
    """Sets how many entries a block has, how many scores a chunk, and keeps nothing sorted in memory."""

    def set_to(entries, chunk):
        monkeypatch.setattr("mia_jax.statistics.score_table.AT_ONCE", entries)
        monkeypatch.setattr("mia_jax.statistics.sorted_scores.CHUNK", chunk)
        monkeypatch.setattr("mia_jax.statistics.sorted_scores.SPACING", max(1, chunk // 8))
        monkeypatch.setattr("mia_jax.statistics.sorted_scores.IN_MEMORY", 256)
        monkeypatch.setattr("mia_jax.blocks.ENTRIES", entries)

    return set_to


def all_numbers(scores, member, twin):
    """Everything that a report pools, as one structure of plain numbers."""
    other = np.asarray(scores.rows(slice(0, 13)) if isinstance(scores, ScoreTable) else scores)
    other = np.where(np.random.default_rng(9).random(other.shape) < 0.05, np.nan, other**3 + member)
    return {
        "row": summary.attack_row(summary.Setting("mlp", 0, 1), "loss", scores, member, twin, CONFIG),
        "curve": summary.pooled_curve(Pooled(scores, member))._asdict(),
        "histogram": summary.pooled_histogram(Pooled(scores, member))._asdict(),
        "p": metrics.auc_p_value(scores, member, twin),
        "comparison": summary.comparisons({("a", "x"): scores, ("b", "x"): other}, member, twin, 0.95)[0],
        "tpr": metrics.tpr_difference(scores, other, member, 0.1, 0.95, twin)._asdict(),
        "decisions": metrics.cross_fit_decisions(scores, member, twin),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same(found[name], value)
        elif isinstance(value, float | np.ndarray):
            np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-13, err_msg=name)
        else:
            assert found[name] == value, name


def read(scores):
    """The same table, read when asked for."""
    return ReadTable(scores.shape, lambda models, records: scores[models, records].astype(np.float64))


@every_world
@every_size
def test_blocks_give_what_the_whole_gives(made, sizes, small):
    scores, member, twin = world(0, **made)
    whole = all_numbers(scores, member, twin)
    small(*sizes)
    assert_same(all_numbers(read(scores), member, twin), whole)


@every_size
def test_records_in_blocks_are_the_records_of_the_whole(sizes, small):
    scores, member, twin = world(1, missing="entries")
    whole = record_vulnerability(scores, member, metrics.cross_fit_decisions(scores, member, twin))
    small(*sizes)
    blocks = list(blocks_of_records(read(scores), member, cross_fit(Pooled(read(scores), member, twin))))
    assert len(blocks) > 1
    for name, *parts in zip(Vulnerability._fields, *(found for _, found in blocks), strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), getattr(whole, name), err_msg=name)


@every_world
def test_influence_and_errors_are_those_of_the_ranked_table(made, small):
    """Against the ranks of the whole table at once (`auc_of`) and its sums."""
    scores, member, twin = world(2, **made)
    known = ~np.isnan(scores)
    value, influence = auc_of(ranking(scores), known & member, known & ~member)
    small(200, 64)
    pooled = Pooled(scores, member, twin)
    found = np.zeros(scores.shape)
    for block in pooled.blocks():
        found[block.models] = pooled.auc_influence(block)
    assert pooled.roc.area == value
    np.testing.assert_array_equal(found, influence)
    expected = spread(influence, known, twin)
    assert pooled.auc_spread.error == pytest.approx(expected.error, rel=1e-12)
    assert pooled.auc_spread.degrees == expected.degrees


@every_world
def test_thresholds_are_the_central_ones_of_other_folds_and_the_next_part(made, small):
    """Fold by fold and part by part, with the function of a plain array."""
    scores, member, twin = world(3, **made)
    small(200, 16)
    chosen = cross_fit(Pooled(scores, member, twin), folds=4)
    fold, part = pairs(len(scores), twin) % 4, np.arange(scores.shape[1]) % RECORD_PARTS
    for own in range(4):
        for number in range(RECORD_PARTS):
            judges = ~np.isnan(scores) & (fold != own)[:, None] & (part == (number + 1) % RECORD_PARTS)
            expected = metrics.central_threshold(scores[judges], member[judges])
            assert chosen.thresholds[own, number] == expected


@pytest.mark.parametrize("levels", [None, 2, 0.2])
def test_steps_are_those_of_the_roc_curve(levels, small):
    scores, member, _ = world(4, levels=levels)
    fpr, tpr, thresholds = metrics.roc_curve(scores, member)
    small(200, 16)
    roc = Pooled(scores, member).roc
    assert roc.at_fpr(1.0)[0].number == fpr.size - 1
    assert roc.smallest_fpr == fpr[fpr > 0].min()
    for rate in [-0.1, 0.0, *np.random.default_rng(0).random(30), *fpr[:: fpr.size // 3 + 1], 1.0, 1.5]:
        at = max(int(np.searchsorted(fpr, rate, side="right")) - 1, 0)
        step, after = roc.at_fpr(rate)
        found = step.number, step.false / roc.others, step.true / roc.members, step.threshold, after
        assert found == (at, fpr[at], tpr[at], thresholds[at], thresholds[min(at + 1, fpr.size - 1)])


@pytest.mark.parametrize("levels", [None, 2])
def test_quantiles_and_counts_are_numpys(levels, small):
    scores, member, _ = world(5, levels=levels)
    small(200, 16)
    roc = Pooled(scores, member).roc
    for share in (0.0, 0.005, 0.3, 0.5, 0.995, 1.0):
        assert roc.quantile(share) == np.quantile(scores, share)
    for score in [*np.quantile(scores, [0.0, 0.4, 1.0]), -np.inf, 0.123, np.inf]:
        assert roc.below(score, 1) == np.sum(scores[member] < score)
        assert roc.called(score) == (np.sum(scores[~member] >= score), np.sum(scores[member] >= score))


def test_one_target_is_judged_as_by_the_functions_of_its_scores():
    rng = np.random.default_rng(6)
    for levels in (100, 3, 1):
        own, held = rng.integers(0, levels, 150) / 7.0, rng.random(150) < 0.4
        fprs = (0.0, 0.01, 0.1, 0.3, 1.0)
        found = auc_and_tprs(own[held], own[~held], fprs)
        assert found[0] == metrics.auc(own, held)
        assert np.isnan(found[1:3]).tolist() == [True, not metrics.estimable(held, 0.01)]
        assert found[3:].tolist() == [metrics.tpr_at_fpr(own, held, fpr) for fpr in fprs[2:]]


# Sorting


@pytest.mark.parametrize("levels", [3, 10**6], ids=["ties", "distinct"])
def test_scores_come_back_in_order_with_their_numbers(levels, small):
    small(1, 32)
    rng = np.random.default_rng(7)
    given = [(label, rng.integers(0, levels, size) / 8.0) for label in (0, 1, 2) for size in (0, 300, 5)]
    sorter = Sorter(4)
    for label, scores in given:
        sorter.add(label, scores)
    found = sorter.sorted()
    for label in range(4):
        all_of_it = np.sort(np.concatenate([np.empty(0), *(scores for one, scores in given if one == label)]))
        runs = [found.run(chunk, label) for chunk in range(found.num_chunks)]
        back = np.concatenate([np.repeat(run.values, run.counts) for run in runs])
        np.testing.assert_array_equal(back, all_of_it)
        assert found.totals[label] == all_of_it.size
        asked = rng.permutation(np.r_[all_of_it[::7], -1.0, 0.3, 1e9])
        expected = [2 * np.sum(all_of_it < one) + np.sum(all_of_it == one) for one in asked]
        np.testing.assert_array_equal(found.twice_below(asked, label), expected)
    assert levels == 3 or found.num_chunks > 10


def test_a_full_disk_is_named_with_the_remedy(monkeypatch):
    class Full:
        def seek(self, at):
            pass

        def write(self, content):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(sorted_scores.tempfile, "SpooledTemporaryFile", lambda max_size: Full())
    with pytest.raises(
        StoreError, match=r"No space left on device; free some space there, or name .* TMPDIR"
    ):
        Sorter(1).add(0, np.arange(3.0))


# Tables


def test_blocks_keep_twins_together_and_take_every_target_once(monkeypatch):
    monkeypatch.setattr("mia_jax.statistics.score_table.AT_ONCE", 30)
    cluster = np.array([0, 1, 2, 0, 3, 3, 4, 1])
    blocks = list(blocks_of_targets(cluster, 10))
    assert sorted(np.concatenate(blocks).tolist()) == list(range(8))
    for block in blocks:
        assert len(block) <= 3
        outside = np.setdiff1d(np.arange(8), block)
        assert not set(cluster[block]) & set(cluster[outside])
    assert [block.tolist() for block in blocks_of_targets(np.arange(3), 100)] == [[0], [1], [2]]


def test_rows_that_are_no_neighbours_are_read_in_their_order():
    scores = np.arange(24.0).reshape(6, 4)
    for models in ([4, 1, 2], [0], [5, 4, 3]):
        np.testing.assert_array_equal(rows_of(read(scores), np.array(models)), scores[models])


def test_what_one_arm_lacks_is_missing_in_both():
    a, b = np.array([[1.0, np.nan, 3.0]]), np.array([[np.nan, 2.0, 5.0]])
    both = KnownToBoth(as_table(a), as_table(b))
    np.testing.assert_array_equal(both.rows(slice(0, 1)), [[np.nan, np.nan, 3.0]])
    np.testing.assert_array_equal(both.columns(slice(1, 3)), [[np.nan, 3.0]])
    with pytest.raises(ValueError, match=r"scores have shapes \(1, 3\) and \(1, 2\): they must be the same"):
        KnownToBoth(as_table(a), as_table(b[:, 1:]))
    with pytest.raises(ValueError, match=r"scores have shape \(3,\): they must be \[K, N\]"):
        as_table(a[0])


def peak_of(num_records):
    """Bytes that a row of the report takes at most, of scores that are made when they are read."""
    shape = 16, num_records
    member = np.random.default_rng(0).random(shape) < 0.5

    def made(models, records):
        rows = range(*models.indices(shape[0]))
        return np.stack([np.random.default_rng(row).normal(size=num_records)[records] for row in rows])

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    summary.attack_row(
        summary.Setting("mlp", 0, 1), "x", ReadTable(shape, made), member, np.full(16, -1), CONFIG
    )
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


def test_memory_grows_by_a_few_targets_and_not_by_the_table(small):
    small(2**11, 2**10)
    short, long = peak_of(2**11), peak_of(2**13)
    # A block of one target takes about 40 bytes a record; all sixteen at once would take 3,000.
    assert long - short < 80 * (2**13 - 2**11)


def test_ranks_are_exact_beyond_64_bits():
    rng = np.random.default_rng(0)
    many = rng.integers(2**61, size=50)
    counts = rng.integers(2**26, size=50)
    expected = sum(int(a) * int(b) for a, b in zip(many, counts, strict=True))
    assert expected > 2**64
    assert pooled_roc._exact_dot(many, counts) == expected
