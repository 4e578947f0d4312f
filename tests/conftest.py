"""The machine that all tests see: a CPU of exactly two devices, and JAX at its strictest."""

import os
import shutil
import tempfile

_OWN_FLAGS = ("xla_force_host_platform_device_count", "xla_cpu_multi_thread_eigen")
_WORKER = "PYTEST_XDIST_WORKER"


def _flags_of_two_devices(flags: str) -> str:
    kept = [flag for flag in flags.split() if not any(own in flag for own in _OWN_FLAGS)]
    return " ".join([*kept, "--xla_cpu_multi_thread_eigen=false", "--xla_force_host_platform_device_count=2"])


# XLA reads its flags once, when JAX's first computation starts the backend.
os.environ["XLA_FLAGS"] = _flags_of_two_devices(os.environ.get("XLA_FLAGS", ""))
os.environ["JAX_PLATFORMS"] = "cpu"

# One folder of compiled programs for the session: its workers, and the commands that tests start, inherit it.
if _WORKER not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax  # noqa: E402

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_sessionfinish(session) -> None:
    """Forget the compiled programs."""
    if _WORKER not in os.environ:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
