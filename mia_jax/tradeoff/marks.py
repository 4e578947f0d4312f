"""What is drawn in one panel of a trade-off: axes of strength and epsilon, lines, paths, promises and bounds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from mia_jax.report import layout
from mia_jax.report.formatting import bounds
from mia_jax.report.inputs import Row, finite
from mia_jax.tradeoff import labels
from mia_jax.tradeoff.rows import BASELINE, STRENGTHS, in_order, number_of, stronger_is_smaller

APART = 0.022
"""How far the families are moved apart, in widths of a panel."""

ROOM = 0.17
"""Widths of a panel that the name of a strength takes."""


DARK = "#3d3d3d"
"""What is the same for all families."""


def strength_name(defence: str) -> str:
    """The name of a strength's axis."""
    smaller = " (smaller is stronger)" if stronger_is_smaller(defence) else ""
    return f"{STRENGTHS.get(defence, f'Strength of {defence}')}{smaller}"


def strength_axis(axes: Axes, defence: str, strengths: Sequence[float]) -> None:
    """An axis from weak to strong with ticks at the strengths that were run; logarithmic over a decade or more."""
    values = sorted({value for value in map(float, strengths) if math.isfinite(value)})
    if not values:
        return
    positive = [value for value in values if value > 0] or [1.0]
    apart = positive[-1] / positive[0]
    if apart < 8:
        reach = 0.1 * (values[-1] - values[0]) or 0.1 * abs(values[-1]) or 1.0
        low, high = values[0] - reach, values[-1] + reach
    elif len(positive) == len(values):
        axes.set_xscale("log")
        low, high = values[0] / apart**0.1, values[-1] * apart**0.1
    else:
        axes.set_xscale("symlog", linthresh=positive[0])
        low, high = -positive[0] / 2, values[-1] * apart**0.1
    axes.minorticks_off()
    axes.set_xlim((high, low) if stronger_is_smaller(defence) else (low, high))
    named: list[float] = []
    for value in values:
        if all(abs(_across(axes, value) - _across(axes, other)) > ROOM for other in named):
            named.append(value)
    axes.set_xticks(values, [f"{value:g}" if value in named else "" for value in values])


def _across(axes: Axes, strength: float, shift: float = 0.0) -> float:
    """Where a strength is, in widths of the panel."""
    at = axes.transData.transform((strength, 1.0))[0]
    return float(axes.transAxes.inverted().transform((at, 0.0))[0]) + shift


def _moved(axes: Axes, strength: float, shift: float) -> float:
    """A strength moved along the axis by a share of the panel's width."""
    at = axes.transAxes.transform((_across(axes, strength, shift), 0.0))
    return float(axes.transData.inverted().transform(at)[0])


def guide(axes: Axes, rows: Sequence[Row], key: str, look: layout.Look) -> None:
    """A family's baseline across the panel."""
    for row in rows:
        if (value := finite(row.get(key))) is not None:
            axes.axhline(value, color=look.colour, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.9)
            low, high = bounds(row, key)
            if low is not None and high is not None:
                axes.axhspan(low, high, color=look.colour, alpha=0.1, linewidth=0)


def line(axes: Axes, rows: Sequence[Row], key: str, look: layout.Look, shift: float) -> None:
    """A family's estimates by strength, joined, each on its interval."""
    known = [
        row for row in in_order(rows) if finite(row.get(key)) is not None and math.isfinite(row["strength"])
    ]
    x = [_moved(axes, row["strength"], shift) for row in known]
    for at, row in zip(x, known, strict=True):
        low, high = bounds(row, key)
        if low is not None and high is not None:
            axes.plot([at, at], [low, high], color=look.colour, linewidth=1.1, solid_capstyle="butt")
    style = {"color": look.colour, "linestyle": look.dash, "marker": look.marker}
    axes.plot(x, [row[key] for row in known], linewidth=0.9, markersize=3.2, **style)


