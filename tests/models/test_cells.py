"""Forward passes against cells written from the equations, over arrays, ragged sequences and tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.models import mlp, recurrent
from mia_jax.types import Ragged

CLASSES, HIDDEN, STEPS, FEATURES, WORDS = 3, 4, 5, 2, 7
RECURRENT = ("rnn", "lstm", "gru")
LENGTHS = np.arange(1, STEPS + 1)


def model_of(kind, layers=1, **options):
    if kind == "mlp":
        return mlp(num_classes=CLASSES, hidden=HIDDEN, layers=layers, **options)
    return recurrent(kind, num_classes=CLASSES, hidden=HIDDEN, layers=layers, **options)


@pytest.fixture
def batch():
    return np.random.default_rng(1).normal(size=(5, STEPS, FEATURES)).astype(np.float32)


def logits_of(model, params, x):
    return np.asarray(jax.jit(jax.vmap(lambda record: model.apply(params, record)))(x))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["mlp", *RECURRENT])
def test_logits_are_those_of_the_equations(by_hand, random_params, batch, kind, layers):
    model = model_of(kind, layers)
    params = random_params(model, batch[0])
    expected = [by_hand(kind, params, record, layers) for record in batch]
    np.testing.assert_allclose(logits_of(model, params, batch), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("kind", RECURRENT)
def test_an_accelerator_computes_the_same_gradient_another_way(
    random_params, batch, kind, lengths, monkeypatch
):
    x = batch if lengths is None else Ragged(batch, lengths)
    model = model_of(kind, 2)
    params = random_params(model, jax.tree.map(lambda leaf: leaf[0], x))

    def program():
        # Made anew, because JAX keeps what it has traced.
        return jax.jit(
            jax.grad(lambda params, x: jnp.sum(jax.vmap(lambda r: model.apply(params, r))(x)[:, 0]))
        )

    plain, expected = str(jax.make_jaxpr(program())(params, x)), program()(params, x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert str(jax.make_jaxpr(program())(params, x)) != plain
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), program()(params, x), expected
    )


@pytest.mark.parametrize("layers", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("kind", RECURRENT)
def test_ragged_records_are_read_to_their_own_length(by_hand, random_params, batch, kind, layers):
    model = model_of(kind, layers)
    ragged = Ragged(batch, LENGTHS)
    params = random_params(model, jax.tree.map(lambda leaf: leaf[0], ragged))
    logits = logits_of(model, params, ragged)
    expected = [
        by_hand(kind, params, record[:length], layers) for record, length in zip(batch, LENGTHS, strict=True)
    ]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    # What stands in the padding, even if it is no number, is not read.
    padding = np.arange(STEPS)[None, :, None] >= LENGTHS[:, None, None]
    for other in (99.0, np.nan, np.inf):
        replaced = Ragged(np.where(padding, np.float32(other), batch), LENGTHS)
        np.testing.assert_array_equal(logits_of(model, params, replaced), logits)


@pytest.mark.parametrize("kind", ["mlp", *RECURRENT])
def test_token_ids_are_embedded_first(by_hand, random_params, kind):
    model = model_of(kind, vocabulary_size=WORDS, embedding=FEATURES)
    tokens = np.random.default_rng(2).integers(0, WORDS, (5, STEPS)).astype(np.int32)
    params = random_params(model, tokens[0])
    table = params["reader"]["embedding"]["embedding"]
    assert table.shape == (WORDS, FEATURES)
    expected = [by_hand(kind, params, table[record], 1) for record in tokens]
    np.testing.assert_allclose(logits_of(model, params, tokens), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["mlp", "gru"])
def test_padding_of_ragged_tokens_is_not_read(by_hand, random_params, kind):
    model = model_of(kind, vocabulary_size=WORDS, embedding=FEATURES)
    tokens = np.random.default_rng(3).integers(0, WORDS, (5, STEPS)).astype(np.int32)
    params = random_params(model, Ragged(tokens[0], LENGTHS[0]))
    logits = logits_of(model, params, Ragged(tokens, LENGTHS))
    padding = np.arange(STEPS) >= LENGTHS[:, None]
    for other in (0, -1, WORDS):
        replaced = Ragged(np.where(padding, np.int32(other), tokens), LENGTHS)
        np.testing.assert_array_equal(logits_of(model, params, replaced), logits)
    table = params["reader"]["embedding"]["embedding"]
    for row, length in enumerate(LENGTHS):
        record = table[tokens[row]][:length] if kind == "gru" else table[tokens[row]] * ~padding[row][:, None]
        np.testing.assert_allclose(logits[row], by_hand(kind, params, record, 1), rtol=1e-5, atol=1e-5)


def test_padding_of_ragged_features_is_zero_to_an_mlp(by_hand, random_params, batch):
    model = model_of("mlp")
    params = random_params(model, Ragged(batch[0], LENGTHS[0]))
    logits = logits_of(model, params, Ragged(batch, LENGTHS))
    for row, length in enumerate(LENGTHS):
        record = batch[row] * (np.arange(STEPS) < length)[:, None]
        np.testing.assert_allclose(logits[row], by_hand("mlp", params, record, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fill", [0.5, np.nan])
@pytest.mark.parametrize("kind", ["mlp", *RECURRENT])
def test_gradients_ignore_padded_steps(random_params, batch, kind, fill):
    model, length = model_of(kind), 3
    record = np.where(np.arange(STEPS)[:, None] < length, batch[0], np.float32(fill))
    params = random_params(model, Ragged(record, length))

    def score(params, values):
        return model.apply(params, Ragged(values, jnp.int32(length)))[0]

    of_params, of_values = jax.jit(jax.grad(score, argnums=(0, 1)))(params, record)
    np.testing.assert_array_equal(of_values[length:], 0.0)
    assert (of_values[:length] != 0.0).any(axis=1).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(of_params))


@pytest.mark.parametrize(("features", "steps"), [(6, 3), (7, 3), (7, 2), (3, 3), (2, 3)])
def test_a_vector_is_cut_into_steps_with_zeros_at_the_end(by_hand, random_params, features, steps):
    model = model_of("rnn", steps=steps)
    record = np.random.default_rng(4).normal(size=features).astype(np.float32)
    params = random_params(model, record)
    width = -(-features // steps)
    cut = np.zeros(steps * width)
    cut[:features] = record
    expected = by_hand("rnn", params, cut.reshape(steps, width), 1)
    np.testing.assert_allclose(jax.jit(model.apply)(params, record), expected, rtol=1e-5, atol=1e-5)


def test_an_image_is_read_row_by_row_or_cut_into_steps(by_hand, random_params):
    image = np.random.default_rng(5).normal(size=(4, 3, 2)).astype(np.float32)
    for steps, rows in ((0, image.reshape(4, 6)), (2, image.reshape(2, 12))):
        model = model_of("lstm", steps=steps)
        params = random_params(model, image)
        expected = by_hand("lstm", params, rows, 1)
        np.testing.assert_allclose(jax.jit(model.apply)(params, image), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["mlp", *RECURRENT])
def test_the_head_reads_the_embedding(random_params, batch, kind):
    model = model_of(kind, 2, dropout=0.5)
    params = random_params(model, batch[0])
    embedding = jax.jit(model.embed)(params, batch[0])
    assert embedding.shape == (HIDDEN,)
    logits = embedding @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(logits_of(model, params, batch[:1])[0], logits, rtol=1e-5, atol=1e-6)
