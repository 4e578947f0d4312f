"""How the arms of a study of dynamics are told apart in its figures, what shades mean, and words that fit."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.lines import Line2D

from mia_jax.dynamics_study.rows import DynamicsRows
from mia_jax.dynamics_study.tables import varying
from mia_jax.report import layout

DARK = "#222222"
DASHES = ("-", (0, (4, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))


class Looks(NamedTuple):
    """How each arm is drawn, by its name, and what that means: a factor with the look of each of its levels."""

    of: Mapping[str, layout.Look]
    keys: Mapping[str, Mapping[str, layout.Look]]


def looks_of(rows: DynamicsRows) -> Looks:
    """Colours for the factor with most levels, dashes for the next and markers for the third.

    With fewer factors one of them has several of these; a fourth has none, and its arms look alike.
    """
    ranked = sorted(varying(rows), key=lambda name: -len(rows.factors[name]))
    second = ranked[min(1, len(ranked) - 1)]
    ways = {"colour": ranked[0], "dash": second, "marker": ranked[2] if len(ranked) > 2 else second}
    colours = _colours(len(rows.factors[ranked[0]]), alone=len(ranked) > 1)

    def look(levels: Mapping[str, str]) -> layout.Look:
        at = {way: rows.factors[name].index(levels[name]) for way, name in ways.items() if name in levels}
        return layout.Look(
            colours[at["colour"]] if "colour" in at else DARK,
            DASHES[at["dash"] % len(DASHES)] if "dash" in at else "-",
            layout.LOOKS[at["marker"] % len(layout.LOOKS)].marker if "marker" in at else "",
        )

    keys = {name: {level: look({name: level}) for level in rows.factors[name]} for name in ways.values()}
    return Looks({arm.name: look(arm.factors) for arm in rows.arms}, keys)


def _colours(count: int, *, alone: bool) -> list[str]:
    """So many colours: the report's own, or steps of a scale where these do not suffice.

    alone: nothing but the colour tells the levels apart, so that it must in grey.
    """
    if not alone and count <= len(layout.LOOKS):
        return [look.colour for look in layout.LOOKS]
    scale = matplotlib.colormaps["plasma"]
    return [matplotlib.colors.to_hex(scale(share)) for share in np.linspace(0, 0.78, count)]


def shades() -> Colormap:
    """From light to dark, even to the eye and in grey: larger is darker."""
    scale = matplotlib.colormaps["inferno_r"]
    return ListedColormap(scale(np.linspace(0.16, 0.92, 256)), name="exposure")


def scale(norm: Normalize) -> ScalarMappable:
    """What a bar of colours shows."""
    return ScalarMappable(norm, shades())


def key(
    axes: Axes, keys: Mapping[str, Mapping[str, layout.Look]], notes: Sequence[tuple[Artist, str]]
) -> None:
    """What colours, dashes and markers mean, in a panel of its own. notes: further handles with their words."""
    handles: list[Artist] = []
    words: list[str] = []
    for name, levels in keys.items():
        handles.append(Line2D([], [], linestyle="none"))
        words.append(shortened(name.replace("_", " ").capitalize(), 22))
        for level, look in levels.items():
            style = {"color": look.colour, "linestyle": look.dash, "marker": look.marker}
            handles.append(Line2D([], [], linewidth=1.1, **style))
            words.append(f" {shortened(level, 22)}")
    axes.set_axis_off()
    narrow = len(handles) + len(notes) > 16
    made = axes.legend(
        handles=[*handles, *(handle for handle, _ in notes)],
        labels=[*words, *(note for _, note in notes)],
        loc="upper left",
        bbox_to_anchor=(-0.16, 1.12),
        borderaxespad=0,
        frameon=False,
        ncols=2 if narrow else 1,
        fontsize=5.5 if narrow else 6.0,
        labelspacing=0.25,
        handlelength=2.0 if narrow else 2.6,
        columnspacing=0.8,
        markerscale=0.8,
    )
    for text, word in zip(made.get_texts(), words, strict=False):
        text.set_fontweight("normal" if word.startswith(" ") else "bold")


def shortened(text: str, most: int) -> str:
    """A name that fits, its middle left out."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"


def wrapped(text: str, width: int) -> str:
    """Words in lines of so many characters."""
    return "\n".join(textwrap.wrap(text, width)) or text
