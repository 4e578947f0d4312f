"""A study's contrasts in the shape of its tables: what defences take and cost, one family less another."""

from __future__ import annotations

from typing import Any

from mia_jax.report.inputs import Row
from mia_jax.tradeoff.rows import TradeoffRows, strongest_attack

GAIN, LOSS, KEPT = "auc_gain", "accuracy_loss", "accuracy_at_auc"
"""What contrasts are of (`mia_jax.tradeoff.contrasts`)."""

_WHERE = ("defence", "strength", "family_a", "family_b")


def gains(rows: TradeoffRows) -> list[dict[str, Any]]:
    """Of every defence, strength (and their "mean") and pair of families: the AUC taken from the strongest attack,
    `auc_gain`, and the `accuracy_loss`, each of both families and their difference with its interval.

    Empty without contrasts.
    """
    attacks = {GAIN: strongest_attack(rows), LOSS: ""}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows.contrasts:
        if row["attack"] == attacks.get(row["what"]):
            place = tuple(row[key] for key in _WHERE)
            found.setdefault(place, dict(zip(_WHERE, place, strict=True))).update(_both(row, row["what"]))
    return list(found.values())


def kept(rows: TradeoffRows) -> list[dict[str, Any]]:
    """The accuracy that two families keep where the strongest attack's AUC is `auc`; empty without contrasts."""
    attack = strongest_attack(rows)
    return [
        {key: row[key] for key in ("defence", "auc", "family_a", "family_b")} | _both(row, "test_accuracy")
        for row in rows.contrasts
        if (row["what"], row["attack"]) == (KEPT, attack)
    ]


def _both(row: Row, name: str) -> dict[str, Any]:
    """Both values of a contrast and the difference, under the names that tables have."""
    ends = {f"{name}_difference_{end}": row[end] for end in ("low", "high")}
    return (
        {f"{name}_{side}": row[f"value_{side}"] for side in "ab"}
        | {f"{name}_difference": row["value"]}
        | ends
    )
