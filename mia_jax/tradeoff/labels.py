"""Short texts beside points of a panel, each where it hides the least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

SIZE = 5.8
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


class Label(NamedTuple):
    """A text beside a point, given in the panel's data."""

    at: tuple[float, float]
    text: str
    colour: str


class _Box(NamedTuple):
    """A rectangle in typographic points."""

    left: float
    bottom: float
    right: float
    top: float


def place(axes: Axes, labels: Sequence[Label], points: Sequence[tuple[float, float]]) -> None:
    """Writes each text at the side of its point where it covers the fewest points, lines of points and texts.

    points: everything that should stay visible. The panel's limits must not change afterwards.
    """
    taken = [_around(*_on_paper(axes, point), 4.0, 4.0) for point in points]
    frame = _Box(*(float(end) * 72 / axes.figure.dpi for end in axes.bbox.extents))
    for label in labels:
        x, y = _on_paper(axes, label.at)
        width, height = 0.62 * SIZE * len(label.text), 1.05 * SIZE
        reach = [(dx * (4.0 + width / 2), dy * (3.5 + height / 2)) for dx, dy in _SIDES]
        boxes = [_around(x + dx, y + dy, width, height) for dx, dy in reach]
        cost = [sum(_shared(box, other) for other in taken) + 4 * _outside(box, frame) for box in boxes]
        best = int(np.argmin(cost))
        taken.append(boxes[best])
        axes.annotate(
            label.text,
            label.at,
            reach[best],
            textcoords="offset points",
            ha="center",
            va="center",
            size=SIZE,
            color=label.colour,
        )


def _on_paper(axes: Axes, point: tuple[float, float]) -> tuple[float, float]:
    """A point of the panel in typographic points."""
    x, y = axes.transData.transform(point) * 72 / axes.figure.dpi
    return float(x), float(y)


def _around(x: float, y: float, width: float, height: float) -> _Box:
    """The rectangle around a point."""
    return _Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _shared(a: _Box, b: _Box) -> float:
    """The area that two rectangles share."""
    return max(0.0, min(a.right, b.right) - max(a.left, b.left)) * max(
        0.0, min(a.top, b.top) - max(a.bottom, b.bottom)
    )


def _outside(box: _Box, frame: _Box) -> float:
    """The area of a rectangle outside of a frame."""
    return (box.right - box.left) * (box.top - box.bottom) - _shared(box, frame)
