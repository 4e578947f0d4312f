"""What is kept of a finished comparison or trade-off: few enough rows to be committed, enough for page and claims."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mia_jax.comparison.rows import ComparisonRows, at_one_level
from mia_jax.report import atomic
from mia_jax.report.plain import plain

KEPT = re.compile(
    r"(variant|pool|seed|family|defence|strength|attack|epoch|auc.*|balanced_accuracy.*|tpr_at_fpr_0\.0.*)$"
)
"""Columns of results that are kept."""

MATCHED = ("gap", "loss_gap", "test_accuracy")

DIGITS = 4
"""Significant digits of what is kept."""

Kept = dict[str, Any]


def of_comparison(rows: ComparisonRows) -> Kept:
    """All curves and orders, and of levels those that stand for the others."""
    levels = [row for variant in rows.variants for one in MATCHED for row in at_one_level(rows, one, variant)]
    return _common(rows._asdict()) | {"at_levels": levels}


def of_tradeoff(rows: Mapping[str, Any]) -> Kept:
    """All contrasts, results and guarantees. rows: as tradeoff.json has them."""
    privacy = [{name: value for name, value in row.items() if name != "meaning"} for row in rows["privacy"]]
    return _common(rows) | {"privacy": privacy}


def write(kept: Kept, path: Path) -> None:
    """A line for each row, so that a change is seen in what it changed."""
    parts = []
    for name, value in kept.items():
        lines = (
            ",\n  ".join(json.dumps(plain(row, DIGITS), ensure_ascii=False, allow_nan=False) for row in value)
            if _table(value)
            else ""
        )
        whole = (
            f"[\n  {lines}\n ]"
            if lines
            else json.dumps(plain(value, DIGITS), ensure_ascii=False, allow_nan=False)
        )
        parts.append(f"{json.dumps(name)}: {whole}")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, "{\n " + ",\n ".join(parts) + "\n}\n")


def read(directory: Path) -> dict[str, Kept]:
    """Every result in a directory, by the name of its config."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}


def _common(rows: Mapping[str, Any]) -> Kept:
    """Without what only the machine knows: its folders and command lines."""
    config = {**rows["config"], "data": {**rows["config"]["data"], "directory": ""}}
    results = [{name: value for name, value in row.items() if KEPT.match(name)} for row in rows["results"]]
    facts = {name: value for name, value in rows["facts"].items() if name != "command"}
    return {**rows, "config": config, "results": results, "facts": facts}


def _table(value: Any) -> bool:
    """Whether something is rows."""
    return isinstance(value, list | tuple) and bool(value)
