"""Which records a step sees: the laws that accounting takes for granted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mia_jax.defences import batches_of
from mia_jax.training.batches import poisson, shuffled

DRAWS = 20_000


def drawn(rate, mask, room, most, draws=DRAWS):
    """How often each place is in each of many batches: int [draws, n]."""

    @jax.jit
    @jax.vmap
    def one(key):
        positions, valid = poisson(key, mask, rate, room, most)
        return jnp.zeros(mask.size, jnp.int32).at[jnp.where(valid, positions, mask.size)].add(1, mode="drop")

    return np.asarray(one(jax.random.split(jax.random.key(0), draws)))


@pytest.mark.parametrize(("rate", "size"), [(0.3, 12), (0.05, 40), (0.9, 7), (0.5, 1)])
def test_poisson_batches_hold_each_record_by_itself(rate, size):
    counts = drawn(rate, jnp.ones(size, bool), size, size)
    assert counts.max() <= 1  # a set: nobody is in it twice
    sizes = np.bincount(counts.sum(axis=1), minlength=size + 1)
    law = stats.binom(size, rate).pmf(np.arange(size + 1)) * DRAWS
    common = law > 5
    assert stats.chisquare(sizes[common], law[common] * sizes[common].sum() / law[common].sum()).pvalue > 1e-3
    error = np.sqrt(rate * (1 - rate) / DRAWS)
    np.testing.assert_allclose(counts.mean(axis=0), rate, atol=4.5 * error)
    if size > 1:
        together = (counts.T @ counts / DRAWS)[np.triu_indices(size, 1)]
        np.testing.assert_allclose(together, rate**2, atol=4.5 * np.sqrt(rate**2 / DRAWS))


def test_rate_one_takes_everybody():
    counts = drawn(1.0, jnp.ones(9, bool), 9, 9, draws=20)
    assert (counts == 1).all()


def test_places_without_a_record_are_never_valid_and_move_nobody():
    mask = jnp.asarray([True, False, True, True, False, True])
    with_gaps = drawn(0.4, mask, 6, 6, draws=500)
    full = drawn(0.4, jnp.ones(6, bool), 6, 6, draws=500)
    np.testing.assert_array_equal(with_gaps, full * np.asarray(mask))


def test_of_too_many_a_uniformly_random_subset_is_kept():
    size, most, rate = 10, 3, 0.6
    counts = drawn(rate, jnp.ones(size, bool), size, most)
    sizes = np.minimum(stats.binom(size, rate).rvs(200_000, random_state=0), most)
    np.testing.assert_allclose(counts.sum(axis=1).mean(), sizes.mean(), atol=0.03)
    share = counts.sum(axis=1).mean() / size
    np.testing.assert_allclose(counts.mean(axis=0), share, atol=4.5 * np.sqrt(share / DRAWS))
    cut = counts[counts.sum(axis=1) == most]
    pairs = (cut.T @ cut / len(cut))[np.triu_indices(size, 1)]
    np.testing.assert_allclose(pairs, most * (most - 1) / size / (size - 1), atol=0.013)


def test_a_rare_record_is_drawn_at_its_rate_wherever_it_stands():
    size, rate = 300_000, 1e-4
    counts = []
    for number in range(300):
        positions, valid = poisson(jax.random.key(number), jnp.ones(size, bool), rate, 90, 90)
        counts.append(np.asarray(positions)[np.asarray(valid)])
    places = np.concatenate(counts)
    assert abs(len(places) - 9000) < 4 * np.sqrt(9000)
    assert stats.kstest(places / size, "uniform").pvalue > 1e-3
    first = np.asarray([one[0] + 1 for one in counts])
    assert stats.kstest(first, stats.geom(rate).cdf).pvalue > 1e-3


def test_a_shuffled_epoch_shows_every_record_once():
    mask = jnp.arange(11) != 4
    for in_place in (False, True):
        positions, valid = shuffled(jax.random.key(1), mask, 4, in_place=in_place)
        assert positions.shape == (3, 4)
        assert sorted(np.asarray(positions)[np.asarray(valid)]) == [n for n in range(11) if n != 4]


def test_in_place_the_absence_of_a_record_moves_no_other():
    full = shuffled(jax.random.key(1), jnp.ones(11, bool), 4, in_place=True)
    gap = shuffled(jax.random.key(1), jnp.arange(11) != 4, 4, in_place=True)
    np.testing.assert_array_equal(full[0], gap[0])
    np.testing.assert_array_equal(np.asarray(full[1]) & (np.asarray(full[0]) != 4), gap[1])


@pytest.mark.parametrize(
    ("size", "batch", "steps"), [(200, 32, 420), (1000, 64, 480), (50_000, 256, 5000), (40, 40, 9)]
)
def test_there_is_room_for_every_batch_of_a_training(size, batch, steps):
    batches = batches_of("poisson", num_examples=size, batch_size=batch, steps=steps)
    law = stats.binom(size, batch / size)
    assert steps * law.sf(batches.room) <= 1e-24
    assert batches.room == size or steps * law.sf(batches.room - 1) > 1e-24
    assert batches.physical == batches.room


def test_a_cap_that_no_batch_reaches_is_none():
    sizes = {"num_examples": 200, "batch_size": 32, "steps": 420}
    free = batches_of("poisson", **sizes)
    assert batches_of("truncated_poisson", **sizes, max_batch=199).physical == free.physical < 199
    cut = batches_of("truncated_poisson", **sizes, max_batch=40)
    assert (cut.physical, cut.room, cut.expected) == (40, free.room, 32)
