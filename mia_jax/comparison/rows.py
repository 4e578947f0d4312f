"""What a comparison hands over: plain rows, averaged over pools, and the levels that stand for all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

TABLES = ("curves", "at_epochs", "at_levels", "by_order")
"""Averaged over pools."""

OTHERS = "others"
"""Stands for a family in differences: the mean of all families but the reference."""

HEADLINE = 0.9
"""The level that stands for all others is the largest up to this share of what every family comes to: beyond, curves
are flat, and where they reach a level says little."""

Row = Mapping[str, Any]


class ComparisonRows(NamedTuple):
    """A finished comparison. Rows have `variant`, `value`, its standard `error` with `degrees` of freedom and `fewest`
    clusters, `low`, `high`, `p` (of 0), `pools` (each one's value) and `p_pools` (of one value in all).

    curves: of `family` under `attack` ("": its own accuracies) at `epoch`, of `what`. at_epochs, at_levels: `family`
    less `reference`, at an epoch, or from where both have the `level` of what is `matched`; `family` may be
    `OTHERS`. by_order: the AUC of a model's early members, of its late ones, and the difference, by `part`. results,
    utility: of each `pool` at its last epoch, as in a run's own results.json and utility.csv. parameters: of each
    family, by variant.
    """

    title: str
    curves: Sequence[Row]
    at_epochs: Sequence[Row]
    at_levels: Sequence[Row]
    by_order: Sequence[Row]
    results: Sequence[Row]
    utility: Sequence[Row]
    parameters: Mapping[str, Mapping[str, int]]
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    confidence: float

    @property
    def variants(self) -> list[str]:
        """The variants, "" (the config as it stands) first."""
        return list(self.parameters)

    @property
    def families(self) -> list[str]:
        """The families, in the config's order."""
        return list(self.config["families"])

    @property
    def attacks(self) -> list[str]:
        """The attacks that every family was attacked with, in the config's order."""
        return list(dict.fromkeys(row["attack"] for row in self.at_epochs))

    @property
    def last(self) -> int:
        """The last epoch of the config as it stands."""
        return max(row["epoch"] for row in self.at_epochs if not row["variant"])


def at_the_end(rows: ComparisonRows) -> list[Row]:
    """The differences at the last epoch of the config as it stands."""
    own = [row for row in rows.at_epochs if not row["variant"]]
    last = max((row["epoch"] for row in own), default=0)
    return [row for row in own if row["epoch"] == last]


def at_one_level(rows: ComparisonRows, matched: str, variant: str = "") -> list[Row]:
    """The differences at the level that stands for all others, each pair of families at its own; see `HEADLINE`."""
    found: list[Row] = []
    for family in (*rows.families, OTHERS):
        own = [
            row
            for row in rows.at_levels
            if (row["variant"], row["matched"], row["family"]) == (variant, matched, family)
        ]
        most = max((row["level"] for row in own), default=0.0)
        below = [row["level"] for row in own if row["level"] <= HEADLINE * most]
        level = max(below, default=min((row["level"] for row in own), default=0.0))
        found += [row for row in own if row["level"] == level]
    return found
