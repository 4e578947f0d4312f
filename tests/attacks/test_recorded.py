"""Attacks that threshold a recorded number: its sign, its place in `Observations`, and who gets NaN."""

import jax
import numpy as np
import pytest

from mia_jax.attacks import metric_threshold, recorded
from mia_jax.attacks.base import Observations
from mia_jax.attacks.recorded import recorded_score
from mia_jax.config import AttacksConfig
from mia_jax.signals import from_logits

K, N = 5, 6
SIGNS = {
    "correctness": ("correct", 1),
    "confidence": ("log_prob", 1),
    "loss": ("scaled_logit", 1),
    "entropy": ("entropy", -1),
    "modified_entropy": ("modified_entropy", -1),
    "gradient_norm": ("gradient_norm", -1),
    "adversarial_distance": ("adversarial_distance", 1),
}
ATTACKS = {
    one.name: one for module in (metric_threshold, recorded) for one in module.attacks(AttacksConfig())
}


def observed(seed=0, **fields):
    rng = np.random.default_rng(seed)
    drawn = {field: rng.normal(size=(K, N)) for field, _ in SIGNS.values()}
    return Observations(rng.random((K, N)) < 0.5, **(drawn | fields))


def test_these_are_all():
    assert set(ATTACKS) == set(SIGNS)


@pytest.mark.parametrize("name", SIGNS)
def test_the_score_is_the_recorded_number_with_its_sign(name):
    field, sign = SIGNS[name]
    seen = observed()
    np.testing.assert_array_equal(ATTACKS[name].score(seen), sign * getattr(seen, field))
    assert ATTACKS[name].needs == {field}
    assert ATTACKS[name].score(seen).dtype == np.float64


@pytest.mark.parametrize("name", SIGNS)
def test_models_that_are_not_valid_get_nan_whatever_they_say(name):
    field, sign = SIGNS[name]
    values = np.array(getattr(observed(), field))
    values[2] = np.nan
    scores = ATTACKS[name].score(observed(valid=np.arange(K) != 2, **{field: values}))
    assert np.isnan(scores[2]).all()
    np.testing.assert_array_equal(np.delete(scores, 2, 0), sign * np.delete(values, 2, 0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_of_a_valid_model_that_is_not_finite_is_named(bad):
    values = np.zeros((K, N))
    values[3, 1] = bad
    with pytest.raises(ValueError, match=r"gradient_norm\[3, 1\] is .*mark model 3"):
        ATTACKS["gradient_norm"].score(observed(gradient_norm=values))


def test_a_number_for_other_records_is_refused():
    with pytest.raises(ValueError, match=r"entropy has shape \(5, 7\): it must have shape \[5, 6\]"):
        recorded_score("entropy", np.zeros((K, N + 1)), np.zeros((K, N), bool), None)


def test_confidence_keeps_its_order_where_probabilities_round_to_one_and_to_zero():
    margin = np.array([[-2000.0, -900.0, -40.0, 0.0, 40.0, 80.0]] * K)
    log_prob = -np.logaddexp(0, -margin)
    assert np.unique(np.exp(log_prob[0])).size < N, "probabilities would tie"
    assert (np.diff(ATTACKS["confidence"].score(observed(log_prob=log_prob))[0]) > 0).all()


def test_a_surely_right_prediction_looks_most_like_a_members(auc_of):
    """Through the package's own signals, so that no sign is lost between recording and attack."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 60)
    member = rng.random((8, 60)) < 0.5
    logits = rng.normal(size=(8, 60, 4)) + 4.0 * member[:, :, None] * np.eye(4)[labels]
    signals = jax.tree.map(np.asarray, from_logits(logits.astype(np.float32), np.tile(labels, (8, 1))))
    seen = Observations(member, **signals._asdict())
    for name in ("correctness", "confidence", "loss", "entropy", "modified_entropy"):
        assert auc_of(ATTACKS[name].score(seen), member) > 0.75, name
