"""Figures of a study of dynamics, from its rows: the plane, ways over it, curves, arms, transitions and difficulty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mia_jax.dynamics_study import marks, tables
from mia_jax.dynamics_study.looks import Looks, key, looks_of, scale, shortened, wrapped
from mia_jax.dynamics_study.rows import CURVES, NUMBERS, Arm, DynamicsRows
from mia_jax.report import layout
from mia_jax.report import marks as report_marks
from mia_jax.report.formatting import interval_name
from mia_jax.report.inputs import finite

MOST_ARMS = 4
"""Arms that planes are drawn of."""

CROWD = 2_000
"""Records above which they are counted in hexagons against a difficulty."""

SHOWN_CURVES = ("vulnerability", "speed", "entropy", "high", "early_recall")
EXPOSED, TYPICAL = layout.LOOKS[1], layout.LOOKS[0]
GUIDES: Mapping[str, tuple[float, ...]] = {"early_ratio": (1.0,)}
"""Where a number says that there is nothing to see; 0 for the others."""

FEW = 6
"""Arms up to which each one's ceiling crosses the panel; beyond, ceilings are dashes at its edge."""


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
            _epochs(axes, rows.arms, whole=True)
            axes.locator_params(axis="y", nbins=6)
        key(panels[-1], looks.keys, notes)
        for axes in panels[max(0, len(shown) - columns) : -1]:
            axes.set_xlabel("Epoch", labelpad=1)
    return figure


def arms(rows: DynamicsRows) -> Figure | None:
    """The headline numbers of every arm, each a dot on its interval; None where no arm has any.

    Arms are grouped by the first factor that varies; colours and markers as in `curves`.
    """
    blocks = tables.headline(rows)
    if not blocks:
        return None
    looks, lines = looks_of(rows), _lines(rows)
    longest = max(len(words) for words, _ in lines)
    left, step = min(2.0, 0.2 + 0.056 * longest), 0.135
    height, above, between, below = len(lines) * step, 0.42, 0.66, 0.42
    with matplotlib.rc_context(layout.STYLE):
        total = above + len(blocks) * height + (len(blocks) - 1) * between + below
        figure = Figure(figsize=(layout.WIDTH, total))
        across = max(map(len, blocks))
        width = (layout.WIDTH - left - 0.12 - 0.2 * (across - 1)) / across
        for block, names in enumerate(blocks):
            panels = []
            for place, name in enumerate(names):
                top = above + block * (height + between)
                axes = marks.panel(figure, left + place * (width + 0.2), top, width, height)
                axes.set_title(_number_title(name))
                panels.append(axes)
                for at, (_, arm) in enumerate(lines):
                    if arm is not None and name in arm.numbers:
                        row = arm.numbers[name]._asdict() | {
                            f"value_{end}": getattr(arm.numbers[name], end) for end in ("low", "high")
                        }
                        report_marks.whisker(axes, row, "value", at, looks.of[arm.name])
                axes.margins(x=0.08)
                marks.guides(axes, GUIDES.get(name, (0.0,)))
                axes.locator_params(axis="x", nbins=3)
            _named(panels, lines)
        within = f"bars: {interval_name(rows.confidence)}s"
        figure.text(0.985, 0.05 / total, within, ha="right", va="bottom", size=6.5, color=layout.GREY)
    return figure


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
            axes.set_xlabel(_difficulty_title(name), labelpad=2)
            axes.set_title(_rho(arm, f"rank_{name}"))
        layout.same_limits(panels)
        for place, axes in enumerate(panels):
            axes.tick_params(labelleft=place % columns == 0)
        panels[0].set_ylabel("Vulnerability at the end", labelpad=2)
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
    return (
        "vulnerability\nat the end" if colour == "vulnerability" else wrapped(_difficulty_title(colour), 14)
    )


def _difficulty_title(name: str) -> str:
    """How a measure of difficulty is called."""
    return marks.DIFFICULTIES.get(name, name.replace("_", " ").capitalize())


def _number_title(name: str) -> str:
    """A number's title over a narrow panel."""
    meaning = NUMBERS[name]
    words = f"{meaning.title}, {meaning.unit}" if meaning.unit else meaning.title
    return wrapped(words, 20)


def _has(arm: Arm, name: str) -> bool:
    """Whether anything is known of a curve."""
    return name in arm.curves and bool(np.isfinite(arm.curves[name]).any())


def _epochs(axes: Axes, arms: Sequence[Arm], *, whole: bool = False) -> None:
    """The axis of epochs of some arms. whole: from the first to the last, also where less is drawn."""
    epochs = sorted({float(epoch) for arm in arms for epoch in arm.epochs})
    report_marks.epoch_axis(axes, epochs)
    if whole and axes.get_xscale() == "linear":
        room = 0.04 * (epochs[-1] - epochs[0]) or 1.0
        axes.set_xlim(epochs[0] - room, epochs[-1] + room)


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
    _epochs(axes, [arm])
    axes.legend(loc="best", frameon=False, fontsize=6.5, handlelength=2.4, borderaxespad=0.2)


def _lines(rows: DynamicsRows) -> list[tuple[str, Arm | None]]:
    """The names down the side: each level of the first factor that varies, below it its arms by the others."""
    first, *others = names = tables.varying(rows)
    if not others or 2 * len(rows.factors[first]) > len(rows.arms):  # groups of one would only be longer
        return [(shortened(_levels(arm, names), 34), arm) for arm in rows.arms]
    found: list[tuple[str, Arm | None]] = []
    for level in rows.factors[first]:
        found.append((shortened(level, 34), None))
        for arm in (arm for arm in rows.arms if arm.factors.get(first) == level):
            found.append((shortened(_levels(arm, others), 34), arm))
    return found


def _levels(arm: Arm, names: Sequence[str]) -> str:
    """An arm's levels of some factors."""
    return " · ".join(arm.factors.get(name, "") for name in names)


def _named(panels: Sequence[Axes], lines: Sequence[tuple[str, Arm | None]]) -> None:
    """Names down the side of a line of panels, those of groups bold and on a band."""
    grouped = any(arm is None for _, arm in lines)
    banded = [at for at, (_, arm) in enumerate(lines) if (arm is None if grouped else at % 2)]
    for axes in panels:
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_yticks(
            range(len(lines)), [words for words, _ in lines] if axes is panels[0] else [""] * len(lines)
        )
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#e3e3e3", linewidth=0.5)
        axes.set_axisbelow(True)
        for at in banded if grouped or len(lines) > report_marks.BANDED else ():
            axes.axhspan(at - 0.5, at + 0.5, color="#e9ebee" if grouped else "#f4f5f6", linewidth=0, zorder=0)
    for text, (_, arm) in zip(panels[0].get_yticklabels(), lines, strict=True):
        text.set_fontweight("bold" if arm is None else "normal")


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
    _epochs(axes, [arm])
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
