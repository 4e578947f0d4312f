"""Early warning: the records that the first part of training foretells to be most exposed, in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mia_jax import dynamics
from mia_jax.dynamics_study.halves import early_checkpoint
from mia_jax.dynamics_study.rows import Arm, DynamicsRows
from mia_jax.dynamics_study.writing import file_names
from mia_jax.report import atomic
from mia_jax.report.inputs import finite
from mia_jax.study import without

FOLDER = "early_warning"


def write(rows: DynamicsRows, directory: Path) -> list[Path]:
    """Write early_warning/ARM.json and ARM_by_lot.json for every arm, and give the paths of the first.

    ARM.json names the records that were most vulnerable at the early checkpoint by all models, the most
    exposed first, with what such lists are worth: as measured on models that had no part in them.
    ARM_by_lot.json names as many drawn at random, for comparison.
    """
    (directory / FOLDER).mkdir(exist_ok=True)
    names, paths = file_names(rows), []
    for arm in rows.arms:
        path = directory / FOLDER / f"{names[arm.name]}.json"
        listed = foretold_rows(arm, rows.config)
        facts = {
            "arm": arm.name,
            "who": arm.who,
            "early_vulnerability": [round(float(v), 6) for v in _early_v(arm, rows.config)[listed]],
            "measured": {name: finite(value) for name, value in arm.foretold.items()},
        }
        atomic.write_text(path, without.to_text(listed, arm.pool, facts))
        paths.append(path)
        known = np.flatnonzero(~np.isnan(_early_v(arm, rows.config)))
        by_lot = np.random.default_rng(rows.config["seed"]).permutation(known)[: listed.size]
        lot = without.to_text(np.sort(by_lot), arm.pool, {"arm": arm.name, "who": "drawn by lot"})
        atomic.write_text(path.with_name(f"{path.stem}_by_lot.json"), lot)
    return paths


def foretold_rows(arm: Arm, config: Mapping[str, Any]) -> np.ndarray:
    """The rows of the records foretold to be most exposed, the surest first: int [m]."""
    return dynamics.foretell(_early_v(arm, config), config["dynamics"]["foretold"])


def _early_v(arm: Arm, config: Mapping[str, Any]) -> np.ndarray:
    """Vulnerability at the early checkpoint: [N]."""
    epochs = tuple(int(epoch) for epoch in arm.epochs)
    return arm.vulnerability[early_checkpoint(epochs, config["dynamics"]["early"])]
