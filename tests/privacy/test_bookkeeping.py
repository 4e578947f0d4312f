"""One backward pass against one gradient per record, for every kind of model and record."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.losses import cross_entropy
from mia_jax.models import Model, cnn, mlp, recurrent, renet
from mia_jax.models.taps import Recorder
from mia_jax.privacy import bookkeeping
from mia_jax.privacy.clipping import clipped_gradient_sum
from mia_jax.types import Ragged

BATCH, STEPS, FEATURES, WORDS, CLASSES = 6, 5, 3, 7, 3
KINDS = ("mlp", "rnn", "lstm", "gru", "cnn", "renet")
INPUTS = ("vector", "image", "tokens", "ragged_features", "ragged_tokens")
OF_IMAGES = {"cnn": cnn, "renet": renet}
QUICK = {"mlp": "vector", "rnn": "tokens", "lstm": "image", "gru": "ragged_tokens", "cnn": "image"}
CASES = [
    pytest.param(
        kind, inputs, layers, marks=[] if inputs == QUICK.get(kind) and layers == 1 else [pytest.mark.slow]
    )
    for kind in KINDS
    for inputs in INPUTS
    for layers in (1, 2)
    if kind not in OF_IMAGES or inputs == "image"
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
    if kind in OF_IMAGES:
        return OF_IMAGES[kind](**options)
    options["vocabulary_size"] = WORDS if "tokens" in inputs else 0
    if kind == "mlp":
        return mlp(**options)
    return recurrent(kind, **options, steps=STEPS if inputs == "vector" else 0)


def record(x, n):
    return jax.tree.map(lambda leaf: leaf[n], x)


def gradients_of(model, params, x, y, keys=None):
    """One record's gradient at a time, as NumPy leaves in float64."""

    @jax.jit
    def gradient(x, y, key):
        return jax.grad(
            lambda params: cross_entropy(model.apply(params, x, key=key, train=key is not None), y)
        )(params)

    alone = [gradient(record(x, n), y[n], None if keys is None else keys[n]) for n in range(len(y))]
    return [[np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(one)] for one in alone]


def clipped_loop(gradients, clip_norm):
    """The sum of the gradients, each clipped, and their norms."""
    norms, total = [], None
    for leaves in gradients:
        norms.append(np.sqrt(sum((leaf**2).sum() for leaf in leaves)))
        parts = [leaf * min(1.0, clip_norm / norms[-1]) for leaf in leaves]
        total = parts if total is None else [a + b for a, b in zip(total, parts, strict=True)]
    return total, np.asarray(norms)


def one_by_one(model, params, x, y, clip_norm, keys=None):
    """Norms and the clipped sum in NumPy, float64, from one record's gradient at a time."""
    return clipped_loop(gradients_of(model, params, x, y, keys), clip_norm)


def assert_close(got, expected):
    for a, b in zip(jax.tree.leaves(got), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize(("kind", "inputs", "layers"), CASES)
def test_both_methods_are_the_loop_over_records(random_params, kind, inputs, layers):
    # A width of 16 takes the way over Gram matrices in recurrent layers and a second convolution, 2 the direct one.
    hidden = 16 if inputs in INPUTS[1::2] else 2
    model, x, y = model_of(kind, inputs, hidden, layers), inputs_of(inputs), np.arange(BATCH) % CLASSES
    params = random_params(model, record(x, 0))
    gradients = gradients_of(model, params, x, y)
    clip_norm = float(np.median(clipped_loop(gradients, 1.0)[1]))
    expected, norms = clipped_loop(gradients, clip_norm)
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


@pytest.mark.parametrize(("hidden", "layers"), [pytest.param(2, 3, marks=pytest.mark.slow), (16, 2)])
@pytest.mark.slow
def test_a_cnn_is_clipped_below_at_and_above_its_norms(random_params, hidden, layers):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(BATCH, 9, 8, 2)).astype(np.float32), np.arange(BATCH) % CLASSES
    model = model_of("cnn", "image", hidden, layers)
    params = random_params(model, x[0])
    mask = np.ones(BATCH, bool)
    clipped = jax.jit(
        lambda clip_norm: clipped_gradient_sum(
            model, params, x, y, mask, clip_norm, method="bookkeeping", microbatch=3
        )
    )
    gradients = gradients_of(model, params, x, y)
    _, norms = clipped_loop(gradients, 1.0)
    for clip_norm in (2.0 * norms.max(), norms[2], 0.1 * norms.min()):
        got, (expected, _) = clipped(clip_norm), clipped_loop(gradients, clip_norm)
        np.testing.assert_allclose(got[1], norms, rtol=1e-5)
        assert_close(got[0], expected)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 4)])
