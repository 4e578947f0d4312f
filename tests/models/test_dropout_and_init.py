"""Dropout is random only in training and right on average; parameters start as documented."""

import jax
import numpy as np
import pytest

from mia_jax.models import count_parameters, mlp, recurrent

BUILD = {
    "mlp": lambda dropout=0.0: mlp(num_classes=3, hidden=8, dropout=dropout),
    "rnn": lambda dropout=0.0: recurrent("rnn", num_classes=3, hidden=8, dropout=dropout),
    "lstm": lambda dropout=0.0: recurrent("lstm", num_classes=3, hidden=8, dropout=dropout),
    "gru": lambda dropout=0.0: recurrent("gru", num_classes=3, hidden=8, dropout=dropout),
}
RECORD = np.random.default_rng(6).normal(size=(3, 2)).astype(np.float32)


@pytest.fixture(scope="module", params=["mlp", "lstm"])
def dropped(request, random_params):
    """Logits of one record [1000, C] under 1,000 dropout keys, and those without dropout [C]."""
    model = BUILD[request.param](dropout=0.5)
    params = random_params(model, RECORD)
    keys = jax.random.split(jax.random.key(0), 1000)
    apply = jax.jit(jax.vmap(lambda key: model.apply(params, RECORD, key=key, train=True)))
    return model, params, np.asarray(apply(keys)), np.asarray(model.apply(params, RECORD))


def test_dropout_draws_anew_for_every_key(dropped):
    _, _, logits, _ = dropped
    # Eight units give 256 masks, fewer where some of them are zero already.
    assert 10 < len(np.unique(logits, axis=0)) <= 256


def test_dropout_is_right_on_average(dropped):
    _, _, logits, plain = dropped
    error = logits.std(axis=0) / np.sqrt(len(logits))
    assert (np.abs(logits.mean(axis=0) - plain) < 5 * error + 1e-6).all()


def test_dropout_is_the_identity_outside_training(dropped):
    model, params, _, plain = dropped
    np.testing.assert_array_equal(model.apply(params, RECORD, key=jax.random.key(1)), plain)


def test_the_same_key_drops_the_same_units(dropped):
    model, params, logits, _ = dropped
    key = jax.random.split(jax.random.key(0), 1000)[7]
    np.testing.assert_allclose(model.apply(params, RECORD, key=key, train=True), logits[7], rtol=1e-5)


def test_training_with_dropout_needs_a_key(dropped):
    model, params, _, _ = dropped
    with pytest.raises(Exception, match="dropout"):
        model.apply(params, RECORD, train=True)


def test_training_without_dropout_needs_no_key_and_is_the_plain_pass(random_params):
    model = BUILD["mlp"]()
    params = random_params(model, RECORD)
    trained = model.apply(params, RECORD, train=True)
    np.testing.assert_array_equal(trained, model.apply(params, RECORD))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mlp", 6 * 8 + 8),
        ("rnn", 2 * 8 + 8 * 8 + 8),
        ("lstm", 4 * (2 * 8 + 8 * 8 + 8)),
        ("gru", 3 * (2 * 8 + 8 * 8 + 8) + 8),
    ],
)
def test_number_of_parameters_is_the_textbook_one(kind, expected):
    assert count_parameters(BUILD[kind](), RECORD) == expected + 8 * 3 + 3


@pytest.mark.parametrize(("kind", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_recurrent_matrices_start_orthogonal_gate_by_gate_and_forget_gates_open(kind, gates):
    weights = jax.jit(BUILD[kind]().init)(jax.random.key(0), RECORD)["recurrent_0"]
    blocks = np.split(np.asarray(weights["recurrent"]), gates, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(8), atol=1e-5)
    assert len({block.tobytes() for block in blocks}) == gates
    biases = np.split(np.asarray(weights["bias"]), gates)
    for gate, bias in enumerate(biases):
        np.testing.assert_array_equal(bias, float(kind == "lstm" and gate == 1))
