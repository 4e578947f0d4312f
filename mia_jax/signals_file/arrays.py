"""The arrays of a file of signals, read one at a time, so that what is reduced can be let go of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from mia_jax.signals_file import checks
from mia_jax.signals_file.layout import AXES, INTEGERS, MASKS, Header


class Arrays:
    """Arrays that are read, converted and checked when they are asked for, each once.

    headers: of all there are. read: gives an array by its name. usable: bool [K], the models whose
    numbers must be right. derived: what was made from what.
    """

    def __init__(self, headers: Mapping[str, Header], read: Callable[[str], np.ndarray]) -> None:
        self.headers, self._read = headers, read
        self.usable = np.ones(headers["member"].shape[0], bool)
        self.derived: dict[str, str] = {}

    def take(self, name: str) -> np.ndarray:
        """An array that is there, as it is worked with. Raises `ConfigError`."""
        values = checks.converted(name, self._read(name))
        if name in AXES and name not in MASKS | INTEGERS:
            checks.check_numbers(name, values, self.usable if AXES[name][0] == "K" else None)
        return values

    def maybe(self, name: str) -> np.ndarray | None:
        """An array as it is worked with, None where it is not there."""
        return self.take(name) if name in self.headers else None

    def take_all(self, names: Collection[str], prefix: str = "") -> dict[str, np.ndarray]:
        """Those that are there of prefix + name, by their names without the prefix."""
        return {name: self.take(prefix + name) for name in names if prefix + name in self.headers}
