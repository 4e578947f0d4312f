"""What the explorer of a page reads: rates as bytes, everything else as small as its use allows.

Bytes travel as base64 in JSON. Nothing in the JSON can end the element it stands in.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mia_jax.dynamics import center_of_mass, states
from mia_jax.dynamics_study.rows import CURVES, Arm, DynamicsRows, Shown
from mia_jax.types import Array

LEVELS = 254
"""Steps of a quantised value: 0 to 254 are its range, from low to high."""

UNKNOWN = 255
"""The byte of a value that is not known."""

RATES_ROOM = 48_000_000
"""Bytes of rates on one page; beyond that, checkpoints are left out of the explorer."""

SHOWN_ROOM = 4_000_000
"""Bytes of the records of one pool on a page; beyond that, the least exposed are not shown."""


class Harder(NamedTuple):
    """How a difficulty is called, and what comparing two records by it is called."""

    title: str
    more: str


DIFFICULTIES: Mapping[str, Harder] = {
    "epoch_learned": Harder("Epoch learned", "later than"),
    "out_error": Harder("OUT error", "higher than"),
    "prediction_depth": Harder("Prediction depth", "deeper than"),
}
"""The difficulties of `Arm.difficulty`, in the order of the page."""


def quantised(values: Array, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Values of [low, high] as uint8 of the same shape: 0 to 254 in even steps, 255 where NaN.

    What is decoded, low + (high - low) byte / 254, is at most (high - low) / 508 off. Raises ValueError
    for a value outside, and for bounds that do not rise.
    """
    array = np.asarray(values, np.float64)
    if not low < high:
        raise ValueError(f"high is {high:g}: it must lie above low, {low:g}.")
    outside = (array < low) | (array > high)
    if outside.any():
        raise ValueError(
            f"values hold {array[outside][0]:g}: they must lie in [{low:g}, {high:g}], or be NaN."
        )
    known = np.where(np.isnan(array), low, array)
    return np.where(np.isnan(array), UNKNOWN, np.rint((known - low) / (high - low) * LEVELS)).astype(np.uint8)


def payload(
    rows: DynamicsRows, *, rates_room: int = RATES_ROOM, shown_room: int = SHOWN_ROOM
) -> dict[str, Any]:
    """All that the explorer needs of a study, as plain values that JSON can hold: NaN is null.

    rates_room, shown_room: as `RATES_ROOM` and `SHOWN_ROOM`, bytes. Arrays are base64 of little-endian
    bytes, row by row: rates uint8 [T, N] as `quantised` gives them, standard errors uint8 [N] of the last
    checkpoint alone with their range, labels int32 [N], difficulties float32 [N]. Labels and records stand
    once a pool. Raises ValueError where arms of one pool differ in their labels, and for rates outside [0, 1].
    """
    pools = list(dict.fromkeys(arm.pool for arm in rows.arms))
    needed = sum(2 * arm.fpr.size for arm in rows.arms)
    share = min(1.0, rates_room / max(needed, 1))
    return {
        "cuts": [float(cut) for cut in rows.cuts],
        "curves": {name: meaning._asdict() for name, meaning in CURVES.items()},
        "difficulties": {name: harder._asdict() for name, harder in DIFFICULTIES.items()},
        "pools": [_pool(rows, name, shown_room) for name in pools],
        "arms": [_arm(arm, pools.index(arm.pool), rows.cuts, share) for arm in rows.arms],
    }


