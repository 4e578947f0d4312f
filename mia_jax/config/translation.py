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
    """A checked `Config` from an `ml_collections.ConfigDict`. Raises `ConfigError`."""
    return from_mapping(values.to_dict())


def to_config_dict(config: Config) -> ConfigDict:
    """A locked `ConfigDict` of the same fields, for config files and flags."""
    from ml_collections import ConfigDict

    return ConfigDict(to_mapping(config)).lock()


def digest(value: Any) -> str:
    """A short hash of JSON-able values or config sections, the same on every machine."""
    plain = to_mapping(value) if dataclasses.is_dataclass(value) else value
    text = json.dumps(plain, sort_keys=True, default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
