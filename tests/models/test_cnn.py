"""Convolutional networks against convolutions, norms and pools written as loops, in NumPy and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.models import cnn, count_parameters

CLASSES = 3
SHAPES = ((8, 8), (8, 8, 3), (7, 5, 2), (9, 3), (1, 6, 1))


def convolved(x, kernel):
    """A 3x3 convolution with zeros beyond the edge, one output at a time: [H, W, Ch] -> [H, W, out]."""
    height, width, channels = x.shape
    kernel = kernel.reshape(3, 3, channels, -1)
    out = np.zeros((height, width, kernel.shape[-1]))
    for i, j in np.ndindex(height, width):
        for a, b in np.ndindex(3, 3):
            row, column = i + a - 1, j + b - 1
            if 0 <= row < height and 0 <= column < width:
                out[i, j] += x[row, column] @ kernel[a, b]
    return out


def group_normed(x, scale, bias):
    """Group norm with groups of at most 8 neighbouring channels."""
    out = np.empty_like(x)
    for group in np.split(np.arange(x.shape[-1]), cuts(x.shape[-1])):
        values = x[..., group]
        out[..., group] = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
    return out * scale + bias


def cuts(channels):
    """Where one group ends and the next begins, for the widths tested here."""
    return {3: [], 4: [], 6: [], 8: [], 9: [5], 12: [6], 18: [6, 12], 24: [8, 16]}[channels]


def pooled(x):
    """The largest of every 2x2 pixels; an odd edge left out, a side of 3 or less kept."""
    tall, wide = (2 if side >= 4 else 1 for side in x.shape[:2])
    out = np.empty((x.shape[0] // tall, x.shape[1] // wide, x.shape[2]))
    for i, j in np.ndindex(out.shape[:2]):
        out[i, j] = x[i * tall : (i + 1) * tall, j * wide : (j + 1) * wide].max((0, 1))
    return out


def by_hand(params, x, layers):
    """Every hidden layer of a record, flat, and its logits [C]."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    out = np.asarray(x, np.float64).reshape(*x.shape[:2], -1)
    pools = {1: (0,), 2: (0, 1), 3: (1, 2), 4: (1, 3)}[layers]
    outputs = []
    for layer in range(layers):
        norm = params[f"norm_{layer}"]
        out = group_normed(convolved(out, params[f"conv_{layer}"]["kernel"]), norm["scale"], norm["bias"])
        out = np.maximum(out, 0.0)
        out = pooled(out) if layer in pools else out
        outputs.append(out.reshape(-1))
    return outputs, params["head"]["kernel"].T @ outputs[-1] + params["head"]["bias"]


@pytest.fixture
def record():
    return lambda shape: np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "hidden", "layers"),
    [
        *((shape, 3, 2) for shape in SHAPES),
        *(((7, 5, 2), hidden, layers) for hidden, layers in ((9, 2), (12, 3), (4, 1), (3, 4))),
    ],
)
def test_logits_and_every_layer_are_those_of_the_loops(random_params, record, shape, hidden, layers):
    model, x = cnn(num_classes=CLASSES, hidden=hidden, layers=layers, dropout=0.5), record(shape)
    params = random_params(model, x)
    outputs, logits = by_hand(params, x, layers)
    functions = (model.apply, model.layers, model.embed)
    ours, said, embedding = jax.jit(lambda params: tuple(f(params, x) for f in functions))(params)
    np.testing.assert_allclose(ours, logits, rtol=1e-4, atol=1e-4)
    assert len(said) == layers
    for one, other in zip((*said, embedding), (*outputs, outputs[-1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(6, 6), (5, 7, 2)])
def test_the_gradient_is_the_slope_of_the_loops(random_params, record, shape):
    model, x = cnn(num_classes=CLASSES, hidden=4), record(shape)
    params = random_params(model, x)
    gradient = jax.jit(jax.jacrev(lambda params: model.apply(params, x)))(params)
    rng, step = np.random.default_rng(2), 1e-6
    for layer in ("conv_0", "norm_0", "conv_1", "norm_1", "head"):
        along = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params[layer])

        def moved(by, layer=layer, along=along):
            there = jax.tree.map(lambda leaf, v: leaf.astype(np.float64) + by * v, params[layer], along)
            return by_hand({**params, layer: there}, x, 2)[1]

        expected = (moved(step) - moved(-step)) / (2 * step)
        slope = sum(np.tensordot(gradient[layer][name], along[name], along[name].ndim) for name in along)
        np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("shape", "layers", "sides"),
    [
        ((16, 16, 3), 2, [(8, 8), (4, 4)]),
        ((16, 16, 3), 4, [(16, 16), (8, 8), (8, 8), (4, 4)]),
        ((16, 16), 3, [(16, 16), (8, 8), (4, 4)]),
        ((28, 28), 1, [(14, 14)]),
        ((9, 5), 2, [(4, 2), (2, 2)]),
        ((3, 2), 2, [(3, 2), (3, 2)]),
    ],
)
def test_each_half_is_pooled_at_its_end_and_the_second_is_twice_as_wide(shape, layers, sides):
    model = cnn(num_classes=CLASSES, hidden=5, layers=layers)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), x)
    said = jax.eval_shape(model.layers, params, x)
    channels = [5 if layer < (layers + 1) // 2 else 10 for layer in range(layers)]
    assert [leaf.shape for leaf in said] == [(h * w * c,) for (h, w), c in zip(sides, channels, strict=True)]
    assert params["head"]["kernel"].shape == (*said[-1].shape, CLASSES)


def test_number_of_parameters_is_the_textbook_one():
    convolutions = 9 * 3 * 16 + 9 * 16 * 32
    norms, head = 2 * 16 + 2 * 32, 4 * 4 * 32 * 10 + 10
    x = np.zeros((16, 16, 3), np.float32)
    assert count_parameters(cnn(num_classes=10, hidden=16), x) == convolutions + norms + head


@pytest.mark.parametrize("shape", [(6, 6), (1, 1)])
def test_a_constant_image_and_one_pixel_are_finite(random_params, shape):
    model, x = cnn(num_classes=CLASSES, hidden=1), np.full(shape, 3.0, np.float32)
    params = random_params(model, x)
    values = jax.jit(jax.value_and_grad(lambda params: model.apply(params, x)[0]))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(values))


