"""Differences of differences between families: made-up arms with known answers, and a real run's own numbers."""

import numpy as np
import pytest

from mia_jax import metrics
from mia_jax.statistics.contrasts import measured_auc, measured_mean
from mia_jax.tradeoff.contrasts import MEAN, contrasts
from mia_jax.tradeoff.measuring import ACCURACY, Sample, from_arrays, to_arrays

K, N = 24, 80
NO_TWIN = np.full(K, -1)


def only(rows, **asked):
    (found,) = [row for row in rows if all(row.get(name) == value for name, value in asked.items())]
    return found


def arm(rng, member, shift, accuracy):
    """An attack whose members' scores are shifted, and a model that is right about so many non-members."""
    scores = rng.normal(size=(K, N)) + shift * member
    right = rng.random((K, N)) < accuracy
    return {"loss": measured_auc(scores, member), ACCURACY: measured_mean(right, ~member)}, scores


def pool(seed, gains=(0.0, 0.0)):
    """Two families, whose defence takes so much off the shift of scores, and nothing or a tenth off accuracy."""
    rng = np.random.default_rng(seed)
    member = rng.random((K, N)) < 0.5
    arms, scores = {}, {}
    for family, gain in zip("ab", gains, strict=True):
        for name, strength, share, accuracy in (
            ("none", 0.0, 0.0, 0.8),
            ("l2", 0.1, 0.5, 0.8),
            ("l2", 1.0, 1.0, 0.7),
        ):
            key = family, name, strength
            arms[key], scores[key] = arm(rng, member, 1.0 - gain * share, accuracy)
    return Sample(NO_TWIN, arms), scores, member


def test_gains_and_losses_are_falls_from_the_own_baseline():
    sample, scores, member = pool(0, (0.2, 0.8))
    rows = contrasts([sample], 0.95)
    auc = {key: metrics.auc(values, member) for key, values in scores.items()}
    for strength in (0.1, 1.0):
        row = only(rows, what="auc_gain", attack="loss", strength=strength)
        gains = [auc[family, "none", 0.0] - auc[family, "l2", strength] for family in "ab"]
        assert (row["value_a"], row["value_b"]) == pytest.approx(tuple(gains))
        assert row["value"] == pytest.approx(gains[0] - gains[1])
    mean = only(rows, what="auc_gain", attack="loss", strength=MEAN)
    each = [only(rows, what="auc_gain", attack="loss", strength=s)["value"] for s in (0.1, 1.0)]
    assert mean["value"] == pytest.approx(np.mean(each))
    assert mean["high"] < 0
    cost = only(rows, what="accuracy_loss", strength=1.0)
    right = {key: measures[ACCURACY].value for key, measures in sample.arms.items()}
    assert cost["value_b"] == pytest.approx(right["b", "none", 0.0] - right["b", "l2", 1.0])


def test_accuracy_at_an_auc_is_read_off_the_arms():
    """From the strongest to the baseline, in straight lines; levels that an arm does not reach are left out."""
    sample, _, _ = pool(1, (0.9, 0.8))
    rows = [row for row in contrasts([sample], 0.95) if row["what"] == "accuracy_at_auc"]
    assert len(rows) > 3
    for row in rows:
        for family, value in (("a", row["value_a"]), ("b", row["value_b"])):
            points = [sample.arms[family, *rest] for rest in (("l2", 1.0), ("l2", 0.1), ("none", 0.0))]
            aucs, accuracies = ([p[name].value for p in points] for name in ("loss", ACCURACY))
            assert aucs == sorted(aucs)
            assert value == pytest.approx(np.interp(row["auc"], aucs, accuracies))
            assert aucs[0] < row["auc"] <= aucs[-1]


def test_null_intervals_cover_nothing():
    """Where both families gain the same, 95 % of the intervals hold 0; 300 pools, four standard errors."""
    held = 0
    for seed in range(300):
        sample, _, _ = pool(seed, (0.5, 0.5))
        row = only(contrasts([sample], 0.95), what="auc_gain", attack="loss", strength=1.0)
        held += row["low"] <= 0 <= row["high"]
    assert abs(held / 300 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 300)


def test_pools_are_averaged_and_a_row_that_one_lacks_is_left_out():
    samples = [pool(seed, (0.5, 0.1))[0] for seed in range(3)]
    rows = contrasts(samples, 0.95)
    alone = [contrasts([sample], 0.95) for sample in samples]
    asked = {"what": "auc_gain", "attack": "loss", "strength": 1.0}
    each = [only(one, **asked) for one in alone]
    row = only(rows, **asked)
    assert row["pools"] == pytest.approx([one["value"] for one in each])
    assert row["error"] == pytest.approx(np.sqrt(sum(one["error"] ** 2 for one in each)) / 3)
    del samples[1].arms["a", "l2", 0.1]
    assert not [row for row in contrasts(samples, 0.95) if row.get("strength") == 0.1]


def test_twins_of_a_pool_are_one_target():
    """Models that are each there twice, as twins, are as many targets as there are different ones."""
    rng = np.random.default_rng(5)
    member = np.repeat(rng.random((K // 2, N)) < 0.5, 2, axis=0)
    arms = {}
    for family in "ab":
        for name, strength in (("none", 0.0), ("l2", 1.0)):
            scores = np.repeat(rng.normal(size=(K // 2, N)), 2, axis=0) + member
            arms[family, name, strength] = {"loss": measured_auc(scores, member)}
    alone, told = (contrasts([Sample(twin, arms)], 0.95)[0] for twin in (NO_TWIN, np.arange(K) ^ 1))
    once = {key: {"loss": halved(one["loss"])} for key, one in arms.items()}
    half = contrasts([Sample(NO_TWIN[::2], once)], 0.95)[0]
    assert told["error"] == pytest.approx(half["error"])
    assert (alone["degrees"], told["degrees"], half["degrees"]) == (K - 1, K // 2 - 1, K // 2 - 1)
    assert alone["error"] != pytest.approx(half["error"], rel=0.05)


def halved(one):
    """The same estimate of every second model: each has twice the weight."""
    return one._replace(influence=2.0 * one.influence[::2], known=one.known[::2])


def test_what_is_measured_of_releases_survives_a_file(tmp_path):
    sample, _, _ = pool(2)
    by_sigma = {0.5: sample.arms["a", "none", 0.0], 0.01: sample.arms["b", "l2", 1.0]}
    np.savez(tmp_path / "measured.npz", **to_arrays(by_sigma))
    with np.load(tmp_path / "measured.npz") as arrays:
        found = from_arrays(dict(arrays))
    assert list(found) == list(by_sigma)
    for sigma, measures in by_sigma.items():
        assert set(found[sigma]) == set(measures)
        for name, one in measures.items():
            assert found[sigma][name].value == one.value
            np.testing.assert_array_equal(found[sigma][name].influence, one.influence)
            np.testing.assert_array_equal(found[sigma][name].known, one.known)


def test_both_sides_of_several_pools_are_means_over_the_pools():
    samples = [pool(seed, (0.2, 0.8))[0] for seed in (1, 2, 3)]
    asked = {"what": "auc_gain", "attack": "loss", "strength": 1.0}
    each = [only(contrasts([sample], 0.95), **asked) for sample in samples]
    row = only(contrasts(samples, 0.95), **asked)
    for side in ("value_a", "value_b", "value"):
        assert row[side] == pytest.approx(np.mean([one[side] for one in each]))
