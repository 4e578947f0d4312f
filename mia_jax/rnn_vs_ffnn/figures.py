"""The figures of the study's page, by name, each drawn when asked for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mia_jax.comparison.rows import ComparisonRows
from mia_jax.rnn_vs_ffnn.claims import ATTACK
from mia_jax.rnn_vs_ffnn.tables import Results, defended, training_sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = "sizes"
"""The figure of training sets' sizes."""


def planned(results: Results, sets: Sequence[str]) -> dict[str, Callable[[], Figure]]:
    """What there is to draw: of `sets` exposure through training and against the gap, of every trade-off its curves."""
    plan: dict[str, Callable[[], Figure]] = {}
    for name in (name for name in sets if name in results):
        plan[f"{name}_training"] = functools.partial(_compared, results[name], "through_training")
        plan[f"{name}_gap"] = functools.partial(_compared, results[name], "against_gap")
    varied = {name: results[name] for name in sets if name in results and training_sizes(results[name])}
    if varied:
        plan[SIZES] = functools.partial(by_size, varied)
    for name, one in defended(results):
        plan[f"{name}_defences"] = functools.partial(_tradeoff, one)
    return plan


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
    from mia_jax.tradeoff import figures
    from mia_jax.tradeoff.rows import TradeoffRows

    own = {field.name: one[field.name] for field in dataclasses.fields(TradeoffRows)}
    return figures.curves(TradeoffRows(**own), ATTACK)
