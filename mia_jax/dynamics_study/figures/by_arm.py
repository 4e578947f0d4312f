"""The headline numbers of every arm, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mia_jax.dynamics_study import marks, tables
from mia_jax.dynamics_study.looks import looks_of, shortened, wrapped
from mia_jax.dynamics_study.rows import NUMBERS, Arm, DynamicsRows
from mia_jax.report import layout
from mia_jax.report import marks as report_marks
from mia_jax.report.formatting import interval_name

GUIDES: Mapping[str, tuple[float, ...]] = {"early_ratio": (1.0,)}
"""Where a number says that there is nothing to see; 0 for the others."""


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


def _number_title(name: str) -> str:
    """A number's title over a narrow panel."""
    meaning = NUMBERS[name]
    words = f"{meaning.title}, {meaning.unit}" if meaning.unit else meaning.title
    return wrapped(words, 20)


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
