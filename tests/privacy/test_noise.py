"""Gaussian noise: its law, its independence, and JAX's own numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mia_jax.privacy.noise import gaussian_noise

TREE = {"a": jnp.zeros((40, 3)), "b": [jnp.zeros(7), jnp.zeros(())]}


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_numbers_are_those_of_jax(impl):
    key = jax.random.key(4, impl=impl)
    noise = gaussian_noise(key, TREE, 2.0)
    assert jax.tree.structure(noise) == jax.tree.structure(TREE)
    np.testing.assert_allclose(flat(noise), 2.0 * jax.random.normal(key, (128,)), rtol=1e-6)


def test_law_is_normal_with_its_tails():
    z = flat(jax.jit(gaussian_noise)(jax.random.key(0), jnp.zeros((1000, 2000)), 1.5)).astype(float) / 1.5
    assert stats.kstest(z[::4], "norm").pvalue > 1e-3
    moments = (z.mean(), z.var() - 1, (z**3).mean(), (z**4).mean() - 3)
    for moment, variance in zip(moments, (1, 2, 15, 96), strict=True):
        assert abs(moment) < 5 * np.sqrt(variance / z.size)
    for cut in (2.0, 3.0, 4.0, 4.5):
        expected = z.size * stats.norm.sf(cut)
        for count in ((z > cut).sum(), (z < -cut).sum()):
            assert stats.poisson.cdf(count, expected) > 1e-4
            assert stats.poisson.sf(count - 1, expected) > 1e-4


def test_leaves_and_keys_are_independent():
    tree = {"a": jnp.zeros(50_000), "b": jnp.zeros(50_000)}
    noises = [gaussian_noise(jax.random.key(seed), tree, 1.0) for seed in (0, 1)]
    columns = [noise[name] for noise in noises for name in ("a", "b")]
    between = np.corrcoef(columns) - np.eye(4)
    assert np.abs(between).max() < 5 / np.sqrt(50_000)
    lagged = [np.corrcoef(columns[0][:-lag], columns[0][lag:])[0, 1] for lag in (1, 2, 128, 25_000)]
    assert np.abs(lagged).max() < 5 / np.sqrt(25_000)
    assert np.unique(np.stack(columns[:2])).size > 99_000


def test_mapped_over_models_is_the_loop():
    keys, stddev = jax.random.split(jax.random.key(9), 3), np.asarray([0.0, 1.0, 2.5], np.float32)
    mapped = jax.vmap(gaussian_noise, in_axes=(0, None, 0))(keys, TREE, stddev)
    for k in range(3):
        one = jax.jit(gaussian_noise)(keys[k], TREE, stddev[k])
        np.testing.assert_allclose(
            flat(jax.tree.map(lambda leaf, k=k: leaf[k], mapped)), flat(one), rtol=1e-6
        )
    assert not flat(jax.tree.map(lambda leaf: leaf[0], mapped)).any()


def test_what_is_not_one_key_is_refused():
    with pytest.raises(ValueError, match=r"^key is 0: it must be a random key of JAX"):
        gaussian_noise(0, TREE, 1.0)
    with pytest.raises(ValueError, match=r"^key has shape \(3,\): it must be one key, of shape \(\)"):
        gaussian_noise(jax.random.split(jax.random.key(0), 3), TREE, 1.0)
