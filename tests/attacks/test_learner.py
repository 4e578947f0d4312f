"""Many learners as one program: each is the plain loop's, whatever is mapped, shared or spread over devices."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mia_jax.attacks import learner
from mia_jax.attacks.learner import Lessons, ask, fit, parts
from mia_jax.config import TrainingConfig
from mia_jax.models import Model
from mia_jax.parallel import model_mesh
from mia_jax.training.hyper import hyper_of
from mia_jax.training.segment import OneModel, Recipe, cross_entropy, epoch_order

F, M, SIZE, D, EPOCHS = 3, 20, 10, 4, 2
KEY = jax.random.key(7)
HELD_OUT = np.array([[3, 1, 8, 2, 19], [0, 4, 17, 5, 6], [7, 9, 10, 11, 12]])


def init(key, x):
    first, second = jax.random.split(key)
    return {
        "in": 0.5 * jax.random.normal(first, (x.size, 5)),
        "out": 0.5 * jax.random.normal(second, (5, 2)),
    }


def apply(params, x, *, key=None, train=False):
    return jnp.tanh(x @ params["in"]) @ params["out"]


TINY = Model(init, apply)


def recipe(epochs=EPOCHS, **options):
    config = TrainingConfig(epochs=epochs, batch_size=4, learning_rate=0.05)
    return Recipe(TINY, config, SIZE, sizes_vary=True, **options)


def lessons(num_learners=F, **options):
    """Rows that all share; the last learner has fewer than the others."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(M, D)).astype(np.float32), rng.integers(0, 2, M).astype(np.int32)
    indices = np.stack([rng.permutation(M)[:SIZE] for _ in range(num_learners)])
    mask = np.ones(indices.shape, bool)
    mask[F - 1, 3:] = False
    return Lessons(x, y, indices, mask, **options)


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def train_by_hand(taught, number):
    """One learner's parameters by the loop one would write: no mapping, empty batches left out, optax's own Adam."""
    keys = [jax.random.fold_in(key, number) for key in jax.random.split(KEY, 3)]
    indices, mask = taught.indices[number], taught.mask[number]
    one = OneModel(*keys, indices, mask, jax.tree.map(lambda a: a[0], hyper_of(recipe().config, 1)))
    optimizer = optax.adam(0.05)
    params = init(keys[0], taught.x[0])
    state = optimizer.init(params)

    def loss(params, x, y, counted):
        losses = jax.vmap(lambda x, y: cross_entropy(apply(params, x), y))(x, y)
        return jnp.dot(losses, counted) / counted.sum()

    @jax.jit
    def step(params, state, x, y, counted):
        updates, state = optimizer.update(jax.grad(loss)(params, x, y, counted), state)
        return optax.apply_updates(params, updates), state

    for epoch in range(EPOCHS):
        positions, valid = (np.asarray(part) for part in epoch_order(recipe(), one, epoch))
        for batch, counted in zip(positions, valid, strict=True):
            if counted.any():
                rows = indices[batch]
                params, state = step(
                    params, state, taught.x[rows], taught.y[rows], counted.astype(np.float32)
                )
    return params


def test_a_learner_is_the_plain_loop():
    trained = fit(recipe(), lessons(), KEY)
    for number in (0, 2):
        for name, values in train_by_hand(lessons(), number).items():
            np.testing.assert_allclose(trained[name][number], values, rtol=1e-5, atol=1e-6)


def test_rows_of_ones_own_are_rows_that_all_share():
    shared = lessons()
    x = np.stack([shared.x] * F)
    y = np.stack([shared.y, 1 - shared.y, shared.y])
    own = fit(recipe(), shared._replace(x=x, y=y, own_x=True, own_y=True), KEY)
    same = fit(recipe(), shared, KEY)
    assert_same(jax.tree.map(lambda leaf: leaf[[0, 2]], own), jax.tree.map(lambda leaf: leaf[[0, 2]], same))
    assert np.abs(own["out"][1] - same["out"][1]).max() > 0.01  # the one whose labels are others


def test_one_and_two_devices_give_the_same_bits():
    taught = lessons(held_out=HELD_OUT)
    one, two = (fit(recipe(), taught, KEY, mesh=model_mesh(jax.devices()[:n])) for n in (1, 2))
    assert_same(one, two)
    asked = np.array([2, 0, 1, 1, 0])
    assert_same(*(ask(TINY, one, asked, taught.x, mesh=model_mesh(jax.devices()[:n])) for n in (1, 2)))


def test_side_by_side_as_on_an_accelerator_they_are_what_they_are_one_by_one(monkeypatch):
    taught = lessons(held_out=HELD_OUT)
    alone = fit(recipe(), taught, KEY)
    said = ask(TINY, alone, [0, 2, 1], taught.x)
    monkeypatch.setattr(learner, "_groups", lambda count, mesh: (2, 4))
    together = fit(recipe(), taught, KEY)
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ask(TINY, alone, [0, 2, 1], taught.x), said, rtol=1e-5, atol=1e-6)


