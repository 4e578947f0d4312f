"""Records fed in blocks give the numbers of records that stay on the devices: the same bits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.config import TrainingConfig
from mia_jax.defences import batches_of, chain, dp_sgd, fast_gradient_sign, parameter_noise, randomised_labels
from mia_jax.membership import padded_indices
from mia_jax.models import mlp, recurrent
from mia_jax.parallel import model_mesh
from mia_jax.training import Plan, Probe, feeding, hyper_of
from mia_jax.training.observe import in_groups, width_of
from mia_jax.types import Dataset, Membership, Ragged, Records

EPOCHS = (0, 1, 4)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few hundred bytes, so that an epoch and a part take several."""
    monkeypatch.setattr("mia_jax.training.shadow.BLOCK_BYTES", 200)


@pytest.fixture
def fed(train, adam, small_blocks):
    """A training with its records fed in blocks."""

    def fed(model, membership, training=adam, epochs=EPOCHS, **options):
        return train(model, membership, dataclasses.replace(training, feed="blocks"), epochs, **options)

    return fed


@pytest.fixture
def both(train, fed, adam, assert_same_bits):
    """The same training with records that stay and records that are fed: the same bits, or a failure."""

    def both(model, membership, training=adam, epochs=EPOCHS, **options):
        stays = train(model, membership, training, epochs, **options)
        blocks = fed(model, membership, training, epochs, **options)
        assert_same_bits(blocks.checkpoints, stays.checkpoints)
        return stays

    return both


def test_fed_training_is_the_same_to_the_bit(fed, tiny_dropout, five, whole, assert_same_bits):
    again = fed(tiny_dropout, five, epochs=(1, 2, 4))
    assert [s.epoch for s in again.segments] == [s.epoch for s in whole.segments]
    assert_same_bits(again.checkpoints, whole.checkpoints)


@pytest.mark.parametrize(("devices", "chunk"), [pytest.param(1, 5, marks=pytest.mark.slow), (2, 3)])
def test_devices_and_chunks_change_no_bit(fed, tiny_dropout, five, whole, assert_same_bits, devices, chunk):
    again = fed(tiny_dropout, five, epochs=(1, 2, 4), devices=devices, sizes=Plan(chunk, 1))
    assert_same_bits(again.checkpoints, whole.checkpoints)


def test_a_resumed_training_may_change_how_it_is_fed(fed, tiny_dropout, five, whole, assert_same_bits):
    leaves = jax.tree.leaves(whole.segments[0].state)
    rest = fed(tiny_dropout, five, epochs=(1, 2, 4), resume=lambda start, stop: (0, leaves))
    assert_same_bits(rest.checkpoints, whole.checkpoints[1:])


@pytest.mark.slow
def test_models_of_different_sizes_and_a_fixed_order(both, tiny_dropout, ragged, adam):
    both(tiny_dropout, ragged, dataclasses.replace(adam, order="fixed"))


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["shuffle", "poisson", "truncated_poisson"])
def test_private_batches_are_drawn_as_they_are(both, tiny_dropout, five, adam, sampling):
    most = 6 if sampling == "truncated_poisson" else 0
    batches = batches_of(sampling, num_examples=10, batch_size=4, steps=12, max_batch=most)
    hyper = hyper_of(adam, 5, {"clip_norm": 0.5, "noise_multiplier": 0.7})
    trained = both(tiny_dropout, five, defence=dp_sgd(batches), hyper=hyper)
    assert (trained.observed.last_seen >= 0).any()


@pytest.mark.slow
def test_labels_inputs_and_releases_of_defences(both, tiny_dropout, five, adam):
    defence = chain(randomised_labels(), fast_gradient_sign(), parameter_noise())
    rows = 0.25 + 0.25 * np.eye(3)
    strengths = {"label_rows": rows, "label_epsilon": np.log(2.0), "radius": 0.3, "sigma": 0.1}
    both(tiny_dropout, five, defence=defence, hyper=hyper_of(adam, 5, strengths))


@pytest.mark.slow
def test_sharpness_aware_steps(both, tiny_dropout, five, adam):
    both(tiny_dropout, five, dataclasses.replace(adam, sam_radius=0.1))


@pytest.mark.slow
def test_logits_and_probes_of_their_own_widths(both, tiny_dropout, five):
    def distance(params, record, key):
        noise = 0.1 * jax.random.normal(key, record.x.shape)
        return {"moved": jnp.sum(tiny_dropout.apply(params, record.x + noise) ** 2)}

    def sizes(params, record, key):
        return {"per_class": tiny_dropout.apply(params, record.x) * record.y}

    probes = (Probe(distance, records_at_once=3), Probe(sizes, with_logits=True))
    trained = both(tiny_dropout, five, logits_at=(1,), probes=probes)
    assert [sorted(seen.probed) for seen, _ in trained.checkpoints] == [
        ["moved"],
        ["moved", "per_class"],
        ["moved"],
    ]


