"""Slices against the same estimates on the slice alone, and worlds in which one group is exposed."""

import json

import numpy as np
import pytest

from mia_jax import metrics
from mia_jax.slices import slice_rows
from mia_jax.statistics.multiple_testing import holm

K, N = 24, 120


def world(seed, exposed=None, gain=0.6, missing=0.0):
    """Scores whose members stand out by `gain`, in `exposed` records by 1 more."""
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < 0.5
    shift = np.full(N, gain)
    if exposed is not None:
        shift[exposed] += 1.0
    scores = member * shift + 0.5 * rng.normal(size=N) + rng.normal(size=(K, N))
    scores[rng.random((K, N)) < missing] = np.nan
    return scores, member


def by_name(rows):
    return {(row["group"], row["value"]): row for row in rows}


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_a_slice_is_judged_as_if_it_were_alone(missing):
    scores, member = world(0, missing=missing)
    label, right = np.arange(N) % 3, np.random.default_rng(1).random((K, N)) < 0.6
    rows = by_name(slice_rows(scores, member, {"class": label, "correct": right}, fprs=(0.1, 0.05)))
    assert list(rows) == [("class", 0), ("class", 1), ("class", 2), ("correct", False), ("correct", True)]
    for (group, value), row in rows.items():
        entries = (label == value) & np.ones((K, N), bool) if group == "class" else right == value
        alone = np.where(entries, scores, np.nan)
        known = ~np.isnan(alone)
        assert row["records"] == known.any(axis=0).sum()
        assert (row["entries"], row["members"]) == (known.sum(), (known & member).sum())
        assert row["auc"] == pytest.approx(metrics.auc(alone[known], member[known]))
        np.testing.assert_allclose([row["auc_low"], row["auc_high"]], metrics.auc_interval(alone, member))
        for fpr in (0.1, 0.05):
            key = f"tpr_at_fpr_{fpr}"
            assert row[key] == metrics.tpr_at_fpr(alone[known], member[known], fpr)
            ends = metrics.tpr_interval(alone, member, fpr)
            np.testing.assert_allclose([row[f"{key}_low"], row[f"{key}_high"]], ends)


def test_the_pooled_threshold_is_one_for_all_slices():
    scores, member = world(2)
    label = np.arange(N) % 4
    rows = slice_rows(scores, member, {"class": label}, fprs=(0.1,))
    fpr, _, thresholds = metrics.roc_curve(scores, member)
    threshold = thresholds[np.flatnonzero(fpr <= 0.1)[-1]]
    for row in rows:
        mine = np.broadcast_to(label == row["value"], (K, N))
        assert row["pooled_tpr_at_fpr_0.1"] == (scores >= threshold)[mine & member].mean()
        assert row["pooled_fpr_at_fpr_0.1"] == (scores >= threshold)[mine & ~member].mean()
    counts = np.array([row["members"] for row in rows])
    mean = np.sum(counts * [row["pooled_tpr_at_fpr_0.1"] for row in rows]) / counts.sum()
    assert mean == pytest.approx(metrics.tpr_at_fpr(scores, member, 0.1))


