"""What is drawn in one panel of a study of dynamics, and which of its records stand for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from mia_jax.dynamics_study.looks import DARK, shades
from mia_jax.dynamics_study.rows import Arm, DynamicsRows
from mia_jax.report import layout

EARLY = 0.3
"""The early share of training where neither the study nor the arm names one."""

MANY = 400
"""Records above which their points are pixels in an SVG, which else would be too large for a page."""

SOFT = "#bdbdbd"
BAND = ("#d9d9d9", "#eeeeee")

DIFFICULTIES: Mapping[str, str] = {
    "epoch_learned": "Epoch learned",
    "out_error": "OUT error",
    "prediction_depth": "Prediction depth",
}
"""How measures of difficulty are called; others go by their names."""


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """A panel whose upper left corner is so far from the figure's, in inches."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def early_share(rows: DynamicsRows) -> float:
    """The share of training that counts as early in a study."""
    section = rows.config.get("dynamics", {})
    return float(section.get("early", EARLY)) if isinstance(section, Mapping) else EARLY


def early_checkpoint(arm: Arm, share: float = EARLY) -> int:
    """The checkpoint after the early share of training: the last that is not beyond it, else the first."""
    epoch = arm.foretold.get("epoch", share * float(arm.epochs[-1]))
    epoch = float(getattr(epoch, "value", epoch))
    return max(int(np.searchsorted(arm.epochs, epoch, side="right")) - 1, 0)


def most_exposed(arm: Arm, count: int) -> np.ndarray:
    """The records with the largest vulnerability at the end, the most exposed first: int [at most count]."""
    final = arm.vulnerability[-1]
    known = np.flatnonzero(~np.isnan(final))
    return known[np.argsort(-final[known], kind="stable")][:count]


def typical(arm: Arm, count: int) -> np.ndarray:
    """The records whose vulnerability at the end is nearest to its median: int [at most count]."""
    final = arm.vulnerability[-1]
    known = np.flatnonzero(~np.isnan(final))
    if not known.size:
        return known
    away = np.abs(final[known] - np.median(final[known]))
    return known[np.argsort(away, kind="stable")][:count]


def plane(axes: Axes, cuts: Sequence[float], *, named: bool = False) -> None:
    """The FPR-TPR plane: the diagonal, and a soft line where vulnerability reaches each cut."""
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    axes.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
    axes.plot([0, 1], [0, 1], color=layout.GREY, linewidth=0.7, linestyle=":", zorder=1)
    for cut in cuts:
        x = np.array([max(0.0, -cut), min(1.0, 1.0 - cut)])
        axes.plot(x, x + cut, color=SOFT, linewidth=0.7, linestyle=(0, (5, 2)), zorder=1)
        if named:
            at = (x[1] - 0.02, x[1] + cut - 0.005)
            name = axes.annotate(f"{cut:g}", at, ha="right", va="top", size=5.5, color=DARK, zorder=6)
            name.set_path_effects([withStroke(linewidth=1.6, foreground="white")])  # points lie thick there


def cloud(axes: Axes, fpr: np.ndarray, tpr: np.ndarray, colour: np.ndarray, norm: Normalize) -> None:
    """All records of one checkpoint, [N] each, unknown ones left out, in an order of chance: none are always on top."""
    known = np.flatnonzero(~np.isnan(fpr + tpr + colour))
    order = np.random.default_rng(0).permutation(known)
    size = float(np.clip(2_500 / max(len(order), 1), 1.2, 7.0))
    axes.scatter(
        fpr[order],
        tpr[order],
        s=size,
        c=colour[order],
        norm=norm,
        cmap=shades(),
        alpha=0.8,
        linewidths=0,
        rasterized=len(order) > MANY,
        zorder=2,
    )


def backdrop(axes: Axes, fpr: np.ndarray, tpr: np.ndarray) -> None:
    """All records as a grey cloud behind others."""
    size = float(np.clip(2_500 / max(len(fpr), 1), 1.2, 5.0))
    axes.scatter(fpr, tpr, s=size, color="#dedede", linewidths=0, rasterized=len(fpr) > MANY, zorder=0)


