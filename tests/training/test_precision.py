"""Products are as exact as their name says, on this CPU by their rounding; what privacy rests on is float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.config import TrainingConfig
from mia_jax.defences import batches_of, dp_sgd
from mia_jax.models import Model, cnn, mlp, recurrent, renet
from mia_jax.privacy import clipped_gradient_sum
from mia_jax.training import hyper_of
from mia_jax.training.precision import ALGORITHMS, MANTISSA_BITS, in_precision

NAMES = ("default", "high", "highest", "bfloat16", "tensorfloat32")
LOW = ("bfloat16", "tensorfloat32")


def rounded(values, name):
    """float32 values to the nearest with so many bits of mantissa, ties to even, in float64."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    dropped = 23 - MANTISSA_BITS[name]
    half = np.uint64(1 << (dropped - 1))
    odd = (bits >> np.uint64(dropped)) & np.uint64(1)
    kept = (bits + half - np.uint64(1) + odd) >> np.uint64(dropped) << np.uint64(dropped)
    return kept.astype(np.uint32).view(np.float32).astype(np.float64)


@pytest.fixture(scope="module")
def factors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 40)).astype(np.float32), rng.normal(size=(40, 5)).astype(np.float32)


def test_the_oracle_rounds_as_bfloat16_does(factors):
    expected = jnp.asarray(factors[0]).astype(jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_array_equal(rounded(factors[0], "bfloat16"), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_product_is_of_factors_rounded_as_its_name_says(factors, name):
    a, b = factors
    exact = a.astype(np.float64) @ b
    of_rounded = rounded(a, name) @ rounded(b, name) if name in LOW else exact
    said = jax.jit(in_precision(jnp.matmul, name, "cpu"))(a, b)
    assert said.dtype == jnp.float32
    np.testing.assert_allclose(said, of_rounded, rtol=0, atol=2e-5)
    if name in LOW:
        assert np.abs(said - exact).max() > 1e-3


def places(weights, x):
    """A product in a loop, under a condition, in a jitted and in a checkpointed function."""

    def turn(carry, row):
        return jnp.tanh(carry @ weights + row), None

    looped, _ = jax.lax.scan(turn, jnp.zeros(x.shape[1]), x)
    chosen = jax.lax.cond(looped[0] > 5, lambda v: v, lambda v: v @ weights, looped)
    return jax.checkpoint(lambda v: v @ weights)(jax.jit(lambda v: v @ weights)(chosen))


@pytest.mark.parametrize("name", LOW)
def test_products_are_rounded_wherever_they_stand(name):
    rng = np.random.default_rng(1)
    weights, x = (0.4 * rng.normal(size=shape).astype(np.float32) for shape in ((6, 6), (3, 6)))
    of_weights, carry = rounded(weights, name), np.zeros(6)
    for row in x:
        carry = np.tanh(rounded(carry, name) @ of_weights + row)
    for _ in range(3):
        carry = rounded(carry, name) @ of_weights
    said = jax.jit(in_precision(places, name, "cpu"))(weights, x)
    exact = jax.jit(places)(weights, x)
    # A value next to a tie may be rounded the other way by float32.
    error = 2.0 ** -MANTISSA_BITS[name]
    np.testing.assert_allclose(said, carry, rtol=0, atol=error)
    assert 0 < np.abs(said - exact).max() < 50 * error


def test_gradients_are_of_rounded_products_too(factors):
    a, b = factors
    ones = np.ones((7, 5))

    def gradient(a, b):
        return jax.grad(lambda a: jnp.sum(a @ b))(a)

    said = jax.jit(in_precision(gradient, "bfloat16", "cpu"))(a, b)
    np.testing.assert_allclose(said, ones @ rounded(b, "bfloat16").T, rtol=0, atol=1e-5)


def test_a_product_that_asks_for_its_own_precision_keeps_it(factors):
    a, b = factors
    for name in NAMES:
        said = jax.jit(in_precision(lambda a, b: jnp.matmul(a, b, precision="highest"), name, "cpu"))(a, b)
        np.testing.assert_allclose(said, a.astype(np.float64) @ b, rtol=0, atol=2e-5)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("name", NAMES)
def test_an_accelerator_is_asked_for_the_algorithm_itself(factors, name, platform):
    traced = jax.make_jaxpr(in_precision(lambda a, b: a @ b, name, platform))(*factors)
    (product,) = [one for one in traced.eqns if one.primitive.name == "dot_general"]
    precision = jax.lax.Precision
    expected = {
        "default": None,
        "high": (precision.HIGH,) * 2,
        "highest": (precision.HIGHEST,) * 2,
        **ALGORITHMS,
    }
    if platform == "tpu":
        expected["tensorfloat32"] = expected["high"]
    assert product.params["precision"] == expected[name]
    assert len(traced.eqns) == 1


MODELS = {
    "mlp": mlp(num_classes=3, hidden=16),
    "gru": recurrent("gru", num_classes=3, hidden=12, steps=6),
    "cnn": cnn(num_classes=3, hidden=4),
    "renet": renet(num_classes=3, hidden=4),
    "own": Model(
        lambda key, x: {"w": 0.3 * jax.random.normal(key, (x.size, 3))},
        lambda params, x, *, key=None, train=False: x.reshape(-1) @ params["w"],
    ),
}


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(2)
    return rng.normal(size=(4, 6, 6)).astype(np.float32), np.asarray([0, 1, 2, 1], np.int32)


def norm(gradient):
    return np.sqrt(sum(np.sum(np.asarray(leaf, np.float64) ** 2) for leaf in jax.tree.leaves(gradient)))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=() if (kind, name) == ("mlp", "bfloat16") else pytest.mark.slow)
        for kind in sorted(MODELS)
        for name in LOW
    ],
)
def test_a_clipped_gradient_is_within_its_norm_in_every_precision(records, kind, name):
    x, y = records
    model = MODELS[kind]
    params = model.init(jax.random.key(0), x[0])

    def clipped(mask, clip_norm):
        return clipped_gradient_sum(model, params, x, y, mask, clip_norm)

    program = jax.jit(in_precision(clipped, name, "cpu"))
    each = [program(np.arange(4) == record, 0.05) for record in range(4)]
    for record, (gradient, norms) in enumerate(each):
        assert norms[record] > 0.05
        # Norms rounded as products are would be out by 1e-3 or 1e-2.
        np.testing.assert_allclose(norm(gradient), 0.05, rtol=1e-5)
        free, _ = program(np.arange(4) == record, np.inf)
        np.testing.assert_allclose(norms[record], norm(free), rtol=1e-5)
    whole, _ = program(np.ones(4, bool), 0.05)
    summed = jax.tree.map(lambda *leaves: np.sum(leaves, axis=0), *(gradient for gradient, _ in each))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(summed), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    exact, _ = jax.jit(clipped)(np.ones(4, bool), 0.05)
    assert norm(jax.tree.map(jnp.subtract, whole, exact)) > 0


