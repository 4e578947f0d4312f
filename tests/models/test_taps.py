"""Taps: the same forward pass, shifts that reach the logits, and every parameter once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.models import cnn, mlp, recurrent, renet
from mia_jax.models.attack_networks import membership_mlp
from mia_jax.models.linen import as_model
from mia_jax.models.taps import Recorder

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
MODELS = {
    "mlp": (mlp(num_classes=3, hidden=4, layers=2, dropout=0.5), X),
    "attack": (membership_mlp(), X.reshape(-1)),
    "gru": (recurrent("gru", num_classes=3, hidden=4, layers=2, dropout=0.5), X),
    "cnn": (cnn(num_classes=3, hidden=4, layers=3, dropout=0.5), X),
    "renet": (renet(num_classes=3, hidden=4, layers=2, dropout=0.5, head="dense", head_width=5), X),
    "lstm": (recurrent("lstm", num_classes=3, hidden=4, dropout=0.5, steps=4), X),
}


@pytest.mark.parametrize("kind", MODELS)
def test_logits_are_those_of_apply_and_every_parameter_is_tapped(random_params, kind):
    model, x = MODELS[kind]
    params, key = random_params(model, x), jax.random.key(1)
    for options in ({}, {"key": key, "train": True}):
        logits, taps = model.taps(params, x, None, **options)
        np.testing.assert_allclose(logits, model.apply(params, x, **options), rtol=1e-5, atol=1e-6)
    with_paths, _ = jax.tree_util.tree_flatten_with_path(params)
    leaves = sorted(tuple(key.key for key in path) for path, _ in with_paths)
    assert sorted(path for tap in taps.values() for path in tap.leaves) == leaves


def test_a_shift_moves_its_own_pre_activation(random_params):
    model, x = MODELS["mlp"]
    params = random_params(model, x)
    _, taps = model.taps(params, x, None)
    shifts = {name: jnp.zeros(tap.shape) for name, tap in taps.items()}
    shifts["head"] = jnp.asarray([1.0, -2.0, 0.5])
    moved, _ = model.taps(params, x, shifts)
    np.testing.assert_allclose(moved - model.apply(params, x), shifts["head"], rtol=1e-5, atol=1e-6)


def test_a_shift_after_a_scale_is_a_bias_of_its_own_for_every_pixel(random_params):
    model, x = MODELS["cnn"]
    params = random_params(model, x)
    _, taps = model.taps(params, x, None)
    shifts = {name: jnp.zeros(tap.shape) for name, tap in taps.items()}
    added = np.asarray([1.0, -2.0, 0.5, 3.0], np.float32)
    shifts["norm_0"] = jnp.broadcast_to(added[None], (5 * 3, 4))
    moved = {**params, "norm_0": {**params["norm_0"], "bias": params["norm_0"]["bias"] + added}}
    logits, _ = model.taps(params, x, shifts)
    np.testing.assert_allclose(logits, model.apply(moved, x), rtol=1e-5, atol=1e-5)
    assert np.abs(logits - model.apply(params, x)).max() > 0.01


def test_a_scale_is_noted_with_what_it_multiplies():
    recorder = Recorder({"a": np.asarray([[1.0, 2.0]], np.float32)})
    z, entered = jnp.ones((1, 2)), jnp.asarray([[3.0, 4.0]])
    shifted = recorder.scale("a", z, entered, ("s",), ("b",))
    np.testing.assert_array_equal(shifted, [[2.0, 3.0]])
    tap = recorder.taps["a"]
    assert (tap.leaves, tap.shape) == ((("s",), ("b",)), (1, 2))
    np.testing.assert_array_equal(tap.entered, entered)
    with pytest.raises(ValueError, match="'a' is noted twice"):
        recorder.scale("a", z, entered, ("s",), ("b",))


def test_a_name_is_noted_once():
    recorder = Recorder(None)
    recorder.dense("a", jnp.ones(2), {("W",): jnp.ones(3)})
    with pytest.raises(ValueError, match="'a' is noted twice"):
        recorder.dense("a", jnp.ones(2), {("W",): jnp.ones(3)})


def test_weights_that_are_used_twice_are_refused():
    class Tied(nn.Module):
        def setup(self):
            self.table = nn.Embed(7, 3)

        def embed(self, x, train):
            return jnp.mean(self.table(x), axis=0)

        def __call__(self, x, train):
            return self.table.attend(self.embed(x, train))

    model = as_model(Tied())
    x = jnp.arange(4)
    params = model.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"table\.attend uses weights that book-keeping does not see"):
        model.taps(params, x, None)
