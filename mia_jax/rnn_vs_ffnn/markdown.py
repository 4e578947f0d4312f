"""Pages in Markdown: prose in lines of one width, tables and figures as they are."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from mia_jax.rnn_vs_ffnn.tables import Table

AS_IT_IS = ("|", "#", "!")
"""How parts begin that are no prose: tables, headings (with what is below) and figures are not wrapped."""

Shown = Mapping[str, str]
"""Addresses of figures, as seen from the page, by name."""


def page(parts: Iterable[str]) -> str:
    """A page of its parts, a line between any two."""
    return (
        "\n\n".join(part if part.startswith(AS_IT_IS) else textwrap.fill(part, 118) for part in parts) + "\n"
    )


def table(one: Table) -> str:
    """A table."""
    lines = [one.head, ["---"] * len(one.head), *one.lines]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def drawn(shown: Shown, names: Sequence[str]) -> list[str]:
    """Those of some figures that are there."""
    return [f"![{name.replace('_', ', ')}]({shown[name]})" for name in names if name in shown]


def addresses(names: Iterable[str], folder: str) -> dict[str, str]:
    """Where figures lie. folder: theirs, as seen from the page."""
    return {name: str(PurePosixPath(folder) / f"{name}.png") for name in names}
