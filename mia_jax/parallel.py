"""Devices: the axis of models lies over all devices of all processes, and nothing else does.

Within a process it is one axis of a mesh of the local devices. Processes share it by chunks: each trains
chunks of its own (`processes`, `study.together`), at its own pace and on as many devices as it has, and
what a chunk's numbers are depends on neither. No step waits for another device.

On a CPU one host device per core, each single-threaded, beats one device with many threads: a
model's parameters, optimizer state and activations then stay in one core's cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

MODELS = PartitionSpec("models")
WHOLE = PartitionSpec()

SAME_BITS = {"xla_gpu_deterministic_ops": True}
"""XLA's options on a GPU: otherwise it chooses kernels by timing them, each process for itself, and
adds up an embedding's gradient in any order.
"""

_DEVICE_COUNT = "--xla_force_host_platform_device_count"


def use_cpu_cores(devices: int | None = None) -> None:
    """Make JAX's CPU backend so many single-threaded devices; None: one per core that this process may use.

    Takes effect only before the first computation of the process. What the user has set in XLA_FLAGS stays
    as it is, but for a number of devices that is given here too; other backends are not touched.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    if devices is not None:
        flags = [flag for flag in flags if not flag.startswith(_DEVICE_COUNT)]
    if not any("xla_cpu_multi_thread_eigen" in flag for flag in flags):
        flags.append("--xla_cpu_multi_thread_eigen=false")
    if not any(flag.startswith(_DEVICE_COUNT) for flag in flags):
        flags.append(f"{_DEVICE_COUNT}={devices or usable_cores()}")
    os.environ["XLA_FLAGS"] = " ".join(flags)
    count = next(flag for flag in flags if flag.startswith(_DEVICE_COUNT)).partition("=")[2]
    # As many of XLA's threads as devices: one more keeps a core busy with waiting, and slows all of them down.
    os.environ.setdefault("NPROC", count)


def usable_cores() -> int:
    """The cores this process may use."""
    # Where the system keeps no such record, the machine's own count.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def model_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh with one axis, `models`, over the given devices (default: all local ones)."""
    return Mesh(np.asarray(devices or jax.local_devices()), ("models",))


def over_models(
    function: Callable[..., Any],
    mesh: Mesh,
    in_specs: tuple[PartitionSpec, ...],
    *,
    donate: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Compile `function`, whose arguments marked MODELS and all results carry the axis of models.

    Each device runs `function` on its own models; nothing is communicated. in_specs: MODELS or
    WHOLE for each argument. donate: arguments whose memory the results may take.
    """
    # Manual axes: the automatic mode would refuse the gather of a batch from the replicated pool.
    mapped = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=MODELS, check_vma=False)
    on_gpu = mesh.devices.flat[0].platform == "gpu"
    return jax.jit(mapped, donate_argnums=donate, compiler_options=SAME_BITS if on_gpu else None)


def place(values: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """Put host arrays on the mesh's devices as `spec` says."""
    return jax.device_put(values, NamedSharding(mesh, spec))
