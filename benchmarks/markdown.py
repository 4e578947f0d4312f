"""What every benchmark writes into a README: a table, and the machine below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *below: str, names: int = 1) -> str:
    """A table and paragraphs below it. names: how many of the first columns are words, and stand on the left."""
    places = ["---" if place < names else "---:" for place in range(len(columns))]
    lines = ["| " + " | ".join(line) + " |" for line in (columns, places, *rows)]
    return "\n\n".join(["\n".join(lines), *below])


def one_core(about: Mapping[str, Any]) -> str:
    """The processor of a result that was measured on one of its cores."""
    return f"{about['processor']}, one core"


def all_cores(about: Mapping[str, Any]) -> str:
    """The processor of a result, and how many of its cores were used."""
    return f"{about['processor']}, {about['cores']} cores"


def versions(about: Mapping[str, Any]) -> str:
    """Python and the packages of a result, as `machine` gives them, and its day."""
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    return f"Python {about['python']}, {packages}; {about['date']}"
