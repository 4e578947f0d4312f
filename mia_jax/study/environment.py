"""What a command runs on, for the record."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform

import jax

from mia_jax.command import this_command

PACKAGES = ("mia_jax", "jax", "jaxlib", "flax", "optax", "numpy")


@functools.cache
def environment() -> dict[str, str]:
    """Versions, devices and the command line of this process; the devices of its whole job."""
    devices, processes = jax.devices(), jax.process_count()
    together = f" in {processes} processes" if processes > 1 else ""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": this_command(),
        "python": platform.python_version(),
        **versions,
        "backend": devices[0].platform,
        "device": f"{len(devices)} × {devices[0].device_kind}{together}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _version(package: str) -> str:
    """The version of a package; of this one also where it is not installed."""
    if package == "mia_jax":
        from mia_jax import __version__

        return __version__
    return importlib.metadata.version(package)
