"""One backward pass against one gradient per record, for every kind of model and record."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.losses import cross_entropy
from mia_jax.models import Model, mlp, recurrent
from mia_jax.models.taps import Recorder
from mia_jax.privacy import bookkeeping
from mia_jax.privacy.clipping import clipped_gradient_sum
from mia_jax.types import Ragged

BATCH, STEPS, FEATURES, WORDS, CLASSES = 6, 5, 3, 7, 3
KINDS = ("mlp", "rnn", "lstm", "gru")
INPUTS = ("vector", "image", "tokens", "ragged_features", "ragged_tokens")
QUICK = {"mlp": "vector", "rnn": "tokens", "lstm": "image", "gru": "ragged_tokens"}
CASES = [
    pytest.param(
        kind, inputs, layers, marks=[] if inputs == QUICK[kind] and layers == 1 else [pytest.mark.slow]
    )
    for kind in KINDS
    for inputs in INPUTS
    for layers in (1, 2)
]


def inputs_of(kind):
    rng = np.random.default_rng(3)
    features = rng.normal(size=(BATCH, STEPS, FEATURES)).astype(np.float32)
    tokens = rng.integers(0, WORDS, (BATCH, STEPS)).astype(np.int32)
    length = np.asarray([1, 5, 3, 2, 4, 5], np.int32)
    return {
        "vector": features.reshape(BATCH, -1),
        "image": features,
        "tokens": tokens,
        "ragged_features": Ragged(features, length),
        "ragged_tokens": Ragged(tokens, length),
    }[kind]


def model_of(kind, inputs, hidden=4, layers=1, dropout=0.0):
    options = {"num_classes": CLASSES, "hidden": hidden, "layers": layers, "dropout": dropout}
    options["vocabulary_size"] = WORDS if "tokens" in inputs else 0
    if kind == "mlp":
        return mlp(**options)
    return recurrent(kind, **options, steps=STEPS if inputs == "vector" else 0)


def record(x, n):
    return jax.tree.map(lambda leaf: leaf[n], x)


def one_by_one(model, params, x, y, clip_norm, keys=None):
    """Norms and the clipped sum in NumPy, float64, from one record's gradient at a time."""

    @jax.jit
    def gradient(x, y, key):
        return jax.grad(
            lambda params: cross_entropy(model.apply(params, x, key=key, train=key is not None), y)
        )(params)

    norms, total = [], None
    for n in range(len(y)):
        leaves = jax.tree.leaves(gradient(record(x, n), y[n], None if keys is None else keys[n]))
        leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
        norms.append(np.sqrt(sum((leaf**2).sum() for leaf in leaves)))
        parts = [leaf * min(1.0, clip_norm / norms[-1]) for leaf in leaves]
        total = parts if total is None else [a + b for a, b in zip(total, parts, strict=True)]
    return total, np.asarray(norms)


