"""Metric scores, class-wise thresholds and risk scores against loops written from the paper."""

import math
import pathlib

import numpy as np
import pytest

from mia_jax.attacks import class_thresholds, metric_scores, privacy_risk_score

SHARED = pathlib.Path(__file__).parents[2].parent / "shared" / "data"
METRICS = ("correctness", "confidence", "loss", "entropy", "modified_entropy")


def score_by_hand(p, y, metric):
    """One record's score, formula by formula."""
    others = [i for i in range(len(p)) if i != y]
    return {
        "correctness": lambda: float(max(range(len(p)), key=p.__getitem__) == y),
        "confidence": lambda: p[y],
        "loss": lambda: math.log(p[y]),
        "entropy": lambda: sum(q * math.log(q) for q in p),
        "modified_entropy": lambda: (
            (1 - p[y]) * math.log(p[y]) + sum(p[i] * math.log(1 - p[i]) for i in others)
        ),
    }[metric]()


def threshold_by_hand(inside, outside):
    """The first value, members' first, with the best balanced accuracy."""
    best, best_accuracy = None, -1
    for v in [*inside, *outside]:
        right_in, right_out = sum(s >= v for s in inside), sum(s < v for s in outside)
        accuracy = right_in * len(outside) + right_out * len(inside)
        if accuracy > best_accuracy:
            best, best_accuracy = v, accuracy
    return best


def risk_by_hand(inside, outside, value, num_bins):
    """The share of members in the value's logarithmic bin of -score."""
    low, high = (f(-s for s in [*inside, *outside]) for f in (min, max))

    def place(score):
        return min(num_bins - 1, max(0, int(num_bins * math.log(-score / low) / math.log(high / low))))

    share_in = sum(place(s) == place(value) for s in inside) / len(inside)
    share_out = sum(place(s) == place(value) for s in outside) / len(outside)
    return share_in / (share_in + share_out) if share_in + share_out else 0.5


