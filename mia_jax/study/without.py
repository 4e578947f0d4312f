"""A file that names records of a pool which no model shall be trained on, such as those foretold to be exposed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mia_jax.config import Config, ConfigError
from mia_jax.runs.store import Address


def to_text(rows: np.ndarray, fingerprint: str, facts: dict[str, Any]) -> str:
    """The file's content. rows: int [R], numbers of records in the pool. fingerprint: of the data they are of."""
    content = {"fingerprint": fingerprint, "rows": [int(row) for row in rows], **facts}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def rows_of(config: Config, fingerprint: str | None = None) -> np.ndarray | None:
    """The records that config.membership.without names, int [R]; None where it is empty.

    fingerprint: of the data, where it is known; records of other data are refused, as is a file that cannot
    be read or names a record that the pool has not, or one twice (`ConfigError`).
    """
    place = config.membership.without
    if not place:
        return None
    try:
        content = json.loads(Path(place).expanduser().read_text(encoding="utf-8"))
        rows, made_for = content["rows"], content["fingerprint"]
    except OSError as error:
        raise _refusal(place, f"it cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise _refusal(
            place, "it must be JSON with rows and fingerprint, as scripts/dynamics.py --predict writes it"
        ) from None
    size = config.data.pool_size
    if not isinstance(rows, list) or not all(type(row) is int and 0 <= row < size for row in rows):
        raise _refusal(
            place, f"its rows must be numbers of records from 0 to {size - 1}, config.data.pool_size less one"
        )
    if len(set(rows)) != len(rows):
        raise _refusal(place, "its rows name a record twice")
    if fingerprint is not None and made_for != fingerprint:
        raise _refusal(
            place,
            "it is of other records: the data must be that of the run it was made for, with the same sizes and seed",
        )
    return np.array(rows, np.int64)


def check_outside(config: Config, directory: Address) -> None:
    """Refuse a file inside a directory that is about to be cleared (`ConfigError`)."""
    place = config.membership.without
    if (
        place
        and isinstance(directory, Path)
        and Path(place).expanduser().resolve().is_relative_to(directory.resolve())
    ):
        raise _refusal(place, "it lies in the directory that --overwrite would clear; copy it elsewhere")


def _refusal(place: str, problem: str) -> ConfigError:
    """The error that says `problem` of the file."""
    return ConfigError(f"config.membership.without is {place!r}: {problem}.")
