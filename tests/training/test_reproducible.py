"""Same keys, same bits: whatever the devices, chunks, checkpoints, interruptions and number of models."""

import jax
import numpy as np
import pytest

from mia_jax.config import TrainingConfig
from mia_jax.models import mlp, recurrent
from mia_jax.training import Plan

EPOCHS = (1, 2, 4)


@pytest.fixture
def again(train, tiny_dropout, five, adam):
    """The training of `whole`, with something changed."""

    def again(model=tiny_dropout, membership=five, training=adam, epochs=EPOCHS, **options):
        return train(model, membership, training, epochs, **options)

    return again


def test_segments_come_in_order_and_say_what_they_are(whole):
    said = [(s.start, s.stop, s.checkpoint, s.epoch) for s in whole.segments]
    assert said == [(0, 5, 0, 1), (0, 5, 1, 2), (0, 5, 2, 4)]


@pytest.mark.parametrize(
    ("devices", "chunk"),
    [
        pytest.param(1, 3),
        pytest.param(1, 5, marks=pytest.mark.slow),
        pytest.param(2, 2, marks=pytest.mark.slow),
    ],
)
def test_devices_and_chunk_sizes_change_no_bit(again, whole, assert_same_bits, devices, chunk):
    other = again(devices=devices, sizes=Plan(chunk, 1))
    assert len(other.segments) == -(-5 // chunk) * len(EPOCHS)
    assert_same_bits(other.checkpoints, whole.checkpoints)


def test_listed_chunks_change_no_bit_and_only_they_are_trained(again, whole, assert_same_bits):
    other = again(chunks=[(0, 1), (1, 3)])
    assert_same_bits(other.checkpoints, jax.tree.map(lambda leaf: leaf[:3], whole.checkpoints))


@pytest.mark.parametrize("done", range(len(EPOCHS) - 1))
def test_resumed_from_a_checkpoint_is_uninterrupted(again, whole, assert_same_bits, done):
    rest = again(resume=lambda start, stop: (done, jax.tree.leaves(whole.segments[done].state)))
    assert [segment.checkpoint for segment in rest.segments] == list(range(done + 1, len(EPOCHS)))
    assert_same_bits(rest.checkpoints, whole.checkpoints[done + 1 :])


def test_resuming_one_chunk_starts_the_others_afresh(again, whole, assert_same_bits):
    leaves = jax.tree.leaves(jax.tree.map(lambda leaf: leaf[2:], whole.segments[1].state))
    rest = again(
        chunks=[(0, 2), (2, 5)], resume=lambda start, stop: (1, leaves) if (start, stop) == (2, 5) else None
    )
    assert [(s.start, s.checkpoint) for s in rest.segments] == [(0, 0), (0, 1), (0, 2), (2, 2)]
    assert_same_bits(rest.checkpoints[-1], whole.checkpoints[-1])


def test_a_finished_chunk_is_not_trained_again(again, whole):
    finished = (len(EPOCHS) - 1, jax.tree.leaves(whole.segments[-1].state))
    assert again(resume=lambda start, stop: finished).segments == []


@pytest.mark.parametrize("epochs", [(4,), (0, 1, 2, 3, 4)])
def test_placement_of_checkpoints_changes_no_bit(again, whole, assert_same_bits, epochs):
    other = again(epochs=epochs)
    assert len(other.checkpoints) == len(epochs)
    for epoch in set(epochs) & set(EPOCHS):
        assert_same_bits(other.checkpoints[epochs.index(epoch)], whole.checkpoints[EPOCHS.index(epoch)])


@pytest.mark.slow
@pytest.mark.parametrize("together", [2, 4])
def test_models_mapped_together_agree_but_for_rounding(again, whole, together):
    other = again(devices=1, sizes=Plan(5, together))
    for one, same in zip(jax.tree.leaves(other.checkpoints), jax.tree.leaves(whole.checkpoints), strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-4, atol=1e-4)


def test_more_models_leave_the_first_ones_as_they_were(again, whole, draw, assert_same_bits):
    more = again(membership=draw(8))
    assert_same_bits(jax.tree.map(lambda leaf: leaf[:5], more.checkpoints), whole.checkpoints)


def test_another_seed_changes_every_model(again, whole):
    assert (again(seed=4).params["in"] != whole.params["in"]).any(axis=(1, 2)).all()


def test_models_with_the_same_records_differ_from_one_another(again, membership_of):
    trained = again(membership=membership_of(np.tile(np.arange(20) < 10, (5, 1))))
    assert len(np.unique(trained.params["in"].reshape(5, -1), axis=0)) == 5


def test_features_of_a_non_member_change_no_bit_of_a_model(again, whole, five, dataset, assert_same_bits):
    record = next(n for n in range(20) if 0 < five.member[:, n].sum() < 5)
    x = dataset.pool.x.copy()
    x[record] += 1.0
    other = again(data=dataset._replace(pool=dataset.pool._replace(x=x)))
    without = ~five.member[:, record]
    for before, after in zip(whole.checkpoints, other.checkpoints, strict=True):
        assert_same_bits(*(jax.tree.map(lambda leaf: leaf[without], state) for _, state in (before, after)))
        assert (before[1].params["in"] != after[1].params["in"]).any(axis=(1, 2))[~without].all()


BUILT_IN = {
    "mlp": lambda: mlp(num_classes=3, hidden=4, layers=2, dropout=0.2),
    "rnn": lambda: recurrent("rnn", num_classes=3, hidden=3, steps=2, dropout=0.2),
    "lstm": lambda: recurrent("lstm", num_classes=3, hidden=3, steps=2, dropout=0.2),
    "gru": lambda: recurrent("gru", num_classes=3, hidden=3, layers=2, steps=2, dropout=0.2),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(BUILT_IN))
def test_built_in_models_keep_their_bits_on_any_devices_and_in_any_chunks(
    train, draw, assert_same_bits, kind
):
    config = TrainingConfig(epochs=2, batch_size=4)
    first, second = (
        train(BUILT_IN[kind](), draw(3), config, (1, 2), devices=devices, sizes=Plan(chunk, 1))
        for devices, chunk in ((2, 3), (1, 2))
    )
    assert_same_bits(first.checkpoints, second.checkpoints)


@pytest.mark.slow
def test_recurrent_models_can_be_mapped_together_on_several_devices(train, draw):
    """Their orthogonal weights once made two devices wait for one another without end."""
    model, drawn = recurrent("gru", num_classes=3, hidden=64, steps=2), draw(8)
    config = TrainingConfig(epochs=1, batch_size=4)
    alone, together = (
        train(model, drawn, config, (0, 1), devices=2, sizes=Plan(8, count)) for count in (1, 4)
    )
    assert_close = np.testing.assert_allclose
    jax.tree.map(
        lambda a, b: assert_close(a, b, rtol=1e-4, atol=1e-4), alone.checkpoints, together.checkpoints
    )


@pytest.mark.parametrize("now", [1, 2, 4])
def test_a_begun_chunk_goes_on_whole_whatever_is_cut_now(again, whole, assert_same_bits, now):
    leaves = jax.tree.leaves(whole.segments[0].state)
    rest = again(chunks=[(0, 5)], sizes=Plan(now, 1), resume=lambda start, stop: (0, leaves))
    assert_same_bits(rest.checkpoints, whole.checkpoints[1:])
