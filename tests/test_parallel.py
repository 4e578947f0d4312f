"""The axis of models over devices, and the flags that make a CPU one device per core."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.parallel import MODELS, WHOLE, model_mesh, over_models, place, use_cpu_cores


@pytest.fixture
def flags(monkeypatch):
    """Sets XLA_FLAGS for one test, and reads what `use_cpu_cores` made of them."""

    def after(before):
        monkeypatch.setenv("XLA_FLAGS", before) if before is not None else monkeypatch.delenv("XLA_FLAGS")
        use_cpu_cores()
        return os.environ["XLA_FLAGS"].split()

    return after


def test_tests_see_two_cpu_devices():
    assert [device.platform for device in jax.devices()] == ["cpu", "cpu"]


@pytest.mark.parametrize("before", [None, "", "--xla_cpu_enable_fast_math=false"])
def test_every_core_becomes_a_single_threaded_device(flags, before):
    assert flags(before) == [
        *(before or "").split(),
        "--xla_cpu_multi_thread_eigen=false",
        f"--xla_force_host_platform_device_count={len(os.sched_getaffinity(0))}",
    ]


@pytest.mark.parametrize(
    "own", ["--xla_force_host_platform_device_count=7", "--xla_cpu_multi_thread_eigen=true"]
)
def test_what_the_user_has_set_stays(flags, own):
    after = flags(own)
    assert own in after
    assert len(after) == 2
    assert flags(" ".join(after)) == after


def test_a_number_of_devices_that_is_given_comes_before_xlas_own_flag(monkeypatch):
    monkeypatch.setenv(
        "XLA_FLAGS", "--xla_force_host_platform_device_count=7 --xla_cpu_enable_fast_math=false"
    )
    use_cpu_cores(3)
    assert os.environ["XLA_FLAGS"].split() == [
        "--xla_cpu_enable_fast_math=false",
        "--xla_cpu_multi_thread_eigen=false",
        "--xla_force_host_platform_device_count=3",
    ]


@pytest.mark.parametrize(("own", "after"), [(None, "3"), ("5", "5")])
def test_xla_has_as_many_threads_as_devices(monkeypatch, own, after):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("NPROC", own) if own else monkeypatch.delenv("NPROC")
    use_cpu_cores(3)
    assert os.environ["NPROC"] == after


def test_a_system_without_cpu_affinity_is_served_too(flags, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert any(flag.startswith("--xla_force_host_platform_device_count=") for flag in flags(""))


def test_the_mesh_has_one_axis_over_the_local_devices():
    assert model_mesh().axis_names == ("models",)
    assert model_mesh().devices.tolist() == jax.local_devices()
    assert model_mesh(jax.devices()[1:]).devices.tolist() == jax.devices()[1:]


def test_placed_arrays_lie_over_the_devices_or_on_each():
    mesh, rows = model_mesh(), np.arange(8.0).reshape(4, 2)
    for spec, shape in ((MODELS, (2, 2)), (WHOLE, (4, 2))):
        placed = place({"a": rows}, mesh, spec)["a"]
        assert [shard.data.shape for shard in placed.addressable_shards] == [shape, shape]
        np.testing.assert_array_equal(placed, rows)


@pytest.mark.parametrize("devices", [1, 2])
def test_every_device_runs_its_own_models(devices):
    mesh = model_mesh(jax.devices()[:devices])
    seen = []

    def gather(rows, pool):
        seen.append(rows.shape)
        return pool[rows].sum(axis=1), rows

    rows, pool = np.asarray([[0, 1], [2, 2], [4, 0], [3, 1]]), jnp.arange(5.0) ** 2
    sums, kept = over_models(gather, mesh, (MODELS, WHOLE))(
        place(rows, mesh, MODELS), place(pool, mesh, WHOLE)
    )
    np.testing.assert_array_equal(sums, [1.0, 8.0, 16.0, 10.0])
    np.testing.assert_array_equal(kept, rows)
    assert seen == [(4 // devices, 2)]
    assert len(sums.addressable_shards) == devices


def test_donated_arguments_give_up_their_memory():
    mesh = model_mesh()
    state, step = (place(np.ones((2, 3), np.float32), mesh, MODELS) for _ in range(2))
    moved = over_models(lambda a, b: a + b, mesh, (MODELS, MODELS), donate=(0,))(state, step)
    np.testing.assert_array_equal(moved, np.full((2, 3), 2.0))
    assert state.is_deleted()
    assert not step.is_deleted()
