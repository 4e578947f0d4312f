"""How sure a finding is: what the intervals cover, and what came of looking at many."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mia_jax.report.claims import tested
from mia_jax.report.formatting import bounds, counted, listed, p_value, rate
from mia_jax.report.inputs import ReportInputs, Row, finite, tpr_key
from mia_jax.report.selection import SHOWN


def sure(inputs: ReportInputs, rows: Sequence[Row]) -> list[str]:
    """What the intervals cover, and what they do not."""
    if not rows:
        return ["There is nothing to be sure of: see the notices."]
    targets, records = (max(int(row.get(name) or 0) for row in rows) for name in ("targets", "records"))
    sentences = [
        f"The intervals ({rate(inputs.confidence)}) come from {counted(targets, 'target model')} and "
        f"{counted(records, 'record')}; they allow for chance in both, as if other models and other records of the "
        "same kind were drawn. Records gathered in another way may differ by more than they say."
    ]
    if inputs.own:
        sentences.append(
            "Nothing was trained for this report: who was trained on what is taken from the arrays as given."
        )
    count = len({row["attack"] for row in rows})
    if count > 1 and any(tells(row) for row in rows):
        sentences.append(_picked(inputs, count))
    sentences += [by_chance(inputs, rows), _unestimable(inputs, rows), _groups(inputs), _audits(inputs)]
    return [sentence for sentence in sentences if sentence]


def _picked(inputs: ReportInputs, count: int) -> str:
    """A caution on the attack that came out strongest."""
    adjusted = any(finite(row.get("p_holm")) is not None for row in inputs.comparisons)
    uncorrected = "neither its interval nor a comparison of families under it corrects for that."
    if adjusted:
        uncorrected = (
            "its interval does not correct for that; the Holm-adjusted p-values of the comparisons do."
        )
    elif not inputs.comparisons:
        uncorrected = "its interval does not correct for that."
    text = (
        f"The strongest attack was picked among {count} after seeing their results. Such a pick flatters: its "
        f"AUC is somewhat too high on average, and {uncorrected}"
    )
    if count <= SHOWN:
        return text
    return (
        f"{text} The more attacks are tried, the more it flatters: to be free of it, name one attack before "
        "looking. Attacks on the same models also succeed and fail together, so many intervals above 0.5 are "
        "not as many confirmations."
    )


def by_chance(inputs: ReportInputs, rows: Sequence[Row]) -> str:
    """A caution where so few intervals exclude 0.5 that chance could explain them."""
    tested, telling = len(intervals(rows)), sum(tells(row) for row in rows)
    expected = tested * (1 - inputs.confidence) / 2
    if tested < 3 or not telling:
        return ""
    adjusted = [p for row in rows if tells(row) and (p := finite(row.get("auc_p_holm"))) is not None]
    lies = "lies" if telling == 1 else "lie"
    if adjusted and min(adjusted) <= inputs.alpha:
        return ""
    if adjusted:
        return (
            f"One by one, {telling} of {tested} intervals {lies} above 0.5; taken together, none does (smallest "
            f"Holm-adjusted {p_value(min(adjusted))}), so this should be confirmed."
        )
    if telling > max(1, math.ceil(expected)):
        return ""
    return (
        f"Only {telling} of {tested} intervals {lies} above 0.5. With so many intervals, one above 0.5 by "
        f"chance alone would be no surprise (expected: {expected:.1f}), so this should be confirmed."
    )


def _unestimable(inputs: ReportInputs, rows: Sequence[Row]) -> str:
    """Which TPRs had too few non-members behind them."""
    absent = [f for f in inputs.fprs if any(finite(row.get(tpr_key(f))) is None for row in rows)]
    if not absent:
        return ""
    return (
        f"At {listed([rate(fpr) for fpr in absent])} false positives, some or all true-positive rates are "
        "not estimable: fewer than one false positive was to be expected among the non-members, so no "
        "number is given."
    )


def _groups(inputs: ReportInputs) -> str:
    """For what the p-values of groups of records are adjusted."""
    count = tested(inputs)
    return (
        f"The p-values of groups of records are adjusted for all {count} that were tested." if count else ""
    )


def _audits(inputs: ReportInputs) -> str:
    """A caution where there are several audits."""
    count = sum(finite(row.get("epsilon")) is not None for row in inputs.audits)
    if count < 2:
        return ""
    return (
        f"Each of the {count} audits has its confidence by itself. The largest bound of several has less: that is why "
        "the one named beforehand is told, and not the largest."
    )


def tells(row: Row) -> bool:
    """Whether the interval of a row's AUC lies above guessing."""
    low, _ = bounds(row, "auc")
    return low is not None and low > 0.5


def intervals(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """The AUC intervals that exist."""
    pairs = [bounds(row, "auc") for row in rows]
    return [(low, high) for low, high in pairs if low is not None and high is not None]
