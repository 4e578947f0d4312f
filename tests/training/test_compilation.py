"""Compilation does not grow with the number of models or checkpoints, and nothing compiles in the loop."""

import dataclasses
import logging
from collections import Counter

import jax
import pytest

from mia_jax import keys
from mia_jax.models import Model
from mia_jax.parallel import model_mesh
from mia_jax.training import Plan, train_shadow_models


@pytest.fixture
def counted(tiny_dropout):
    """The model, and how often JAX has traced its functions."""
    traces = Counter()

    def init(key, x):
        traces["init"] += 1
        return tiny_dropout.init(key, x)

    def apply(params, x, *, key=None, train=False):
        traces["train" if train else "observe"] += 1
        return tiny_dropout.apply(params, x, key=key, train=train)

    return Model(init, apply), traces


def test_traces_do_not_grow_with_models_or_checkpoints(train, draw, adam, counted):
    model, traces = counted
    train(model, draw(5), adam, (4,))
    of_one_segment = dict(traces)
    assert all(of_one_segment[name] > 0 for name in ("init", "train", "observe"))
    train(model, draw(17), adam, (0, 1, 4))
    assert dict(traces) == of_one_segment


def test_a_sweep_over_values_is_one_program(train, draw, adam, counted):
    model, traces = counted
    train(model, draw(5), adam, (4,))
    of_one_value = dict(traces)
    faster = dataclasses.replace(adam, learning_rate=2 * adam.learning_rate)
    one, other = (train(model, draw(5), config, (4,)) for config in (adam, faster))
    assert dict(traces) == of_one_value
    assert (one.params["bias"] != other.params["bias"]).all()


def test_nothing_is_compiled_after_the_first_segment(dataset, draw, adam, tiny_dropout, caplog):
    segments = train_shadow_models(
        tiny_dropout,
        dataset,
        draw(15),
        adam,
        (1, 2, 4),
        keys.roots(3),
        sizes=Plan(5, 1),
        mesh=model_mesh(),
    )
    compiled = []
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for _ in segments:
            compiled.append(sum("Finished XLA compilation" in r.getMessage() for r in caplog.records))
    assert len(compiled) == 9
    assert compiled[0] > 0
    assert set(compiled) == {compiled[0]}


def test_what_lies_on_the_devices_does_not_grow_with_the_models(dataset, draw, adam, tiny_dropout):
    def bytes_while_training(num_models):
        segments = train_shadow_models(
            tiny_dropout,
            dataset,
            draw(num_models),
            adam,
            (4,),
            keys.roots(3),
            sizes=Plan(5, 1),
            mesh=model_mesh(),
        )
        before = {id(one) for one in jax.live_arrays()}
        seen = [sum(one.nbytes for one in jax.live_arrays() if id(one) not in before) for _ in segments]
        return max(seen)

    assert bytes_while_training(40) == bytes_while_training(10) > 0
