"""Rows of one run after another, made one over the pools of a variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mia_jax.statistics.clustering import Spread
from mia_jax.statistics.contrasts import Whole, averaged, heterogeneity, interval

NUMBERS = ("value", "error", "degrees", "fewest")


def over_pools(runs: Sequence[Sequence[Mapping[str, Any]]], confidence: float) -> list[dict[str, Any]]:
    """Rows that every pool has, averaged: value with error, degrees, fewest, low, high and p (of 0); pools; p_pools.

    runs: the rows of each pool. Pools are disjoint and their models their own, so they are independent. A row that
    some pool lacks, as of a level that it does not reach, is left out.
    """
    found: dict[tuple[tuple[str, Any], ...], list[Whole]] = {}
    for rows in runs:
        for row in rows:
            what = tuple((name, value) for name, value in row.items() if name not in NUMBERS)
            found.setdefault(what, []).append(read(row))
    return [
        dict(what) | summary(tables, confidence) for what, tables in found.items() if len(tables) == len(runs)
    ]


def summary(tables: Sequence[Whole], confidence: float) -> dict[str, Any]:
    """The mean over independent tables as a row has it."""
    over_all = averaged(tables)
    mean = interval(over_all, confidence)
    return {
        "value": mean.value,
        "error": over_all.spread.error,
        "degrees": over_all.spread.degrees,
        "fewest": over_all.fewest,
        "low": mean.low,
        "high": mean.high,
        "p": mean.p,
        "pools": [table.value for table in tables],
        "p_pools": heterogeneity(tables),
    }


def read(row: Mapping[str, Any]) -> Whole:
    """The estimate of a row."""
    return Whole(row["value"], Spread(row["error"], row["degrees"]), row["fewest"])
