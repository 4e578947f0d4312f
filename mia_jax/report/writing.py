"""The whole report of a study, from ready numbers to files."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mia_jax.report import atomic, tables
from mia_jax.report.claims import whole_auc
from mia_jax.report.inputs import Pair, ReportInputs, Row, finite, last_rows
from mia_jax.report.selection import grouped_attack, strongest
from mia_jax.runs.contents import REPORTS
from mia_jax.runs.store import Address, Store, address, below

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FIGURES = ("exposure_by_attack", "roc", "exposure_by_group", "exposure_over_training", "score_distributions")
"""The figures, in the order of the page."""


def write_report(inputs: ReportInputs, directory: Address) -> Address:
    """Write `contents.REPORTS` and give the address of report.html; a bucket gets copies of what is made in a folder.

    results.json and results.csv always; utility.csv, slices.csv, privacy.csv, audit.csv and vulnerability/FAMILY.csv
    where they have rows; figures/*.svg and *.png. Page and figures are made in memory first, then each
    file appears whole or not at all: whatever fails, no file is half written and older ones stay. At
    last what an earlier report left and this one has nothing for is removed. Raises `StoreError` where
    the disk refuses.
    """
    place = address(directory)
    if isinstance(place, pathlib.Path):
        return _write_locally(inputs, place)
    with tempfile.TemporaryDirectory() as folder:
        _write_locally(inputs, pathlib.Path(folder))
        _copy(pathlib.Path(folder), Store(place))
    return below(place, "report.html")


def _copy(folder: pathlib.Path, store: Store) -> None:
    """Copy a report, the page last, and then remove what an earlier one left beside it."""
    files = {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
    for name in sorted(files, key=lambda name: (name == "report.html", name)):
        store.write(name, files[name].read_bytes())
    for name in (there for written in REPORTS for there in store.names(written)):
        if name not in files and (name in REPORTS or name.split("/")[0] in REPORTS):
            store.delete(name)


def _write_locally(inputs: ReportInputs, directory: pathlib.Path) -> pathlib.Path:
    """Write `contents.REPORTS` into a folder."""
    from mia_jax.report import figures, page

    drawn = draw(inputs)
    svgs = {name: figures.to_svg(figure, name) for name, figure in drawn.items()}
    pngs = {name: figures.to_png(figure) for name, figure in drawn.items()}
    text = page.render(inputs, svgs)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    tables.write_json(inputs.results, directory / "results.json")
    tables.write_csv(inputs.results, directory / "results.csv")
    _write_tables(inputs, directory)
    for name in drawn:
        atomic.write_text(directory / "figures" / f"{name}.svg", svgs[name])
        atomic.write_bytes(directory / "figures" / f"{name}.png", pngs[name])
    atomic.write_text(directory / "report.html", text)
    _remove_stale(inputs, list(drawn), directory)
    return directory / "report.html"


def _write_tables(inputs: ReportInputs, directory: pathlib.Path) -> None:
    """The tables that are there only where they have rows."""
    for name, rows in _optional(inputs).items():
        if rows:
            tables.write_csv(rows, directory / name)
    for family, rows in inputs.vulnerability.items():
        (directory / "vulnerability").mkdir(exist_ok=True)
        tables.write_csv(rows, directory / "vulnerability" / f"{family}.csv", digits=6)


def _remove_stale(inputs: ReportInputs, drawn: Sequence[str], directory: pathlib.Path) -> None:
    """Removes what an earlier report wrote into this directory and this one has nothing for."""
    stale = [directory / name for name, rows in _optional(inputs).items() if not rows]
    stale += [
        directory / "figures" / f"{n}.{kind}" for n in FIGURES if n not in drawn for kind in ("svg", "png")
    ]
    current = {f"{family}.csv" for family in inputs.vulnerability}
    stale += [file for file in directory.glob("vulnerability/*.csv") if file.name not in current]
    for file in stale:
        atomic.remove(file)
    if not current:
        atomic.remove_folder(directory / "vulnerability")


def _optional(inputs: ReportInputs) -> dict[str, Sequence[Row]]:
    """The tables that may be empty, by file name."""
    return {
        "utility.csv": inputs.utility,
        "slices.csv": inputs.slices,
        "privacy.csv": inputs.promises,
        "audit.csv": inputs.audits,
    }


def draw(inputs: ReportInputs) -> dict[str, Figure]:
    """The figures of a report by name, in the order of `FIGURES`; those without data are left out.

    Where attacks are many, all but exposure_by_attack show those of `selection.strongest`.
    """
    from mia_jax.report import figures

    last, families, titles = last_rows(inputs.results), inputs.families, inputs.titles
    chosen = strongest(inputs)
    curves = _of_attacks(inputs.curves, chosen)
    histograms = _of_attacks(inputs.histograms, chosen)
    drawn = {}
    if any(finite(row.get("auc")) is not None for row in last):
        drawn["exposure_by_attack"] = figures.exposure_by_attack(
            last, families=families, titles=titles, fpr=inputs.headline_fpr
        )
    if curves:
        auc: dict[Pair, float | None] = {(row["family"], row["attack"]): row.get("auc") for row in last}
        drawn["roc"] = figures.roc(curves, families=families, titles=titles, fpr=inputs.fprs, auc=auc)
    if (grouped := _groups(inputs)) is not None:
        drawn["exposure_by_group"] = grouped
    if training := _over_training(inputs, chosen):
        drawn["exposure_over_training"] = figures.exposure_over_training(
            training, inputs.utility, families=families, titles=titles
        )
    if histograms:
        drawn["score_distributions"] = figures.score_distributions(
            histograms, families=families, titles=titles
        )
    return drawn


def _of_attacks(pairs: Mapping[Pair, Any], chosen: Sequence[str]) -> dict[Pair, Any]:
    """What there is of these attacks, in their order."""
    ordered = sorted((pair for pair in pairs if pair[1] in chosen), key=lambda pair: chosen.index(pair[1]))
    return {pair: pairs[pair] for pair in ordered}


def _over_training(inputs: ReportInputs, chosen: Sequence[str]) -> list[Row]:
    """The results of these attacks that were run at several checkpoints."""
    rows = [row for row in inputs.results if row["attack"] in chosen]
    seen: dict[str, set[int]] = {}
    for row in rows:
        seen.setdefault(row["attack"], set()).add(row["checkpoint"])
    return [row for row in rows if len(seen[row["attack"]]) > 1]


def _groups(inputs: ReportInputs) -> Figure | None:
    """The figure of groups of records under the strongest attack that has any."""
    from mia_jax.report import figures

    rows = [row for row in inputs.slices if finite(row.get("auc")) is not None]
    if not rows:
        return None
    attack = grouped_attack(inputs)
    rows = [row for row in rows if row["attack"] == attack]
    whole = {family: whole_auc(inputs, family, attack) for family in inputs.families}
    return figures.exposure_by_group(rows, families=inputs.families, whole=whole)