def center(axes: Axes, arm: Arm, checkpoint: int) -> None:
    """The center of the cloud with its way so far; nothing where the arm has none."""
    if not {"center_fpr", "center_tpr"} <= set(arm.curves):
        return
    x, y = (arm.curves[name][: checkpoint + 1] for name in ("center_fpr", "center_tpr"))
    if np.isnan(x[-1] + y[-1]):
        return
    axes.plot(x, y, color="white", linewidth=2.6, solid_capstyle="round", zorder=4)
    axes.plot(x, y, color="#0072B2", linewidth=1.2, solid_capstyle="round", zorder=5)
    axes.plot(
        x[-1:],
        y[-1:],
        marker="o",
        markersize=5,
        color="#0072B2",
        markeredgecolor="white",
        zorder=6,
        label="center",
    )


def guides(axes: Axes, values: Sequence[float]) -> None:
    """Dotted lines across a panel of numbers, where they are within what is drawn."""
    low, high = axes.get_xlim()
    for value in values:
        if low <= value <= high:
            axes.axvline(value, color=layout.GREY, linewidth=0.7, linestyle=":", zorder=1)


def ways(axes: Axes, arm: Arm, rows: np.ndarray, norm: Normalize) -> None:
    """The ways of some records over the plane, darker as training goes on; hollow where they begin."""
    middle = (arm.epochs[:-1] + arm.epochs[1:]) / 2
    pieces: list[np.ndarray] = []
    times: list[float] = []
    for row in rows:
        points = np.stack([arm.fpr[:, row], arm.tpr[:, row]], axis=1)
        pieces += [points[at : at + 2] for at in range(len(points) - 1)]
        times += list(middle)
    lines = LineCollection(pieces, array=np.array(times), cmap=shades(), norm=norm, linewidths=1.0, zorder=3)
    axes.add_collection(lines, autolim=False)
    start, end = ({"linestyle": "none", "zorder": zorder} for zorder in (4, 5))
    axes.plot(
        arm.fpr[0, rows],
        arm.tpr[0, rows],
        marker="o",
        markersize=3,
        color=layout.GREY,
        markerfacecolor="white",
        **start,
    )
    axes.plot(
        arm.fpr[-1, rows],
        arm.tpr[-1, rows],
        marker="o",
        markersize=4,
        color=DARK,
        markeredgecolor="white",
        **end,
    )


def cross(axes: Axes, arm: Arm, rows: np.ndarray) -> None:
    """How far off a point may be: the mean standard errors of some records at the end, in the corner."""
    x, y = arm.fpr_error[-1, rows], arm.tpr_error[-1, rows]
    if not (np.isfinite(x).any() and np.isfinite(y).any()):
        return
    bars = {"xerr": float(np.nanmean(x)), "yerr": float(np.nanmean(y))}
    axes.errorbar([0.8], [0.2], **bars, color=layout.GREY, linewidth=0.9, capsize=1.5, capthick=0.7, zorder=3)
    axes.annotate(
        "± 1 SE", (0.8, 0.2 - bars["yerr"] - 0.02), ha="center", va="top", size=5.5, color=layout.GREY
    )


def heat(axes: Axes, values: np.ndarray, names: Sequence[str]) -> None:
    """A matrix of probabilities, from row to column, each in percent; NaN is no number."""
    axes.imshow(np.ma.masked_invalid(values), cmap="Greys", vmin=0, vmax=1.15, aspect="equal")
    axes.set_facecolor("#f4f5f6")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.annotate("none", (column, row), ha="center", va="center", size=5.5, color=layout.GREY)
        else:
            words = f"{100 * value:.{1 if 0 < value < 0.0995 else 0}f}%"
            ink = "white" if value > 0.6 else DARK
            axes.annotate(words, (column, row), ha="center", va="center", size=6.5, color=ink)


def state_names(count: int, cuts: Sequence[float] = ()) -> list[str]:
    """The states of vulnerability from low to high, with their limits where the cuts are given."""
    between = ["middle"] if count == 3 else [f"state {place}" for place in range(2, count)]
    names = ["low", *between, "high"]
    if len(cuts) != count - 1:
        return names
    limits = [f"< {cuts[0]:g}", *(f"< {cut:g}" for cut in cuts[1:]), f"≥ {cuts[-1]:g}"]
    return [f"{name}\n{limit}" for name, limit in zip(names, limits, strict=True)]
