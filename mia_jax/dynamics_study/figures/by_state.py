"""How records pass between states of vulnerability."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mia_jax.dynamics_study import marks
from mia_jax.dynamics_study.figures.axes import epoch_axis
from mia_jax.dynamics_study.looks import shortened
from mia_jax.dynamics_study.rows import Arm
from mia_jax.report import layout


def transitions(arm: Arm, cuts: Sequence[float] = (), early: float = marks.EARLY) -> Figure | None:
    """How records pass between states of vulnerability: first, early and last interval, and the shares over time.

    cuts: the limits of the states, for their names. early: the share of training that is early, where the
    arm does not say it. Rows of a matrix are where records come from and sum to 1. None where nothing
    is known of any interval.
    """
    last = len(arm.transitions) - 1
    if last < 0 or np.isnan(arm.transitions).all():
        return None
    chosen = sorted({0, min(max(marks.early_checkpoint(arm, early) - 1, 0), last), last})
    names, size = marks.state_names(arm.transitions.shape[1], cuts), 1.2
    with matplotlib.rc_context(layout.STYLE):
        figure = Figure(figsize=(layout.WIDTH, 2.2))
        figure.text(0.02, 0.985, shortened(arm.name, 80), weight="bold", va="top")
        for place, interval in enumerate(chosen):
            axes = marks.panel(figure, 0.62 + place * (size + 0.12), 0.5, size, size)
            marks.heat(axes, arm.transitions[interval], names)
            axes.set_title(f"epoch {arm.epochs[interval]:g} to {arm.epochs[interval + 1]:g}")
            axes.tick_params(labelleft=not place)
            if not place:
                axes.set_ylabel("from", labelpad=2)
            axes.set_xlabel("to", labelpad=1)
        if {"low", "high"} <= set(arm.curves):
            begin = 0.62 + len(chosen) * (size + 0.12) + 0.36
            _shares(marks.panel(figure, begin, 0.5, min(layout.WIDTH - begin - 0.16, 2.4), size), arm)
    return figure


def _shares(axes: Axes, arm: Arm) -> None:
    """The shares of the records that are low, between and high, above each other by epoch."""
    low, high = arm.curves["low"], arm.curves["high"]
    known = np.isfinite(low + high)
    edges = [np.zeros(known.sum()), low[known], 1 - high[known], np.ones(known.sum())]
    for name, shade, bottom, top in zip(
        ("low", "between", "high"), ("#e4e4e4", "#a9a9a9", "#C44E00"), edges[:-1], edges[1:], strict=True
    ):
        axes.fill_between(arm.epochs[known], bottom, top, color=shade, linewidth=0, label=name)
    axes.set(ylim=(0, 1))
    axes.margins(x=0)
    axes.set_title("Shares of the records", pad=13)
    axes.set_xlabel("Epoch", labelpad=1)
    epoch_axis(axes, [arm])
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 0.99),
        borderaxespad=0.1,
        ncols=3,
        frameon=False,
        fontsize=6.0,
        handlelength=0.8,
        handletextpad=0.3,
        columnspacing=0.8,
    )