@pytest.fixture
def records():
    """Shadow and target scores of three classes, coarse so that many tie."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    member = rng.random(90) < 0.4
    scores = np.round(-rng.gamma(2.0, 1.0, 90) - 0.1 + 0.05 * member, 1) - 0.05
    return scores[:60], labels[:60], member[:60], scores[60:], labels[60:]


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_the_formulas(metric):
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(5), size=(4, 7))
    labels = rng.integers(0, 5, (4, 7))
    got = metric_scores(probs, labels, metric)
    for where in np.ndindex(4, 7):
        assert got[where] == pytest.approx(
            score_by_hand(probs[where].tolist(), labels[where], metric), rel=1e-12
        )


@pytest.mark.parametrize("metric", METRICS)
def test_surely_right_looks_most_like_a_member(metric):
    probs = np.array([[1.0, 0.0, 0.0], [0.8, 0.1, 0.1], [0.0, 1.0, 0.0]])
    scores = metric_scores(probs, np.zeros(3, int), metric)
    assert np.isfinite(scores).all()
    assert scores[0] == scores.max()
    if metric != "entropy":
        assert scores[2] == scores.min(), "surely wrong looks least like one; plain entropy cannot tell"


def test_class_thresholds_are_the_loop(records):
    shadow, shadow_y, held, target, target_y = records
    decisions = class_thresholds(*records, 3)
    for n in range(30):
        inside = shadow[(shadow_y == target_y[n]) & held].tolist()
        outside = shadow[(shadow_y == target_y[n]) & ~held].tolist()
        assert decisions[n] == (target[n] >= threshold_by_hand(inside, outside))


def test_of_equally_good_thresholds_the_first_members_counts():
    shadow, held = np.array([1.0, 3.0, 2.0, 4.0]), np.array([1, 0, 1, 1])
    # v = 2 and v = 4 both find one wrong of each kind less; 1 finds all members and spares nobody.
    decisions = class_thresholds(
        shadow, np.zeros(4, int), held, np.array([1.0, 2.0, 3.9, 4.0]), np.zeros(4, int), 1
    )
    threshold = threshold_by_hand([1.0, 2.0, 4.0], [3.0])
    np.testing.assert_array_equal(decisions, np.array([1.0, 2.0, 3.9, 4.0]) >= threshold)


@pytest.mark.parametrize("num_bins", [3, 5])
def test_risk_scores_are_the_loop(records, num_bins):
    shadow, shadow_y, held, target, target_y = records
    risk = privacy_risk_score(*records, 3, num_bins=num_bins)
    for n in range(30):
        mine = shadow_y == target_y[n]
        expected = risk_by_hand(shadow[mine & held], shadow[mine & ~held], target[n], num_bins)
        assert risk[n] == pytest.approx(expected), n


def test_empty_bin_is_one_half_and_what_lies_outside_belongs_to_the_outer_bins():
    shadow, held = np.array([-1e-4, -1.0]), np.array([True, False])
    risk = privacy_risk_score(
        shadow, np.zeros(2, int), held, np.array([-1e-9, -1e-2, -50.0, 0.0]), np.zeros(4, int), 1
    )
    np.testing.assert_array_equal(risk, [1.0, 0.5, 0.0, 1.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "confidenze"}, "metric is 'confidenze': it must be one of 'correctness'"),
        ({"probs": np.array([[2.0, -1.0]])}, r"probs\[0, 0\] is 2.0: .* of logits pass the softmax"),
        ({"probs": np.array([[0.5, 0.1]])}, r"probs\[0\] sum to 0.6"),
        ({"probs": np.array([[np.nan, 0.1]])}, r"probs\[0, 0\] is nan"),
        ({"labels": np.array([2])}, r"labels\[0\] is 2: labels must lie in 0 to 1"),
        ({"labels": np.array([0.0])}, "labels is float64"),
        ({"labels": np.array([0, 1])}, r"of shape \(2,\): it must be integers of shape \(1,\)"),
    ],
)
def test_what_is_no_probability_or_label_is_named(change, words):
    given = {"probs": np.array([[0.5, 0.5]]), "labels": np.array([0]), "metric": "loss"} | change
    with pytest.raises(ValueError, match=words):
        metric_scores(**given)


def test_what_cannot_be_calibrated_is_named(records):
    shadow, shadow_y, held, target, target_y = records
    with pytest.raises(ValueError, match="hold no non-members of class 1, which target_labels holds"):
        class_thresholds(shadow, shadow_y, held | (shadow_y == 1), target, target_y, 3)
    with pytest.raises(ValueError, match=r"shadow_member\[0\] is 3"):
        class_thresholds(shadow, shadow_y, np.full(60, 3), target, target_y, 3)
    with pytest.raises(ValueError, match="it must be at most 0, or there are no"):
        privacy_risk_score(-shadow, shadow_y, held, target, target_y, 3)
    with pytest.raises(ValueError, match=r"target_scores\[2\] is NaN"):
        class_thresholds(shadow, shadow_y, held, np.where(np.arange(30) == 2, np.nan, target), target_y, 3)


@pytest.mark.skipif(not (SHARED / "location30_predictions.npz").exists(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("kind", "metric", "accuracy"),
    [
        ("target_probs", "correctness", 0.687),
        ("target_probs", "confidence", 0.763),
        ("target_probs", "entropy", 0.6155),
        ("target_probs", "modified_entropy", 0.781),
        ("target_probs_memguard", "confidence", 0.6905),
        ("target_probs_memguard", "entropy", 0.521),
        ("target_probs_memguard", "modified_entropy", 0.688),
    ],
)
def test_balanced_accuracies_on_published_predictions(kind, metric, accuracy):
    """Regression values of this implementation, on predictions of models that nobody here trained."""
    given = np.load(SHARED / "location30_predictions.npz")
    labels = np.load(SHARED / "location30.npz")["y"].astype(int)
    target_y, shadow_y = labels[given["target_index"]], labels[given["shadow_index"]]
    target = metric_scores(given[kind], target_y, metric)
    shadow = metric_scores(given[kind.replace("target", "shadow")], shadow_y, metric)
    decisions = class_thresholds(shadow, shadow_y, given["shadow_member"], target, target_y, 30)
    held = given["target_member"].astype(bool)
    assert 0.5 * (decisions[held].mean() + 1 - decisions[~held].mean()) == pytest.approx(accuracy, abs=1e-9)
