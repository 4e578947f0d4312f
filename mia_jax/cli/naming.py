"""What commands are called, in a checkout and where the package is installed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

INSTALLED = ("run", "train", "attack", "report", "tradeoff", "dynamics", "compare", "account")
"""Scripts that an installation has as commands, mia-NAME."""


def installed() -> bool:
    """Whether this process was started by an installed command, so that no scripts/ and configs/ need be there."""
    return Path(sys.argv[0]).name.startswith("mia-")


def as_typed(text: str) -> str:
    """A text that names scripts, with the commands in their place where those are what a person types."""
    if not installed():
        return text
    return re.sub(rf"(?:python )?scripts/({'|'.join(INSTALLED)})\.py", r"mia-\1", text)
