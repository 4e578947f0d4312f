"""Vulnerability against how hard records are to learn."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mia_jax.dynamics_study import marks, tables
from mia_jax.dynamics_study.figures.axes import difficulty_title
from mia_jax.dynamics_study.looks import shortened
from mia_jax.dynamics_study.rows import Arm
from mia_jax.report import layout
from mia_jax.report.inputs import finite

CROWD = 2_000
"""Records above which they are counted in hexagons against a difficulty."""


def difficulty(arm: Arm) -> Figure | None:
    """Vulnerability at the end against each difficulty, with Spearman's correlation; None where there is no difficulty.

    Points are records (hexagons of their counts where they are many); the line is the median and the band
    the middle half of the vulnerability, in about ten parts of the records by difficulty, equal ones together.
    """
    final = arm.vulnerability[-1]
    known = {name: values for name, values in arm.difficulty.items() if np.isfinite(values + final).any()}
    if not known:
        return None
    with matplotlib.rc_context(layout.STYLE):
        columns = max(2, min(3, len(known)))
        figure, panels = layout.grid(len(known), columns=columns, height=1.6, gap=0.7, left=0.55, header=0.14)
        figure.set_dpi(200)
        head = 1 - 0.05 / figure.get_figheight()
        figure.text(0.085, head, shortened(arm.name, 80), weight="bold", va="top")
        for axes, (name, values) in zip(panels, known.items(), strict=True):
            both = np.isfinite(values + final)
            _against(axes, values[both], final[both])
            axes.set_xlabel(difficulty_title(name), labelpad=2)
            axes.set_title(_rho(arm, f"rank_{name}"))
        layout.same_limits(panels)
        for place, axes in enumerate(panels):
            axes.tick_params(labelleft=place % columns == 0)
        panels[0].set_ylabel("Vulnerability at the end", labelpad=2)
    return figure


def _against(axes: Axes, values: np.ndarray, final: np.ndarray) -> None:
    """Vulnerability against a difficulty: records, and the middle of each part of them."""
    if len(values) > CROWD:
        axes.hexbin(values, final, gridsize=32, bins="log", cmap="Greys", mincnt=1, linewidths=0.1, zorder=1)
    else:
        size, many = float(np.clip(1_500 / len(values), 1.5, 6.0)), len(values) > marks.MANY
        axes.scatter(values, final, s=size, color="#a8a8a8", linewidths=0, rasterized=many, zorder=1)
    edges = np.unique(np.quantile(values, np.linspace(0.1, 0.9, 9)))
    places = np.searchsorted(edges, values, side="right")  # equal values stay together
    parts = [np.flatnonzero(places == place) for place in range(len(edges) + 1)]
    parts = [part for part in parts if part.size >= 4]
    if len(parts) < 2:
        return
    at = [float(np.median(values[part])) for part in parts]
    low, middle, high = np.array([np.quantile(final[part], (0.25, 0.5, 0.75)) for part in parts]).T
    look = layout.LOOKS[1]
    axes.fill_between(at, low, high, color=look.colour, alpha=0.28, linewidth=0, zorder=2)
    axes.plot(at, middle, color=look.colour, linewidth=1.3, marker="o", markersize=2.5, zorder=3)


def _rho(arm: Arm, name: str) -> str:
    """Spearman's correlation in a title; empty where it is not known."""
    if name not in arm.numbers or finite(arm.numbers[name].value) is None:
        return ""
    value, within = tables.number_cell(arm.numbers[name])
    return f"ρ = {value} ({within})" if within else f"ρ = {value}"
