"""Figures from numbers already computed: small multiples, one colour and one dash per family."""

from __future__ import annotations

import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mia_jax.report import atomic, layout, marks
from mia_jax.report.formatting import number, rate
from mia_jax.report.inputs import Curve, Histogram, Pair, Row, finite, tpr_key


def roc(
    curves: Mapping[Pair, Curve],
    *,
    families: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
    fpr: Sequence[float] = (),
    auc: Mapping[Pair, float | None] | None = None,
) -> Figure:
    """Log-log ROC curves, a panel per attack, from one pooled non-member (at least 1e-4) to 1.

    families fixes colours; titles names attacks; fpr places vertical guides; auc, where given, is
    written beside the family's name.
    """
    looks, attacks = layout.looks(families or _firsts(curves)), _seconds(curves)
    floor = marks.lowest_rate(curves)
    with matplotlib.rc_context(layout.STYLE):
        figure, panels = layout.grid(len(attacks), square=True, shared=True)
        for axes, attack in zip(panels, attacks, strict=True):
            axes.set_title(layout.wrapped(_title(attack, titles)))
            marks.log_log(axes, floor, fpr)
            here = [family for family in looks if (family, attack) in curves]
            for family in here:
                x, y = marks.log_path(curves[family, attack], floor)
                axes.plot(x, y, color=looks[family].colour, linestyle=looks[family].dash, linewidth=1.2)
            for place, family in enumerate(reversed(here)):
                value = finite((auc or {}).get((family, attack)))
                text = family if value is None else f"{family}  AUC {number(value)}"
                at = (0.97, 0.04 + 0.085 * place)
                axes.text(
                    *at, text, transform=axes.transAxes, ha="right", color=looks[family].colour, size=6.5
                )
        figure.supxlabel("False-positive rate: share of non-members accused", size=7.5, y=0.012, va="bottom")
        figure.supylabel("True-positive rate: share of members found", size=7.5, x=0.008)
    return figure


def score_distributions(
    histograms: Mapping[Pair, Histogram],
    *,
    families: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
) -> Figure:
    """Score densities of members (filled) and non-members (line), a panel per attack and family."""
    looks, attacks = layout.looks(families or _firsts(histograms)), _seconds(histograms)
    columns = layout.columns_for(len(looks) if len(looks) > 1 else len(attacks))
    block = 1 if len(looks) == 1 else columns * math.ceil(len(looks) / columns)
    places = {
        (family, attack): row * block + column
        for row, attack in enumerate(attacks)
        for column, family in enumerate(looks)
        if (family, attack) in histograms
    }
    with matplotlib.rc_context(layout.STYLE):
        figure, panels = layout.grid(
            places.values(), columns=columns, height=0.72, gap=0.5, left=0.15, header=0.14
        )
        for axes, (family, attack) in zip(panels, places, strict=True):
            axes.set_title(layout.wrapped(f"{family}: {_title(attack, titles)}", columns))
            marks.densities(axes, histograms[family, attack], looks[family].colour)
        figure.supxlabel("Score (each attack in its own unit; larger: more likely a member)", size=7.5)
        top = 1 - 0.05 / figure.get_figheight()
        figure.text(0.5, top, "filled: members    dark line: non-members", ha="center", va="top", size=7.5)
    return figure


