"""What lies in a run directory, and its removal.

config.json            resolved config, format, fingerprint of the data, size and plan of every family
data.json              facts of the data
labels.npz             labels of the pool, the population and the test records
environment.json       one entry for every command that worked on it
membership.npz         member, indices, mask, twin
signals/FAMILY/PART/…  Zarr arrays [K, T, N]
commits/FAMILY/…       one record per finished segment: what has no record, does not exist
states/FAMILY/…        where an unfinished chunk of models goes on
parameters/FAMILY/…    where asked for
processes/JOB/…        signs of life of processes that train or attack together
tradeoff/              what a trade-off summarised of this run
dynamics/              what following its records measured; dynamics.html, arms/, records/, …: what that shows
scores/FAMILY/ATTACK   Zarr arrays [K, T, N] below the name of the job, and ATTACK.json: what made them, and which
results.json, results.csv, utility.csv, slices.csv, privacy.csv, audit.csv, vulnerability/, figures/, report.html
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mia_jax.runs.identity import RunError
from mia_jax.runs.signs_of_life import LOCK
from mia_jax.runs.store import LOCKED, Address, Store, address

REPORTS = (
    "figures",
    "vulnerability",
    "report.html",
    "results.json",
    "results.csv",
    "utility.csv",
    "slices.csv",
    "privacy.csv",
    "audit.csv",
)
"""What a report writes."""

DYNAMICS = (
    "dynamics",
    "dynamics.html",
    "dynamics.json",
    "dynamics_arms.csv",
    "dynamics_curves.csv",
    "dynamics_comparisons.csv",
    "arms",
    "records",
    "early_warning",
)
"""What following a run's records through training keeps and writes."""

# In the order of their removal: whatever stops it, what is left is still known for a run.
OURS = (
    "tradeoff",
    *DYNAMICS,
    "processes",
    "commits",
    "states",
    "parameters",
    "signals",
    "scores",
    *REPORTS,
    "membership.npz",
    "labels.npz",
    "environment.json",
    "data.json",
    "config.json",
)


def check_empty(path: Address) -> None:
    """Refuse a directory that holds anything but no run, whatever its name (`RunError`).

    config.json is what a run writes first and removes last: where it is missing, nothing is a run's.
    """
    place, half_made = address(path), {"lock", LOCK}
    if isinstance(place, Path):
        there = [entry.name for entry in place.iterdir()] if place.exists() else []
    else:
        there = Store(place).names()
    strangers = [name for name in there if name not in half_made and not name.endswith(LOCKED)]
    if strangers:
        raise RunError(
            f"{path} is not empty and holds no run ({sorted(strangers)[0]} is there): name another --workdir."
        )


def remove(path: Address, names: Sequence[str]) -> None:
    """Remove what we write below a directory, in this order, and nothing else."""
    place = address(path)
    for name in names:
        if isinstance(place, Path):
            for entry in (place / name, place / f"{name}{LOCKED}"):
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)
        else:
            Store(place).delete(name)
            Store(place).delete_under(f"{name}/")
