"""The plane at some checkpoints, and the ways of single records over it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mia_jax.dynamics_study import marks
from mia_jax.dynamics_study.figures.axes import difficulty_title, epoch_axis
from mia_jax.dynamics_study.looks import scale, shortened, wrapped
from mia_jax.dynamics_study.rows import Arm, DynamicsRows
from mia_jax.report import layout

MOST_ARMS = 4
"""Arms that planes are drawn of."""

EXPOSED, TYPICAL = layout.LOOKS[1], layout.LOOKS[0]


def shown_arms(rows: DynamicsRows) -> list[Arm]:
    """Arms that stand for all: the least and the most vulnerable at the end and even steps between, as in the study."""
    if len(rows.arms) <= MOST_ARMS:
        return list(rows.arms)
    order = sorted(range(len(rows.arms)), key=lambda at: _mean(rows.arms[at].vulnerability[-1]))
    places = np.linspace(0, len(order) - 1, MOST_ARMS).round().astype(int)
    return [rows.arms[at] for at in sorted(order[place] for place in places)]


def planes(rows: DynamicsRows, arms: Sequence[Arm] | None = None, colour: str = "vulnerability") -> Figure:
    """The cloud on the FPR-TPR plane at first, after the early share of training and at the end, a line an arm.

    arms: up to four; by default those of `shown_arms`. colour: "vulnerability" (at the end) or a
    difficulty; records without it are left out. Raises ValueError for no or more arms, and for one
    without that difficulty.
    """
    chosen = shown_arms(rows) if arms is None else list(arms)
    if not 1 <= len(chosen) <= MOST_ARMS:
        raise ValueError(f"arms has {len(chosen)} arms: it must have 1 to {MOST_ARMS}.")
    values = [_colouring(arm, colour) for arm in chosen]
    norm = _norm(np.concatenate(values))
    at = [
        sorted({0, marks.early_checkpoint(arm, marks.early_share(rows)), len(arm.epochs) - 1})
        for arm in chosen
    ]
    across = max(map(len, at))
    size, gap, head, above = (1.68 if len(chosen) < 3 else 1.45), 0.12, 0.47, -0.04
    left = (layout.WIDTH - across * size - (across - 1) * gap) / 2 - 0.15
    with matplotlib.rc_context(layout.STYLE):
        figure = Figure(figsize=(layout.WIDTH, above + len(chosen) * (size + head) + 0.42), dpi=150)
        for line, (arm, checkpoints, shade) in enumerate(zip(chosen, at, values, strict=True)):
            for place, checkpoint in enumerate(checkpoints):
                top = above + line * (size + head) + head
                axes = marks.panel(figure, left + place * (size + gap), top, size, size)
                marks.plane(axes, rows.cuts, named=True)
                marks.cloud(axes, arm.fpr[checkpoint], arm.tpr[checkpoint], shade, norm)
                marks.center(axes, arm, checkpoint)
                axes.set_title(f"epoch {arm.epochs[checkpoint]:g}", pad=3, color=layout.GREY)
                axes.tick_params(labelleft=not place, labelbottom=line == len(chosen) - 1)
                if not place:
                    axes.set_ylabel("TPR", labelpad=1)
                    axes.annotate(
                        shortened(arm.name, 80),
                        (0, 1),
                        (0, 17),
                        "axes fraction",
                        "offset points",
                        weight="bold",
                    )
                if line == len(chosen) - 1:
                    axes.set_xlabel("FPR", labelpad=1)
        beside = marks.panel(
            figure, left + across * size + (across - 1) * gap + 0.14, above + head, 0.09, size
        )
        figure.colorbar(scale(norm), cax=beside).outline.set_visible(False)
        beside.set_title(_colour_title(colour), size=6.5, loc="left", pad=6)
    return figure


def trajectories(arm: Arm, count: int = 8, cuts: Sequence[float] = ()) -> Figure | None:
    """The ways of the most exposed records beside those of typical ones, over the plane and by epoch.

    count: records of each kind. cuts: of vulnerability, as soft lines. Typical are those nearest to the
    median at the end. Ways get darker with the epoch. None where no record's end is known.
    """
    groups = {
        "most exposed": marks.most_exposed(arm, count),
        "nearest to the median": marks.typical(arm, count),
    }
    if not groups["most exposed"].size:
        return None
    norm, size = Normalize(float(arm.epochs[0]), float(arm.epochs[-1]) or 1.0), 1.66
    with matplotlib.rc_context(layout.STYLE):
        figure = Figure(figsize=(layout.WIDTH, 3.06), dpi=200)
        figure.text(0.065, 0.985, shortened(arm.name, 80), weight="bold", va="top")
        for place, (name, rows) in enumerate(groups.items()):
            axes = marks.panel(figure, 0.42 + place * (size + 0.14), 0.66, size, size)
            marks.plane(axes, cuts)
            marks.backdrop(axes, arm.fpr[-1], arm.tpr[-1])
            marks.ways(axes, arm, rows, norm)
            marks.cross(axes, arm, rows)
            numbers = wrapped(", ".join(map(str, rows)), 42)
            axes.set_title(f"{len(rows)} {name}", pad=5 + 8 * (numbers.count("\n") + 1))
            axes.annotate(
                numbers,
                (0.5, 1),
                (0, 3),
                "axes fraction",
                "offset points",
                size=5.5,
                color=layout.GREY,
                ha="center",
            )
            axes.set_xlabel("FPR", labelpad=1)
            axes.tick_params(labelleft=not place)
            if not place:
                axes.set_ylabel("TPR", labelpad=1)
        beside = marks.panel(figure, 0.42, 0.66 + size + 0.4, 2 * size + 0.14, 0.05)
        figure.colorbar(scale(norm), cax=beside, orientation="horizontal").outline.set_visible(False)
        beside.set_ylabel("epoch", rotation=0, ha="right", va="center", size=6.5, labelpad=3)
        axes = marks.panel(figure, 0.42 + 2 * (size + 0.14) + 0.36, 0.66, 1.98, size)
        _over_time(axes, arm, groups, cuts)
    return figure


def _mean(values: np.ndarray) -> float:
    """The mean of what is known; least of all where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else -math.inf


