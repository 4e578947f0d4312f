"""A finished comparison, from its rows to files."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from mia_jax.comparison.rows import TABLES, ComparisonRows
from mia_jax.report import atomic
from mia_jax.report import tables as report_tables
from mia_jax.report.plain import plain

FILE = "comparison.json"

DIGITS = 6
"""Significant digits of what is written; a run keeps all of them."""


def write_comparison(rows: ComparisonRows, directory: pathlib.Path) -> pathlib.Path:
    """Write a comparison into a directory and give the path of comparison.json, which has everything.

    comparison_{curves,at_epochs,at_levels,by_order,results,utility}.csv are its tables;
    figures/comparison_*.svg and *.png show every variant through training and against the generalisation gap.
    Everything is made in memory first; then each file appears whole or not at all. Raises `StoreError` where the disk
    refuses.
    """
    from mia_jax.comparison import figures as drawing
    from mia_jax.report import figures

    drawn = {}
    for variant in rows.variants:
        ending = f"_{variant}" if variant else ""
        drawn[f"comparison_training{ending}"] = drawing.through_training(rows, variant)
        drawn[f"comparison_gap{ending}"] = drawing.against_gap(rows, variant)
    svgs = {name: figures.to_svg(figure, name) for name, figure in drawn.items()}
    pngs = {name: figures.to_png(figure) for name, figure in drawn.items()}
    text = _json(plain(rows._asdict(), DIGITS))
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    for name in drawn:
        atomic.write_text(directory / "figures" / f"{name}.svg", svgs[name])
        atomic.write_bytes(directory / "figures" / f"{name}.png", pngs[name])
    for name in TABLES:
        table = [
            {**row, "pools": " ".join(f"{value:.{DIGITS}g}" for value in row["pools"])}
            for row in getattr(rows, name)
        ]
        report_tables.write_csv(table, directory / f"comparison_{name}.csv", DIGITS)
    for name in ("results", "utility"):
        report_tables.write_csv(getattr(rows, name), directory / f"comparison_{name}.csv", DIGITS)
    atomic.write_text(directory / FILE, text + "\n")
    made = {f"{name}.{kind}" for name in drawn for kind in ("svg", "png")}
    for file in (directory / "figures").glob("comparison_*"):
        if file.name not in made:
            atomic.remove(file)
    return directory / FILE


def _json(content: Mapping[str, Any]) -> str:
    """An object with a row of a table to a line."""

    def dumped(value: Any) -> str:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)

    parts = []
    for name, value in content.items():
        lines = ",\n  ".join(map(dumped, value)) if isinstance(value, list) else ""
        parts.append(f"{dumped(name)}: " + (f"[\n  {lines}\n ]" if lines else dumped(value)))
    return "{\n " + ",\n ".join(parts) + "\n}"