def test_a_scale_gives_the_sums_over_the_steps_it_serves(shape):
    rng = np.random.default_rng(5)
    a, g = (rng.normal(size=(3, *shape)).astype(np.float32) for _ in range(2))

    def taps(params, x, shifts, *, key=None, train=False):
        recorder = Recorder(shifts)
        wide = (1,) * (x.ndim - 1) + (-1,)
        z = x * params["s"].reshape(wide) + params["b"].reshape(wide)
        return recorder.scale("z", z, x, ("s",), ("b",)), recorder.taps

    model = Model(lambda key, x: None, lambda params, x: None, taps=taps)
    params = {"s": jnp.ones(4), "b": jnp.zeros(4)}
    written = bookkeeping.book(model, params, a, g, None, lambda z, g: jnp.sum(z * g))
    of_scale, of_bias = (values.reshape(3, -1, 4).sum(1, dtype=np.float64) for values in (a * g, g))
    squares = (of_scale**2).sum(1) + (of_bias**2).sum(1)
    np.testing.assert_allclose(bookkeeping.squared_norms(params, written), squares, rtol=1e-5)
    weights, used = np.asarray([0.5, 2.0, 1.0], np.float32), np.asarray([True, True, False])
    total = bookkeeping.weighted_sum(params, written, weights, used)
    expected = {"b": weights[:2] @ of_bias[:2], "s": weights[:2] @ of_scale[:2]}
    assert_close(total, jax.tree.leaves(expected))


def test_a_record_that_is_not_used_brings_no_nan_into_a_cnn(random_params):
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(BATCH, 6, 6)).astype(np.float32), np.arange(BATCH) % CLASSES
    model = model_of("cnn", "image")
    params, mask = random_params(model, x[0]), np.arange(BATCH) > 0
    total = jax.jit(lambda x: clipped_gradient_sum(model, params, x, y, mask, 1.0, method="bookkeeping")[0])
    broken = np.where(mask[:, None, None], x, np.float32(np.nan))
    assert_close(total(broken), jax.tree.leaves(total(x)))


@pytest.mark.parametrize("kind", ["mlp", "gru", "cnn", "renet"])
@pytest.mark.slow
def test_dropout_draws_are_those_of_apply(random_params, kind):
    model, x, y = model_of(kind, "image", layers=2, dropout=0.4), inputs_of("image"), np.arange(BATCH) % 3
    params, keys = random_params(model, x[0]), jax.random.split(jax.random.key(2), BATCH)
    expected, norms = one_by_one(model, params, x, y, 2.0, keys)
    mask = np.ones(BATCH, bool)
    got = jax.jit(lambda keys: clipped_gradient_sum(model, params, x, y, mask, 2.0, keys=keys))(keys)
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


@pytest.mark.slow
def test_negative_tokens_and_repeated_ones(random_params):
    tokens = np.asarray([[-1, WORDS - 1, 2, 2, -1]] * BATCH, np.int32)
    model, y = model_of("lstm", "tokens"), np.arange(BATCH) % CLASSES
    params = random_params(model, tokens[0])
    expected, norms = one_by_one(model, params, tokens, y, 1.0)
    got = clipped_gradient_sum(model, params, tokens, y, np.ones(BATCH, bool), 1.0)
    np.testing.assert_allclose(got[1], norms, rtol=1e-5)
    assert_close(got[0], expected)


@pytest.mark.slow
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
@pytest.mark.slow
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