def as_json(value: Any) -> str:
    """Strict JSON that is safe inside a script element: no "<", ">" or "&" stands in it."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _pool(rows: DynamicsRows, name: str, room: int) -> dict[str, Any]:
    """What the arms of one pool share."""
    arms = [arm for arm in rows.arms if arm.pool == name]
    labels = np.asarray(arms[0].labels)
    for arm in arms[1:]:
        if not np.array_equal(labels, arm.labels):
            raise ValueError(
                f"labels of {arm.name!r} differ from those of {arms[0].name!r}: "
                f"in one pool, here {name!r}, they must be equal."
            )
    shown = rows.shown.get(name)
    return {
        "name": name,
        "records": len(labels),
        "labels": _packed(labels, "<i4"),
        "shown": None if shown is None or not len(shown.rows) else _shown(shown, arms, room),
    }


def _arm(arm: Arm, pool: int, cuts: Sequence[float], share: float) -> dict[str, Any]:
    """One arm, with this share of its checkpoints."""
    at = _kept(len(arm.epochs), share)
    return {
        "name": arm.name,
        "pool": pool,
        "models": int(arm.num_models),
        "epochs": [int(epoch) for epoch in arm.epochs[at]],
        "checkpoints": len(arm.epochs),
        "fpr": _packed(quantised(arm.fpr[at]), "u1"),
        "tpr": _packed(quantised(arm.tpr[at]), "u1"),
        "fprError": _ranged(arm.fpr_error[-1]),
        "tprError": _ranged(arm.tpr_error[-1]),
        "states": [_plain(shares) for shares in _shares(states(arm.vulnerability, cuts), len(cuts) + 1)[at]],
        "known": (~np.isnan(arm.vulnerability[at])).sum(axis=1).tolist(),
        "center": [_plain(side) for side in center_of_mass(arm.fpr, arm.tpr)[at].T],
        "difficulty": {
            name: _packed(arm.difficulty[name], "<f4") for name in DIFFICULTIES if name in arm.difficulty
        },
        "curveEpochs": [int(epoch) for epoch in arm.epochs],
        "curves": {name: _plain(arm.curves[name]) for name in CURVES if name in arm.curves},
    }


def _kept(checkpoints: int, share: float) -> np.ndarray:
    """Which checkpoints are shown: all, or evenly spaced ones with the first and the last."""
    count = max(min(2, checkpoints), int(checkpoints * share))
    return np.unique(np.linspace(0, checkpoints - 1, count).round().astype(int))


def _shares(found: np.ndarray, size: int) -> np.ndarray:
    """The shares of the known records in each state: [T, S], NaN where no record is known."""
    counts = np.stack([(found == state).sum(axis=1) for state in range(size)], axis=1).astype(np.float64)
    known = counts.sum(axis=1, keepdims=True)
    return counts / np.where(known > 0, known, np.nan)


def _shown(shown: Shown, arms: Sequence[Arm], room: int) -> dict[str, Any]:
    """Records to look at, the most exposed of any arm where there is no room for all."""
    rows, order = np.asarray(shown.rows), _most_exposed(np.asarray(shown.rows), arms)
    kept = np.sort(order[np.cumsum(_sizes(shown)[order]) <= room])
    return {"rows": rows[kept].tolist(), "all": len(rows), "kind": shown.kind} | _looks(shown, kept)


def _looks(shown: Shown, kept: np.ndarray) -> dict[str, Any]:
    """The records themselves, those at these places."""
    if shown.kind == "text":
        return {"texts": [shown.values[place] for place in kept]}
    values = np.asarray(shown.values)
    looks = {"values": _packed(values[kept], "u1")} if shown.kind == "image" else _ranged(values[kept])
    return {"shape": list(values.shape[1:])} | looks


def _sizes(shown: Shown) -> np.ndarray:
    """How many bytes each record takes: int [S]."""
    if shown.kind == "text":
        return np.array([len(text.encode("utf-8")) for text in shown.values])
    shape = np.shape(shown.values)
    return np.full(shape[0], max(1, math.prod(shape[1:])))


def _most_exposed(rows: np.ndarray, arms: Sequence[Arm]) -> np.ndarray:
    """Places of the rows by the largest vulnerability at the end in any arm; unknown ones last."""
    final = np.stack([np.where(np.isnan(v := arm.vulnerability[-1, rows]), -2.0, v) for arm in arms])
    return np.argsort(-final.max(axis=0), kind="stable")


def _ranged(values: Array) -> dict[str, Any]:
    """Values as bytes of their own range: {"values", "low", "high"}."""
    array = np.asarray(values, np.float64)
    array = np.where(np.isfinite(array), array, np.nan)
    known = array[~np.isnan(array)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    high = high if high > low else low + 1.0
    return {"values": _packed(quantised(array, low, high), "u1"), "low": low, "high": high}


def _plain(values: Array) -> list[float | None]:
    """Numbers to six digits, None where there is none."""
    return [
        float(f"{value:.6g}") if math.isfinite(value) else None for value in np.asarray(values, np.float64)
    ]


def _packed(array: Array, kind: str) -> str:
    """An array's bytes as base64."""
    return base64.b64encode(np.ascontiguousarray(array, dtype=np.dtype(kind)).tobytes()).decode("ascii")
