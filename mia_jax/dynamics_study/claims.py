"""What a study says of the paper's four claims, by rules that stand beside each answer.

Chen et al. 2025 (arXiv 2507.23291), abstract. Their words are theirs; the rules are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mia_jax.dynamics_study.rows import FAMILY, Arm, Claim, Interval
from mia_jax.report.formatting import listed
from mia_jax.statistics.multiple_testing import holm

Verdict = Literal["supported", "not supported", "undecided"]

SMALL = 0.05
"""Of displacement: within this of 0, with its interval, is as good as none."""

UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))
"""A number that an arm has not."""

LARGELY = 0.5
"""Of what a list at the end finds beyond chance, the share from which on an early one finds it largely."""


def claims(
    arms: Sequence[Arm], compared: Sequence[Mapping[str, Any]], confidence: float
) -> tuple[Claim, ...]:
    """The four claims. compared: rows of `comparing.comparisons`; without any, factors have no verdict."""
    found = [_tracked(arms)]
    if compared:
        found.append(_factors(arms, compared, 1.0 - confidence))
    return (*found, _difficulty(arms), _early(arms))


def _tracked(arms: Sequence[Arm]) -> Claim:
    """How fast and how severely records become vulnerable can be seen on the plane."""
    moved = [arm.numbers["displacement"].low > 0 for arm in arms]
    still = [arm.numbers["displacement"].high < SMALL for arm in arms]
    low, high = _range([arm.numbers["displacement"].value for arm in arms])
    exposed = _range([arm.numbers["vulnerability"].value for arm in arms])
    return Claim(
        1,
        "Followed on the FPR-TPR plane through training, records show how fast and how severely they become "
        "vulnerable.",
        _all_or_none(moved, still),
        (
            f"Rule: the center of the cloud is displaced, its interval above 0, in every arm: so in {_of(moved)}.",
            f"Displacement {low:.3f} to {high:.3f}, mean vulnerability at the end {exposed[0]:.3f} to "
            f"{exposed[1]:.3f}.",
        ),
    )


def _factors(arms: Sequence[Arm], compared: Sequence[Mapping[str, Any]], alpha: float) -> Claim:
    """Dataset, architecture and optimizer change rate and severity."""
    rows = [row for row in compared if row["measure"] == "displacement"]
    significant = holm([row["p"] for row in rows]) <= alpha
    evidence = [
        f"Rule: for each factor, more than half of its comparisons of displacement differ from 0 (Holm over all "
        f"{len(rows)}); not supported where all lie within ±{SMALL:g} with their intervals."
    ]
    verdicts: list[Verdict] = []
    varied = list(dict.fromkeys(row["factor"] for row in rows))
    for factor in varied:
        own = [bool(sure) for row, sure in zip(rows, significant, strict=True) if row["factor"] == factor]
        ends = [(row["difference_low"], row["difference_high"]) for row in rows if row["factor"] == factor]
        none = all(low > -SMALL and high < SMALL for low, high in ends)
        verdicts.append("supported" if np.mean(own) > 0.5 else "not supported" if none else "undecided")
        evidence.append(
            f"{_named(factor)}: {verdicts[-1]}, {_of(own)} differ; mean displacement {_levels(arms, factor)}."
        )
    overall = verdicts[0] if len(set(verdicts)) == 1 else "undecided"
    return Claim(
        2,
        f"What is varied here, {listed([_named(name).lower() for name in varied])}, changes that rate and severity; "
        "the paper says so of dataset, architecture and optimizer.",
        overall,
        tuple(evidence),
    )


def _difficulty(arms: Sequence[Arm]) -> Claim:
    """Hard records are the vulnerable ones."""
    names = ("epoch_learned", "out_error", "prediction_depth")
    evidence = [
        "Rule: Spearman's correlation with vulnerability, from disjoint halves of the models, is above 0 with its "
        "interval in every arm, for the epoch learned and for the error of models without the record."
    ]
    above, below = [], []
    for name in names:
        found = [arm.numbers.get(f"rank_{name}", UNKNOWN) for arm in arms]
        sure = [rank.low > 0 for rank in found]
        if name != "prediction_depth":
            above += sure
            below += [rank.high <= 0 for rank in found]
        known = [rank.value for rank in found if np.isfinite(rank.value)]
        if known:
            low, high = _range(known)
            evidence.append(
                f"{name.replace('_', ' ').capitalize()}: ρ from {low:.2f} to {high:.2f}, above 0 in {sum(sure)} of "
                f"{len(known)} arms that have it."
            )
    return Claim(
        3,
        "A record's difficulty correlates robustly with its vulnerability.",
        _all_or_none(above, below),
        tuple(evidence),
    )


def _early(arms: Sequence[Arm]) -> Claim:
    """The exposed are largely determined early."""
    found = [arm.numbers.get("top_ratio", UNKNOWN) for arm in arms]
    recalls = [arm.numbers.get("early_ratio", UNKNOWN).value for arm in arms]
    recalls = [recall for recall in recalls if np.isfinite(recall)]
    sure = [ratio.low > LARGELY for ratio in found]
    values = [ratio.value for ratio in found if np.isfinite(ratio.value)]
    evidence = [
        "Rule: of what a list of the most exposed finds at the end beyond chance, by other models, one made early "
        f"finds more than {LARGELY:.0%}, with its interval, in every arm: so in {_of(sure)}."
    ]
    if values:
        low, high = _range(values)
        evidence.append(
            f"That share is {low:.2f} to {high:.2f}; above 1 where in the end so many are fully exposed that a list of "
            "the most exposed is drawn by lot."
            if high > 1
            else f"That share is {low:.2f} to {high:.2f}."
        )
    if recalls:
        low, high = _range(recalls)
        evidence.append(
            f"Of the finally high, what is high already over its ceiling: {low:.2f} to {high:.2f}; near 1 also where "
            "almost all records are high."
        )
    return Claim(
        4,
        "Which records are highly vulnerable at the end is largely determined early in training.",
        _all_or_none(sure, [ratio.high < LARGELY for ratio in found]),
        tuple(evidence),
    )


def _all_or_none(holds: Sequence[bool], fails: Sequence[bool]) -> Verdict:
    """Supported where it holds everywhere, not supported where it surely fails everywhere."""
    if holds and all(holds):
        return "supported"
    return "not supported" if fails and all(fails) else "undecided"


def _levels(arms: Sequence[Arm], factor: str) -> str:
    """The mean displacement of every level of a factor."""
    found: dict[str, list[float]] = {}
    for arm in arms:
        found.setdefault(arm.factors[factor], []).append(arm.numbers["displacement"].value)
    return ", ".join(f"{level} {np.mean(values):.3f}" for level, values in found.items())


def _named(factor: str) -> str:
    """A factor as a sentence begins with it."""
    return "Family" if factor == FAMILY else factor.replace("_", " ").capitalize()


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest."""
    return min(values), max(values)


def _of(marks: Sequence[bool]) -> str:
    """How many of how many."""
    return f"{sum(marks)} of {len(marks)}"
