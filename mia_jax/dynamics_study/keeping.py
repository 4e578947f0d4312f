"""An arm on disk, so that what was measured once is not measured again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mia_jax.dynamics_study.rows import Arm, Ends, Interval
from mia_jax.run_directory import RunDirectory

GROUPS = ("difficulty", "curves", "numbers")
"""Fields of an arm that hold named arrays."""


def read_arm(run: RunDirectory, family: str, signature: str) -> Arm | None:
    """The arm that was kept of a family; None where there is none, or one of another making."""
    facts = run.store.read_json(f"dynamics/{family}.json") or {}
    arrays = run.store.read_arrays(f"dynamics/{family}.npz", facts.get("checksum"))
    if arrays is None or facts.get("signature") != signature:
        return None
    groups: dict[str, dict[str, Any]] = {name: {} for name in (*GROUPS, "ends")}
    plain = {}
    for name, values in arrays.items():
        group, _, inner = name.partition("/")
        if inner:
            groups[group][inner] = Interval(*map(float, values)) if group == "numbers" else values
        else:
            plain[name] = values
    groups["ends"] = Ends(**groups["ends"])
    return Arm(**plain, **groups, **_with_nan(facts["facts"]))


def keep_arm(run: RunDirectory, family: str, signature: str, arm: Arm) -> None:
    """Write an arm down. signature: of all that decides it."""
    arrays, facts = {}, {}
    for name, value in arm._asdict().items():
        if name == "ends":
            arrays |= {f"ends/{inner}": np.asarray(values) for inner, values in arm.ends._asdict().items()}
        elif name in GROUPS:
            arrays |= {f"{name}/{inner}": np.asarray(values) for inner, values in value.items()}
        elif isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            facts[name] = value
    checksum = run.store.write_arrays(f"dynamics/{family}.npz", arrays)
    run.store.write_json(
        f"dynamics/{family}.json",
        {"signature": signature, "checksum": checksum, "facts": _without_nan(facts)},
    )


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
