"""Sentences on how families differ in their exposure."""

from __future__ import annotations

from collections.abc import Sequence

from mia_jax.report.formatting import (
    bounds,
    interval_name,
    listed,
    p_value,
    percent,
    rate,
    with_interval,
)
from mia_jax.report.inputs import ReportInputs, Row, finite, tpr_key


def differences(inputs: ReportInputs, top: Row) -> str:
    """How the most exposed family compares with the others under the strongest attack."""
    sentences = []
    for row in inputs.comparisons:
        pair = (row["family_a"], row["family_b"])
        if row["attack"] != top["attack"] or top["family"] not in pair or finite(row["difference"]) is None:
            continue
        other = pair[1] if pair[0] == top["family"] else pair[0]
        sign = 1 if pair[0] == top["family"] else -1
        sentences.append(_difference(inputs, row, sign, top["family"], other))
    title = inputs.titles[top["attack"]]
    return f"Under “{title}”, {'; '.join(sentences)}." if sentences else ""


def more_exposed(inputs: ReportInputs, row: Row) -> str | None:
    """The family that a comparison finds the more exposed; None where it cannot tell.

    The p-value adjusted for all comparisons decides where there is one, else the interval.
    """
    low, high = bounds(row, "")
    adjusted = finite(row.get("p_holm"))
    if low is None or high is None or low <= 0 <= high:
        return None
    if adjusted is not None and adjusted > inputs.alpha:
        return None
    return row["family_a"] if low > 0 else row["family_b"]


def _difference(inputs: ReportInputs, row: Row, sign: int, family: str, other: str) -> str:
    """One difference as a clause that says whether it counts."""
    ends = [None if end is None else sign * end for end in bounds(row, "")]
    value = sign * row["difference"]
    if ends[0] is None or ends[1] is None:
        return f"{family} and {other} differ in AUC by {value:+.3f} (no interval)"
    low, high = sorted(end for end in ends if end is not None)
    within = f"{interval_name(inputs.confidence)} {low:+.3f} to {high:+.3f}"
    adjusted = finite(row.get("p_holm"))
    holm = "" if adjusted is None else f"; Holm-adjusted {p_value(adjusted)}"
    if low <= 0 <= high:
        return (
            f"{family} and {other} cannot be told apart: AUC difference {value:+.3f} "
            f"({within}, which contains 0{holm})"
        )
    if more_exposed(inputs, row) is None:
        return (
            f"{family} and {other} cannot be told apart once all {len(inputs.comparisons)} comparisons are "
            f"taken together: AUC difference {value:+.3f} ({within}, which by itself excludes 0{holm})"
        )
    more = "more" if value > 0 else "less"
    return (
        f"{family} is {more} exposed than {other}: AUC difference {value:+.3f} "
        f"({within}, which excludes 0{holm})"
    )


def agreement(inputs: ReportInputs) -> str:
    """Whether the other attacks order two families in the same way."""
    rows = [row for row in inputs.comparisons if None not in bounds(row, "")]
    if len(rows) < 2 or len({frozenset((row["family_a"], row["family_b"])) for row in rows}) > 1:
        return ""
    ahead = {rows[0]["family_a"]: 0, rows[0]["family_b"]: 0}
    for row in rows:
        if (family := more_exposed(inputs, row)) is not None:
            ahead[family] += 1
    unclear = len(rows) - sum(ahead.values())
    if unclear == len(rows):
        first, second = ahead
        together = ", taken together," if any(finite(row.get("p_holm")) is not None for row in rows) else ""
        return (
            f"None of the {len(rows)} attacks{together} tells the exposure of {first} from that of {second}."
        )
    votes = [f"{family} the more exposed under {count}" for family, count in ahead.items() if count]
    votes += [f"no distinguishable difference under {unclear}"] if unclear else []
    return f"Attack by attack, the comparison finds {listed(votes)} of the {len(rows)} attacks."


def strict_leak(inputs: ReportInputs, rows: Sequence[Row]) -> str:
    """What shows at strict thresholds only: true-positive rates whose interval lies above guessing."""
    pairs = [(row, fpr) for row in rows for fpr in inputs.fprs if None not in bounds(row, tpr_key(fpr))]
    above = [(row, fpr) for row, fpr in pairs if (bounds(row, tpr_key(fpr))[0] or 0.0) > fpr]
    if not above:
        return ""
    row, fpr = max(above, key=lambda pair: (bounds(pair[0], tpr_key(pair[1]))[0] or 0.0) / pair[1])
    some = with_interval(row, tpr_key(fpr), inputs.confidence, percent)
    return (
        f"At single thresholds, {len(above)} of {len(pairs)} true-positive rates do lie above guessing. The "
        f"clearest, picked after the fact: at {rate(fpr)} false positives, “{inputs.titles[row['attack']]}” "
        f"identifies {some} of the members{inputs.of(row['family'])}. Among so many rates some lie above by chance; "
        "this should be confirmed."
    )


def reversal(inputs: ReportInputs, rows: Sequence[Row], top: Row) -> str:
    """A warning where another family is ahead at the headline FPR under the same attack."""
    fpr = inputs.headline_fpr
    value = finite(top.get(tpr_key(fpr))) if fpr is not None else None
    if fpr is None or value is None:
        return ""
    same = [row for row in rows if row["attack"] == top["attack"] and row is not top]
    ahead = [row for row in same if (finite(row.get(tpr_key(fpr))) or 0.0) > value]
    if not ahead:
        return ""
    others = listed([f"{percent(row[tpr_key(fpr)])} on {row['family']}" for row in ahead])
    return (
        f"AUC sums over all thresholds and does not settle the order at strict ones: under the same attack, "
        f"the true-positive rate at {rate(fpr)} false positives is {percent(value)} on {top['family']} but "
        f"{others}. No interval was computed for that difference."
    )
