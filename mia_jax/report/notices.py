"""What a reader must not overlook, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from mia_jax.report.formatting import bounds, counted, listed, number, with_interval
from mia_jax.report.inputs import ReportInputs, Row, finite, last_rows

MANY = 9
"""Attacks that a sentence still names one by one."""


def notices(inputs: ReportInputs) -> list[str]:
    """Diverged models, attacks without a result, AUCs below guessing and missing scores."""
    sentences = [_diverged(family, models) for family, models in inputs.diverged.items() if models]
    for row in last_rows(inputs.results):
        sentences += _of_result(inputs, row)
    return sentences + _missing(inputs)


def _diverged(family: str, ids: Sequence[int]) -> str:
    """Names the models of one family that were kept out of the attacks."""
    kept = "was" if len(ids) == 1 else "were"
    return (
        f"{counted(len(ids), 'model')} of {family} diverged in training and {kept} kept out of the attacks: "
        f"{', '.join(map(str, ids))}."
    )


def _of_result(inputs: ReportInputs, row: Row) -> list[str]:
    """What is odd about one result."""
    sentences = []
    on = f"“{inputs.titles[row['attack']]}”{inputs.of(row['family'], 'on')}"
    low, high = bounds(row, "auc")
    if finite(row.get("auc")) is None:
        sentences.append(f"{on} gave no usable result.")
    elif low is None or high is None:
        sentences.append(
            f"{on} has an AUC of {number(row['auc'])} without an interval and is not counted as a finding."
        )
    elif high < 0.5:
        sentences.append(
            f"{on} ranks members below non-members: AUC {with_interval(row, 'auc', inputs.confidence)}. "
            "Worse than guessing points to a broken assumption or a mistake, not to privacy."
        )
    return sentences


def _missing(inputs: ReportInputs) -> list[str]:
    """How many scores could not be computed, of all results in one sentence."""
    counts = [
        f"{row['missing']:,} of “{inputs.titles[row['attack']]}”{inputs.of(row['family'], 'on')}"
        for row in last_rows(inputs.results)
        if row.get("missing")
    ]
    if len(counts) > MANY:
        counts = [*counts[:MANY], f"some of {len(counts) - MANY} more (see results.csv)"]
    return [f"Scores that could not be computed were left out: {listed(counts)}."] if counts else []
