"""What a study of dynamics found, as its figures, tables and page read it. NumPy and plain values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from mia_jax.dynamics import Bits

FAMILY = "family"
"""The factor that every study has: which model was trained."""


class Interval(NamedTuple):
    """A number with its confidence interval; NaN where there is none."""

    value: float
    low: float
    high: float


class Shown(NamedTuple):
    """Records as a person can look at them, S of one pool.

    rows: int [S], their numbers in the pool, rising. kind: "image" values uint8 [S, H, W] or [S, H, W, 3];
    "sequence" values float32 [S, L, D], padding NaN; "vector" values float32 [S, D]; "text" values a list
    of S strings.
    """

    rows: np.ndarray
    kind: Literal["image", "sequence", "vector", "text"]
    values: Any


class Ends(NamedTuple):
    """An arm's calls at its first and last checkpoint and where they are known, [K, N] each; member: [K, N];
    twin: int [K]. What comparing two arms takes.
    """

    first: Bits
    last: Bits
    known_first: Bits
    known_last: Bits
    member: Bits
    twin: np.ndarray


class Arm(NamedTuple):
    """One family of one run, at all T checkpoints, for the N records of its pool.

    factors: the level of each factor by name, the family among them, in the study's order. pool: which
    arms have the same pool have the same records, row for row. epochs: int [T], rising. num_models: K,
    those that were fit at every checkpoint. who: the attack and its decision, in words.

    fpr, tpr: float64 [T, N], NaN where no model is on that side. fpr_error, tpr_error: [T, N], standard
    errors over models. labels: int [N]. difficulty: {name: float64 [N]}, larger = harder, by models that did
    not train on the record; of "epoch_learned", "out_error" (1 - accuracy),
    "prediction_depth" those that could be had.

    curves: {name: float64 [T]}, NaN where undefined; what belongs to an interval stands at its end. Their
    names are those of CURVES. numbers: {name: Interval}, one a measure; their names are those of NUMBERS.
    transitions: float64 [T-1, S, S]. also: plain rows of other decisions, {"attack", "fpr", then numbers}.
    foretold: the early warning, {"epoch", "share", "precision", "recall", "overlap", … and each with "_ceiling"
    and "_chance"}; empty where there is none. ends: the calls it begins and ends with.
    """

    factors: Mapping[str, str]
    pool: str
    epochs: np.ndarray
    num_models: int
    who: str
    fpr: np.ndarray
    tpr: np.ndarray
    fpr_error: np.ndarray
    tpr_error: np.ndarray
    labels: np.ndarray
    difficulty: Mapping[str, np.ndarray]
    curves: Mapping[str, np.ndarray]
    numbers: Mapping[str, Interval]
    transitions: np.ndarray
    also: Sequence[Mapping[str, Any]] = ()
    foretold: Mapping[str, Any] = {}
    ends: Ends | None = None

    @property
    def name(self) -> str:
        """The levels of all factors, which no other arm shares."""
        return " · ".join(self.factors.values())

    @property
    def vulnerability(self) -> np.ndarray:
        """TPR - FPR, [T, N]."""
        return self.tpr - self.fpr


class Claim(NamedTuple):
    """One claim of the paper, and what this study says of it. evidence: sentences with figures."""

    number: int
    words: str
    verdict: Literal["supported", "not supported", "undecided"]
    evidence: tuple[str, ...]


class DynamicsRows(NamedTuple):
    """A whole study. shown: records by pool; pools without an entry show none. config, facts: plain values.

    compared: rows of `comparing.comparisons`, arms that differ in one factor.
    """

    title: str
    arms: tuple[Arm, ...]
    shown: Mapping[str, Shown]
    claims: tuple[Claim, ...]
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    cuts: tuple[float, ...]
    confidence: float
    compared: tuple[Mapping[str, Any], ...] = ()

    @property
    def factors(self) -> dict[str, list[str]]:
        """Every factor's levels in the order of the arms."""
        found: dict[str, list[str]] = {}
        for arm in self.arms:
            for factor, level in arm.factors.items():
                levels = found.setdefault(factor, [])
                if level not in levels:
                    levels.append(level)
        return found


class Meaning(NamedTuple):
    """How a measure is called on axes and in tables, and what it says. unit: "" for a plain number."""

    title: str
    unit: str
    says: str


