"""Figures of a trade-off study, from its rows: exposure and accuracy by strength, against each other, and epsilons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from mia_jax.report import layout
from mia_jax.report.formatting import rate, tiny
from mia_jax.report.inputs import Row, finite
from mia_jax.tradeoff import marks
from mia_jax.tradeoff.rows import (
    BASELINE,
    KINDS,
    NAMED_AUDIT,
    TradeoffRows,
    in_order,
    number_of,
    pooled_audits,
    pooled_privacy,
    strongest_attack,
)
from mia_jax.tradeoff.tables import shown_attacks


class Promised(NamedTuple):
    """A panel of theory and practice: which epsilon is in it."""

    defence: str
    unit: str
    relation: str
    kind: str
    delta: float


def by_strength(rows: TradeoffRows, defence: str) -> Figure:
    """AUC of the shown attacks and test accuracy against the strength of one defence, weak on the left.

    Dashed, with its interval as a band: each family's baseline.
    """
    looks, attacks = layout.looks(rows.families), shown_attacks(rows)
    results = rows.results_over_seeds
    shown = [(f"AUC: {name}", [r for r in results if r["attack"] == name], "auc") for name in attacks]
    shown.append(("Test accuracy", rows.utility_over_seeds, "test_accuracy"))
    with matplotlib.rc_context(layout.STYLE):
        figure, panels = layout.grid(len(shown), height=1.45, header=0.17, left=0.42)
        for axes, (title, some, key) in zip(panels, shown, strict=True):
            axes.set_title(layout.wrapped(title))
            marks.strength_axis(axes, defence, rows.strengths(defence))
            if key == "auc":
                axes.axhline(0.5, color=layout.GREY, linewidth=0.7, linestyle=":")
            for place, (family, look) in enumerate(looks.items()):
                mine = [row for row in some if row["family"] == family]
                marks.guide(axes, [row for row in mine if row["defence"] == BASELINE], key, look)
                shift = (place - (len(looks) - 1) / 2) * marks.APART
                marks.line(axes, [row for row in mine if row["defence"] == defence], key, look, shift)
        if len(attacks) > 1:
            layout.same_limits(panels[:-1])
        for axes in panels:
            axes.locator_params(axis="y", nbins=6)
        panels[-1].yaxis.set_major_formatter(lambda value, _: rate(round(value, 4)))
        figure.supxlabel(marks.strength_name(defence), size=7.5, y=0.012, va="bottom")
        layout.legend(figure, looks)
    return figure


def curves(
    rows: TradeoffRows, attack: str | None = None, looks: Mapping[str, layout.Look] | None = None
) -> Figure:
    """Test accuracy against an attack's AUC, a panel per defence, points joined from weak to strong.

    Each line begins at the family's baseline, a hollow point. Some strengths are named. attack: the strongest
    where none is named. looks: of the families, where figures beside this one give them others.
    """
    looks, attack = dict(looks or layout.looks(rows.families)), attack or strongest_attack(rows)
    results = {_setting(row): row for row in rows.results_over_seeds if row["attack"] == attack}
    both = [
        (row, results[_setting(row)]) for row in in_order(rows.utility_over_seeds) if _setting(row) in results
    ]
    both = [
        pair
        for pair in both
        if finite(pair[0]["test_accuracy"]) is not None and finite(pair[1]["auc"]) is not None
    ]
    defences = [name for name in rows.defences if any(row["defence"] == name for row, _ in both)]
    with matplotlib.rc_context(layout.STYLE):
        columns = layout.columns_for(len(defences))
        figure, panels = layout.grid(
            len(defences),
            columns=columns,
            height=1.7 if columns > 1 else 2.4,
            header=0.17,
            left=0.55,
            shared=True,
        )
        for axes, defence in zip(panels, defences, strict=True):
            axes.set_title(layout.wrapped(defence, columns))
            axes.axvline(0.5, color=layout.GREY, linewidth=0.7, linestyle=":")
            for family, look in looks.items():
                mine = [pair for pair in both if pair[0]["family"] == family]
                marks.path(axes, [pair for pair in mine if pair[0]["defence"] in (BASELINE, defence)], look)
        marks.same_limits(panels)
        for axes, defence in zip(panels, defences, strict=True):
            axes.yaxis.set_major_formatter(lambda value, _: rate(round(value, 4)))
            axes.locator_params(axis="x", nbins=5)
            marks.name_strengths(axes, [pair for pair in both if pair[0]["defence"] == defence], looks, both)
        figure.supxlabel(f"AUC of {attack}: to the left less exposed", size=7.5, y=0.012, va="bottom")
        figure.supylabel("Test accuracy", size=7.5, x=0.008)
        layout.legend(figure, looks)
    return figure


def theory_and_practice(rows: TradeoffRows) -> Figure | None:
    """Epsilon as accounted for (lines) and the named audit's lower bound (points), a panel per promise.

    A short dash is the bound's ceiling, a dashed line the bound on the baseline; bounds are drawn only where
    they speak of the panel's relation. At the upper edge: infinite; at the lower edge: 0. None without a promise.
    """
    looks, shown = layout.looks(rows.families), promised(rows)
    if not shown:
        return None
    privacy = pooled_privacy(rows.privacy)
    audits = [row for row in pooled_audits(rows.audits) if row["method"] == NAMED_AUDIT]
    with matplotlib.rc_context(layout.STYLE):
        columns = min(len(shown), 2)
        figure, panels = layout.grid(
            len(shown), columns=columns, height=1.9, gap=0.85, header=0.46, left=0.42
        )
        for axes, panel in zip(panels, shown, strict=True):
            theory = [row for row in privacy if _promise(row) == panel]
            proven = [row for row in audits if row["defence"] == panel.defence and _tests(row, panel)]
            before = [row for row in audits if row["defence"] == BASELINE and _tests(row, panel)]
            axes.set_title(
                f"{panel.defence}: {panel.unit}, {panel.relation},\n{panel.kind}, δ = {tiny(panel.delta)}"
            )
            marks.strength_axis(axes, panel.defence, [row["strength"] for row in (*theory, *proven)])
            axes.set_xlabel(marks.strength_name(panel.defence))
            marks.epsilon_axis(axes, [*theory, *proven, *before])
            marks.theory(axes, theory, looks)
            marks.practice(axes, proven, before, looks)
        panels[0].set_ylabel("ε")
        marked = "line: theory   point: lower bound of the audit (dash: its ceiling)   "
        marked += "dashed: bound on the baseline   triangle: 0 or ∞"
        figure.text(
            0.5, 1 - 0.2 / figure.get_figheight(), marked, ha="center", va="top", size=6.5, color=layout.GREY
        )
        layout.legend(figure, looks)
    return figure


def promised(rows: TradeoffRows) -> list[Promised]:
    """The promises that are drawn: of each defence and unit the relations that were audited, or the first one.

    Of several kinds of one promise the first of `KINDS`.
    """
    audits = [row for row in rows.audits if row["method"] == NAMED_AUDIT]

    def audited(one: Promised) -> bool:
        return any(row["defence"] == one.defence and _tests(row, one) for row in audits)

    known = [
        _promise(row)
        for row in rows.privacy
        if row["defence"] != BASELINE and number_of(row, "epsilon") is not None
    ]
    known = sorted(dict.fromkeys(known), key=lambda one: (rows.defences.index(one.defence), _rank(one.kind)))
    chosen: list[Promised] = []
    for one in known:
        before = [other for other in chosen if (other.defence, other.unit) == (one.defence, one.unit)]
        own = [other for other in known if (other.defence, other.unit) == (one.defence, one.unit)]
        same = any((other.relation, other.delta) == (one.relation, one.delta) for other in before)
        if not same and (audited(one) if any(map(audited, own)) else not before):
            chosen.append(one)
    return chosen


def _rank(kind: str) -> int:
    """Which kinds of promise come first."""
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _promise(row: Row) -> Promised:
    """Which promise a row is of."""
    return Promised(row["defence"], row["unit"], row["relation"], row["kind"], row["delta"])


def _tests(row: Row, promise: Promised) -> bool:
    """Whether a lower bound can refute a promise: of the same relation, and at a delta not below the promise's."""
    return row["relation"] == promise.relation and row["delta"] >= promise.delta


def _setting(row: Row) -> tuple[str, str, float]:
    """Where a row belongs."""
    return row["family"], row["defence"], row["strength"]
