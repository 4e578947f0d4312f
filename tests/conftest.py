"""The machine that all tests see: a CPU of exactly two devices, and JAX at its strictest."""

import os
import shutil
import tempfile

_OWN_FLAGS = ("xla_force_host_platform_device_count", "xla_cpu_multi_thread_eigen")


def _flags_of_two_devices(flags: str) -> str:
    kept = [flag for flag in flags.split() if not any(own in flag for own in _OWN_FLAGS)]
    return " ".join([*kept, "--xla_cpu_multi_thread_eigen=false", "--xla_force_host_platform_device_count=2"])


# XLA reads its flags once, when JAX's first computation starts the backend.
os.environ["XLA_FLAGS"] = _flags_of_two_devices(os.environ.get("XLA_FLAGS", ""))
os.environ["NPROC"] = "2"  # and starts so many threads
os.environ["JAX_PLATFORMS"] = "cpu"

# One folder of compiled programs for the session: its workers, and the commands that tests start, inherit it.
_OWN_FOLDER = "" if "JAX_COMPILATION_CACHE_DIR" in os.environ else tempfile.mkdtemp(prefix="compiled-")
if _OWN_FOLDER:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _OWN_FOLDER
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax  # noqa: E402

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_sessionfinish(session) -> None:
    """Forget the compiled programs, where no worker and nobody outside wants them any more."""
    if _OWN_FOLDER:
        shutil.rmtree(_OWN_FOLDER, ignore_errors=True)
