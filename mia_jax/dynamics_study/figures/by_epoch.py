"""What is followed through training, a line an arm."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mia_jax.dynamics_study import marks
from mia_jax.dynamics_study.figures.axes import epoch_axis
from mia_jax.dynamics_study.looks import Looks, key, looks_of
from mia_jax.dynamics_study.rows import CURVES, Arm, DynamicsRows
from mia_jax.report import layout

SHOWN_CURVES = ("vulnerability", "speed", "entropy", "high", "early_recall")

FEW = 6
"""Arms up to which each one's ceiling crosses the panel; beyond, ceilings are dashes at its edge."""


def curves(rows: DynamicsRows) -> Figure | None:
    """Small multiples of the curves that matter, a line an arm; None where no arm has any of them.

    Grey under the speed: what permuted membership gives (dark in all arms, light in some). Dashed in
    the early recall: each arm's ceiling; dotted: the early share of training.
    """
    shown = [name for name in SHOWN_CURVES if any(_has(arm, name) for arm in rows.arms)]
    if not shown:
        return None
    looks = looks_of(rows)
    with matplotlib.rc_context(layout.STYLE):
        columns = min(3, len(shown) + 1)
        figure, panels = _multiples(len(shown) + 1, columns)
        notes: list[tuple[Artist, str]] = []
        for axes, name in zip(panels, shown, strict=False):
            meaning = CURVES[name]
            axes.set_title(f"{meaning.title}, {meaning.unit}" if meaning.unit else meaning.title)
            if name == "speed":  # bands first: lines set the limits with them
                notes += [(Patch(facecolor=marks.BAND[0]), "speed by chance")] if _floor(axes, rows) else []
            for arm in rows.arms:
                if _has(arm, name):
                    _curve(axes, arm.epochs, arm.curves[name], looks.of[arm.name])
            if name == "early_recall":
                notes += _recall_guides(axes, rows, looks)
            if name == "speed":
                axes.set_ylim(bottom=0)
            epoch_axis(axes, rows.arms, whole=True)
            axes.locator_params(axis="y", nbins=6)
        key(panels[-1], looks.keys, notes)
        for axes in panels[max(0, len(shown) - columns) : -1]:
            axes.set_xlabel("Epoch", labelpad=1)
    return figure


def _has(arm: Arm, name: str) -> bool:
    """Whether anything is known of a curve."""
    return name in arm.curves and bool(np.isfinite(arm.curves[name]).any())


def _multiples(count: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels of one size, with room for the numbers of each."""
    lines, left, across, height, gap, above = math.ceil(count / columns), 0.42, 0.46, 1.35, 0.46, 0.26
    figure = Figure(figsize=(layout.WIDTH, above + lines * (height + gap)))
    width = (layout.WIDTH - left - 0.12 - across * (columns - 1)) / columns
    places = [divmod(place, columns) for place in range(count)]
    at = [(left + column * (width + across), above + line * (height + gap)) for line, column in places]
    return figure, [marks.panel(figure, *corner, width, height) for corner in at]


def _curve(axes: Axes, epochs: np.ndarray, values: np.ndarray, look: layout.Look) -> None:
    """One arm's curve, with few markers, so that dashes can be seen between them."""
    known = np.isfinite(values)
    every = max(1, math.ceil(known.sum() / 6))
    style = {"color": look.colour, "linestyle": look.dash, "marker": look.marker}
    axes.plot(epochs[known], values[known], linewidth=1.0, markersize=2.6, markevery=every, **style)


def _floors(rows: DynamicsRows) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The epochs at which any arm's speed by chance is known, with the least and the largest of them."""
    known = [
        (arm.epochs[at], arm.curves["speed_floor"][at])
        for arm in rows.arms
        if _has(arm, "speed_floor")
        for at in [np.isfinite(arm.curves["speed_floor"])]
    ]
    if not known:
        return None
    epochs = np.unique(np.concatenate([at for at, _ in known]).astype(np.float64))
    lines = np.array([np.interp(epochs, at, values, left=np.nan, right=np.nan) for at, values in known])
    return epochs, np.nanmin(lines, axis=0), np.nanmax(lines, axis=0)


def _floor(axes: Axes, rows: DynamicsRows) -> bool:
    """What chance gives to the speed, as two shades of grey from zero on; whether anything is known of it."""
    if (found := _floors(rows)) is None:
        return False
    epochs, least, most = found
    axes.fill_between(epochs, 0, most, color=marks.BAND[1], linewidth=0, zorder=0)
    axes.fill_between(epochs, 0, least, color=marks.BAND[0], linewidth=0, zorder=0)
    return True


def _recall_guides(axes: Axes, rows: DynamicsRows, looks: Looks) -> list[tuple[Artist, str]]:
    """Draws where early is and each arm's ceiling, and says what that is."""
    notes: list[tuple[Artist, str]] = []
    early = {float(arm.epochs[marks.early_checkpoint(arm, marks.early_share(rows))]) for arm in rows.arms}
    if len(early) == 1:
        line = axes.axvline(early.pop(), color=layout.GREY, linewidth=0.8, linestyle=":")
        notes.append((line, "early share of training"))
    ceilings = {
        arm.name: arm.numbers["early_ceiling"].value for arm in rows.arms if "early_ceiling" in arm.numbers
    }
    ceilings = {name: value for name, value in ceilings.items() if math.isfinite(value)}
    begin, dash = 0.0 if len(ceilings) <= FEW else 0.9, (0, (4, 3))
    for name, value in ceilings.items():
        axes.axhline(value, xmin=begin, color=looks.of[name].colour, linewidth=0.8, linestyle=dash, alpha=0.9)
    if ceilings:
        sample = Line2D([], [], color=layout.GREY, linewidth=0.8, linestyle=dash)
        notes.append((sample, "ceiling of recall"))
    return notes
