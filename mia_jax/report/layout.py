"""How figures look: sizes, the colour and dash of each family, and the grid of panels."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

WIDTH = 6.5  # inches: the text width of a page
GREY = "#6b6b6b"
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlepad": 4,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "path.simplify": True,
    "lines.markersize": 3.5,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


class Look(NamedTuple):
    """How one family is drawn, told apart by colour and, in grey, by dash and marker."""

    colour: str
    dash: Any
    marker: str


LOOKS = (  # after Okabe and Ito, darkened until text in these colours is legible on white
    Look("#0072B2", "-", "o"),
    Look("#C44E00", (0, (5, 1.5)), "s"),
    Look("#00795A", (0, (1.2, 1.2)), "^"),
    Look("#9B3D78", (0, (5, 1.5, 1.2, 1.5)), "D"),
    Look("#8A6A00", (0, (8, 2)), "v"),
    Look("#3D3D3D", (0, (3, 1, 1, 1, 1, 1)), "X"),
)


def looks(families: Sequence[str]) -> dict[str, Look]:
    """The look of each family; beyond six they repeat."""
    return {family: LOOKS[place % len(LOOKS)] for place, family in enumerate(families)}


def columns_for(panels: int) -> int:
    """How many panels stand side by side."""
    return {1: 1, 2: 2, 4: 2}.get(panels, 3)


def grid(
    places: int | Iterable[int],
    *,
    columns: int = 0,
    height: float = 0.0,
    gap: float = 0.42,
    left: float = 0.58,
    header: float = 0.0,
    square: bool = False,
    shared: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure and its panels at these places of a grid, row by row; lengths in inches."""
    at = list(range(places)) if isinstance(places, int) else list(places)
    columns = columns or columns_for(len(at))
    across = 0.14 if shared else 0.36
    rows, right, above, below = max(at) // columns + 1, 0.2, 0.3 + header, 0.5
    width = (WIDTH - left - right - across * (columns - 1)) / columns
    height = min(width, 3.4) if square else height
    total = above + below + rows * height + (rows - 1) * gap
    figure = Figure(figsize=(WIDTH, total))
    spec = figure.add_gridspec(
        rows,
        columns,
        left=left / WIDTH,
        right=1 - right / WIDTH,
        top=1 - above / total,
        bottom=below / total,
        wspace=across / width,
        hspace=gap / height,
    )
    panels = []
    for place in at:
        axes = figure.add_subplot(spec[place // columns, place % columns])
        if shared:
            axes.tick_params(labelleft=place % columns == 0, labelbottom=place + columns > max(at))
        panels.append(axes)
    return figure, panels


def rows(
    heights: Sequence[float], columns: int, *, left: float, header: float = 0.0
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of panels for lists of names, as high as their lists, below each other; heights in inches.

    left: share of the width for the names. Panels of one line share their vertical axis, of one column the
    horizontal one.
    """
    gap, above, below = 0.4, 0.27 + header + (0.2 if len(heights) > 1 else 0.0), 0.42
    total = above + below + sum(heights) + gap * (len(heights) - 1) + 0.06
    figure = Figure(figsize=(WIDTH, total))
    panels = figure.add_gridspec(
        len(heights),
        columns,
        left=left,
        right=0.98,
        top=1 - above / total,
        bottom=below / total,
        wspace=0.08,
        hspace=gap / (sum(heights) / len(heights)),
        height_ratios=heights,
    ).subplots(sharex="col", sharey="row", squeeze=False)
    return figure, [list(line) for line in panels]


def same_limits(panels: Sequence[Axes]) -> None:
    """Give all panels the widest vertical limits among them."""
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def legend(figure: Figure, families: Mapping[str, Look]) -> None:
    """The families along the top edge."""
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dash, marker=look.marker, label=f" {name}")
        for name, look in families.items()
    ]
    top = (0.5, 1 + 0.02 / figure.get_figheight())
    figure.legend(
        handles=handles, loc="upper center", bbox_to_anchor=top, ncols=6, frameon=False, handlelength=3
    )


def wrapped(text: str, columns: int = 3) -> str:
    """A title in lines that fit a panel of a figure with so many columns."""
    return "\n".join(textwrap.wrap(text, 32 if columns > 2 else 52)) or text
