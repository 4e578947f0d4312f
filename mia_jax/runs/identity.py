"""Whether two runs are the same run: what decides a run's numbers, and what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mia_jax import config as configs
from mia_jax.config import Config

if TYPE_CHECKING:  # commands that compute nothing need not wait for it
    from mia_jax.runs.store import Address

FORMAT = 6
"""Of the artefacts in a run directory; raised when they change."""

MAY_DIFFER = (
    "name",
    "attacks",
    "report",
    "audit",
    "tradeoff",
    "dynamics",
    "comparison",
    "scale",
    "scales",
    "membership.num_models",
    "training.models_per_chunk",
    "training.memory_gib",
    "training.feed",
    "data.source",
    "data.directory",
)
"""Fields in which a run may be continued with another value: K can grow, attacks can be repeated, chunks
change no number, and what the data is its fingerprint says."""


class RunError(RuntimeError):
    """A run directory that cannot be used as asked; the message is one sentence with the remedy."""


class JobError(RunError):
    """Another process has failed, or cannot be reached; what was written stays, and the job can go on."""


def family_hash(config: Config, family: str, data_fingerprint: str, plan: Mapping[str, Any]) -> str:
    """The hash of everything that decides one family's numbers; other families do not."""
    involved = {family, config.families[family].match}
    fields = {
        key: value
        for key, value in _deciding(configs.to_mapping(config)).items()
        if not key.startswith("families.") or key.split(".")[1] in involved
    }
    return configs.digest([FORMAT, family, fields, data_fingerprint, plan["models_together"]])


def check_format(path: Address, record: Mapping[str, Any]) -> None:
    """Refuse artefacts of another version."""
    if record.get("format") != FORMAT:
        raise RunError(
            f"{path} has artefact format {record.get('format')}, this version writes {FORMAT}: use another --workdir, "
            "or --overwrite to delete what is there."
        )


def check_same(path: Address, record: Mapping[str, Any], config: Config, fingerprint: str) -> None:
    """Refuse a directory whose run differs, naming what differs."""
    check_format(path, record)
    remedy = "use another --workdir, or --overwrite to delete what is there."
    old, new = _deciding(record["config"]), _deciding(configs.to_mapping(config))
    shared = [key for key in sorted({*old, *new}) if not _only_added(key, record["config"], config)]
    different = [
        f"config.{key} is {old.get(key)!r} there and {new.get(key)!r} here"
        for key in shared
        if old.get(key) != new.get(key)
    ]
    if different:
        raise RunError(f"{path} holds another run: {'; '.join(different[:5])}; {remedy}")
    if record["data_fingerprint"] != fingerprint:
        raise RunError(
            f"{path} holds a run on other data: the fingerprint is {record['data_fingerprint'][:12]} there and "
            f"{fingerprint[:12]} here; {remedy}"
        )


def _only_added(key: str, old: Mapping[str, Any], new: Config) -> bool:
    """Whether a field belongs to a family that only one of the configs has."""
    parts = key.split(".")
    return parts[0] == "families" and (parts[1] in old["families"]) != (parts[1] in new.families)


def _deciding(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config that decide a run's numbers, under dotted names."""
    found = flat(json.loads(json.dumps(values)))
    return {
        key: value
        for key, value in found.items()
        if not any(key == f or key.startswith(f + ".") for f in MAY_DIFFER)
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
