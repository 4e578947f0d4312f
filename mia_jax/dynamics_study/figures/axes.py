"""What several figures have in common: the axis of epochs, and names of difficulties."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from mia_jax.dynamics_study import marks
from mia_jax.dynamics_study.rows import Arm
from mia_jax.report import marks as report_marks


def epoch_axis(axes: Axes, arms: Sequence[Arm], *, whole: bool = False) -> None:
    """The axis of epochs of some arms. whole: from the first to the last, also where less is drawn."""
    epochs = sorted({float(epoch) for arm in arms for epoch in arm.epochs})
    report_marks.epoch_axis(axes, epochs)
    if whole and axes.get_xscale() == "linear":
        room = 0.04 * (epochs[-1] - epochs[0]) or 1.0
        axes.set_xlim(epochs[0] - room, epochs[-1] + room)


def difficulty_title(name: str) -> str:
    """How a measure of difficulty is called."""
    return marks.DIFFICULTIES.get(name, name.replace("_", " ").capitalize())
