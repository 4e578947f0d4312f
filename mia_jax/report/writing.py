"""The whole report of a study, from ready numbers to files."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from mia_jax.report import atomic, tables
from mia_jax.report.inputs import Pair, ReportInputs, finite, last_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(inputs: ReportInputs, directory: pathlib.Path) -> pathlib.Path:
    """Write results.json, results.csv, utility.csv, figures/*.svg and *.png, and report.html; give the last's path.

    Everything is made in memory first, then each file appears whole or not at all: whatever fails,
    no file is half written and older ones stay. Raises `StoreError` where the disk refuses.
    """
    from mia_jax.report import figures, page

    drawn = draw(inputs)
    svgs = {name: figures.to_svg(figure, name) for name, figure in drawn.items()}
    pngs = {name: figures.to_png(figure) for name, figure in drawn.items()}
    text = page.render(inputs, svgs)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    tables.write_json(inputs.results, directory / "results.json")
    tables.write_csv(inputs.results, directory / "results.csv")
    tables.write_csv(inputs.utility, directory / "utility.csv")
    for name in drawn:
        atomic.write_text(directory / "figures" / f"{name}.svg", svgs[name])
        atomic.write_bytes(directory / "figures" / f"{name}.png", pngs[name])
    atomic.write_text(directory / "report.html", text)
    return directory / "report.html"


def draw(inputs: ReportInputs) -> dict[str, Figure]:
    """The figures of a report by name, in the order of the page; those without data are left out."""
    from mia_jax.report import figures

    last, families, titles = last_rows(inputs.results), inputs.families, inputs.titles
    drawn = {}
    if any(finite(row.get("auc")) is not None for row in last):
        drawn["exposure_by_attack"] = figures.exposure_by_attack(
            last, families=families, titles=titles, fpr=inputs.headline_fpr
        )
    if inputs.curves:
        auc: dict[Pair, float | None] = {(row["family"], row["attack"]): row.get("auc") for row in last}
        drawn["roc"] = figures.roc(inputs.curves, families=families, titles=titles, fpr=inputs.fprs, auc=auc)
    if len(last) < len(inputs.results):
        drawn["exposure_over_training"] = figures.exposure_over_training(
            inputs.results, inputs.utility, families=families, titles=titles
        )
    if inputs.histograms:
        drawn["score_distributions"] = figures.score_distributions(
            inputs.histograms, families=families, titles=titles
        )
    return drawn