def test_more_learners_change_none_that_were_there():
    few, many = (fit(recipe(), lessons(number), KEY) for number in (3, 4))
    assert_same(few, jax.tree.map(lambda leaf: leaf[:3], many))


def test_the_key_decides():
    one, again, other = (fit(recipe(), lessons(), key) for key in (KEY, KEY, jax.random.key(8)))
    assert_same(one, again)
    assert np.abs(one["in"] - other["in"]).min() > 0


def test_what_is_padding_teaches_nothing():
    taught = lessons()
    indices = taught.indices.copy()
    indices[~taught.mask] = 0
    assert_same(fit(recipe(), taught, KEY), fit(recipe(), taught._replace(indices=indices), KEY))


def test_a_learner_without_rows_stays_as_it_was_drawn():
    taught = lessons()
    taught.mask[1] = False
    trained = fit(recipe(), taught, KEY)
    drawn = init(jax.random.fold_in(jax.random.split(KEY, 3)[0], 1), taught.x[0])
    for name, values in drawn.items():
        np.testing.assert_allclose(trained[name][1], values, rtol=1e-6)


def test_rows_held_out_choose_the_epoch():
    rng = np.random.default_rng(3)
    taught, held_out = lessons(12), np.stack([rng.permutation(M)[:4] for _ in range(12)])
    # The first weights, and what every number of epochs comes to.
    nobody = taught._replace(mask=np.zeros_like(taught.mask))
    candidates = [fit(recipe(), nobody, KEY), fit(recipe(1), taught, KEY), fit(recipe(2), taught, KEY)]
    losses = np.empty((3, 12))
    for place, candidate in enumerate(candidates):
        logits = ask(TINY, candidate, np.arange(12), taught.x[held_out], own_x=True)
        of_label = np.take_along_axis(logits, taught.y[held_out][..., None], 2)[..., 0]
        losses[place] = np.mean(np.log(np.exp(logits).sum(axis=2)) - of_label, axis=1)
    best = np.argmin(losses, axis=0)
    chosen = fit(recipe(), taught._replace(held_out=held_out), KEY)
    for name, values in chosen.items():
        expected = [candidates[place][name][number] for number, place in enumerate(best)]
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    assert set(best) >= {0, 2}  # else one place would do for all
    assert np.any(
        (losses[0] < losses[2]) & (losses[2] < losses[1])
    )  # better than the one before, yet not best


def test_asking_is_applying():
    params = fit(recipe(), lessons(), KEY)
    rng = np.random.default_rng(2)
    asked, x = np.array([2, 0, 1, 1]), rng.normal(size=(4, 6, D)).astype(np.float32)
    of_own, of_shared = ask(TINY, params, asked, x, own_x=True), ask(TINY, params, asked, x[0])
    for question, number in enumerate(asked):
        own = jax.tree.map(lambda leaf, number=number: leaf[number], params)
        for row in range(6):
            np.testing.assert_allclose(of_own[question, row], apply(own, x[question, row]), rtol=1e-5)
            np.testing.assert_allclose(of_shared[question, row], apply(own, x[0, row]), rtol=1e-5)


def test_many_rows_are_asked_about_in_groups(monkeypatch):
    params = fit(recipe(), lessons(), KEY)
    x = np.random.default_rng(3).normal(size=(11, D)).astype(np.float32)
    whole = ask(TINY, params, [0, 1], x)
    monkeypatch.setattr(learner, "ROWS_AT_ONCE", 4)
    learner._asking.cache_clear()
    np.testing.assert_allclose(ask(TINY, params, [0, 1], x), whole, rtol=1e-5, atol=1e-6)
    learner._asking.cache_clear()


def test_the_second_time_nothing_is_compiled(caplog):
    def both(seed):
        taught = lessons()
        params = fit(recipe(), taught._replace(x=taught.x + seed), jax.random.key(seed))
        ask(TINY, params, [0, 1], taught.x)

    both(0)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        both(1)
    assert not [r for r in caplog.records if "Finished XLA compilation" in r.getMessage()]


@pytest.mark.parametrize(("count", "each"), [(1, 5), (7, 2**23), (5, 2**26), (100, 1), (10, 2**24)])
def test_parts_cover_everything_once_and_are_bounded(count, each):
    found = list(parts(count, each))
    assert np.concatenate([np.arange(count)[part] for part in found]).tolist() == list(range(count))
    sizes = [part.stop - part.start for part in found]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) == 1 or max(sizes) * each <= learner.NUMBERS_AT_ONCE + each
