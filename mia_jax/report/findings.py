"""What was found, how sure it is and what it means, in plain sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mia_jax.report import certainty, claims, comparison, notices
from mia_jax.report.formatting import (
    chosen_out_of,
    interval,
    interval_name,
    listed,
    measured_out_of,
    number,
    percent,
    with_interval,
)
from mia_jax.report.inputs import ReportInputs, Row, finite, last_rows, tpr_key


class Findings(NamedTuple):
    """The opening of a report, a paragraph per entry. notices: what a reader must not overlook."""

    found: list[str]
    sure: list[str]
    meaning: list[str]
    notices: list[str]


def findings(inputs: ReportInputs) -> Findings:
    """The sentences a report opens with, about the last checkpoint."""
    rows = [row for row in last_rows(inputs.results) if finite(row.get("auc")) is not None]
    if not rows:
        found = ["No attack gave a usable result, so nothing can be said about exposure."]
    elif any(certainty.tells(row) for row in rows):
        found = _found(inputs, rows)
    else:
        found = _nothing_found(inputs, rows)
    found += [*claims.slices(inputs), *claims.audits(inputs)]
    return Findings(found, certainty.sure(inputs, rows), _meaning(inputs, rows), notices.notices(inputs))


def _found(inputs: ReportInputs, rows: Sequence[Row]) -> list[str]:
    """The strongest attack, then the other families, then their differences."""
    top = max((row for row in rows if certainty.tells(row)), key=lambda row: row["auc"])
    count, where = len({row["attack"] for row in rows}), f"“{inputs.titles[top['attack']]}”"
    subject = f"The strongest of the {count} attacks, {where}," if count > 1 else f"The attack {where}"
    paragraphs = [
        f"{_opening(inputs, rows)} {subject} reached an AUC of "
        f"{with_interval(top, 'auc', inputs.confidence)}{inputs.of(top['family'], 'on')}; "
        "0.5 is guessing, 1 is certainty. "
        f"{_accused(inputs, top, guessing=True)}"
    ]
    for family in inputs.families:
        block = [row for row in rows if row["family"] == family]
        if block and family != top["family"]:
            paragraphs.append(_other_family(inputs, block, count > 1))
    paragraphs.append(f"{comparison.differences(inputs, top)} {comparison.agreement(inputs)}".strip())
    paragraphs.append(comparison.reversal(inputs, rows, top))
    return [paragraph for paragraph in paragraphs if paragraph]


def _opening(inputs: ReportInputs, rows: Sequence[Row]) -> str:
    """Whether members could be told, given how many attacks were tried."""
    if certainty.by_chance(inputs, rows):
        return "Whether members of the training set could be told from non-members is not certain."
    return "Members of the training set could be told from non-members."


def _accused(inputs: ReportInputs, row: Row, guessing: bool = False) -> str:
    """What a TPR at the headline FPR means in people."""
    fpr = inputs.headline_fpr
    if fpr is None:
        return "At the false-positive rates asked for, how many members it identifies is not estimable."
    value, chosen = finite(row.get(tpr_key(fpr))), chosen_out_of(fpr)
    verb = "is" if chosen.startswith("1 ") else "are"
    threshold = f"At a threshold where {chosen} non-members {verb} wrongly accused"
    threshold = threshold if guessing else "At a threshold as strict"
    if value is None:
        return f"{threshold}, how many members it identifies is not estimable."
    between = interval(row, tpr_key(fpr), percent)
    between = f"; {interval_name(inputs.confidence)} {between}" if between else ""
    text = f"{threshold}, it identifies {measured_out_of(value)} members ({percent(value)}{between})"
    return text + (f"; guessing would identify {chosen}." if guessing else ".")


def _other_family(inputs: ReportInputs, block: Sequence[Row], several: bool) -> str:
    """What was found on a family that is not the most exposed."""
    telling = [row for row in block if certainty.tells(row)]
    best = max(telling or block, key=lambda row: row["auc"])
    family, title = best["family"], inputs.titles[best["attack"]]
    auc = with_interval(best, "auc", inputs.confidence)
    if not telling:
        return (
            f"On {family}, no attack told members from non-members apart: "
            f"the highest AUC is {auc}, of “{title}”."
        )
    subject = f"the strongest attack was “{title}”: its" if several else "the"
    return f"On {family}, {subject} AUC is {auc}. {_accused(inputs, best)}"


def _nothing_found(inputs: ReportInputs, rows: Sequence[Row]) -> list[str]:
    """The sentences of a study in which no AUC is above guessing."""
    best = max(rows, key=lambda row: row["auc"])
    where = f"“{inputs.titles[best['attack']]}”{inputs.of(best['family'], 'on')}"
    pairs = certainty.intervals(rows)
    if not pairs:
        return [
            f"The highest AUC is {number(best['auc'])}, of {where}; without intervals it cannot be said "
            "whether that differs from guessing (0.5)."
        ]
    halves = [(high - low) / 2 for low, high in pairs]
    reach = sorted({number(0.5 + half, 2) for half in (min(halves), max(halves))})
    strict = comparison.strict_leak(inputs, rows)
    return [
        f"{'Over all thresholds, no' if strict else 'No'} attack told members from non-members apart at this "
        f"size: no {interval_name(inputs.confidence)} of an AUC lies above 0.5, which is guessing. "
        f"The highest AUC is {with_interval(best, 'auc', inputs.confidence)}, of {where}.",
        *([strict] if strict else []),
        f"What could have been detected: with intervals this wide, an attack had to reach an AUC of about "
        f"{' to '.join(reach)}. Weaker exposure is not ruled out; the intervals reach up to "
        f"{number(max(high for _, high in pairs))}.",
    ]


def _meaning(inputs: ReportInputs, rows: Sequence[Row]) -> list[str]:
    """The generalisation gap beside the exposure, and how far the result reaches."""
    utility = {row["family"]: row for row in last_rows(inputs.utility)}
    gaps = {name: gap for name, row in utility.items() if (gap := finite(row.get("gap"))) is not None}
    sentences = [f"{_gaps(inputs, utility, gaps)} {_confounding(rows, gaps)}".strip()]
    if any(certainty.tells(row) for row in rows):
        sentences.append(
            "Whoever holds what an attack needs (see “Who holds what”) learns this much about who was in the "
            "training set. This holds for models trained in this way on such records; other sizes, settings "
            "and data need their own study."
        )
    elif rows:
        sentences.append(
            "This is no proof of privacy: it bounds these attacks on these models, and a stronger attack or "
            "more models may succeed."
        )
    return [sentence for sentence in sentences if sentence]


def _gaps(inputs: ReportInputs, utility: dict[str, Row], gaps: dict[str, float]) -> str:
    """Train and test accuracy and their gap, one clause per family."""
    clauses = [
        f"{percent(utility[name]['train_accuracy'])} and {percent(utility[name]['test_accuracy'])}"
        f"{inputs.of(name, 'for')} (a generalisation gap of {100 * gap:.1f} points)"
        for name, gap in gaps.items()
    ]
    return f"The accuracy on training and on unseen records is {listed(clauses)}." if clauses else ""


def _confounding(rows: Sequence[Row], gaps: dict[str, float]) -> str:
    """Why exposure must be read beside the gap."""
    telling = [row for row in rows if certainty.tells(row) and row["family"] in gaps]
    if not telling:
        return ""
    if len(gaps) == 1:
        return (
            "A gap makes membership easier to infer by itself: part of the exposure may be plain overfitting."
        )
    top = max(telling, key=lambda row: row["auc"])["family"]
    if gaps[top] == max(gaps.values()):
        return (
            f"The family on which the strongest attack did best, {top}, also has the largest gap. A gap "
            "makes membership easier to infer by itself, so a difference between families cannot be put down "
            "to their architecture alone."
        )
    return (
        f"The family on which the strongest attack did best, {top}, does not have the largest gap: the gap "
        "alone does not explain the order of the families, though it still confounds their comparison."
    )