def test_contrast_is_normalised_away_and_sign_is_not(random_params, record):
    model, x = cnn(num_classes=CLASSES, hidden=4), record((8, 8))
    params = random_params(model, x)
    plain, louder, other = jax.jit(jax.vmap(model.apply, in_axes=(None, 0)))(
        params, np.stack([x, 50 * x, -x])
    )
    np.testing.assert_allclose(louder, plain, rtol=1e-2, atol=1e-2)
    assert np.abs(other - plain).max() > 0.1


@pytest.mark.slow
def test_dropout_stands_before_the_read_out_and_only_in_training(random_params, record):
    model, x = cnn(num_classes=CLASSES, hidden=4, dropout=0.5), record((6, 6))
    params = random_params(model, x)
    plain, flat = jax.jit(model.apply)(params, x), jax.jit(model.embed)(params, x)
    keyed = jax.jit(lambda key: model.apply(params, x, key=key))(jax.random.key(1))
    np.testing.assert_allclose(keyed, plain, rtol=1e-5)
    keys = jax.random.split(jax.random.key(0), 2000)
    logits = np.asarray(
        jax.jit(jax.vmap(lambda key: model.apply(params, x, key=key, train=True)))(keys), np.float64
    )
    error = logits.std(0) / np.sqrt(len(logits))
    assert (np.abs(logits.mean(0) - plain) < 5 * error).all()
    # Each unit of the last map is kept with probability 1/2 and doubled: the variance is the sum of (a w)^2.
    spread = ((np.asarray(flat)[:, None] * params["head"]["kernel"]) ** 2).sum(0)
    np.testing.assert_allclose(logits.var(0), spread, rtol=0.2)
    with pytest.raises(Exception, match="dropout"):
        model.apply(params, x, train=True)


@pytest.mark.slow
def test_it_learns_which_quarter_of_an_image_is_bright():
    rng = np.random.default_rng(0)
    y = np.arange(64) % 4
    x = rng.normal(size=(64, 8, 8)).astype(np.float32)
    for n, (row, column) in enumerate(zip(y // 2, y % 2, strict=True)):
        x[n, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 2.0
    model = cnn(num_classes=4, hidden=4)

    def loss(params):
        logits = jax.vmap(model.apply, in_axes=(None, 0))(params, x[:32])
        return -jnp.mean(jax.nn.log_softmax(logits)[np.arange(32), y[:32]])

    def step(params, _):
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params)), None

    params = jax.jit(model.init)(jax.random.key(0), x[0])
    params = jax.jit(lambda params: jax.lax.scan(step, params, None, length=100)[0])(params)
    logits = jax.jit(jax.vmap(model.apply, in_axes=(None, 0)))(params, x[32:])
    assert (np.argmax(logits, -1) == y[32:]).mean() > 0.8
