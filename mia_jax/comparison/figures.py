"""Figures of a comparison, from its rows: exposure through training, and against how far families overfit."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mia_jax.comparison.rows import ComparisonRows, Row
from mia_jax.report import layout
from mia_jax.report.layout import Look

ACCURACIES = {"train_accuracy": "Accuracy on members", "test_accuracy": "Accuracy on others"}


def through_training(rows: ComparisonRows, variant: str = "") -> Figure:
    """The AUC of every attack and both accuracies by epoch, a line for each family with its interval."""
    looks = layout.looks(rows.families)
    shown = [(f"AUC: {attack}", attack, "auc") for attack in rows.attacks]
    shown += [(title, "", what) for what, title in ACCURACIES.items()]
    with matplotlib.rc_context(layout.STYLE):
        figure, panels = layout.grid(len(shown), height=1.45, header=0.17, left=0.42)
        for axes, (title, attack, what) in zip(panels, shown, strict=True):
            axes.set_title(layout.wrapped(title))
            if what == "auc":
                _guess(axes)
            for family, look in looks.items():
                points = _points(rows, variant, family, attack, what)
                _band(axes, [float(row["epoch"]) for row in points], points, look)
        layout.same_limits(panels[: len(rows.attacks)])
        figure.supxlabel("Epoch", size=7.5, y=0.012, va="bottom")
        layout.legend(figure, looks)
    return figure


def against_gap(rows: ComparisonRows, variant: str = "") -> Figure:
    """The AUC of every attack against the generalisation gap, a point for each checkpoint."""
    looks = layout.looks(rows.families)
    with matplotlib.rc_context(layout.STYLE):
        figure, panels = layout.grid(len(rows.attacks), height=1.6, header=0.17, left=0.42)
        for axes, attack in zip(panels, rows.attacks, strict=True):
            axes.set_title(layout.wrapped(f"AUC: {attack}"))
            _guess(axes)
            for family, look in looks.items():
                gaps = [float(row["value"]) for row in _points(rows, variant, family, "", "loss_gap")]
                _band(axes, gaps, _points(rows, variant, family, attack, "auc"), look)
        layout.same_limits(panels)
        figure.supxlabel(
            "Generalisation gap: mean loss of others less that of members, nats",
            size=7.5,
            y=0.012,
            va="bottom",
        )
        layout.legend(figure, looks)
    return figure


def _points(rows: ComparisonRows, variant: str, family: str, attack: str, what: str) -> list[Row]:
    """One curve, epoch by epoch."""
    asked = (variant, family, attack, what)
    own = [row for row in rows.curves if (row["variant"], row["family"], row["attack"], row["what"]) == asked]
    return sorted(own, key=lambda row: row["epoch"])


def _band(axes: Axes, x: Sequence[float], points: Sequence[Row], look: Look) -> None:
    """A line with its intervals: a bar at every point, for points need not come in the order of x."""
    y = [float(row["value"]) for row in points]
    ends = [[row["value"] - row["low"] for row in points], [row["high"] - row["value"] for row in points]]
    axes.errorbar(x, y, ends, color=look.colour, linestyle="none", elinewidth=0.6, alpha=0.6)
    axes.plot(x, y, color=look.colour, linestyle=look.dash, marker=look.marker, linewidth=1.1, markersize=2.6)


def _guess(axes: Axes) -> None:
    """The AUC of guessing."""
    axes.axhline(0.5, color=layout.GREY, linewidth=0.7, linestyle=":")
