"""A config as nested plain values, as JSON, as an `ml_collections.ConfigDict`, and as a short hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pydantic

from mia_jax.config.base import ConfigError, sentence
from mia_jax.config.study import Config

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def from_mapping(values: Mapping[str, Any]) -> Config:
    """A checked `Config` from nested plain values. Raises `ConfigError`, one sentence."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"config is a {type(values).__name__}: it must be a mapping from fields to values.")
    return from_json(json.dumps(dict(values), default=repr))


def from_json(text: str) -> Config:
    """A checked `Config` from what `to_json` wrote. Raises `ConfigError`, one sentence."""
    try:
        return pydantic.TypeAdapter(Config).validate_json(text)
    except pydantic.ValidationError as error:
        raise ConfigError(sentence(error, Config)) from None


def to_mapping(config: Any) -> dict[str, Any]:
    """Nested plain values of a config or of one of its sections."""
    return dataclasses.asdict(config)


def to_json(config: Config) -> str:
    """The config as JSON text, keys in their order."""
    return json.dumps(to_mapping(config), indent=2)


def from_config_dict(values: ConfigDict) -> Config:
    """A checked `Config` from an `ml_collections.ConfigDict`, of the scale it asks for. Raises `ConfigError`."""
    if not hasattr(values, "to_dict"):
        raise ConfigError(
            f"config is a {type(values).__name__}: it must be a ConfigDict, as to_config_dict makes one; of a mapping "
            "take from_mapping."
        )
    return scaled(from_mapping(_names_apart(values.to_dict())))


def _names_apart(value: Any) -> Any:
    """Nested values in which lists of names, given as one text with commas as flags have them, are lists."""
    if isinstance(value, Mapping):
        return {name: _names_apart(inner) for name, inner in value.items()}
    if not isinstance(value, list | tuple):
        return value
    parts = [inner.split(",") if isinstance(inner, str) else [_names_apart(inner)] for inner in value]
    return [name for part in parts for name in part]


def scaled(config: Config) -> Config:
    """The config with what its scale changes, a study of its own. Raises `ConfigError`."""
    if config.scale == "default":
        return config
    if config.scale not in config.scales:
        known = ", ".join(map(repr, ("default", *config.scales)))
        raise ConfigError(f"config.scale is {config.scale!r}: it must be one of {known}.")
    return with_changes(dataclasses.replace(config, scale="default", scales={}), config.scales[config.scale])


def with_changes(config: Config, changes: Mapping[str, Any]) -> Config:
    """The config with other values of the fields that `changes` names, nested as it is. Raises `ConfigError`.

    Where a field holds names (families, factors), those that are not named stay, unless the field is changed
    to nothing at all, {}.
    """
    return from_mapping(_merged(to_mapping(config), changes))


NAMED = ("families", "factors", "grid", "scales", "variants")
"""Fields whose names are a person's own."""


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with changes laid over them."""
    both = dict(values)
    for name, change in changes.items():
        inner = both.get(name)
        if isinstance(change, Mapping) and isinstance(inner, Mapping) and (change or name not in NAMED):
            both[name] = _merged(inner, change)
        else:
            both[name] = change
    return both


def to_config_dict(config: Config) -> ConfigDict:
    """A locked `ConfigDict` of the same fields, in their order, for config files and flags."""
    return _in_order(to_mapping(config)).lock()


def _in_order(values: Mapping[str, Any]) -> ConfigDict:
    """Nested values as a `ConfigDict`, which left to itself would sort the names of families and factors."""
    from ml_collections import ConfigDict

    nested = {
        name: _in_order(value) if isinstance(value, Mapping) else value for name, value in values.items()
    }
    return ConfigDict(nested, sort_keys=False)


def digest(value: Any) -> str:
    """A short hash of JSON-able values or config sections, the same on every machine."""
    plain = to_mapping(value) if dataclasses.is_dataclass(value) else value
    text = json.dumps(plain, sort_keys=True, default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
