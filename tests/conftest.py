"""The machine that all tests see: a CPU of exactly two devices, and JAX at its strictest."""

import os
import tempfile

_OWN_FLAGS = ("xla_force_host_platform_device_count", "xla_cpu_multi_thread_eigen")


def _flags_of_two_devices(flags: str) -> str:
    kept = [flag for flag in flags.split() if not any(own in flag for own in _OWN_FLAGS)]
    return " ".join([*kept, "--xla_cpu_multi_thread_eigen=false", "--xla_force_host_platform_device_count=2"])


# XLA reads its flags once, when JAX's first computation starts the backend.
os.environ["XLA_FLAGS"] = _flags_of_two_devices(os.environ.get("XLA_FLAGS", ""))
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_sessionstart(session) -> None:
    """Keep compiled programs for the session: the same program is asked for by many tests."""
    session.config.compiled = tempfile.TemporaryDirectory(prefix="compiled-")
    jax.config.update("jax_compilation_cache_dir", session.config.compiled.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_sessionfinish(session) -> None:
    """Forget the compiled programs."""
    session.config.compiled.cleanup()