def parts_of(make, sizes=(600, 300, 30), classes=3):
    rng = np.random.default_rng(4)
    pool, population, test = (
        Records(make(rng, size), rng.integers(0, classes, size).astype(np.int64)) for size in sizes
    )
    return Dataset(pool, population, test, classes, 0, {})


def members(size, count=20, models=3):
    rng = np.random.default_rng(6)
    member = np.stack([np.isin(np.arange(size), rng.permutation(size)[:count]) for _ in range(models)])
    return Membership(member, *padded_indices(member, count), np.full(models, -1, np.int32))


def tokens(rng, size):
    length = rng.integers(1, 6, size).astype(np.int32)
    return Ragged(rng.integers(0, 9, (size, 5)).astype(np.int32), length)


KINDS = {
    "tokens": (tokens, lambda: recurrent("gru", num_classes=3, hidden=4, vocabulary_size=9, embedding=3)),
    "features": (
        lambda rng, n: rng.normal(size=(n, 4, 2)),
        lambda: mlp(num_classes=3, hidden=4, dropout=0.2),
    ),
    "steps": (
        lambda rng, n: rng.normal(size=(n, 4, 2)).astype(np.float32),
        lambda: recurrent("lstm", num_classes=3, hidden=4),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_records_of_any_kind_and_more_than_are_looked_at_at_once(both, kind, monkeypatch):
    monkeypatch.setattr("mia_jax.training.shadow.BLOCK_BYTES", 2**13)
    make, model = KINDS[kind]
    both(
        model(),
        members(600),
        TrainingConfig(epochs=2, batch_size=8),
        (1, 2),
        data=parts_of(make),
        logits_at=(2,),
    )


@pytest.mark.slow
def test_models_mapped_together_are_fed_alike(train, fed, tiny_dropout, five, adam):
    options = {"sizes": Plan(5, 3), "devices": 1}
    stays, blocks = train(tiny_dropout, five, adam, EPOCHS, **options), fed(tiny_dropout, five, **options)
    for one, other in zip(
        jax.tree.leaves(blocks.checkpoints), jax.tree.leaves(stays.checkpoints), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_memory_mapped_records_are_fed_from_their_file(
    fed, tiny_dropout, five, dataset, whole, tmp_path, assert_same_bits
):
    np.save(tmp_path / "x.npy", dataset.pool.x)
    mapped = dataset.pool._replace(x=np.load(tmp_path / "x.npy", mmap_mode="r"))
    again = fed(tiny_dropout, five, epochs=(1, 2, 4), data=dataset._replace(pool=mapped))
    assert_same_bits(again.checkpoints, whole.checkpoints)


def test_no_more_of_the_pool_is_on_a_device_than_two_blocks(fed, tiny_dropout, five, monkeypatch):
    placed, sizes = [], []
    original = feeding.place

    def place(values, mesh, spec):
        leaves = jax.tree.leaves(values)
        sizes.append(sum(leaf.nbytes for leaf in leaves if isinstance(leaf, np.ndarray)) // mesh.size)
        out = original(values, mesh, spec)
        placed.append(len(jax.tree.leaves(out)))
        return out

    monkeypatch.setattr(feeding, "place", place)
    fed(tiny_dropout, five, epochs=(4,))
    # 12 steps of 3 models on each of 2 devices, each of 4 records of 20 bytes: more than 200 bytes a step.
    assert len(placed) > 12
    assert max(sizes) <= 3 * 4 * 20


@pytest.mark.parametrize(("size", "at_once"), [(1, 4), (4, 4), (5, 4), (600, 256), (256, 256), (257, 256)])
def test_groups_are_even_and_cover_every_record(size, at_once):
    width = width_of(size, at_once)
    groups = -(-size // width)
    assert width <= at_once
    assert groups == -(-size // at_once)
    assert groups * width - size < groups
    values = np.arange(size, dtype=np.float32)
    np.testing.assert_array_equal(in_groups(lambda v: 2 * v, (values,), width), 2 * values)


@pytest.mark.parametrize("width", [1, 7, 100])
def test_blocks_that_are_looked_at_hold_whole_groups_and_never_one_of_several(width):
    part = Records(np.zeros((1000, 5), np.float32), np.zeros(1000, np.int32))
    for block_bytes in (1, 24 * 50, 2**20):
        feed = feeding.InBlocks(None, (part,) * 3, None, (), model_mesh(), block_bytes)
        block = feed.records_at_once(part, width)
        assert block % width == 0
        assert block >= 2 * width
        assert block * 24 <= max(block_bytes, 2 * width * 24) + width * 24
