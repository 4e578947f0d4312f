"""Parameters by the names of their places, for defences that touch some of them only."""

from __future__ import annotations

import re
from collections.abc import Callable

import jax

from mia_jax.types import Params


def path_of(path: tuple[object, ...]) -> str:
    """A leaf's place as text: recurrent_0/input."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def selected(params: Params, pattern: str) -> list[bool]:
    """Which leaves, in their order, have a path in which the regular expression is found; empty: all.

    Raises ValueError where there is none, and for what is no regular expression.
    """
    names = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"parameters is {pattern!r}: it must be a regular expression ({error}).") from None
    found = [expression.search(name) is not None for name in names]
    if not any(found):
        raise ValueError(
            f"parameters is {pattern!r}: no parameter has a path in which it is found; there are "
            f"{', '.join(names) or 'none'}."
        )
    return found


def map_selected(function: Callable[..., jax.Array], pattern: str, params: Params, *rest: Params) -> Params:
    """`function` applied to the selected leaves of `params` (and of `rest`), the others as they are."""
    chosen = iter(selected(params, pattern))
    return jax.tree.map(lambda leaf, *more: function(leaf, *more) if next(chosen) else leaf, params, *rest)
