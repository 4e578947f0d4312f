"""The order of training: every epoch shows every member once and nothing else, in its own random order."""

import jax
import numpy as np
import pytest

from mia_jax import keys
from mia_jax.config import TrainingConfig
from mia_jax.defences import batches_of, dp_sgd
from mia_jax.training import hyper_of
from mia_jax.training.segment import epoch_order, last_seen
from mia_jax.training.shadow import all_models, recipe_of

# The same largest size, so that one compiled program serves all three.
SIZES = {"equal": (12, 12, 12), "ragged": (3, 12, 7), "with_an_empty_model": (0, 12, 4)}


class Orders:
    """The batches of every model and epoch, and the functions under test for one recipe."""

    def __init__(self, model, membership, config, epochs=4, seed=0):
        self.recipe = recipe_of(model, membership, config)
        self.ones = all_models(keys.roots(seed), membership, hyper_of(config, len(membership.member)))
        each_epoch = jax.vmap(lambda one, epoch: epoch_order(self.recipe, one, epoch), in_axes=(None, 0))
        positions, self.valid = jax.jit(jax.vmap(each_epoch, in_axes=(0, None)))(self.ones, np.arange(epochs))
        models = np.arange(len(membership.member))[:, None, None, None]
        self.rows = np.asarray(membership.indices)[models, np.asarray(positions)]
        self.valid = np.asarray(self.valid)


@pytest.fixture(scope="module")
def membership_with(membership_of):
    def membership_with(sizes, records=20):
        rng = np.random.default_rng(1)
        return membership_of([np.isin(np.arange(records), rng.permutation(records)[:n]) for n in sizes])

    return membership_with


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize(("batch_size", "order"), [(4, "shuffle"), (5, "shuffle"), (5, "fixed")])
def test_every_epoch_shows_every_member_exactly_once(tiny, membership_with, sizes, batch_size, order):
    membership = membership_with(sizes)
    orders = Orders(tiny, membership, TrainingConfig(batch_size=batch_size, order=order))
    assert orders.rows.shape == orders.valid.shape == (3, 4, -(-max(sizes) // batch_size), batch_size)
    for k, member in enumerate(membership.member):
        for rows, valid in zip(orders.rows[k], orders.valid[k], strict=True):
            assert sorted(rows[valid]) == np.flatnonzero(member).tolist()


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_batches_are_full_then_one_is_short_then_they_are_empty(tiny, membership_with, sizes):
    counts = Orders(tiny, membership_with(sizes), TrainingConfig(batch_size=4)).valid.sum(axis=-1)
    for size, epochs in zip(sizes, counts, strict=True):
        expected = [min(4, max(0, size - 4 * batch)) for batch in range(counts.shape[-1])]
        np.testing.assert_array_equal(epochs, np.broadcast_to(expected, epochs.shape))


def test_under_a_private_gradient_the_absence_of_a_record_moves_no_other(tiny, membership_with):
    """Which batch another record is in must not tell whether this one is there."""
    whole, config = membership_with((12,)), TrainingConfig(batch_size=4)
    private = dp_sgd(batches_of("shuffle", num_examples=12, batch_size=4, steps=3))
    gap = whole._replace(mask=np.arange(12)[None] != 5)
    (before, all_valid), (after, valid) = (
        epoch_order(
            recipe_of(tiny, one, config, private),
            jax.tree.map(lambda leaf: leaf[0], all_models(keys.roots(0), one, hyper_of(config, 1))),
            np.int32(1),
        )
        for one in (whole, gap)
    )
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(valid, all_valid & (before != 5))


@pytest.mark.parametrize(("order", "distinct"), [("shuffle", 4), ("fixed", 1)])
def test_shuffle_changes_between_epochs_and_fixed_does_not(tiny, membership_with, order, distinct):
    orders = Orders(tiny, membership_with(SIZES["equal"]), TrainingConfig(batch_size=5, order=order))
    for k in range(3):
        assert len(np.unique(orders.rows[k].reshape(4, -1), axis=0)) == distinct


@pytest.mark.parametrize("order", ["shuffle", "fixed"])
def test_models_with_the_same_records_see_them_in_different_orders(tiny, membership_of, order):
    same = membership_of(np.tile(np.arange(20) < 12, (3, 1)))
    rows = Orders(tiny, same, TrainingConfig(batch_size=5, order=order)).rows
    for epoch in range(4):
        assert len(np.unique(rows[:, epoch].reshape(3, -1), axis=0)) == 3


def test_another_seed_gives_another_order(tiny, membership_with):
    membership, config = membership_with(SIZES["equal"]), TrainingConfig(batch_size=4)
    one, other = (Orders(tiny, membership, config, seed=seed).rows for seed in (0, 1))
    assert (one != other).any(axis=(2, 3)).all()


def test_every_record_comes_at_every_place_equally_often(tiny, membership_of):
    epochs = 2000
    orders = Orders(tiny, membership_of(np.ones((1, 5))), TrainingConfig(batch_size=5), epochs)
    counts = np.stack([np.bincount(place, minlength=5) for place in orders.rows[0, :, 0].T])
    expected = epochs / 5
    # Chi-square with 16 degrees of freedom: 45 is passed by chance once in 7,000 seeds.
    assert ((counts - expected) ** 2 / expected).sum() < 45


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_last_seen_is_the_last_step_of_a_record(tiny, membership_with, sizes):
    membership = membership_with(sizes)
    orders = Orders(tiny, membership, TrainingConfig(batch_size=4))
    steps = orders.rows.shape[2]
    expected = np.full((3, 20), -1)
    seen_before = jax.jit(
        jax.vmap(lambda one, epoch: last_seen(orders.recipe, one, 20, epoch), in_axes=(0, None))
    )
    for epoch in range(4):
        np.testing.assert_array_equal(seen_before(orders.ones, np.int32(epoch)), expected)
        for k in range(3):
            for step in range(steps):
                for row in orders.rows[k, epoch, step][orders.valid[k, epoch, step]]:
                    expected[k, row] = epoch * steps + step


def test_trained_models_report_the_order_they_were_trained_in(tiny_dropout, five, adam, whole):
    orders = Orders(tiny_dropout, five, adam, epochs=4, seed=3)
    for epoch, (observed, _) in zip((1, 2, 4), whole.checkpoints, strict=True):
        for k in range(5):
            last = {
                row: (epoch - 1) * 3 + step
                for step in range(3)
                for row in orders.rows[k, epoch - 1, step][orders.valid[k, epoch - 1, step]]
            }
            assert observed.last_seen[k].tolist() == [last.get(row, -1) for row in range(20)]
