"""Clipped sums at their edges: masks, what is not finite, blocks, bad arguments, and an outside oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.losses import cross_entropy
from mia_jax.models import mlp, recurrent
from mia_jax.privacy.clipping import clipped_gradient_sum
from mia_jax.types import Ragged

BATCH = 7
METHODS = ("vmap", "bookkeeping")
X = np.random.default_rng(0).normal(size=(BATCH, 5, 3)).astype(np.float32)
Y = np.arange(BATCH, dtype=np.int32) % 3
ALL = np.ones(BATCH, bool)
MODELS = {
    "mlp": mlp(num_classes=3, hidden=4),
    "lstm": recurrent("lstm", num_classes=3, hidden=12),
}


@pytest.fixture(params=sorted(MODELS))
def case(request, random_params):
    model = MODELS[request.param]
    return model, random_params(model, X[0])


def total(case, x=X, y=Y, mask=ALL, clip_norm=1.0, **options):
    model, params = case
    return jax.jit(lambda x, y, mask: clipped_gradient_sum(model, params, x, y, mask, clip_norm, **options))(
        x, y, mask
    )


def assert_same(got, expected, rtol=1e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("method", METHODS)
def test_an_infinite_clip_norm_is_the_plain_gradient(case, method):
    model, params = case
    plain = jax.grad(
        lambda params: jnp.sum(jax.vmap(lambda x, y: cross_entropy(model.apply(params, x), y))(X, Y))
    )(params)
    assert_same(total(case, clip_norm=np.inf, method=method)[0], plain)


@pytest.mark.parametrize("method", METHODS)
def test_each_record_moves_the_sum_by_its_clipped_norm(case, method):
    _, norms = total(case, method=method)
    for n, clip_norm in ((0, 0.3 * norms[0]), (1, norms[1]), (2, 3.0 * norms[2])):
        (alone, _) = total(case, mask=np.arange(BATCH) == n, clip_norm=float(clip_norm), method=method)
        size = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(alone)))
        np.testing.assert_allclose(size, min(clip_norm, norms[n]), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_masked_or_not_finite_adds_nothing(case, method, bad):
    x, mask = X.copy(), np.arange(BATCH) != 2
    x[2], x[4] = bad, np.nan
    kept = mask & (np.arange(BATCH) != 4)
    got, norms = total(case, x=x, mask=mask, method=method)
    expected, of_kept = total(case, mask=kept, method=method)
    assert_same(got, expected)
    assert norms[2] == 0.0
    assert np.isnan(norms[4])
    np.testing.assert_allclose(norms[kept], of_kept[kept], rtol=1e-6)
    nothing, _ = total(case, x=x, mask=np.zeros(BATCH, bool), method=method)
    assert all((leaf == 0.0).all() for leaf in jax.tree.leaves(nothing))


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_of_zero_is_no_trouble(case, method):
    got, norms = total(case, method=method, loss=lambda logits, y: 0.0 * jnp.sum(logits))
    assert (norms == 0.0).all()
    assert all((leaf == 0.0).all() for leaf in jax.tree.leaves(got))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 7, 20))])
def test_blocks_are_the_whole(case, method, size):
    mask = np.asarray([1, 1, 0, 1, 1, 0, 0], bool)
    keys = jax.random.split(jax.random.key(0), BATCH)
    whole = total(case, mask=mask, method=method, keys=keys)
    assert_same(total(case, mask=mask, method=method, keys=keys, microbatch=size), whole)
    assert_same(total(case, method=method, microbatch=size), total(case, method=method))


def test_blocks_behind_the_last_record_are_not_run(random_params):
    calls = []

    def loss(logits, y):
        jax.debug.callback(lambda _: calls.append(0), y)
        return cross_entropy(logits, y)

    case = MODELS["mlp"], random_params(MODELS["mlp"], X[0])
    jax.block_until_ready(total(case, mask=np.arange(BATCH) < 3, microbatch=2, loss=loss, method="vmap"))
    jax.effects_barrier()
    assert len(calls) == 4


def test_masked_ragged_records_of_no_length(random_params):
    model = MODELS["lstm"]
    x = Ragged(X.copy(), np.asarray([5, 1, 0, 3, 2, 4, 5], np.int32))
    x.values[2] = np.nan
    params = random_params(model, jax.tree.map(lambda leaf: leaf[0], x))
    mask = np.arange(BATCH) != 2
    sums = [total((model, params), x=x, mask=mask, method=method) for method in METHODS]
    assert_same(*sums)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(sums))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"clip_norm": float("nan")}, "clip_norm is nan"),
        ({"clip_norm": -1}, "clip_norm is -1"),
        ({"method": "ghost"}, "method is 'ghost'"),
        ({"microbatch": -1}, "microbatch is -1"),
    ],
)
def test_bad_arguments_are_named(random_params, options, message):
    with pytest.raises(ValueError, match=message):
        total((MODELS["mlp"], None), **options)


@pytest.mark.filterwarnings("ignore:optax.global_norm:DeprecationWarning")
def test_sum_and_norms_are_jax_privacys(case):
    clipping = pytest.importorskip("jax_privacy.clipping")
    model, params = case
    theirs = clipping.clipped_grad(
        lambda params, x, y: cross_entropy(model.apply(params, x), y),
        l2_clip_norm=1.0,
        batch_argnums=(1, 2),
        keep_batch_dim=False,
        return_grad_norms=True,
    )
    expected, aux = theirs(params, jnp.asarray(X), jnp.asarray(Y))
    for method in METHODS:
        got, norms = total(case, method=method)
        assert_same(got, expected)
        np.testing.assert_allclose(norms, aux.grad_norms, rtol=1e-5)


def test_a_clip_norm_of_any_kind_and_a_mask_of_another_shape_are_checked():
    model = mlp(num_classes=3, hidden=4)
    x, y = jnp.ones((5, 4)), jnp.zeros(5, int)
    params = model.init(jax.random.key(0), x[0])
    for wrong in (np.float32(-1), jnp.float32(0)):
        with pytest.raises(ValueError, match=r"clip_norm is .*: it must be above 0"):
            clipped_gradient_sum(model, params, x, y, jnp.ones(5, bool), wrong)
    for mask, said in ((jnp.ones(1, bool), r"bool \(1,\)"), (jnp.ones(5), r"float32 \(5,\)")):
        with pytest.raises(ValueError, match=rf"mask is {said}: it must be bool \(5,\)"):
            clipped_gradient_sum(model, params, x, y, mask, 1.0)
