"""The rows of the page's tables of utility, attacks and differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mia_jax.report.comparison import more_exposed
from mia_jax.report.formatting import interval, number, percent, probability
from mia_jax.report.inputs import ReportInputs, Row, finite, last_rows, ppv_key, tpr_key
from mia_jax.report.selection import strongest


class Cell(NamedTuple):
    """One estimate: its value and, in smaller type, its interval or why there is none."""

    value: str
    interval: str = ""


class Folded(NamedTuple):
    """What is shown at once, and what is folded away below it."""

    shown: list[Any]
    rest: list[Any]


def cell(row: Row, name: str, style: Any = number, absent: str = "not estimable") -> Cell:
    """The cell of one estimate."""
    if finite(row.get(name)) is None:
        return Cell(absent)
    return Cell(style(row[name]), interval(row, name, style))


def utility_counts(inputs: ReportInputs) -> dict[str, str]:
    """The columns of counts of the utility table: key and heading; those that say nothing are left out."""
    names = {"num_parameters": "Parameters", "models": "Models", "epoch": "Epoch"}
    known = {key for row in inputs.utility for key in names if row.get(key) is not None}
    return {key: name for key, name in names.items() if key in known and not (inputs.own and key == "epoch")}


def utility(inputs: ReportInputs, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of the utility table."""
    names = ("train_accuracy", "test_accuracy", "gap")
    return [
        {
            "family": row["family"],
            "counts": [number(row.get(key), 0, "unknown", ",") for key in utility_counts(inputs)],
            "cells": [cell(row, name, percent, "not computed") for name in names],
        }
        for row in rows
    ]


def utility_over_training(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The utility at every checkpoint; empty where there is only one."""
    several = len(inputs.utility) > len(last_rows(inputs.utility))
    return utility(inputs, inputs.utility) if several else []


def attacks(inputs: ReportInputs) -> Folded:
    """The attack table, blocks (family, rows), in two parts; the highest AUC of each family is marked."""
    chosen, folded = strongest(inputs), Folded([], [])
    for family in inputs.families:
        block = [row for row in last_rows(inputs.results) if row["family"] == family]
        best = max((finite(row.get("auc")) or 0.0 for row in block), default=0.0)
        for part, rows in zip(folded, _parted(block, chosen), strict=True):
            if rows:
                part.append((family, [_attack(inputs, row, best) for row in rows]))
    return folded


def values(inputs: ReportInputs) -> list[tuple[str, list[dict[str, Any]]]]:
    """Advantage and positive predictive values of the attacks that are shown; empty where there are none."""
    chosen, blocks = strongest(inputs), []
    keys = ["advantage", *map(ppv_key, inputs.fprs)]
    for family in inputs.families:
        block = [row for row in last_rows(inputs.results) if row["family"] == family]
        block = [row for row in block if row["attack"] in chosen and any(key in row for key in keys)]
        rows = [
            {
                **_name(inputs, row),
                "strongest": False,
                "cells": [cell(row, keys[0]), *(cell(row, key, percent) for key in keys[1:])],
            }
            for row in block
        ]
        if rows:
            blocks.append((family, rows))
    return blocks


def comparisons(inputs: ReportInputs) -> Folded:
    """The table of differences in two parts."""
    parts = _parted(inputs.comparisons, strongest(inputs))
    return Folded(*([_comparison(inputs, row) for row in part] for part in parts))


def _parted(rows: Sequence[Row], chosen: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """The rows of the attacks that are shown, and those of the others."""
    shown = [row for row in rows if row["attack"] in chosen]
    return shown, [row for row in rows if row["attack"] not in chosen]


def _name(inputs: ReportInputs, row: Row) -> dict[str, Any]:
    """How a row's attack is called."""
    return {"title": inputs.title_of(row["attack"]), "name": row["attack"]}


def _attack(inputs: ReportInputs, row: Row, best: float) -> dict[str, Any]:
    """One row of the attack table."""
    estimates = [cell(row, name, absent="not computed") for name in ("auc", "balanced_accuracy")]
    estimates += [cell(row, tpr_key(fpr), percent) for fpr in inputs.fprs]
    return {
        **_name(inputs, row),
        "cells": [*estimates, cell(row, "target_auc", absent="not computed")],
        "strongest": finite(row.get("auc")) == best,
    }


def _comparison(inputs: ReportInputs, row: Row) -> dict[str, Any]:
    """One row of the table of differences, with its reading."""
    ahead = more_exposed(inputs, row)
    reading = f"{ahead} more exposed" if ahead else "not distinguishable"
    difference = Cell("not computed")
    if finite(row["difference"]) is not None:
        difference = Cell(f"{row['difference']:+.3f}", interval(row, ""))
    return {
        **_name(inputs, row),
        "families": (row["family_a"], row["family_b"]),
        "difference": difference,
        "p": probability(row.get("p_holm"), "not computed"),
        "reading": reading if difference.interval else "no interval",
    }
