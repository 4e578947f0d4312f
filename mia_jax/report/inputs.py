"""What a report is made from: results already computed, as plain values and arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Row = Mapping[str, Any]
Pair = tuple[str, str]  # (family, attack)


class Curve(NamedTuple):
    """The vertices of one ROC curve, rising from (0, 0) to (1, 1); ties are sloped edges."""

    fpr: np.ndarray
    tpr: np.ndarray


class Histogram(NamedTuple):
    """Densities of the scores of members and non-members. edges: one longer than each density."""

    edges: np.ndarray
    member_density: np.ndarray
    nonmember_density: np.ndarray


class AttackCard(NamedTuple):
    """What a reader needs to know of an attack. threat_model: who holds what. source: the paper."""

    title: str
    threat_model: str
    source: str


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """Everything a report shows; nothing is computed from it but wording and drawing.

    config: the resolved configuration, nested plain values. environment: versions, device, start.
    data_facts: what is known of the data. command: how to reproduce. utility: one row per (family,
    checkpoint). results: one row per (family, attack, checkpoint), with `tpr_at_fpr_{fpr:g}` for
    each of config["report"]["fpr"]. An estimate has `_low` and `_high` beside it; None or NaN is a
    value that could not be estimated. curves, histograms: of the last checkpoint. comparisons:
    differences AUC_a - AUC_b of two families, of the last checkpoint. attacks: the card of each
    attack. diverged: ids of the models kept out of the attacks. confidence: of every interval.
    """

    title: str
    config: Mapping[str, Any]
    environment: Mapping[str, str]
    data_facts: Mapping[str, Any]
    command: str
    utility: Sequence[Row]
    results: Sequence[Row]
    curves: Mapping[Pair, Curve]
    histograms: Mapping[Pair, Histogram]
    attacks: Mapping[str, AttackCard]
    comparisons: Sequence[Row] = ()
    diverged: Mapping[str, Sequence[int]] = field(default_factory=dict)
    confidence: float = 0.95

    @property
    def families(self) -> list[str]:
        """The families with any row, in the order of the configuration."""
        seen = _distinct(row["family"] for row in (*self.utility, *self.results))
        first = [name for name in self.config.get("families", {}) if name in seen]
        return _distinct((*first, *seen))

    @property
    def attack_names(self) -> list[str]:
        """The attacks with any result, in the order of the results."""
        return _distinct(row["attack"] for row in self.results)

    @property
    def titles(self) -> dict[str, str]:
        """The title of each attack; its name where it has no card."""
        return {
            name: self.attacks[name].title if name in self.attacks else name for name in self.attack_names
        }

    @property
    def fprs(self) -> list[float]:
        """The false-positive rates at which TPR was read."""
        return list(self.config.get("report", {}).get("fpr", ()))

    @property
    def headline_fpr(self) -> float | None:
        """The rate that sentences speak of: 1 % if it was asked for, else the smallest estimated."""
        last = last_rows(self.results)
        usable = [f for f in self.fprs if any(finite(row.get(tpr_key(f))) is not None for row in last)]
        return 0.01 if 0.01 in usable else min(usable, default=None)


def tpr_key(fpr: float) -> str:
    """The name under which a result row holds its TPR at `fpr`."""
    return f"tpr_at_fpr_{fpr:g}"


def last_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows of each family's last checkpoint, in their order."""
    last: dict[str, int] = {}
    for row in rows:
        last[row["family"]] = max(row["checkpoint"], last.get(row["family"], row["checkpoint"]))
    return [row for row in rows if row["checkpoint"] == last[row["family"]]]


def finite(value: Any) -> float | None:
    """`value` as a float; None where it is None, NaN or infinite."""
    return float(value) if value is not None and math.isfinite(value) else None


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, each once, in order of appearance."""
    return list(dict.fromkeys(names))