def path(axes: Axes, pairs: Sequence[tuple[Row, Row]], look: layout.Look) -> None:
    """A family's accuracies against its AUCs with both intervals, the baseline hollow."""
    x, y = [result["auc"] for _, result in pairs], [row["test_accuracy"] for row, _ in pairs]
    axes.plot(x, y, color=look.colour, linestyle=look.dash, linewidth=0.8)
    for row, result in pairs:
        for (low, high), along in ((bounds(result, "auc"), True), (bounds(row, "test_accuracy"), False)):
            if low is not None and high is not None:
                at = row["test_accuracy"] if along else result["auc"]
                ends = ([low, high], [at, at]) if along else ([at, at], [low, high])
                axes.plot(*ends, color=look.colour, linewidth=0.7, alpha=0.55, solid_capstyle="butt")
        hollow = row["defence"] == BASELINE
        face = "white" if hollow else look.colour
        style = {"marker": look.marker, "color": look.colour, "markerfacecolor": face}
        axes.plot(
            [result["auc"]],
            [row["test_accuracy"]],
            markersize=4.5 if hollow else 3.2,
            linestyle="none",
            **style,
        )


def name_strengths(
    axes: Axes,
    pairs: Sequence[tuple[Row, Row]],
    looks: dict[str, layout.Look],
    drawn: Sequence[tuple[Row, Row]],
) -> None:
    """The weakest and strongest strength of each family beside its point, where nothing else is."""
    low, high = axes.get_ylim()
    obstacles = [(0.5, low + part * (high - low) / 30) for part in range(31)]
    for family in looks:
        here = [pair for pair in drawn if pair[0]["family"] == family]
        obstacles += _covered(
            [pair for pair in here if pair[0]["defence"] in (BASELINE, pairs[0][0]["defence"])]
        )
    wanted = []
    for family, look in looks.items():
        mine = [pair for pair in pairs if pair[0]["family"] == family]
        for row, result in mine[-1:] + (mine[:1] if len(mine) > 1 else []):
            at = (result["auc"], row["test_accuracy"])
            wanted.append(labels.Label(at, f"{row['strength']:g}", look.colour))
    labels.place(axes, wanted, obstacles)


def _covered(pairs: Sequence[tuple[Row, Row]]) -> list[tuple[float, float]]:
    """Points along the lines and the intervals of a family's path."""
    at = [(result["auc"], row["test_accuracy"]) for row, result in pairs]
    found = list(at)
    for (x, y), (row, result) in zip(at, pairs, strict=True):
        for end in (end for end in bounds(result, "auc") if end is not None):
            found += [(x + part * (end - x), y) for part in (0.35, 0.7, 1.0)]
        for end in (end for end in bounds(row, "test_accuracy") if end is not None):
            found += [(x, y + part * (end - y)) for part in (0.35, 0.7, 1.0)]
    for (x, y), (to_x, to_y) in itertools.pairwise(at):
        found += [(x + part * (to_x - x), y + part * (to_y - y)) for part in np.linspace(0.05, 0.95, 19)]
    return found


def same_limits(panels: Sequence[Axes]) -> None:
    """Give all panels the widest limits among them, both ways."""
    layout.same_limits(panels)
    limits = [axes.get_xlim() for axes in panels]
    for axes in panels:
        axes.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))


def epsilon_axis(axes: Axes, rows: Sequence[Row]) -> None:
    """A logarithmic axis that holds every epsilon above 0, its edges left to what is not on it."""
    every = [
        number_of(row, name) for row in rows for name in ("epsilon", "ceiling", "epsilon_low", "epsilon_high")
    ]
    known = [value for value in every if value is not None and 0 < value < math.inf] or [1.0]
    low, high = max(min(known), max(known) * 1e-4), max(known)
    axes.set_yscale("log")
    axes.set_ylim(low / 2.2, high * 2.2)
    ticks = [
        f * 10.0**p
        for p in range(-4, 9)
        for f in ((1, 2, 5) if high / low < 30 else (1, 3) if high / low < 200 else (1,))
    ]
    shown = [tick for tick in ticks if low / 2.2 <= tick <= high * 2.2]
    axes.set_yticks(shown, [f"{tick:g}" for tick in shown])
    axes.minorticks_off()