def exposure_by_attack(
    results: Sequence[Row],
    *,
    families: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
    fpr: float | None = None,
) -> Figure:
    """AUC of every attack and family with its interval and, beside it, the TPR at `fpr`."""
    looks, attacks = layout.looks(families or _names(results, "family")), _names(results, "attack")
    columns = [("auc", "AUC (0.5 is guessing)", 0.5)]
    if fpr is not None:
        columns.append((tpr_key(fpr), f"True-positive rate at {rate(fpr)} false positives", fpr))
    step = 0.13 * len(looks) + 0.12
    with matplotlib.rc_context(layout.STYLE):
        height = 0.75 + step * len(attacks)
        figure = Figure(figsize=(layout.WIDTH, height))
        edges = {"left": 0.285, "right": 0.98, "top": 1 - 0.27 / height, "bottom": 0.42 / height}
        panels = figure.add_gridspec(1, len(columns), wspace=0.08, **edges).subplots(
            sharey=True, squeeze=False
        )
        for axes, (key, label, guess) in zip(panels[0], columns, strict=True):
            axes.axvline(guess, color=layout.GREY, linewidth=0.7, linestyle=":")
            for row in results:
                shift = (list(looks).index(row["family"]) - (len(looks) - 1) / 2) * 0.13 / step
                marks.whisker(axes, row, key, attacks.index(row["attack"]) + shift, looks[row["family"]])
            axes.set_xlabel(label)
            axes.grid(axis="x", color="#e3e3e3", linewidth=0.5)
            axes.set_axisbelow(True)
            axes.margins(x=0.04)
            axes.locator_params(axis="x", nbins=7)
        names = [layout.wrapped(_title(attack, titles)) for attack in attacks]
        panels[0, 0].set_yticks(range(len(attacks)), names, size=7)
        panels[0, 0].set_ylim(len(attacks) - 0.5, -0.5)
        for axes in panels[0]:
            axes.tick_params(axis="y", length=0)
        if fpr is not None:
            panels[0, 1].xaxis.set_major_formatter(lambda value, _: rate(round(value, 6)))
        layout.legend(figure, looks)
    return figure


def exposure_over_training(
    results: Sequence[Row],
    utility: Sequence[Row] = (),
    *,
    families: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
) -> Figure:
    """AUC with its interval against the epoch, a panel per attack; first the gap, if `utility` is given."""
    looks, attacks = layout.looks(families or _names(results, "family")), _names(results, "attack")
    leading = 1 if utility else 0
    with matplotlib.rc_context(layout.STYLE):
        figure, panels = layout.grid(len(attacks) + leading, height=1.15, gap=0.56, header=0.16, left=0.45)
        if utility:
            panels[0].set_title("Generalisation gap")
            for family, look in looks.items():
                marks.band(panels[0], [row for row in utility if row["family"] == family], "gap", look)
        for axes, attack in zip(panels[leading:], attacks, strict=True):
            axes.set_title(layout.wrapped(f"AUC: {_title(attack, titles)}"))
            axes.axhline(0.5, color=layout.GREY, linewidth=0.7, linestyle=":")
            for family, look in looks.items():
                rows = [row for row in results if (row["family"], row["attack"]) == (family, attack)]
                marks.band(axes, rows, "auc", look)
        layout.same_limits(panels[leading:])
        for axes in panels:
            marks.epoch_axis(axes, sorted({row["epoch"] for row in results}))
        figure.supxlabel("Epoch", size=7.5)
        layout.legend(figure, looks)
    return figure


def to_svg(figure: Figure, name: str) -> str:
    """The figure as SVG, text as outlines; the same figure and name give the same text."""
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({**layout.STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    return buffer.getvalue().decode("utf-8")


def to_png(figure: Figure) -> bytes:
    """The figure as PNG at 200 dots per inch."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(layout.STYLE):
        figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes PATH.svg and PATH.png, each whole or not at all."""
    atomic.write_text(path.with_name(f"{path.name}.svg"), to_svg(figure, path.name))
    atomic.write_bytes(path.with_name(f"{path.name}.png"), to_png(figure))


def _title(attack: str, titles: Mapping[str, str] | None) -> str:
    """The title of an attack; its name where it has none."""
    return (titles or {}).get(attack, attack)


def _firsts(pairs: Mapping[Pair, Any]) -> list[str]:
    """The families of a mapping, in order."""
    return list(dict.fromkeys(family for family, _ in pairs))


def _seconds(pairs: Mapping[Pair, Any]) -> list[str]:
    """The attacks of a mapping, in order."""
    return list(dict.fromkeys(attack for _, attack in pairs))


def _names(rows: Sequence[Row], key: str) -> list[str]:
    """The distinct values of a column, in order."""
    return list(dict.fromkeys(row[key] for row in rows))