def assert_close(got, expected):
    for a, b in zip(jax.tree.leaves(got), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize(("kind", "inputs", "layers"), CASES)
def test_both_methods_are_the_loop_over_records(random_params, kind, inputs, layers):
    # A width of 16 takes the way over Gram matrices in the recurrent layers, 2 the direct one.
    hidden = 16 if inputs in INPUTS[1::2] else 2
    model, x, y = model_of(kind, inputs, hidden, layers), inputs_of(inputs), np.arange(BATCH) % CLASSES
    params = random_params(model, record(x, 0))
    clip_norm = float(np.median(one_by_one(model, params, x, y, 1.0)[1]))
    expected, norms = one_by_one(model, params, x, y, clip_norm)
    assert (norms < clip_norm).any()
    assert (norms > clip_norm).any()
    for method in ("vmap", "bookkeeping"):
        got = jax.jit(
            lambda params, method=method: clipped_gradient_sum(
                model, params, x, y, np.ones(BATCH, bool), clip_norm, method=method
            )
        )(params)
        np.testing.assert_allclose(got[1], norms, rtol=1e-5)
        assert_close(got[0], expected)


@pytest.mark.parametrize("kind", ["mlp", "gru"])
def test_dropout_draws_are_those_of_apply(random_params, kind):
    model, x, y = model_of(kind, "image", layers=2, dropout=0.4), inputs_of("image"), np.arange(BATCH) % 3
    params, keys = random_params(model, x[0]), jax.random.split(jax.random.key(2), BATCH)
    expected, norms = one_by_one(model, params, x, y, 2.0, keys)
    got = clipped_gradient_sum(model, params, x, y, np.ones(BATCH, bool), 2.0, keys=keys)
    np.testing.assert_allclose(got[1], norms, rtol=1e-5)
    assert_close(got[0], expected)


@pytest.mark.parametrize("shape", [(40, 4, 3), (5, 16, 30), (5, 30, 16)])
def test_norms_of_a_kernel_both_ways(shape):
    steps, height, width = shape
    rng = np.random.default_rng(0)
    a, g = rng.normal(size=(3, steps, height)), rng.normal(size=(3, steps, width))
    model = Model(
        lambda key, x: None,
        lambda params, x: None,
        taps=lambda params, x, shifts, key=None, train=False: _linear(params, x, shifts),
    )
    params = {"W": jnp.zeros((height, width)), "b": jnp.zeros(width)}
    written = bookkeeping.book(
        model, params, a.astype(np.float32), g.astype(np.float32), None, lambda z, g: jnp.sum(z * g)
    )
    direct = (np.einsum("bli,blo->bio", a, g) ** 2).sum((1, 2)) + (g.sum(1) ** 2).sum(1)
    np.testing.assert_allclose(bookkeeping.squared_norms(params, written), direct, rtol=1e-5)


def _linear(params, x, shifts):
    recorder = Recorder(shifts)
    z = recorder.dense("z", x @ params["W"] + params["b"][None], {("W",): x}, bias=("b",))
    return z, recorder.taps


def test_steps_that_cancel_never_give_too_small_a_norm():
    rng = np.random.default_rng(1)
    a, g = rng.normal(size=(8, 2, 30)), rng.normal(size=(8, 2, 30))
    a[:, 1], g[:, 1] = a[:, 0], -g[:, 0] * (1 + 10.0 ** -np.arange(8))[:, None]
    params = {"W": jnp.zeros((30, 30)), "b": jnp.zeros(30)}
    model = Model(
        lambda key, x: None,
        lambda params, x: None,
        taps=lambda params, x, shifts, key=None, train=False: _linear(params, x, shifts),
    )
    written = bookkeeping.book(
        model, params, a.astype(np.float32), g.astype(np.float32), None, lambda z, g: jnp.sum(z * g)
    )
    true = np.sqrt((np.einsum("bli,blo->bio", a, g) ** 2).sum((1, 2)) + (g.sum(1) ** 2).sum(1))
    got = np.sqrt(bookkeeping.squared_norms(params, written))
    assert (got >= 0.99 * true).all()
    np.testing.assert_allclose(got[:2], true[:2], rtol=1e-4)


def _taps_of(*names, twice=False):
    def taps(params, x, shifts, *, key=None, train=False):
        recorder = Recorder(shifts)
        for name in names:
            x = recorder.dense(name, x @ params[name], {(name,): x})
        if twice:
            x = recorder.dense("again", x @ params[names[0]], {(names[0],): x})
        return x, recorder.taps

    return Model(lambda key, x: None, lambda params, x: x, taps=taps)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_taps_of("a"), "parameter b is in no tap"),
        (_taps_of("a", "b", twice=True), "parameter a is in more than one tap"),
        (_taps_of("a", "b", "a"), "'a' is noted twice"),
        (Model(lambda key, x: None, lambda params, x: x), "model.taps is None"),
    ],
)
def test_taps_that_do_not_give_every_gradient_once_are_refused(model, message):
    params = {"a": jnp.ones((3, 3)), "b": jnp.ones((3, 3))}
    with pytest.raises(ValueError, match=message):
        clipped_gradient_sum(
            model, params, np.ones((2, 3)), np.zeros(2, int), np.ones(2, bool), 1.0, method="bookkeeping"
        )


def test_negative_tokens_and_repeated_ones(random_params):
    tokens = np.asarray([[-1, WORDS - 1, 2, 2, -1]] * BATCH, np.int32)
    model, y = model_of("lstm", "tokens"), np.arange(BATCH) % CLASSES
    params = random_params(model, tokens[0])
    expected, norms = one_by_one(model, params, tokens, y, 1.0)
    got = clipped_gradient_sum(model, params, tokens, y, np.ones(BATCH, bool), 1.0)
    np.testing.assert_allclose(got[1], norms, rtol=1e-5)
    assert_close(got[0], expected)


def test_many_models_are_the_loop_over_them(random_params):
    model, x, y = model_of("gru", "image"), inputs_of("image"), np.arange(BATCH) % CLASSES
    one = random_params(model, x[0])
    params = jax.tree.map(lambda leaf: np.stack([leaf, 0.5 * leaf]), one)
    clips = np.asarray([0.5, 2.0], np.float32)

    def total(params, clip_norm):
        return clipped_gradient_sum(model, params, x, y, np.ones(BATCH, bool), clip_norm, microbatch=4)

    mapped = jax.jit(jax.vmap(total))(params, clips)
    for k in range(2):
        single = jax.jit(total)(record(params, k), clips[k])
        assert_close(jax.tree.map(lambda leaf, k=k: leaf[k], mapped), jax.tree.leaves(single))


def products(jaxpr):
    """Every matrix product of a program, inner ones included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for value in equation.params.values():
            if hasattr(value, "jaxpr"):
                yield from products(value.jaxpr)


@pytest.mark.parametrize(("steps", "size"), [(2, 40), (30, 4)])
def test_norms_and_sums_are_in_full_float32_on_every_device(steps, size):
    # A GPU would else round to TF32, and a norm that comes out too small bounds nothing.
    model = recurrent("lstm", num_classes=CLASSES, hidden=size)
    x, y = jnp.ones((BATCH, steps, FEATURES)), jnp.zeros(BATCH, int)
    params = model.init(jax.random.key(0), x[0])
    book = bookkeeping.book(model, params, x, y, None, cross_entropy)
    weights, used = jnp.ones(BATCH), jnp.ones(BATCH, bool)
    for program in (
        jax.make_jaxpr(bookkeeping.squared_norms)(params, book),
        jax.make_jaxpr(bookkeeping.weighted_sum)(params, book, weights, used),
    ):
        found = list(products(program.jaxpr))
        assert found
        assert set(found) == {(jax.lax.Precision.HIGHEST,) * 2}
