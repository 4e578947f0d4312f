"""How many models stand side by side is what their compiled programs say fits, and no number of it is guessed."""

import dataclasses
import logging
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from mia_jax.config import ConfigError, TrainingConfig
from mia_jax.parallel import model_mesh
from mia_jax.training import Plan, Probe, memory, planned, shadow
from mia_jax.training.memory import GIB, Need, device_memory, most_that_fit, stays_resident


def linear(base, each, jitter=0.0, compiles_up_to=10**9):
    """What a compiler would say of models that take `each` bytes, and how often it was asked."""
    asked = []

    def size_of(count):
        asked.append(count)
        if count > compiles_up_to:
            return None
        return Need(count, int(base + each * count * (1 + jitter * (count % 3))))

    return size_of, asked


@pytest.mark.parametrize("memory_size", [1_000, 1_900, 5_050, 20_000])
def test_the_largest_number_that_fits_is_found_where_memory_is_linear(memory_size):
    size_of, asked = linear(500, 50)
    found = most_that_fit(size_of, memory_size, 256)
    assert found.models == min(256, (memory_size - 500) // 50)
    assert len(asked) <= 4


def test_what_fits_at_most_is_asked_once():
    size_of, asked = linear(500, 1)
    assert most_that_fit(size_of, 10_000, 64) == Need(64, 564)
    assert asked == [64]


@pytest.mark.parametrize("memory_size", [700, 2_000, 9_000])
def test_a_number_that_does_not_hold_is_stepped_down_from(memory_size):
    size_of, asked = linear(500, 50, jitter=0.2)
    found = most_that_fit(size_of, memory_size, 256)
    assert found.size <= memory_size
    assert asked[-1] == found.models
    best = max(count for count in range(1, 257) if size_of(count).size <= memory_size)
    assert best * 0.6 <= found.models <= best


def test_programs_that_cannot_be_compiled_do_not_fit():
    size_of, _ = linear(0, 10, compiles_up_to=40)
    found = most_that_fit(size_of, 10_000, 256)
    assert 20 <= found.models <= 40


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_too_little_for_one_model_is_refused(most):
    with pytest.raises(
        ConfigError, match=r"GiB of each device are there .*config\.training\.memory_gib.*: one model"
    ):
        most_that_fit(linear(500, 50)[0], 520, most)


def devices(*stats):
    made = [SimpleNamespace(memory_stats=lambda one=one: one, platform="gpu") for one in stats]
    return SimpleNamespace(devices=np.asarray(made), size=len(made))


def test_memory_is_what_the_fullest_device_has_free_unless_the_config_says():
    full = {"bytes_limit": 1_000, "bytes_in_use": 400}
    mesh = devices({"bytes_limit": 1_000, "bytes_in_use": 0}, full)
    assert device_memory(TrainingConfig(), mesh) == int(memory.FREE_SHARE * 600)
    assert device_memory(TrainingConfig(memory_gib=0.5), mesh) == GIB // 2
    assert device_memory(TrainingConfig(), devices(full, None)) is None
    assert device_memory(TrainingConfig(), model_mesh()) is None


def test_records_stay_on_the_devices_where_they_leave_room(dataset):
    parts = (dataset.pool, dataset.population, dataset.test)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(parts))
    assert memory.records_size(parts) == size
    for gib, stays in ((2.1 * size / GIB, True), (1.9 * size / GIB, False)):
        assert stays_resident(TrainingConfig(memory_gib=gib), parts, model_mesh()) == stays
        assert stays_resident(TrainingConfig(memory_gib=gib, feed="resident"), parts, model_mesh())
    assert stays_resident(TrainingConfig(), parts, model_mesh())
    assert not stays_resident(TrainingConfig(feed="blocks"), parts, model_mesh())


def test_records_are_counted_as_the_devices_hold_them(dataset):
    double = dataset.pool._replace(x=dataset.pool.x.astype(np.float64), y=dataset.pool.y.astype(np.int64))
    assert memory.records_size((double,)) == memory.records_size((dataset.pool,))