def _edged(axes: Axes, value: float) -> tuple[float, str]:
    """Where a value is drawn on an epsilon axis, and the mark of an edge: "^" for above it, "v" for below."""
    low, high = axes.get_ylim()
    if value > high:
        return high / (high / low) ** 0.03, "^"
    if value < low:
        return low * (high / low) ** 0.03, "v"
    return value, ""


def theory(axes: Axes, rows: Sequence[Row], looks: dict[str, layout.Look]) -> None:
    """The accounted epsilon of each family as a line, one dark line where it is the same for all.

    What the axis cannot hold becomes a triangle at its edge.
    """
    lines = {family: _epsilons([row for row in rows if row["family"] == family]) for family in looks}
    lines = {family: line for family, line in lines.items() if line}
    same = len(lines) > 1 and _alike(list(lines.values()))
    for place, (family, look) in enumerate(looks.items()):
        shift = (place - (len(looks) - 1) / 2) * APART
        line = lines.get(family, [])
        inside = [(x, y) for x, y in line if not _edged(axes, y)[1]]
        if len(inside) == 1:  # a single point would be no line
            (x, y), reach = inside[0], 0.05
            inside = [(_moved(axes, x, -reach), y), (_moved(axes, x, reach), y)]
        if not same or family == next(iter(lines)):
            colour, dash = (DARK, "-") if same else (look.colour, look.dash)
            axes.plot(
                [x for x, _ in inside], [y for _, y in inside], color=colour, linestyle=dash, linewidth=1.2
            )
        for x, y in line:
            at, mark = _edged(axes, y)
            if mark:
                _edge_mark(axes, _moved(axes, x, shift), at, mark, look)


def _epsilons(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Strength and epsilon of each promise, from weak to strong."""
    known = [(float(row["strength"]), number_of(row, "epsilon")) for row in in_order(rows)]
    return [(x, y) for x, y in known if y is not None and math.isfinite(x)]


def _alike(lines: Sequence[Sequence[tuple[float, float]]]) -> bool:
    """Whether lines are the same to a hundredth."""
    first = lines[0]
    return all(
        len(line) == len(first)
        and all(
            a[0] == b[0] and math.isclose(a[1], b[1], rel_tol=0.01) for a, b in zip(line, first, strict=True)
        )
        for line in lines
    )


def practice(axes: Axes, rows: Sequence[Row], before: Sequence[Row], looks: dict[str, layout.Look]) -> None:
    """The lower bounds of each family with their ceilings, and the bound on its baseline."""
    for place, (family, look) in enumerate(looks.items()):
        shift = (place - (len(looks) - 1) / 2) * APART
        for row in before:
            value = number_of(row, "epsilon") if row["family"] == family else None
            if value is not None and not _edged(axes, value)[1]:
                axes.axhline(value, color=look.colour, linewidth=0.7, linestyle=(0, (4, 3)), alpha=0.8)
        for row in rows:
            value, ceiling = number_of(row, "epsilon"), number_of(row, "ceiling")
            if row["family"] != family or value is None or not math.isfinite(row["strength"]):
                continue
            x, (at, mark) = _moved(axes, row["strength"], shift), _edged(axes, value)
            if mark:
                _edge_mark(axes, x, at, mark, look)
            else:
                axes.plot([x], [at], color=look.colour, marker=look.marker, markersize=3.8)
            if ceiling is not None and not _edged(axes, ceiling)[1]:
                ends = [_moved(axes, row["strength"], shift + side * 0.018) for side in (-1, 1)]
                axes.plot(ends, [ceiling] * 2, color=look.colour, linewidth=1.3, solid_capstyle="butt")
            low, high = bounds(row, "epsilon")
            if low is not None and high is not None:
                axes.plot(
                    [x, x], [_edged(axes, low)[0], _edged(axes, high)[0]], color=look.colour, linewidth=0.9
                )


def _edge_mark(axes: Axes, x: float, y: float, mark: str, look: layout.Look) -> None:
    """A hollow triangle for a value that the axis cannot hold."""
    axes.plot(
        [x], [y], color=look.colour, marker=mark, markersize=4.5, markerfacecolor="white", linestyle="none"
    )
