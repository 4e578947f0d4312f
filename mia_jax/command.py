"""The command line of this process, as a person can type it again."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


def this_command() -> str:
    """The command of this process, the program's places relative to the working directory."""
    program, *flags = sys.argv
    if not program.endswith(".py"):
        return shlex.join([Path(program).name, *flags])
    return shlex.join([_place(sys.executable), _place(program), *flags])


def _place(path: str) -> str:
    """A path below the working directory relative to it; of another only the name, or as it was given."""
    absolute = os.path.abspath(path)
    if absolute.startswith(os.getcwd() + os.sep):
        return os.path.relpath(absolute)
    return Path(path).name if path == sys.executable else path
