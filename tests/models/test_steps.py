"""The logits after every step of a sequence, against cells written from the equations."""

import jax
import numpy as np
import pytest

from mia_jax.config import FamilyConfig
from mia_jax.models import build, mlp, recurrent
from mia_jax.types import Dataset, Ragged, Records

CLASSES, HIDDEN, STEPS, FEATURES, WORDS = 3, 4, 5, 2, 7
RECURRENT = ("rnn", "lstm", "gru")


@pytest.fixture
def batch():
    return np.random.default_rng(1).normal(size=(5, STEPS, FEATURES)).astype(np.float32)


def model_of(kind, layers=1, **options):
    return recurrent(kind, num_classes=CLASSES, hidden=HIDDEN, layers=layers, **options)


def mapped(function, params, x):
    return np.asarray(jax.jit(jax.vmap(lambda record: function(params, record)))(x))


@pytest.mark.parametrize(("kind", "layers"), [("rnn", 1), ("lstm", 2), ("gru", 1)])
def test_each_step_is_the_read_out_of_the_record_cut_there(by_hand, random_params, batch, kind, layers):
    model = model_of(kind, layers, dropout=0.5)
    params = random_params(model, batch[0])
    steps = mapped(model.steps, params, batch)
    assert steps.shape == (5, STEPS, CLASSES)
    for n, record in enumerate(batch):
        expected = [by_hand(kind, params, record[: t + 1], layers) for t in range(STEPS)]
        np.testing.assert_allclose(steps[n], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", RECURRENT)
def test_the_last_step_is_what_apply_says(random_params, batch, kind):
    model = model_of(kind, 2)
    params = random_params(model, batch[0])
    logits = mapped(model.apply, params, batch)
    np.testing.assert_allclose(mapped(model.steps, params, batch)[:, -1], logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "layers"), [("rnn", 2), ("lstm", 1), ("gru", 2)])
def test_after_the_end_of_a_ragged_record_its_last_step_repeats(by_hand, random_params, batch, kind, layers):
    model, lengths = model_of(kind, layers), np.arange(1, STEPS + 1, dtype=np.int32)
    padded = np.where(np.arange(STEPS)[None, :, None] < lengths[:, None, None], batch, np.nan)
    ragged = Ragged(padded.astype(np.float32), lengths)
    params = random_params(model, jax.tree.map(lambda leaf: leaf[0], ragged))
    steps, logits = (mapped(f, params, ragged) for f in (model.steps, model.apply))
    for n, length in enumerate(lengths):
        expected = [by_hand(kind, params, batch[n, : t + 1], layers) for t in range(length)]
        np.testing.assert_allclose(steps[n, :length], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(steps[n, length:], np.tile(steps[n, length - 1], (STEPS - length, 1)))
    np.testing.assert_allclose(steps[:, -1], logits, rtol=1e-5, atol=1e-6)


def test_records_cut_into_steps_and_token_ids_have_steps_too(random_params):
    rng = np.random.default_rng(2)
    vectors, tokens = rng.normal(size=(2, 7)).astype(np.float32), rng.integers(0, WORDS, (2, STEPS))
    cut, words = model_of("rnn", steps=3), model_of("gru", vocabulary_size=WORDS, embedding=FEATURES)
    for model, x, length in ((cut, vectors, 3), (words, tokens.astype(np.int32), STEPS)):
        params = random_params(model, x[0])
        steps = mapped(model.steps, params, x)
        assert steps.shape == (2, length, CLASSES)
        np.testing.assert_allclose(steps[:, -1], mapped(model.apply, params, x), rtol=1e-5, atol=1e-6)


def test_families_that_read_no_steps_have_none():
    records = Records(np.zeros((2, 4, 4), np.float32), np.zeros(2, np.int32))
    dataset = Dataset(records, records, records, CLASSES, 0, {})
    assert mlp(num_classes=CLASSES).steps is None
    has = {kind: build(FamilyConfig(kind=kind), dataset).steps is not None for kind in ("mlp", *RECURRENT)}
    assert has == {"mlp": False, "rnn": True, "lstm": True, "gru": True}
