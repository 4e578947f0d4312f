"""The page's sections on groups of records, exposed records, promises, audits and attacks that were not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mia_jax.report.cells import Cell, Folded, cell
from mia_jax.report.claims import above_rest, differs, slice_name
from mia_jax.report.formatting import count, listed, number, percent, probability, rate, tiny
from mia_jax.report.inputs import ReportInputs, Row, finite, tpr_key
from mia_jax.report.selection import strongest, strongest_of

GROUPS = 12
"""Groups of one attack that are shown before the others are folded."""

RECORDS = 10
"""Exposed records of one family that are shown before the others are folded."""

ROOM = 1_000
"""Rows of groups on one page; what is beyond is in slices.csv."""


class Groups(NamedTuple):
    """The groups of one family. attacks: the strongest attack first, each (title, name, Folded rows)."""

    family: str
    attacks: list[tuple[str, str, Folded]]


def slices(inputs: ReportInputs) -> list[Groups]:
    """The groups of each family under the attacks that are shown, as far as the page has room."""
    families = list(dict.fromkeys(row["family"] for row in inputs.slices))
    chosen, groups = strongest(inputs), [Groups(family, []) for family in families]
    room = ROOM // max(1, len(families))
    for family, found in groups:
        rows: dict[str, list[Row]] = {}
        for row in inputs.slices:
            if row["family"] == family:
                rows.setdefault(row["attack"], []).append(row)
        first, left = strongest_of(inputs, list(rows), [family]), room
        for attack in dict.fromkeys((first, *(name for name in rows if name in chosen))):
            left -= len(rows[attack])
            if left >= 0 or attack == first:
                found.append((inputs.title_of(attack), attack, _groups(inputs, rows[attack], room)))
    return groups


def slices_left_out(inputs: ReportInputs, shown: Sequence[Groups]) -> bool:
    """Whether slices.csv holds more than the page."""
    here = sum(len(rows.shown) + len(rows.rest) for group in shown for _, _, rows in group.attacks)
    return here < len(inputs.slices)


def exposed(inputs: ReportInputs) -> list[tuple[str, bool, Folded]]:
    """For each family whether records have labels, and the rows of its most exposed records."""
    found = []
    for family, records in inputs.exposed.items():
        labelled = any(row.get("label") is not None for row in records)
        rows = [_record(inputs, row) for row in records]
        if rows:
            found.append((family, labelled, Folded(rows[:RECORDS], rows[RECORDS:])))
    return found


def promises(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The rows of the table of what defences promise."""
    return [
        {
            "defence": row["defence"].replace("_", " "),
            "unit": row["unit"],
            "epsilon": number(row.get("epsilon"), 2, "none"),
            "delta": tiny(row["delta"]),
            "relation": row["relation"],
            "meaning": row["meaning"],
        }
        for row in inputs.promises
    ]


def promised(inputs: ReportInputs, row: Row) -> float | None:
    """The epsilon that was promised for what an audit tested: whole records, by the same relation and delta."""
    same = (
        one.get("epsilon")
        for one in inputs.promises
        if one["unit"] == "record" and (one["relation"], one["delta"]) == (row["relation"], row["delta"])
    )
    return next(same, None)


def audits(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The rows of the table of audits."""
    return [
        {
            "family": row["family"],
            "epsilon": number(row.get("epsilon"), 2, "not computed"),
            "promised": number(promised(inputs, row), 2, "none"),
            "relation": row["relation"].replace("_", " "),
            "method": row["method"].replace("_", " "),
            "numbers": [
                number(row.get("ceiling"), 2, "not computed"),
                rate(row["confidence"]),
                tiny(row["delta"]),
                *(count(row.get(name)) for name in ("trials", "canaries")),
            ],
        }
        for row in inputs.audits
    ]


def meanings(inputs: ReportInputs) -> list[str]:
    """How the bounds came about, each sentence once."""
    return list(dict.fromkeys(row["meaning"] for row in inputs.audits if row.get("meaning")))


def skipped(inputs: ReportInputs) -> list[tuple[list[str], str, str]]:
    """Attacks that were not run: (names, reason, on which families where not on all)."""
    families = list(dict.fromkeys((*inputs.families, *inputs.skipped)))
    where: dict[tuple[str, str], list[str]] = {}
    for family, reasons in inputs.skipped.items():
        for attack, reason in reasons.items():
            where.setdefault((attack, reason), []).append(family)
    names: dict[tuple[str, str], list[str]] = {}
    for (attack, reason), some in where.items():
        on = "" if len(some) == len(families) else f"on {listed(some)}"
        names.setdefault((reason, on), []).append(attack)
    return [(attacks, reason, on) for (reason, on), attacks in names.items()]


def _groups(inputs: ReportInputs, rows: Sequence[Row], room: int) -> Folded:
    """The groups of one attack, those of one kind together, the most exposed first."""
    kinds = list(dict.fromkeys(row["slice"] for row in rows))
    ordered = sorted(rows, key=lambda row: (kinds.index(row["slice"]), -(finite(row.get("auc")) or 0.0)))
    shown = [_group(inputs, row) for row in ordered[:room]]
    return Folded(shown[:GROUPS], shown[GROUPS:])


def _group(inputs: ReportInputs, row: Row) -> dict[str, Any]:
    """One row of a table of groups."""
    fpr = inputs.headline_fpr
    telling = differs(inputs, row)
    reading = ("more exposed" if above_rest(inputs, row) else "less exposed") if telling else ""
    sides = f"{count(row.get('members'))} members, {count(row.get('others'))} others"
    return {
        "name": slice_name(row),
        "records": Cell(count(row.get("records")), sides),
        "auc": cell(row, "auc"),
        "tpr": cell(row, tpr_key(fpr), percent) if fpr is not None else Cell("not estimable"),
        "p": probability(row.get("p_holm")),
        "differs": telling,
        "reading": reading,
    }


def _record(inputs: ReportInputs, row: Row) -> dict[str, Any]:
    """One row of the table of exposed records."""
    error = finite(row.get("auc_error"))
    label = row.get("label")
    return {
        "record": str(row["record"]),
        "label": "none" if label is None else str(label),
        "title": inputs.title_of(row["attack"]),
        "models": f"{count(row.get('times_in'))} / {count(row.get('times_out'))}",
        "auc": Cell(number(row.get("auc")), "" if error is None else f"± {number(error)}"),
        "rates": [percent(row.get(name), absent="not computed") for name in ("tpr", "fpr")],
    }
