"""A whole trade-off study, from its rows to files."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mia_jax.report import atomic
from mia_jax.report import tables as report_tables
from mia_jax.report.inputs import Row, finite
from mia_jax.report.plain import plain
from mia_jax.tradeoff import matching
from mia_jax.tradeoff.rows import TradeoffRows, pooled_audits, pooled_privacy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "tradeoff.html"


def write_tradeoff(rows: TradeoffRows, directory: pathlib.Path) -> pathlib.Path:
    """Write what a trade-off study shows into a directory and give the path of tradeoff.html.

    tradeoff.json has everything: the rows, the rows pooled over seeds, the comparisons and contrasts; the tables
    are also in tradeoff_{utility,results,privacy,audits,equal_strength,equal_epsilon,equal_attack,contrasts}.csv where
    they have rows; figures/tradeoff_*.svg and *.png. An infinite epsilon is written as "inf". Page and figures are
    made in memory first, then each file appears whole or not at all; at last what an earlier study left and this one
    has nothing for is removed. Raises `StoreError` where the disk refuses.
    """
    from mia_jax.report import figures
    from mia_jax.tradeoff import page

    drawn = draw(rows)
    svgs = {name: figures.to_svg(figure, name) for name, figure in drawn.items()}
    pngs = {name: figures.to_png(figure) for name, figure in drawn.items()}
    compared = matching.comparisons(rows)
    text = page.render(rows, svgs, compared)
    found = {**_given(rows), **compared, "contrasts": rows.contrasts}
    whole = json.dumps(plain(_content(rows, found)), indent=1, allow_nan=False, ensure_ascii=False)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    atomic.write_text(directory / "tradeoff.json", whole + "\n")
    for name, some in found.items():
        if some:
            report_tables.write_csv([plain(row) for row in some], directory / f"tradeoff_{name}.csv")
    for name in drawn:
        atomic.write_text(directory / "figures" / f"{name}.svg", svgs[name])
        atomic.write_bytes(directory / "figures" / f"{name}.png", pngs[name])
    atomic.write_text(directory / PAGE, text)
    _remove_stale(directory, found, drawn)
    return directory / PAGE


def draw(rows: TradeoffRows) -> dict[str, Figure]:
    """The figures of a study by name, in the order of the page; those without data are left out."""
    from mia_jax.tradeoff import figures, page

    drawn: dict[str, Figure] = {}
    attacked = any(finite(row.get("auc")) is not None for row in rows.results)
    used = any(finite(row.get("test_accuracy")) is not None for row in rows.utility)
    if rows.defences and attacked and used:
        drawn[page.CURVES] = figures.curves(rows)
    if (theory := figures.theory_and_practice(rows)) is not None:
        drawn[page.EPSILONS] = theory
    for defence in rows.defences:
        if rows.strengths(defence) and (attacked or used):
            drawn[page.strength_figure(defence)] = figures.by_strength(rows, defence)
    return drawn


def _given(rows: TradeoffRows) -> dict[str, Sequence[Row]]:
    """The rows of a study by name, as they came, a seed each."""
    return {"utility": rows.utility, "results": rows.results, "privacy": rows.privacy, "audits": rows.audits}


def _content(rows: TradeoffRows, found: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """All of a study as nested plain values."""
    over_seeds = {
        "utility": rows.utility_over_seeds,
        "results": rows.results_over_seeds,
        "privacy": pooled_privacy(rows.privacy),
        "audits": pooled_audits(rows.audits),
    }
    head = {"title": rows.title, "confidence": rows.confidence, "facts": rows.facts, "config": rows.config}
    return {**head, **found, "over_seeds": over_seeds}


def _remove_stale(
    directory: pathlib.Path, found: Mapping[str, Sequence[Row]], drawn: Mapping[str, Any]
) -> None:
    """Removes what an earlier study wrote into this directory and this one has nothing for."""
    stale = [directory / f"tradeoff_{name}.csv" for name, some in found.items() if not some]
    made = [file for kind in ("svg", "png") for file in directory.glob(f"figures/tradeoff_*.{kind}")]
    for file in (*stale, *(file for file in made if file.stem not in drawn)):
        atomic.remove(file)
