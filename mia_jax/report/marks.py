"""What is drawn in one panel: curves, densities, intervals and bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from mia_jax.report import layout
from mia_jax.report.formatting import bounds, rate
from mia_jax.report.inputs import Curve, Histogram, Pair, Row, finite

BANDED = 9
"""Rows above which every other one is shaded."""


def log_log(axes: Axes, floor: float, guides: Sequence[float]) -> None:
    """The frame of a log-log ROC panel: limits, ticks in percent, guides and the diagonal."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(floor, 1)
    axes.set_ylim(floor, 1)
    ticks = [tick for tick in (1e-4, 1e-3, 1e-2, 0.1, 1.0) if tick >= floor]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [rate(tick) for tick in ticks])
    axes.minorticks_off()
    for guide in guides:
        axes.axvline(guide, color="#cfcfcf", linewidth=0.6)
    axes.plot([floor, 1], [floor, 1], color=layout.GREY, linewidth=0.7, linestyle=":")


def lowest_rate(curves: Mapping[Pair, Curve]) -> float:
    """Where the axes start: the smallest false-positive rate of any curve, within 1e-4 and 1e-2."""
    smallest = [float(np.min(c.fpr[c.fpr > 0])) for c in curves.values() if np.any(c.fpr > 0)]
    return min(max(min(smallest, default=1e-4), 1e-4), 1e-2)


def log_path(curve: Curve, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """The curve for log axes: points added on its straight edges, which bend there, and no zeros."""
    between = np.geomspace(floor / 10, 1, 60)
    between = between[~np.isin(between, curve.fpr)]
    x = np.concatenate([curve.fpr, between])
    y = np.concatenate([curve.tpr, np.interp(between, curve.fpr, curve.tpr)])
    order = np.lexsort((y, x))
    return np.maximum(x[order], floor / 10), np.maximum(y[order], floor / 10)


def densities(axes: Axes, histogram: Histogram, colour: str) -> None:
    """Members filled in the family's colour, non-members as a grey line."""
    edges = histogram.edges
    face = to_rgba(colour, 0.4)
    axes.stairs(histogram.member_density, edges, fill=True, facecolor=face, edgecolor=colour, linewidth=0.7)
    axes.stairs(histogram.nonmember_density, edges, color="#222222", linewidth=0.9)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(bottom=0)
    axes.margins(x=0)


def named_rows(panels: Sequence[Axes], names: Sequence[str]) -> None:
    """Names along the shared vertical axis, from the top; bands where there are many to follow by eye."""
    panels[0].set_yticks(range(len(names)), names, size=7)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#e3e3e3", linewidth=0.5)
        axes.set_axisbelow(True)
        for place in range(1, len(names), 2) if len(names) > BANDED else ():
            axes.axhspan(place - 0.5, place + 0.5, color="#f4f5f6", linewidth=0, zorder=0)


def whisker(axes: Axes, row: Row, key: str, at: float, look: layout.Look) -> None:
    """One estimate as a marker on its interval."""
    value, (low, high) = finite(row.get(key)), bounds(row, key)
    if value is None:
        return
    if low is not None and high is not None:
        axes.plot([low, high], [at, at], color=look.colour, linewidth=1.3, solid_capstyle="butt")
    axes.plot([value], [at], color=look.colour, marker=look.marker, markersize=4, linestyle="none")


def band(axes: Axes, rows: Sequence[Row], key: str, look: layout.Look) -> None:
    """An estimate against the epoch, its interval as a band."""
    rows = sorted((row for row in rows if finite(row.get(key)) is not None), key=lambda row: row["epoch"])
    epochs = [row["epoch"] for row in rows]
    marker = look.marker if len(rows) <= 12 else ""
    axes.plot(
        epochs,
        [row[key] for row in rows],
        color=look.colour,
        linestyle=look.dash,
        linewidth=1.1,
        marker=marker,
        markersize=2.5,
    )
    banded = [(row["epoch"], *bounds(row, key)) for row in rows if None not in bounds(row, key)]
    if banded:
        at, low, high = zip(*banded, strict=True)
        axes.fill_between(at, low, high, color=look.colour, alpha=0.18, linewidth=0)


def epoch_axis(axes: Axes, epochs: Sequence[float]) -> None:
    """A logarithmic axis where the checkpoints crowd at the start, else a linear one."""
    if len(epochs) > 3 and epochs[len(epochs) // 2] < epochs[-1] / 4:
        axes.set_xscale("symlog" if epochs[0] < 1 else "log")
        axes.set_xlim(epochs[0] / 1.15 if epochs[0] >= 1 else -0.1, epochs[-1] * 1.15)
        ticks = (0, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
        shown = [tick for tick in ticks if epochs[0] <= tick <= epochs[-1]]
        axes.set_xticks(shown, [str(tick) for tick in shown])
        axes.minorticks_off()
