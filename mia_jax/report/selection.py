"""Which attacks are shown where not all of them can be: one rule for the whole report."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mia_jax.report.inputs import ReportInputs, Row, finite, last_rows

SHOWN = 9
"""Attacks that a figure of one panel each still shows legibly."""

SHOWN_GROUPS = 24
"""Groups of records of one kind that a figure still shows legibly."""


def strongest(inputs: ReportInputs) -> list[str]:
    """The attacks that are shown, in the order of the results; all of them where they are few.

    Of more than `SHOWN`, the strongest of every family, then those with the highest AUC on any
    family, at the last checkpoint.
    """
    names = inputs.attack_names
    if len(names) <= SHOWN:
        return names
    ranked = by_auc(last_rows(inputs.results))
    ahead = [next(row for row in ranked if row["family"] == name) for name in _families(ranked)]
    chosen = list(dict.fromkeys([row["attack"] for row in (*ahead, *ranked)] + names))[:SHOWN]
    return [name for name in names if name in chosen]


def rule(inputs: ReportInputs, where: str = "the numbers of the others are in results.csv") -> str:
    """The sentence that says which attacks are shown; empty where all are."""
    total = len(inputs.attack_names)
    if total <= SHOWN:
        return ""
    always = " (the strongest of every family always among them)" if 1 < len(inputs.families) <= SHOWN else ""
    return (
        f"Of the {total} attacks, the {SHOWN} with the highest AUC{inputs.at_last} are shown{always}, "
        f"picked after the fact; {where}."
    )


def strongest_of(inputs: ReportInputs, among: Collection[str], families: Collection[str]) -> str:
    """The attack with the highest AUC at the last checkpoint on any of these families."""
    rows = [
        row
        for row in last_rows(inputs.results)
        if row["attack"] in among and row["family"] in families and finite(row.get("auc")) is not None
    ]
    return by_auc(rows)[0]["attack"] if rows else next(iter(among))


def grouped_attack(inputs: ReportInputs) -> str:
    """The attack whose groups of records are drawn: the strongest of those that have any."""
    rows = [row for row in inputs.slices if finite(row.get("auc")) is not None] or inputs.slices
    return strongest_of(inputs, list(dict.fromkeys(row["attack"] for row in rows)), inputs.families)


def by_auc(rows: Sequence[Row]) -> list[Row]:
    """The rows that have an AUC, the highest first."""
    known = [row for row in rows if finite(row.get("auc")) is not None]
    return sorted(known, key=lambda row: -row["auc"])


def _families(rows: Sequence[Row]) -> list[str]:
    """The families of some rows, in order."""
    return list(dict.fromkeys(row["family"] for row in rows))
