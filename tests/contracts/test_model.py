"""What every Model keeps, built in or the user's own, for every kind of record."""

import operator
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax import keys
from mia_jax.config import FamilyConfig, TrainingConfig
from mia_jax.membership import padded_indices
from mia_jax.models import Model, build, count_parameters
from mia_jax.training import Plan, train_shadow_models
from mia_jax.types import Dataset, Membership, Ragged, Records

BATCH, CLASSES, STEPS, FEATURES, WORDS = 4, 3, 4, 3, 9
KINDS = ("mlp", "rnn", "lstm", "gru", "cnn", "renet", "own")
INPUTS = ("vector", "image", "tokens", "ragged_features", "ragged_tokens")
IMAGES = ("image",)
OF_IMAGES = ("cnn", "renet")
QUICK = {
    "mlp": INPUTS[::2],
    "rnn": INPUTS[1::2],
    "lstm": INPUTS[4:],
    "gru": INPUTS[4:],
    "cnn": IMAGES,
    "renet": IMAGES,
    "own": INPUTS,
}
CASES = [
    pytest.param(
        (kind, inputs),
        id=f"{kind}-{inputs}",
        marks=[] if inputs in QUICK[kind] else [pytest.mark.slow],
    )
    for inputs in INPUTS
    for kind in KINDS
    if kind not in OF_IMAGES or inputs in IMAGES
]


def records(kind, size=BATCH):
    """Inputs of one kind with a leading axis, and the size of their vocabulary."""
    rng = np.random.default_rng(7)
    features = rng.normal(size=(size, STEPS, FEATURES)).astype(np.float32)
    tokens = rng.integers(0, WORDS, (size, STEPS)).astype(np.int32)
    length = rng.integers(1, STEPS + 1, size).astype(np.int32)
    return {
        "vector": (features.reshape(size, -1), 0),
        "image": (features, 0),
        "tokens": (tokens, WORDS),
        "ragged_features": (Ragged(features, length), 0),
        "ragged_tokens": (Ragged(tokens, length), WORDS),
    }[kind]


def dataset_of(kind, size=BATCH):
    x, vocabulary_size = records(kind, size)
    part = Records(x, np.arange(size, dtype=np.int32) % CLASSES)
    return Dataset(part, part, part, CLASSES, vocabulary_size, {})


def own_model():
    """A user's model in plain JAX: the mean of a record's steps, and a linear layer."""

    def init(key, x):
        return [0.1 * jax.random.normal(key, (WORDS, CLASSES)), jnp.zeros(CLASSES)]

    def apply(params, x, *, key=None, train=False):
        values, length = (x.values, x.length) if isinstance(x, Ragged) else (x, x.shape[0])
        if jnp.issubdtype(values.dtype, jnp.integer):
            values = jax.nn.one_hot(values, WORDS)
        values = values.reshape(values.shape[0], -1)
        used = (jnp.arange(values.shape[0]) < length)[:, None]
        mean = jnp.sum(jnp.where(used, values, 0.0), axis=0) / length
        return mean @ params[0][: mean.size] + params[1]

    return Model(init, apply)


def model_of(kind, inputs):
    if kind == "own":
        return own_model()
    steps = STEPS if inputs == "vector" and kind != "mlp" else 0
    family = FamilyConfig(kind=kind, hidden=3, embedding=FEATURES, steps=steps, dropout=0.2)
    return build(family, dataset_of(inputs))


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A model, a batch, its parameters and its logits, mapped over the batch and compiled."""
    kind, inputs = request.param
    model, (x, _) = model_of(kind, inputs), records(inputs)
    first = jax.tree.map(lambda leaf: leaf[0], x)
    init = jax.jit(model.init)
    params = init(jax.random.key(0), first)
    mapped = jax.jit(jax.vmap(model.apply, in_axes=(None, 0)))
    return SimpleNamespace(
        model=model, x=x, first=first, init=init, params=params, mapped=mapped, logits=mapped(params, x)
    )


def test_parameters_are_a_pure_function_of_the_key(case):
    again, other = (case.init(jax.random.key(seed), case.first) for seed in (0, 1))
    leaves = [jax.tree.leaves(params) for params in (case.params, again, other)]
    assert all((a == b).all() for a, b in zip(leaves[0], leaves[1], strict=True))
    assert any((a != b).any() for a, b in zip(leaves[0], leaves[2], strict=True))
    elsewhere = case.init(jax.random.key(0), jax.tree.map(np.ones_like, case.first))
    assert all((a == b).all() for a, b in zip(leaves[0], jax.tree.leaves(elsewhere), strict=True))


def test_parameters_are_a_plain_pytree_of_float32_arrays(case):
    def assert_plain(node):
        if isinstance(node, dict | list | tuple):
            for child in node.values() if isinstance(node, dict) else node:
                assert_plain(child)
        else:
            assert isinstance(node, jax.Array)
            assert node.dtype == jnp.float32
            assert np.isfinite(node).all()

    assert_plain(case.params)
    number = sum(leaf.size for leaf in jax.tree.leaves(case.params))
    assert count_parameters(case.model, case.first) == number


def test_a_mapped_batch_is_the_loop_over_its_records(case):
    assert case.logits.shape == (BATCH, CLASSES)
    assert case.logits.dtype == jnp.float32
    assert np.isfinite(case.logits).all()
    apply = jax.jit(case.model.apply)
    for n in range(BATCH):
        one = apply(case.params, jax.tree.map(operator.itemgetter(n), case.x))
        np.testing.assert_allclose(case.logits[n], one, rtol=1e-5, atol=1e-6)


def test_records_do_not_influence_one_another(case):
    rows = np.asarray([0, 3, 3, 3])
    logits = case.mapped(case.params, jax.tree.map(lambda leaf: leaf[rows], case.x))
    np.testing.assert_array_equal(logits[:1], case.logits[:1])
    assert (case.logits[1:3] != logits[1:3]).any()


@pytest.mark.slow
def test_gradients_reach_every_parameter_and_are_finite(case):
    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.sum(jax.vmap(case.model.apply, in_axes=(None, 0))(params, case.x)[:, 0])

    for leaf in jax.tree.leaves(gradient(case.params)):
        assert np.isfinite(leaf).all()
        assert (leaf != 0.0).any()


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("own", "ragged_tokens"),
        ("cnn", "image"),
        pytest.param("renet", "image", marks=pytest.mark.slow),
        *(
            pytest.param(kind, inputs, marks=pytest.mark.slow)
            for kind, inputs in zip(KINDS[:4], INPUTS[1:], strict=True)
        ),
    ],
)
def test_a_model_trains_as_a_shadow_model(kind, inputs):
    dataset = dataset_of(inputs, size=12)
    member = np.tile(np.arange(12) < 6, (2, 1))
    member[1] = ~member[1]
    membership = Membership(member, *padded_indices(member, 6), np.full(2, -1))
    training = TrainingConfig(epochs=30, batch_size=3, learning_rate=0.1)
    before, after = train_shadow_models(
        model_of(kind, inputs), dataset, membership, training, (0, 30), keys.roots(0), sizes=Plan(2, 1)
    )
    loss = [-segment.observed.pool.log_prob for segment in (before, after)]
    assert (loss[1].mean(where=member, axis=1) < loss[0].mean(where=member, axis=1)).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