@pytest.mark.slow
def test_a_training_is_of_that_precision_and_comes_close(train, five, adam, whole, tiny_dropout):
    config = dataclasses.replace(adam, matmul_precision="bfloat16")
    trained = train(tiny_dropout, five, config, (1, 2, 4))
    for (seen, state), (_, exact) in zip(trained.checkpoints, whole.checkpoints, strict=True):
        assert state.params["in"].dtype == np.float32
        difference = np.abs(state.params["in"] - exact.params["in"])
        assert 1e-6 < difference.max() < 0.2
        assert np.isfinite(seen.pool.log_prob).all()


@pytest.mark.slow
def test_a_private_step_of_one_record_moves_no_further_than_its_norm(train, membership_of, adam):
    members = membership_of(np.arange(20)[None] == np.arange(4)[:, None])
    batches = batches_of("shuffle", num_examples=1, batch_size=1, steps=1)
    config = TrainingConfig(
        epochs=1, batch_size=1, optimizer="sgd", learning_rate=1.0, matmul_precision="bfloat16"
    )
    hyper = hyper_of(config, 4, {"clip_norm": 0.01, "noise_multiplier": 0.0})
    trained = train(
        mlp(num_classes=3, hidden=8), members, config, (0, 1), defence=dp_sgd(batches), hyper=hyper
    )
    before, after = (state.params for _, state in trained.checkpoints)
    moved = jax.tree.map(lambda a, b: a.astype(np.float64) - b, after, before)
    squares = sum(np.sum(leaf.reshape(4, -1) ** 2, axis=1) for leaf in jax.tree.leaves(moved))
    np.testing.assert_allclose(np.sqrt(squares), 0.01, rtol=2e-4)
