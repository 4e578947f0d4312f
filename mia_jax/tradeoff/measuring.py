"""What is measured of an arm so that arms can be set against one another: values with every entry's influence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mia_jax.runs.run_directory import RunDirectory
from mia_jax.statistics.contrasts import Measured, measured_auc, measured_mean
from mia_jax.study import observing
from mia_jax.study.attacking import selection

ACCURACY = ""
"""Stands for the accuracy on the pool's non-members where an attack's name stands for its AUC."""

Measures = Mapping[str, Measured]
"""Of one arm of one family: every attack's AUC by its name, and the accuracy."""


class Sample(NamedTuple):
    """One pool with all arms that were trained on it: (family, defence, strength) -> measures. twin: int [K]."""

    twin: np.ndarray
    arms: dict[tuple[str, str, float], Measures]


def of_run(run: RunDirectory, family: str, checkpoint: int) -> Measures:
    """One family of a run at one checkpoint; an attack without members or non-members is left out."""
    ours = observing.columns(run.config, "pool")
    member = np.asarray(run.membership(lists=False).member, bool)[:, ours]
    usable = observing.usable_models(run, family, checkpoint)[:, None]
    found: dict[str, Measured] = {}
    if usable.any():
        right = np.asarray(run.segments(family).signal("pool/correct", checkpoint, records=ours))
        found[ACCURACY] = measured_mean(right > 0.5, ~member & usable)
    for one in selection(run, family).attacks:
        if checkpoint % len(run.epochs) not in run.scored(family, one.name):
            continue
        scores = run.scores(family, one.name, checkpoint % len(run.epochs))
        known = ~np.isnan(scores)
        if (known & member).any() and (known & ~member).any():
            found[one.name] = measured_auc(scores, member)
    return found


def to_arrays(by_sigma: Mapping[float, Measures]) -> dict[str, np.ndarray]:
    """What is measured of releases as named arrays, for a file."""
    found: dict[str, np.ndarray] = {"sigmas": np.array(list(by_sigma))}
    for number, measures in enumerate(by_sigma.values()):
        for name, one in measures.items():
            head = f"{number}/{name}"
            found |= {f"{head}/value": np.array(one.value), f"{head}/influence": one.influence}
            found[f"{head}/known"] = one.known
    return found


def from_arrays(arrays: Mapping[str, np.ndarray]) -> dict[float, dict[str, Measured]]:
    """The inverse of `to_arrays`."""
    found: dict[float, dict[str, Measured]] = {float(sigma): {} for sigma in arrays["sigmas"]}
    by_number = list(found.values())
    for key in arrays:
        if key.endswith("/value"):
            number, name, _ = key.split("/")
            parts = (arrays[f"{number}/{name}/{part}"] for part in ("influence", "known"))
            by_number[int(number)][name] = Measured(float(arrays[key]), *parts)
    return found
