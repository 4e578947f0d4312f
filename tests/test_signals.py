"""The five signals against float64 NumPy, where log1p keeps what float32 would lose."""

import jax
import numpy as np
import pytest

from mia_jax import signals

from_logits, scaled_logit = jax.jit(signals.from_logits), jax.jit(signals.scaled_logit)
MARGINS = (-200.0, -80.0, -30.0, -17.0, -3.0, 0.0, 3.0, 17.0, 30.0, 80.0, 200.0)


def log_sum_exp(values):
    return values.max() + np.log(np.exp(values - values.max()).sum())


def by_hand(logits, y):
    """All signals of one record, from float32 logits [C] taken as exact numbers."""
    logits = np.asarray(logits, np.float64)
    margins = np.stack([logits[i] - log_sum_exp(np.delete(logits, i)) for i in range(len(logits))])
    log_p, log_rest = -np.log1p(np.exp(-margins)), -np.log1p(np.exp(margins))
    p = np.exp(log_p)
    others = np.arange(len(logits)) != y
    return {
        "log_prob": log_p[y],
        "scaled_logit": margins[y],
        "entropy": -(p * log_p).sum(),
        "modified_entropy": -np.exp(log_rest[y]) * log_p[y] - (p * log_rest)[others].sum(),
        "correct": float(logits.argmax() == y),
    }


def random_case(classes, scale, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=scale, size=(200, classes)).astype(np.float32), rng.integers(0, classes, 200)


def margin_case(classes, margin):
    """Logits in which the label leads its strongest rival by about the margin, at every place of the label."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(classes, classes)).astype(np.float32)
    y = np.arange(classes)
    logits[y, y] += np.float32(margin)
    return logits, y


def assert_agree(said, logits, y, rtol):
    expected = [by_hand(row, label) for row, label in zip(logits, y, strict=True)]
    for name, values in said._asdict().items():
        exact = np.asarray([record[name] for record in expected])
        # Margins near 0 are differences of numbers near 1; entropies below 1e-7 are all the same to a float32.
        atol = {"scaled_logit": 1e-5, "entropy": 1e-6}.get(name, 1e-36)
        np.testing.assert_allclose(values, exact, rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("classes", [2, 3, 30])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_signals_of_random_logits(classes, scale):
    logits, y = random_case(classes, scale)
    assert_agree(from_logits(logits, y), logits, y, rtol=5e-5)


@pytest.mark.parametrize("classes", [2, 30])
@pytest.mark.parametrize("margin", MARGINS)
def test_signals_at_extreme_margins(classes, margin):
    logits, y = margin_case(classes, margin)
    said = from_logits(logits, y)
    assert all(np.isfinite(field).all() for field in said)
    assert_agree(said, logits, y, rtol=5e-5)


@pytest.mark.parametrize("classes", [2, 30])
@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("shift", [-1000.0, 0.0, 1000.0])
def test_scaled_logit_is_exact_wherever_the_logits_lie(classes, margin, shift):
    logits, y = margin_case(classes, margin)
    logits = (logits + np.float32(shift)).astype(np.float32)
    exact = [by_hand(row, label)["scaled_logit"] for row, label in zip(logits, y, strict=True)]
    np.testing.assert_allclose(scaled_logit(logits, y), exact, rtol=1e-5, atol=1e-5 + abs(shift) * 1e-6)


def test_scaled_logit_tells_apart_what_float32_probabilities_cannot():
    logits = np.zeros((8, 3), np.float32)
    logits[:, 0] = [16, 17, 18, 30, 31, 80, 200, 201]
    assert (np.diff(scaled_logit(logits, np.zeros(8, int))) > 0.5).all()


def test_of_two_classes_the_scaled_logit_is_their_difference():
    logits, y = random_case(2, 5.0)
    expected = np.where(y == 0, 1, -1) * (logits[:, 0] - logits[:, 1])
    np.testing.assert_allclose(scaled_logit(logits, y), expected, rtol=1e-6, atol=1e-6)


def test_equal_logits_are_maximal_uncertainty():
    said = from_logits(np.zeros((1, 4), np.float32), np.zeros(1, int))
    assert float(said.entropy[0]) == pytest.approx(np.log(4))
    assert float(said.log_prob[0]) == pytest.approx(-np.log(4))
    assert float(said.scaled_logit[0]) == pytest.approx(-np.log(3))


@pytest.mark.parametrize("leading", [(), (2, 2, 5)])
def test_leading_axes_are_kept_and_records_are_apart(leading):
    size = int(np.prod(leading))
    logits, y = (part[:size] for part in random_case(3, 2.0))
    said = from_logits(logits.reshape(*leading, 3), y.reshape(leading))
    flat = from_logits(logits, y)
    for field, expected in zip(said, flat, strict=True):
        assert field.shape == leading
        np.testing.assert_allclose(np.reshape(field, -1), expected, rtol=1e-6)


def test_logits_that_are_no_numbers_give_signals_that_are_none():
    said = from_logits(np.asarray([[np.nan, 0.0], [np.inf, np.inf]], np.float32), np.zeros(2, int))
    for name in ("log_prob", "scaled_logit", "entropy", "modified_entropy"):
        assert np.isnan(getattr(said, name)).all(), name


@pytest.mark.parametrize(
    ("logits", "y", "words"),
    [
        (1.0, 0, r"^logits has shape \(\): it must be \[\.\.\., C\]"),
        (
            np.zeros((2, 3)),
            np.zeros(3, int),
            r"^y is int32 of shape \(3,\): it must be integers of shape \(2,\)",
        ),
        (
            np.zeros((4, 2, 3)),
            np.zeros(2, int),
            r"^y is int32 of shape \(2,\): it must be integers of shape \(4, 2\)",
        ),
        (np.zeros((2, 3)), np.zeros(2), r"^y is float32 of shape \(2,\): it must be integers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(logits, y, words):
    with pytest.raises(ValueError, match=words):
        signals.scaled_logit(logits, y)
    with pytest.raises(ValueError, match=words):
        signals.from_logits(logits, y)
