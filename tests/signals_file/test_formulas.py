"""The formulas in float64: against eighty digits, against those of the models, and at their limits."""

import decimal

import jax
import numpy as np
import pytest

from mia_jax import signals
from mia_jax.signals_file import formulas
from mia_jax.types import Signals

FIELDS = Signals._fields


def exactly(logits, y):
    """log_prob, scaled_logit and both entropies of one record with 80 digits."""
    with decimal.localcontext() as context:
        context.prec = 80
        weights = [decimal.Decimal(float(z)).exp() for z in logits]
        p = [weight / sum(weights) for weight in weights]
        rest = [sum(p[j] for j in range(len(p)) if j != i) for i in range(len(p))]
        mixed = sum(p[i] * rest[i].ln() for i in range(len(p)) if i != y)
        said = (
            p[y].ln(),
            p[y].ln() - rest[y].ln(),
            -sum(q * q.ln() for q in p),
            -rest[y] * p[y].ln() - mixed,
        )
        return [float(value) for value in said]


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0])
def test_against_eighty_digits(classes, scale):
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(20, classes)) * scale, rng.integers(0, classes, 20)
    said = formulas.from_logits(logits, y)
    exact = np.array([exactly(*record) for record in zip(logits, y, strict=True)])
    for name, expected in zip(FIELDS[:4], exact.T, strict=True):
        np.testing.assert_allclose(getattr(said, name), expected, rtol=1e-9, atol=1e-14, err_msg=name)
    np.testing.assert_array_equal(said.correct, logits.argmax(-1) == y)


@pytest.mark.parametrize("margin", [-700.0, -40.0, 40.0, 700.0, 1e4])
def test_margins_beyond_float32_are_told_apart(margin):
    logits = np.zeros((2, 3))
    logits[:, 1] = [margin, margin * (1 + 1e-12)]
    said = formulas.from_logits(logits, np.array([1, 1]))
    np.testing.assert_allclose(said.scaled_logit[0], margin - np.log(2), rtol=1e-15)
    assert said.scaled_logit[0] != said.scaled_logit[1]
    assert np.isfinite(np.stack(said)).all()


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_they_are_those_of_the_models(scale):
    rng = np.random.default_rng(2)
    logits, y = (rng.normal(size=(300, 5)) * scale).astype(np.float32), rng.integers(0, 5, 300)
    ours, theirs = formulas.from_logits(logits, y), jax.jit(signals.from_logits)(logits, y)
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(ours, name), getattr(theirs, name), rtol=2e-4, atol=2e-5, err_msg=name
        )


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    logits, y = rng.normal(size=(5, 37, 3)), rng.integers(0, 3, 37)
    whole = formulas.from_logits(logits, np.broadcast_to(y, (5, 37)))
    monkeypatch.setattr(formulas, "BLOCK", 10)
    parts = formulas.of_models(logits, y, np.arange(5) != 2)
    for name in FIELDS:
        np.testing.assert_array_equal(parts[name][[0, 1, 3, 4]], getattr(whole, name)[[0, 1, 3, 4]])
        assert np.isnan(parts[name][2]).all()


def test_queries_share_their_records_label():
    rng = np.random.default_rng(4)
    logits, y = rng.normal(size=(4, 6, 2, 3)), rng.integers(0, 3, 6)
    said = formulas.of_models(logits, y[:, None], np.ones(4, bool), ("scaled_logit",))
    assert set(said) == {"scaled_logit"}
    for query in range(2):
        expected = formulas.from_logits(logits[:, :, query], np.broadcast_to(y, (4, 6))).scaled_logit
        np.testing.assert_array_equal(said["scaled_logit"][:, :, query], expected)


def test_log_prob_and_scaled_logit_are_inverse():
    margin = np.array([-800.0, -30.0, -1.0, 0.0, 1.0, 20.0, 36.0, 100.0, 700.0])
    log_prob = formulas.log_prob_of(margin)
    np.testing.assert_allclose(formulas.scaled_logit_of(log_prob), margin, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(log_prob[2:5], np.log(1 / (1 + np.exp([1.0, 0.0, -1.0]))), rtol=1e-14)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 7.0, np.inf])
def test_norms(p):
    vectors = np.random.default_rng(0).normal(size=(4, 5, 6))
    np.testing.assert_allclose(formulas.vector_norm(vectors, p), np.linalg.norm(vectors, ord=p, axis=-1))
    np.testing.assert_array_equal(formulas.vector_norm(np.zeros((2, 3)), p), 0.0)


@pytest.mark.parametrize("size", [1e-90, 1e90])
def test_norms_of_a_large_p_neither_overflow_nor_vanish(size):
    np.testing.assert_allclose(formulas.vector_norm(np.full((1, 4), size), 50.0), size * 4 ** (1 / 50))
