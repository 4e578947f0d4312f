"""An arm on disk, so that what was measured once is not measured again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mia_jax.dynamics import Bits
from mia_jax.dynamics_study.rows import Arm, Ends, Interval
from mia_jax.runs.run_directory import RunDirectory

GROUPS = ("difficulty", "curves", "numbers")
"""Fields of an arm that hold named arrays."""


def read_arm(run: RunDirectory, family: str, signature: str) -> Arm | None:
    """The arm that was kept of a family; None where there is none, a damaged one, or one of another making."""
    record = run.store.read_json(f"dynamics/{family}.json") or {}
    arrays = run.store.read_arrays(f"dynamics/{family}.npz", record.get("checksum"))
    if arrays is None or record.get("signature") != signature:
        return None
    facts, ends = _with_nan(record["facts"]), _group(arrays, "ends")
    return Arm(
        factors=facts["factors"],
        pool=facts["pool"],
        epochs=arrays["epochs"],
        num_models=facts["num_models"],
        who=facts["who"],
        fpr=arrays["fpr"],
        tpr=arrays["tpr"],
        fpr_error=arrays["fpr_error"],
        tpr_error=arrays["tpr_error"],
        labels=arrays["labels"],
        difficulty=_group(arrays, "difficulty"),
        curves=_group(arrays, "curves"),
        numbers={name: Interval(*map(float, ends)) for name, ends in _group(arrays, "numbers").items()},
        transitions=arrays["transitions"],
        also=facts["also"],
        foretold=facts["foretold"],
        ends=_ends(ends, arrays["fpr"].shape[1]) if ends else None,
    )


def keep_arm(run: RunDirectory, family: str, signature: str, arm: Arm) -> None:
    """Write an arm down. signature: of all that decides it."""
    arrays, facts = {}, {}
    for name, value in arm._asdict().items():
        if name in GROUPS:
            arrays |= {f"{name}/{inner}": np.asarray(values) for inner, values in value.items()}
        elif isinstance(value, np.ndarray):
            arrays[name] = value
        elif name != "ends":
            facts[name] = value
    if arm.ends is not None:
        for name, values in arm.ends._asdict().items():
            arrays[f"ends/{name}"] = values.packed if isinstance(values, Bits) else values
    checksum = run.store.write_arrays(f"dynamics/{family}.npz", arrays)
    run.store.write_json(
        f"dynamics/{family}.json",
        {"signature": signature, "checksum": checksum, "facts": _without_nan(facts)},
    )


def _group(arrays: Mapping[str, np.ndarray], group: str) -> dict[str, np.ndarray]:
    """The arrays of one group, by the names they have in it."""
    start = f"{group}/"
    return {name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)}


def _ends(stored: Mapping[str, np.ndarray], num_records: int) -> Ends:
    """The ends of an arm, whose tables are stored with eight records a byte."""
    tables = {
        name: Bits((len(packed), num_records), packed) for name, packed in stored.items() if name != "twin"
    }
    return Ends(**tables, twin=stored["twin"])


def _without_nan(value: Any) -> Any:
    """Plain values in which JSON's null stands for no number, and intervals are marked."""
    if isinstance(value, Interval):
        return {"interval": [_without_nan(end) for end in value]}
    if isinstance(value, Mapping):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _with_nan(value: Any) -> Any:
    """The values that `_without_nan` wrote."""
    if isinstance(value, Mapping):
        if set(value) == {"interval"}:
            return Interval(*(_with_nan(end) for end in value["interval"]))
        return {name: _with_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_nan(inner) for inner in value]
    return math.nan if value is None else value
