"""What every hidden layer says of a record: that of the shallower network, in one pass, up to `embed`."""

import jax
import numpy as np
import pytest

from mia_jax.models import Model, cnn, mlp, recurrent, renet
from mia_jax.models.attack_networks import membership_mlp
from mia_jax.types import Ragged

HIDDEN, WORDS = 4, 7
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
TOKENS = np.asarray([3, 1, 6, 0, 2], np.int32)
RECORDS = {"image": X, "ragged": Ragged(X, np.int32(2)), "ragged_tokens": Ragged(TOKENS, np.int32(3))}


def model_of(kind, layers, record):
    options = {"num_classes": 3, "hidden": HIDDEN, "layers": layers, "dropout": 0.5}
    if kind in ("cnn", "renet"):
        return {"cnn": cnn, "renet": renet}[kind](**options)
    options["vocabulary_size"] = WORDS if "tokens" in record else 0
    return mlp(**options) if kind == "mlp" else recurrent(kind, **options)


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("mlp", "image"),
        ("mlp", "ragged_tokens"),
        ("lstm", "ragged"),
        ("gru", "ragged_tokens"),
    ],
)
def test_each_layer_is_the_last_of_the_network_cut_there(random_params, kind, record):
    x, layers = RECORDS[record], 2
    model = model_of(kind, layers, record)
    params = random_params(model, x)
    said = jax.jit(model.layers)(params, x)
    assert [leaf.shape for leaf in said] == [(HIDDEN,)] * layers
    name = "dense" if kind == "mlp" else "recurrent"
    for depth in range(1, layers + 1):
        kept = {
            key: leaf
            for key, leaf in params.items()
            if key not in map(f"{name}_{{}}".format, range(depth, layers))
        }
        shallow = jax.jit(model_of(kind, depth, record).embed)(kept, x)
        np.testing.assert_allclose(said[depth - 1], shallow, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(said[-1], jax.jit(model.embed)(params, x))


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_what_stands_after_a_ragged_record_is_in_no_layer(random_params, kind):
    model = model_of(kind, 2, "ragged")
    params = random_params(model, RECORDS["ragged"])
    layers = jax.jit(model.layers)
    other = Ragged(np.where(np.arange(5)[:, None] < 2, X, np.nan), np.int32(2))
    for one, two in zip(layers(params, RECORDS["ragged"]), layers(params, other), strict=True):
        np.testing.assert_array_equal(one, two)


def products(jaxpr):
    """The number of matrix products in a program, inner ones included."""
    inner = (
        value for equation in jaxpr.eqns for value in equation.params.values() if hasattr(value, "jaxpr")
    )
    return sum(e.primitive.name == "dot_general" for e in jaxpr.eqns) + sum(products(i.jaxpr) for i in inner)


@pytest.mark.parametrize("kind", ["mlp", "lstm", "cnn", "renet"])
def test_all_layers_come_from_one_pass(random_params, kind):
    model = model_of(kind, 3, "image")
    params = random_params(model, X)
    of_layers, of_embed = (products(jax.make_jaxpr(f)(params, X).jaxpr) for f in (model.layers, model.embed))
    assert of_layers == of_embed > 0


def test_a_batch_of_records_is_mapped(random_params):
    batch = np.random.default_rng(1).normal(size=(4, 6, 5)).astype(np.float32)
    model = model_of("cnn", 2, "image")
    params = random_params(model, batch[0])
    mapped = jax.jit(jax.vmap(model.layers, in_axes=(None, 0)))(params, batch)
    alone = jax.jit(model.layers)
    for n, record in enumerate(batch):
        for rows, one in zip(mapped, alone(params, record), strict=True):
            np.testing.assert_allclose(rows[n], one, rtol=1e-5, atol=1e-5)


def test_models_without_named_layers_have_none():
    assert membership_mlp().layers is None
    assert Model(lambda key, x: None, lambda params, x: x).layers is None