def _colouring(arm: Arm, colour: str) -> np.ndarray:
    """What the records of an arm are coloured by, [N]. Raises ValueError."""
    if colour == "vulnerability":
        return arm.vulnerability[-1]
    if colour not in arm.difficulty:
        allowed = ", ".join(("vulnerability", *arm.difficulty))
        raise ValueError(f"colour is {colour!r}: it must be one of {allowed}, which {arm.name!r} has.")
    return np.asarray(arm.difficulty[colour], np.float64)


def _norm(values: np.ndarray) -> Normalize:
    """A scale over all but the outermost hundredth on each side, so that single records do not flatten it."""
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, (0.01, 0.99)) if known.size else (0.0, 1.0)
    return Normalize(float(low), float(high) if high > low else float(low) + 1.0, clip=True)


def _colour_title(colour: str) -> str:
    """What the scale of colours is called."""
    return "vulnerability\nat the end" if colour == "vulnerability" else wrapped(difficulty_title(colour), 14)


def _over_time(axes: Axes, arm: Arm, groups: dict[str, np.ndarray], cuts: Sequence[float]) -> None:
    """The vulnerability of two groups of records by epoch."""
    for cut in cuts:
        axes.axhline(cut, color=marks.SOFT, linewidth=0.7, linestyle=(0, (5, 2)), zorder=0)
    for (name, rows), look in zip(groups.items(), (EXPOSED, TYPICAL), strict=True):
        for place, row in enumerate(rows):
            axes.plot(
                arm.epochs,
                arm.vulnerability[:, row],
                color=look.colour,
                linestyle=look.dash,
                linewidth=0.8,
                alpha=0.8,
                label="" if place else name,
            )
    axes.set_title("Vulnerability, TPR - FPR")
    axes.set_xlabel("Epoch", labelpad=1)
    epoch_axis(axes, [arm])
    axes.legend(loc="best", frameon=False, fontsize=6.5, handlelength=2.4, borderaxespad=0.2)
