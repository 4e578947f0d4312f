"""What a report is made from: results already computed, as plain values and arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class LongTable:
    """A table that nobody holds: its columns, and its rows, made anew whenever they are read."""

    columns: Sequence[str]
    rows: Callable[[], Iterator[Row]]

    def __iter__(self) -> Iterator[Row]:
        """The rows in order."""
        return self.rows()


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
    each of config["report"]["fpr"], perhaps with `advantage`, `ppv_at_fpr_{fpr:g}` at the share
    config["report"]["prior"] of members, and `auc_p_holm`, that the AUC is not 0.5. An estimate has
    `_low` and `_high` beside it; None or NaN is a value that could not be estimated. curves,
    histograms: of the last checkpoint. comparisons: differences AUC_a - AUC_b of two families, of the
    last checkpoint. attacks: the card of each attack. diverged: ids of the models kept out of the
    attacks. confidence: of every interval.

    A config without "training" says that the arrays are somebody's own and nothing was trained; utility
    may be empty then, or lack `num_parameters`. What follows is empty where there is nothing of the kind.
    skipped: family -> attack -> reason in words. slices: one row per (family, attack, slice, value) of
    the last checkpoint. exposed: the most exposed records of each family, the first the most.
    vulnerability: a row for every record of each family, written and not shown. audits: one row per
    lower bound on epsilon, with its relation, ceiling and confidence; of each family and relation the
    first is the one that counts, named before it was seen. promises: one row per epsilon that a defence
    promises: defence, unit ("record" or "label"), relation, epsilon (None where none can be had), delta,
    meaning. notes: sentences to show beside the
    notices. `p_holm`, of a comparison or a slice (that it differs from the rest): a p-value adjusted for
    all of its table (Holm); None where there is none.
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
    skipped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    slices: Sequence[Row] = ()
    exposed: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    vulnerability: Mapping[str, Sequence[Row] | LongTable] = field(default_factory=dict)
    audits: Sequence[Row] = ()
    promises: Sequence[Row] = ()
    notes: Sequence[str] = ()

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
        return {name: self.title_of(name) for name in self.attack_names}

    def title_of(self, attack: str) -> str:
        """The title of an attack, also of one without a result; its name where it has no card."""
        return self.attacks[attack].title if attack in self.attacks else attack

    @property
    def own(self) -> bool:
        """Whether the arrays are somebody's own: nothing was trained."""
        return "training" not in self.config

    def of(self, family: str, preposition: str = "of") -> str:
        """The words “ of lstm” for a sentence; none where the arrays are somebody's own and of one kind."""
        return f" {preposition} {family}" if not self.own or len(self.families) > 1 else ""

    @property
    def at_last(self) -> str:
        """The words “ at the last checkpoint” for a sentence; none where there is only one."""
        several = len({row["checkpoint"] for row in self.results}) > 1
        return " at the last checkpoint" if several else ""

    @property
    def alpha(self) -> float:
        """How small an adjusted p-value must be to count: what is left of the confidence."""
        return 1 - self.confidence

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


def ppv_key(fpr: float) -> str:
    """The name under which a result row holds its positive predictive value at `fpr`."""
    return f"ppv_at_fpr_{fpr:g}"


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
