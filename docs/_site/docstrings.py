"""Docstrings as Markdown: they are plain text with `code`, and paragraphs aligned by spaces stand as they are.

An extension of Griffe, which reads the package for the API reference without importing it.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ALIGNED = re.compile(r"\S {2,}\S")
PLAIN = re.compile(r"`[^`]*`|[\[\]*_<]")


class AlignedBlocks(Extension):
    """Put fences around paragraphs whose lines are aligned, and keep Markdown from reading formulas."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring as Markdown that shows what it says."""
    return "\n\n".join(map(_paragraph, text.split("\n\n")))


def _paragraph(text: str) -> str:
    """One paragraph: fenced, code by its indentation, or text without Markdown's own signs."""
    if len(ALIGNED.findall(text)) > 1:
        return f"```text\n{text}\n```"
    if text.startswith("    "):
        return text
    return PLAIN.sub(lambda found: found[0] if found[0][0] == "`" else f"\\{found[0]}", text)
