"""Figures from numbers already computed: small multiples, one colour and one dash per family."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mia_jax.report import layout, marks
from mia_jax.report.claims import value_name
from mia_jax.report.formatting import number, rate
from mia_jax.report.inputs import Curve, Histogram, Pair, Row, finite, tpr_key
from mia_jax.report.selection import SHOWN as MANY
from mia_jax.report.selection import SHOWN_GROUPS, by_auc


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
    many = len(attacks) > MANY
    if many:
        attacks = _names(by_auc(results), "attack")
    columns = [("auc", "AUC (0.5 is guessing)", 0.5)]
    if fpr is not None:
        columns.append((tpr_key(fpr), f"True-positive rate at {rate(fpr)} false positives", fpr))
    apart = 0.09 if many else 0.13
    step = apart * len(looks) + 0.12
    with matplotlib.rc_context(layout.STYLE):
        figure, panels = layout.rows([len(attacks) * step], len(columns), left=0.285, header=0.2 * many)
        for axes, (key, label, guess) in zip(panels[0], columns, strict=True):
            axes.axvline(guess, color=layout.GREY, linewidth=0.7, linestyle=":")
            for row in results:
                if row["attack"] in attacks:
                    shift = (list(looks).index(row["family"]) - (len(looks) - 1) / 2) * apart / step
                    marks.whisker(axes, row, key, attacks.index(row["attack"]) + shift, looks[row["family"]])
            axes.set_xlabel(label)
            axes.margins(x=0.04)
            axes.locator_params(axis="x", nbins=7)
            axes.tick_params(axis="x", labeltop=many)
        marks.named_rows(panels[0], [layout.wrapped(_title(attack, titles)) for attack in attacks])
        if fpr is not None:
            panels[0][1].xaxis.set_major_formatter(lambda value, _: rate(round(value, 6)))
        layout.legend(figure, looks)
    return figure


def exposure_by_group(
    slices: Sequence[Row],
    *,
    families: Sequence[str] = (),
    whole: Mapping[str, float | None] | None = None,
) -> Figure:
    """AUC with its interval in every group of records, a panel per kind of group, the AUC axis shared.

    slices: rows of one attack. whole: each family's AUC over all records, as a dashed guide.
    """
    looks, kinds = layout.looks(families or _names(slices, "family")), _names(slices, "slice")
    groups = {kind: _group_names([row for row in slices if row["slice"] == kind]) for kind in kinds}
    step = 0.11 * len(looks) + 0.1
    with matplotlib.rc_context(layout.STYLE):
        figure, panels = layout.rows([len(names) * step for names in groups.values()], 1, left=0.2)
        for axes, (kind, names) in zip((line[0] for line in panels), groups.items(), strict=True):
            axes.set_title(kind.replace("_", " "), loc="left")
            axes.axvline(0.5, color=layout.GREY, linewidth=0.7, linestyle=":")
            for family, look in looks.items():
                if (guide := finite((whole or {}).get(family))) is not None:
                    axes.axvline(guide, color=look.colour, linewidth=0.7, linestyle=(0, (4, 3)), alpha=0.8)
            for row in slices:
                if row["slice"] == kind and str(row["value"]) in names:
                    shift = (list(looks).index(row["family"]) - (len(looks) - 1) / 2) * 0.11 / step
                    place = names.index(str(row["value"])) + shift
                    marks.whisker(axes, row, "auc", place, looks[row["family"]])
            axes.margins(x=0.04)
            marks.named_rows([axes], [layout.wrapped(value_name(name)) for name in names])
        panels[-1][0].set_xlabel("AUC within the group (0.5 is guessing)")
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


def _group_names(rows: Sequence[Row]) -> list[str]:
    """The groups of one kind that are drawn: numbers in their order, names as they come."""
    kept = list(dict.fromkeys(str(row["value"]) for row in by_auc(rows)))[:SHOWN_GROUPS]
    names = [name for name in dict.fromkeys(str(row["value"]) for row in rows) if name in kept]
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


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