@pytest.fixture
def fit(tiny, dataset, draw, adam):
    """The plan of 40 models of which so many bytes may be taken on a device."""

    def fit(size, *, num_models=40, count=1, **changes):
        config = dataclasses.replace(adam, memory_gib=size / GIB, **changes)
        mesh = model_mesh(jax.devices()[:count])
        return planned(tiny, dataset, draw(num_models), config, mesh=mesh)

    return fit


def test_without_a_limit_a_cpu_trains_one_at_a_time_and_compiles_nothing(tiny, dataset, draw, adam, caplog):
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        assert planned(tiny, dataset, draw(40), adam) == (Plan(14, 1, "resident"), "")
        blocks = dataclasses.replace(adam, feed="blocks")
        assert planned(tiny, dataset, draw(40), blocks).why.endswith("records are fed in blocks")
    assert not [r for r in caplog.records if "Finished XLA compilation" in r.getMessage()]


def test_all_models_stand_side_by_side_where_memory_allows(fit):
    sizes, why = fit(GIB)
    assert sizes == Plan(40, 40, "resident")
    assert why.startswith("40 models side by side on a device take ")
    assert why.endswith(" of 1 GiB, and more would gain nothing")
    assert fit(GIB, models_together=3).plan == Plan(40, 3, "resident")


@pytest.mark.slow
def test_less_memory_is_fewer_models_and_what_they_take_is_within_it(fit):
    counts = []
    for size in (30_000, 60_000, 100_000):
        sizes, why = fit(size)
        taken = float(why.split(" take ")[1].split(" of ")[0]) * GIB
        assert taken <= size * 1.01
        assert taken > size / 3
        counts.append(sizes.models_together)
        assert sizes.models_per_chunk <= sizes.models_together
    assert counts == sorted(set(counts))
    assert counts[0] < 20


@pytest.mark.slow
def test_what_was_measured_is_what_runs(tiny, dataset, draw, adam, train, caplog):
    config = dataclasses.replace(adam, memory_gib=1.0)
    planned(tiny, dataset, draw(6), config, logits=True)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        train(tiny, draw(6), config, (4,), logits_at=(4,), sizes=None)
    compiled = [r.getMessage() for r in caplog.records if "Finished XLA compilation" in r.getMessage()]
    assert not [message for message in compiled if "jit(move)" in message or "lambda" in message]


@pytest.mark.slow
def test_a_plan_of_what_is_fed_fits_too_and_trains_the_same(fit, tiny, dataset, draw, adam, train):
    probes = (Probe(lambda params, record, key: {"sum": record.x.sum()}, records_at_once=6),)
    config = dataclasses.replace(adam, memory_gib=1.0, feed="blocks")
    sizes, why = planned(tiny, dataset, draw(6), config, probes=probes)
    assert sizes == Plan(6, 3, "blocks")
    assert "records are fed in blocks" in why
    fed = train(tiny, draw(6), config, (4,), probes=probes, sizes=None)
    stays = train(
        tiny, draw(6), dataclasses.replace(config, feed="resident"), (4,), probes=probes, sizes=None
    )
    np.testing.assert_allclose(fed.params["in"], stays.params["in"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fed.observed.probed["sum"], stays.observed.probed["sum"], rtol=1e-6)


@pytest.mark.slow
def test_records_that_take_too_much_are_fed_in_blocks_whoever_made_the_plan(
    tiny, draw, adam, train, monkeypatch
):
    small = dataclasses.replace(adam, memory_gib=1e-6)
    expected = train(tiny, draw(3), dataclasses.replace(adam, feed="resident"), (1,), sizes=Plan(3, 1))
    monkeypatch.setattr(shadow, "resident", None)
    for plan in (Plan(3, 1), Plan(3, 1, "blocks")):
        fed = train(tiny, draw(3), small, (1,), sizes=plan)
        np.testing.assert_array_equal(fed.params["in"], expected.params["in"])
    with pytest.raises(TypeError):
        train(tiny, draw(3), small, (1,), sizes=Plan(3, 1, "resident"))
