"""The figures of the study's page, by name, each drawn when asked for."""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mia_jax.comparison.rows import ComparisonRows
from mia_jax.rnn_vs_ffnn import claims
from mia_jax.rnn_vs_ffnn.claims import ATTACK, HEADLINE, SETS, Finding, findings
from mia_jax.rnn_vs_ffnn.tables import Results, defended, set_of, training_sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES, CLAIMS = "sizes", "claims"
"""The figures of training sets' sizes, and of the claims' numbers."""

FAMILIES = ("mlp", "rnn", "lstm", "gru")
"""The families, which look alike in all figures."""


def planned(results: Results) -> dict[str, Callable[[], Figure]]:
    """What there is to draw: the claims; of headline sets exposure through training, of every trade-off its curves."""
    plan: dict[str, Callable[[], Figure]] = {}
    if found := findings(results, SETS):
        plan[CLAIMS] = functools.partial(claimed, found)
    headline = {name: results[name] for name in HEADLINE if name in results}
    for name, one in headline.items():
        plan[f"{name}_training"] = functools.partial(_compared, one, "through_training")
        plan[f"{name}_gap"] = functools.partial(_compared, one, "against_gap")
    varied = {name: one for name, one in headline.items() if training_sizes(one)}
    if varied:
        plan[SIZES] = functools.partial(by_size, varied)
    for name, one in defended(results):
        plan[f"{name}_defences"] = functools.partial(_tradeoff, one)
    return plan


def claimed(found: Sequence[Finding]) -> Figure:
    """The number of every claim on every set with its interval, a panel a claim; what is claimed is shaded."""
    import matplotlib

    from mia_jax.report import layout, marks

    places = sorted({one.claim for one in found})
    sets = list(dict.fromkeys(set_of(one.name) for one in found))
    with matplotlib.rc_context(layout.STYLE):
        figure, panels = layout.grid(len(places), columns=2, height=0.7, gap=0.85, left=0.85, header=0.26)
        for number, (axes, place) in enumerate(zip(panels, places, strict=True)):
            own, claim = [one for one in found if one.claim == place], claims.CLAIMS[place]
            widest = 1.15 * max(abs(one.row[end]) for one in own for end in ("low", "high"))
            axes.axvspan(0, claim.sign * widest, color="#eef3f7", linewidth=0, zorder=0)
            axes.axvline(0, color=layout.GREY, linewidth=0.7, linestyle=":")
            for one in own:
                row = {f"value{end}": one.row[key] for end, key in _ENDS.items()}
                look = layout.LOOKS[0 if claims.as_claimed(one) else 1]
                marks.whisker(axes, row, "value", sets.index(set_of(one.name)), look)
            axes.set(xlim=(-widest, widest), ylim=(len(sets) - 0.5, -0.5))
            axes.set_yticks(range(len(sets)), [""] * len(sets) if number % 2 else sets)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=5)
            words = "\n".join(textwrap.wrap(f"{place + 1}. {claim.what}", 44))
            axes.set_title(f"{words}\n{claims.verdict(place, found)}", loc="left", size=7)
        meant = "shaded: what is claimed    circle: as claimed, square: the contrary"
        figure.text(0.5, 0.02, meant, ha="center", va="bottom", size=6.5, color=layout.GREY)
    return figure


_ENDS = {"": "value", "_low": "low", "_high": "high"}
"""Ends of names in reports, and what a contrast calls them."""


def by_size(results: Results) -> Figure:
    """The attack's AUC after the last epoch against the number of training records, a panel a set, means over pools."""
    import matplotlib

    from mia_jax.report import layout

    with matplotlib.rc_context(layout.STYLE):
        figure, panels = layout.grid(len(results), height=1.7, header=0.17, left=0.5)
        for axes, (name, one) in zip(panels, results.items(), strict=True):
            axes.set_title(f"{name}: AUC of {ATTACK}")
            axes.axhline(0.5, color=layout.GREY, linewidth=0.7, linestyle=":")
            sizes = training_sizes(one)
            for family, look in layout.looks(list(one["config"]["families"])).items():
                rows = [_end(one, variant, family) for variant in sizes]
                y = [row["value"] for row in rows]
                ends = [
                    [row["value"] - row["low"] for row in rows],
                    [row["high"] - row["value"] for row in rows],
                ]
                axes.errorbar(list(sizes.values()), y, ends, color=look.colour, linestyle=look.dash,
                              marker=look.marker, linewidth=1.1, markersize=3, elinewidth=0.7)  # fmt: skip
            axes.set_xscale("log", base=2)
            axes.set_xticks(list(sizes.values()), [str(size) for size in sizes.values()])
            axes.minorticks_off()
        figure.supxlabel("Training records", size=7.5, y=0.012, va="bottom")
        layout.legend(figure, layout.looks(list(next(iter(results.values()))["config"]["families"])))
    return figure


def _end(one: Any, variant: str, family: str) -> Any:
    """A family's AUC at the last epoch of a variant."""
    asked = {"variant": variant, "family": family, "attack": ATTACK, "what": "auc"}
    return max((row for row in one["curves"] if asked.items() <= row.items()), key=lambda row: row["epoch"])


def _compared(one: Any, kind: str) -> Figure:
    """A figure of a comparison."""
    from mia_jax.comparison import figures

    return getattr(figures, kind)(ComparisonRows(**{field: one[field] for field in ComparisonRows._fields}))


def _tradeoff(one: Any) -> Figure:
    """The curves of a trade-off, under the paper's attack."""
    from mia_jax.report import layout
    from mia_jax.tradeoff import figures
    from mia_jax.tradeoff.rows import TradeoffRows

    own = {field.name: one[field.name] for field in dataclasses.fields(TradeoffRows)}
    rows, looks = TradeoffRows(**own), layout.looks(FAMILIES)
    known = {family: looks[family] for family in rows.families} if set(rows.families) <= set(looks) else None
    return figures.curves(rows, ATTACK, known)
