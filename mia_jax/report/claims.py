"""Sentences on groups of records that differ from the rest, and on what audits prove."""

from __future__ import annotations

from collections.abc import Sequence

from mia_jax.report.formatting import number, p_value, rate, tiny, with_interval
from mia_jax.report.inputs import ReportInputs, Row, finite, last_rows
from mia_jax.report.selection import strongest_of

NAMED = 3
"""Groups that a sentence names; the others are counted."""


def slices(inputs: ReportInputs) -> list[str]:
    """A paragraph per family: which groups of records are more or less exposed than the rest."""
    paragraphs = []
    for family in dict.fromkeys(row["family"] for row in inputs.slices):
        rows = [row for row in inputs.slices if row["family"] == family]
        attack = strongest_of(inputs, list(dict.fromkeys(row["attack"] for row in rows)), [family])
        rows = [row for row in rows if row["attack"] == attack and finite(row.get("auc")) is not None]
        if any(finite(row.get("p_holm")) is not None for row in rows):
            paragraphs.append(_slices_of_family(inputs, family, attack, rows))
    return paragraphs


def tested(inputs: ReportInputs) -> int:
    """How many groups were tested together."""
    return sum(finite(row.get("p_holm")) is not None for row in inputs.slices)


def differs(inputs: ReportInputs, row: Row) -> bool:
    """Whether a group differs from the rest after correction for all groups tested."""
    adjusted = finite(row.get("p_holm"))
    return adjusted is not None and adjusted <= inputs.alpha


def slice_name(row: Row) -> str:
    """What a group is called: "class 3", "correct no"."""
    return f"{row['slice']} {value_name(row['value'])}".replace("_", " ")


def value_name(value: object) -> str:
    """What a group's value is called; truth in words."""
    return {"True": "yes", "False": "no"}.get(str(value), str(value))


def above_rest(inputs: ReportInputs, row: Row) -> bool:
    """Whether a group's AUC lies above that of the rest, or of all records where only that is known."""
    difference = finite(row.get("difference"))
    if difference is not None:
        return difference > 0
    whole = whole_auc(inputs, row["family"], row["attack"])
    return finite(row["auc"]) is not None and row["auc"] > (0.5 if whole is None else whole)


def whole_auc(inputs: ReportInputs, family: str, attack: str) -> float | None:
    """The AUC of an attack over all records at the last checkpoint."""
    for row in last_rows(inputs.results):
        if (row["family"], row["attack"]) == (family, attack):
            return finite(row.get("auc"))
    return None


def _slices_of_family(inputs: ReportInputs, family: str, attack: str, rows: Sequence[Row]) -> str:
    """Which groups of one family differ, the more and the less exposed apart."""
    under = f"Under “{inputs.title_of(attack)}”,"
    telling = [row for row in rows if differs(inputs, row)]
    if not telling:
        return (
            f"{under} no group of records{inputs.of(family)} differs from the rest once all "
            f"{tested(inputs)} groups that were tested are taken together (Holm)."
        )
    more = sorted((row for row in telling if above_rest(inputs, row)), key=lambda row: -row["auc"])
    less = sorted((row for row in telling if not above_rest(inputs, row)), key=lambda row: row["auc"])
    sides = (("more", more), ("less", less))
    clauses = [_side(inputs, family, word, group) for word, group in sides if group]
    return f"{under} {', and '.join(clauses)}."


def _side(inputs: ReportInputs, family: str, word: str, rows: Sequence[Row]) -> str:
    """The groups on one side of the rest: "class 3 of lstm is more exposed than the rest: AUC …"."""
    if len(rows) == 1:
        name = slice_name(rows[0])
        return f"{name}{inputs.of(family)} is {word} exposed than the rest: {_auc(inputs, rows[0])}"
    named = [f"{slice_name(row)}, {_auc(inputs, row)}" for row in rows[:NAMED]]
    named += [f"{len(rows) - NAMED} more"] if len(rows) > NAMED else []
    count = f"{len(rows)} groups{inputs.of(family)}"
    return f"{count} are {word} exposed than the rest: {'; '.join(named)}"


def _auc(inputs: ReportInputs, row: Row) -> str:
    """The AUC and the p-value of a group that differs."""
    auc = with_interval(row, "auc", inputs.confidence)
    return f"AUC {auc}, Holm-adjusted {p_value(row['p_holm'])}"


def audits(inputs: ReportInputs) -> list[str]:
    """A paragraph per family: what the first bound of each relation proves, and what it could have proven.

    The first, not the largest: it was named before anything was seen, and has its confidence.
    """
    paragraphs = []
    for family in dict.fromkeys(row["family"] for row in inputs.audits):
        kinds: dict[str, list[Row]] = {}
        for row in inputs.audits:
            if row["family"] == family and finite(row.get("epsilon")) is not None:
                kinds.setdefault(row["relation"], []).append(row)
        sentences = [_audit(inputs, rows[0], len(rows)) for rows in kinds.values()]
        paragraphs += [" ".join(sentences)] if sentences else []
    return paragraphs


def _audit(inputs: ReportInputs, row: Row, count: int) -> str:
    """One bound as a sentence, with its relation, confidence and ceiling."""
    of, method = inputs.of(row["family"]), row["method"].replace("_", " ")
    terms = f"at {rate(row['confidence'])} confidence and δ = {tiny(row['delta'])}"
    which = f"The audit{of} ({method}, {row['relation']})"
    if count > 1:
        which = f"Of the {count} audits{of} for {row['relation']}, the one named beforehand ({method})"
    ceiling = finite(row.get("ceiling"))
    most = "" if ceiling is None else f"; it could have proven at most {number(ceiling, 2)}"
    if row["epsilon"] <= 0:
        return f"{which} proves nothing: its lower bound on ε is 0, {terms}{most}."
    return f"{which} proves ε ≥ {number(row['epsilon'], 2)} {terms}{most}."
