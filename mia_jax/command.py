"""The command line of this process, and what commands are called in a checkout and where the package is installed."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

INSTALLED = ("run", "train", "attack", "report", "tradeoff", "dynamics", "compare", "account")
"""Scripts that an installation has as commands, mia-NAME."""


def installed() -> bool:
    """Whether an installed command started this process, so that no scripts/, configs/ and docs/ need be there."""
    return Path(sys.argv[0]).name.startswith("mia-")


def as_typed(text: str) -> str:
    """A text that names scripts and pages: where those are not there, with the commands and titles a person has."""
    if not installed():
        return text
    text = re.sub(rf"(?:python )?scripts/({'|'.join(INSTALLED)})\.py", r"mia-\1", text)
    return re.sub(r"docs/(\w+)\.md", r'the page "\1" of the documentation', text)


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
