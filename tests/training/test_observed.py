"""What is observed of trained models is what their parameters say, and how models are cut into units."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from mia_jax import keys
from mia_jax.config import TrainingConfig
from mia_jax.training import Plan, hyper_of, plan, train_shadow_models
from mia_jax.training.shadow import all_models
from mia_jax.types import Records


def logits_of(model, params, records):
    """Logits [K, N, C] by mapping the model over models and records."""
    each = jax.vmap(lambda p, x: model.apply(p, x), in_axes=(None, 0))
    return np.asarray(jax.vmap(each, in_axes=(0, None))(params, records.x), np.float64)


def log_prob_of(logits, y):
    normalised = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return np.take_along_axis(normalised, np.broadcast_to(y, logits.shape[:-1])[..., None], axis=-1)[..., 0]


@pytest.mark.parametrize("part", ["pool", "population", "test"])
def test_signals_are_those_of_the_parameters_without_dropout(tiny_dropout, dataset, whole, part):
    records = getattr(dataset, part)
    for observed, state in whole.checkpoints:
        logits = logits_of(tiny_dropout, state.params, records)
        log_prob = log_prob_of(logits, records.y)
        said = getattr(observed, part)
        np.testing.assert_allclose(said.log_prob, log_prob, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            said.scaled_logit, log_prob - np.log1p(-np.exp(log_prob)), rtol=1e-5, atol=1e-5
        )
        np.testing.assert_array_equal(said.correct, logits.argmax(axis=-1) == records.y)
        assert all(field.dtype == np.float32 for field in said)


def test_everything_observed_is_a_numpy_array_with_the_models_in_front(whole):
    leaves = jax.tree.leaves(whole.segments[0].observed) + jax.tree.leaves(whole.segments[0].state)
    assert all(isinstance(leaf, np.ndarray) and len(leaf) == 5 for leaf in leaves)
    assert whole.observed.last_seen.shape == (5, 20)


def test_training_lowers_the_loss_on_members_more_than_elsewhere(five, whole):
    loss = -whole.observed.pool.log_prob
    before = -whole.checkpoints[0][0].pool.log_prob
    assert loss[five.member].mean() < min(before[five.member].mean(), loss[~five.member].mean())


def test_epoch_zero_is_before_training(train, tiny_dropout, dataset, five, adam, assert_same_bits):
    trained = train(tiny_dropout, five, adam, (0, 4))
    observed, state = trained.checkpoints[0]
    assert (observed.last_seen == -1).all()
    ones = all_models(keys.roots(3), five, hyper_of(adam, 5))
    for k in range(5):
        params = tiny_dropout.init(ones.init_key[k], dataset.pool.x[0])
        assert_same_bits({name: values[k] for name, values in state.params.items()}, params)


def test_logits_are_kept_where_asked_for_and_change_nothing_else(
    train, tiny_dropout, dataset, five, adam, whole, assert_same_bits
):
    trained = train(tiny_dropout, five, adam, (1, 2, 4), logits_at=(2,))
    kept = [observed.logits for observed, _ in trained.checkpoints]
    assert [sorted(logits) for logits in kept] == [[], ["pool", "population"], []]
    for part in ("pool", "population"):
        expected = logits_of(tiny_dropout, trained.checkpoints[1][1].params, getattr(dataset, part))
        np.testing.assert_allclose(kept[1][part], expected, rtol=1e-5, atol=1e-6)
    assert_same_bits(trained.params, whole.params)
    np.testing.assert_allclose(
        trained.checkpoints[1][0].pool.log_prob, whole.checkpoints[1][0].pool.log_prob, rtol=1e-5, atol=1e-6
    )


def test_a_part_without_records_is_refused(tiny, dataset, five):
    empty = dataset._replace(test=Records(dataset.test.x[:0], dataset.test.y[:0]))
    with pytest.raises(ValueError, match=r"dataset\.test has no records"):
        list(train_shadow_models(tiny, empty, five, TrainingConfig(batch_size=4), (1,), keys.roots(0)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": ()}, r"epochs is \(\): it must hold at least one epoch, and rise"),
        ({"epochs": (2, 1)}, r"epochs is \(2, 1\): it must hold at least one epoch, and rise"),
        ({"epochs": 1}, "epochs is 1: it must hold at least one epoch"),
        ({"keys": 0}, r"keys is 0: it must be what keys\.roots makes of a seed"),
        (
            {"membership": np.ones((5, 20), bool)},
            r"membership is a ndarray: it must be what membership\.draw makes",
        ),
        (
            {"hyper": hyper_of(TrainingConfig(), 2)},
            r"hyper\.learning_rate has shape \(2,\): it must have one entry for",
        ),
        ({"numbers": [1]}, r"numbers has shape \(1,\): it must have one entry for each of 5 models"),
        ({"chunks": [(0, 9)]}, r"chunks holds \(0, 9\): it must be \(start, stop\) of the 5 models"),
    ],
)
def test_what_does_not_fit_together_is_refused(tiny, dataset, five, changes, words):
    given = {"membership": five, "epochs": (1,), "keys": keys.roots(0)} | changes
    with pytest.raises(ValueError, match=words):
        list(train_shadow_models(tiny, dataset, training=TrainingConfig(batch_size=4), **given))


def test_the_membership_of_another_pool_is_refused(tiny, dataset, five):
    other = five._replace(member=np.ones((5, 60), bool))
    with pytest.raises(
        ValueError, match=r"membership\.member is of 60 records: it must be of the 20 of dataset\.pool"
    ):
        list(train_shadow_models(tiny, dataset, other, TrainingConfig(batch_size=4), (1,), keys.roots(0)))


def mesh_of(platform, devices):
    return SimpleNamespace(devices=np.asarray([SimpleNamespace(platform=platform)] * devices), size=devices)


@pytest.mark.parametrize(
    ("platform", "devices", "num_models", "chunk", "together", "expected"),
    [
        ("cpu", 2, 12, 0, 0, Plan(12, 1)),
        ("cpu", 2, 16, 0, 0, Plan(16, 1)),
        ("cpu", 2, 17, 0, 0, Plan(10, 1)),
        ("cpu", 2, 40, 0, 0, Plan(14, 1)),
        ("cpu", 1, 40, 10, 0, Plan(10, 1)),
        ("cpu", 1, 4, 10, 0, Plan(4, 1)),
        ("cpu", 1, 40, 10, 4, Plan(10, 4)),
        ("cpu", 1, 40, 3, 8, Plan(3, 3)),
        ("gpu", 1, 64, 0, 0, Plan(64, 64)),
        ("gpu", 1, 1024, 0, 0, Plan(512, 512)),
        ("gpu", 4, 1024, 0, 0, Plan(1024, 256)),
        ("gpu", 4, 4096, 0, 0, Plan(2048, 512)),
        ("gpu", 4, 10, 0, 0, Plan(10, 3)),
        ("gpu", 1, 1024, 0, 16, Plan(512, 16)),
    ],
)
def test_plan_takes_the_config_and_fills_in_what_suits_the_device(
    platform, devices, num_models, chunk, together, expected
):
    config = TrainingConfig(models_per_chunk=chunk, models_together=together)
    assert plan(config, num_models, mesh_of(platform, devices)) == expected