def test_a_group_that_is_more_exposed_is_found_and_only_that():
    scores, member = world(3, exposed=np.arange(24))
    rows = by_name(slice_rows(scores, member, {"class": np.arange(N) // 24}))
    assert rows["class", 0]["p_holm"] < 1e-3
    assert rows["class", 0]["difference"] > 0.1
    assert rows["class", 0]["difference_low"] > 0
    assert rows["class", 0]["pooled_tpr_at_fpr_0.1"] > rows["class", 3]["pooled_tpr_at_fpr_0.1"]
    # The rest of every other class holds the exposed one.
    assert all(rows["class", c]["difference"] < 0 for c in range(1, 5))
    _, even = slice_rows(*world(3), {"class": np.arange(N) // 60})
    assert even["p_holm"] > 0.01


def test_p_values_are_adjusted_over_all_slices_of_the_call():
    scores, member = world(4)
    groups = {"class": np.arange(N) % 5, "size": np.repeat(["small", "large"], N // 2)}
    rows = slice_rows(scores, member, groups)
    adjusted = holm([row["p"] for row in rows])
    np.testing.assert_allclose([row["p_holm"] for row in rows], adjusted)


def test_two_halves_differ_from_each_other_alike():
    scores, member = world(5)
    first, second = slice_rows(scores, member, {"half": np.arange(N) < N // 2})
    assert first["difference"] == pytest.approx(-second["difference"])
    assert first["p"] == pytest.approx(second["p"])
    assert (first["difference_low"], first["difference_high"]) == pytest.approx(
        (-second["difference_high"], -second["difference_low"])
    )


def test_small_slices_are_listed_without_figures():
    scores, member = world(6)
    label = np.where(np.arange(N) < 3, "rare", "common")
    member[:, 119:] = True
    label[119:] = "always"
    rows = by_name(slice_rows(scores, member, {"kind": label}, fewest=20))
    for value, records in (("rare", 3), ("always", 1)):
        row = rows["kind", value]
        assert (row["records"], row["entries"]) == (records, records * K)
        assert all(
            row[key] is None for key in row if key not in ("group", "value", "records", "entries", "members")
        )
    assert rows["kind", "common"]["auc"] is not None
    assert (
        rows["kind", "common"]["p"] is None
    )  # the rest is 144 entries, but of six records only three ever out


def test_as_many_members_and_others_as_are_asked_for_are_enough():
    scores, member = world(12)
    label = np.arange(N) % 4
    sides = min(np.sum(member[:, label == 0]), np.sum(~member[:, label == 0]))
    for fewest, known in ((sides, True), (sides + 1, False)):
        row = by_name(slice_rows(scores, member, {"class": label}, fewest=int(fewest)))["class", 0]
        assert (row["auc"] is not None) == known


def test_twins_are_one_model():
    """Models that are each there twice, and said to be twins, say what they say once."""
    scores, member = world(13)
    label = np.arange(N) % 2
    once = slice_rows(scores, member, {"class": label})
    twice = np.repeat(scores, 2, axis=0), np.repeat(member, 2, axis=0)
    told = slice_rows(*twice, {"class": label}, twin=np.arange(2 * K) ^ 1)
    untold = slice_rows(*twice, {"class": label})
    for one, other in zip(once, told, strict=True):
        doubled = {name: 2 * one[name] for name in ("entries", "members")}
        assert other == {name: pytest.approx(value) for name, value in (one | doubled).items()}
    for end in ("auc_low", "tpr_at_fpr_0.1_low", "difference_low", "p"):
        assert untold[0][end] != pytest.approx(told[0][end], rel=1e-3), end


def test_a_slice_that_never_errs_is_as_sure_as_its_clusters_are_many():
    _, member = world(14)
    few = np.arange(N) < 6
    (_, row) = slice_rows(np.where(few, member, 0.0), member, {"few": few}, fprs=(), fewest=5)
    assert (row["value"], row["difference"]) == (True, 0.5)
    assert row["difference_low"] == pytest.approx(0.5 - (1 - 0.025 ** (1 / 6)))
    assert row["p"] == pytest.approx(2 * 0.5**6)


def test_a_slice_and_its_rest_are_told_apart_as_surely_as_the_smaller_one_can_be():
    member = np.random.default_rng(4).random((8, 36)) < 0.5
    small = np.arange(36) < 6  # in it members stand always first, in the rest all are tied: nothing varies
    rows = slice_rows(np.where(small, member, 0.0), member, {"part": small}, fprs=(), fewest=5)
    assert [row["difference"] for row in rows] == [-0.5, 0.5]
    assert rows[0]["p"] == rows[1]["p"] == pytest.approx(2 * 0.5**6)


def test_a_slice_that_is_everything_has_nothing_to_be_compared_with():
    scores, member = world(7)
    (row,) = slice_rows(scores, member, {"all": np.zeros(N, int)})
    assert row["auc"] == pytest.approx(metrics.auc(scores, member))
    assert row["difference"] is row["p"] is row["p_holm"] is None


def test_rows_can_be_written_as_json():
    scores, member = world(8)
    groups = {"a": np.arange(N) % 2 == 0, "b": np.repeat(["x", "y"], N // 2), "c": np.arange(N) % 3.0}
    rows = slice_rows(scores, member, groups, fprs=(1e-4,))
    assert json.loads(json.dumps(rows)) == rows
    assert [row["value"] for row in rows] == [False, True, "x", "y", 0, 1, 2]
    assert rows[0]["tpr_at_fpr_0.0001"] is None


def test_arguments_are_left_alone():
    scores, member = world(9, missing=0.1)
    before = scores.copy(), member.copy()
    slice_rows(scores, member, {"class": np.arange(N) % 2})
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(member, before[1])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(N - 1), r"groups\['x'\] has shape \(119,\): it must have shape \(120,\) or \(24, 120\)"),
        (np.full(N, 0.5), r"groups\['x'\]\[0\] is 0.5: values must be .*numpy.digitize"),
        (np.full(N, np.nan), r"groups\['x'\]\[0\] is nan"),
        (np.arange(N), "has 120 distinct values: at most 50"),
        (np.full(N, None), "has dtype object: it must hold strings"),
        (np.full(N, 1j), "has dtype complex128"),
    ],
)
def test_groups_that_are_none_are_refused(values, words):
    scores, member = world(10)
    with pytest.raises(ValueError, match=words):
        slice_rows(scores, member, {"x": values})


def test_groups_and_rates_of_another_kind_are_refused():
    scores, member = world(10)
    with pytest.raises(ValueError, match="groups is a list: it must be a mapping of names to arrays"):
        slice_rows(scores, member, [np.arange(N)])
    with pytest.raises(ValueError, match=r"groups\['x'\] is ragged: it must have shape"):
        slice_rows(scores, member, {"x": [[1], [2, 3]]})
    with pytest.raises(ValueError, match=r"fprs is 0\.1: it must be a sequence of rates"):
        slice_rows(scores, member, {"x": np.arange(N) % 2}, fprs=0.1)


@pytest.mark.slow
def test_groups_that_do_not_differ_are_called_different_as_rarely_as_stated():
    """Ten classes of 30 records each, hard and exposed to different degrees, but by chance alone."""
    rng = np.random.default_rng(11)
    found, families = [], []
    for _ in range(150):
        member = rng.random((32, 300)) < 0.5
        scores = (
            member * (0.8 + 0.5 * rng.normal(size=300)) + rng.normal(size=300) + rng.normal(size=(32, 300))
        )
        rows = slice_rows(scores, member, {"class": np.arange(300) % 10}, fprs=())
        found += [row["p"] for row in rows]
        families.append(min(row["p_holm"] for row in rows) <= 0.05)
    assert np.mean(np.array(found) <= 0.05) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 1500)
    assert np.mean(families) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 150)