CURVES: Mapping[str, Meaning] = {
    "vulnerability": Meaning("Mean vulnerability", "", "TPR - FPR, averaged over records"),
    "center_fpr": Meaning("Center, FPR", "", "FPR, averaged over records"),
    "center_tpr": Meaning("Center, TPR", "", "TPR, averaged over records"),
    "speed": Meaning(
        "Encoding speed", "per epoch", "how far a record moves on the plane, averaged over records"
    ),
    "speed_floor": Meaning("Speed by chance", "per epoch", "the same with membership permuted, mean"),
    "signed_speed": Meaning("Signed speed", "per epoch", "growth of TPR - FPR, averaged over records"),
    "entropy": Meaning("Spatial entropy", "bits", "of the histogram of the cloud over the unit square"),
    "clustering": Meaning("Clustering index", "", "Morisita's, 1 for a uniform cloud"),
    "low": Meaning("Share low", "", "records in the lowest state of vulnerability"),
    "high": Meaning("Share high", "", "records in the highest state of vulnerability"),
    "entry": Meaning("Entry into high", "", "share of the records below that enter the highest state"),
    "early_recall": Meaning(
        "Early recall", "", "share of the finally high that are high already, between halves of the models"
    ),
    "early_precision": Meaning(
        "Early precision", "", "share of the high that are so at the end, between halves of the models"
    ),
    "early_jaccard": Meaning("Early Jaccard", "", "overlap of both sets, between halves of the models"),
    "early_ratio": Meaning(
        "Early recall / ceiling", "", "early recall over what halves reach at the same time"
    ),
    "train_accuracy": Meaning("Accuracy on members", "", "mean over models"),
    "test_accuracy": Meaning("Accuracy on test records", "", "mean over models"),
}
"""Measures at every checkpoint, in the order of pages."""

NUMBERS: Mapping[str, Meaning] = {
    "vulnerability": Meaning("Vulnerability", "", "mean TPR - FPR at the end"),
    "high": Meaning("High at the end", "", "share of records in the highest state at the end"),
    "displacement": Meaning(
        "Displacement", "", "how far the center of the cloud is from where it was at first"
    ),
    "path": Meaning("Path length", "", "the length of the center's way"),
    "speed": Meaning("Encoding speed", "per epoch", "mean over records and time"),
    "speed_floor": Meaning(
        "Speed by chance", "per epoch", "mean with membership permuted; calls that tell much move less"
    ),
    "peak_speed": Meaning("Peak speed", "per epoch", "the largest of the curve's values"),
    "signed_speed": Meaning("Signed speed", "per epoch", "mean growth of TPR - FPR"),
    "entropy_change": Meaning("Entropy change", "bits", "spatial entropy at the end less at first"),
    "clustering": Meaning("Clustering at the end", "", "Morisita's index"),
    "peak_entry": Meaning(
        "Peak entry into high", "", "largest share of the records below that enter in one interval"
    ),
    "early_recall": Meaning(
        "Early recall", "", "between halves of the models, after the early share of training"
    ),
    "early_ceiling": Meaning("Its ceiling", "", "the same at the end"),
    "early_ratio": Meaning("Recall / ceiling", "", "1: as good as at the end"),
    "early_precision": Meaning("Early precision", "", "between halves of the models"),
    "top_overlap": Meaning(
        "Early top list",
        "",
        "share of the most exposed that an early list as long has, between halves of the models",
    ),
    "top_ceiling": Meaning("Its ceiling", "", "the same with a list made at the end"),
    "top_ratio": Meaning(
        "Top list / ceiling", "", "both less what a list by lot has; 1: as good as at the end"
    ),
    "rank_epoch_learned": Meaning(
        "ρ, epoch learned", "", "Spearman's with vulnerability, disjoint halves of the models"
    ),
    "rank_out_error": Meaning(
        "ρ, OUT error", "", "Spearman's with vulnerability, disjoint halves of the models"
    ),
    "rank_prediction_depth": Meaning(
        "ρ, prediction depth", "", "Spearman's with vulnerability, disjoint halves of the models"
    ),
    "test_accuracy": Meaning("Test accuracy", "", "at the end, mean over models"),
    "train_accuracy": Meaning("Member accuracy", "", "at the end, mean over models"),
}
"""Measures of a whole arm, in the order of tables. Unknown ones are left out of an arm."""
