"""What a result was measured on, for the record."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any


def machine(packages: Sequence[str], *, accelerator: bool = False) -> dict[str, Any]:
    """The processor and its cores, or an accelerator's driver; versions and the date.

    Nothing that names the computer.
    """
    found = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    return {
        **({"driver": driver()} if accelerator else processor()),
        "python": platform.python_version(),
        "packages": {name: found[name] for name in packages if name in found},
        "date": datetime.date.today().isoformat(),
    }


def processor() -> dict[str, Any]:
    """The processor and the cores that this process may use."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", text)
    return {
        "processor": model[1].strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
    }


def driver() -> str:
    """The version of NVIDIA's driver; "" where there is none."""
    if not shutil.which("nvidia-smi"):
        return ""
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split("\n")[0].strip()
