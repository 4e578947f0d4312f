"""A run directory: what is in it, whose it is, and how far it has come.

config.json            resolved config, format, fingerprint of the data, size and plan of every family
data.json              facts of the data
labels.npz             labels of the pool, the population and the test records
environment.json       one entry for every command that worked on it
membership.npz         member, indices, mask, twin
signals/FAMILY/PART/…  Zarr arrays [K, T, N]
commits/FAMILY/…       one record per finished segment: what has no record, does not exist
states/FAMILY/…        where an unfinished chunk of models goes on
parameters/FAMILY/…    where asked for
tradeoff/              what a trade-off summarised of this run
dynamics/              what following its records measured; dynamics.html, arms/, records/, …: what that shows
scores/FAMILY/ATTACK   Zarr arrays [K, T, N], and ATTACK.json: what made them
results.json, results.csv, utility.csv, slices.csv, privacy.csv, audit.csv, vulnerability/, figures/, report.html
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from mia_jax import config as configs
from mia_jax.config import Config, FamilyConfig
from mia_jax.identity import FORMAT, RunError, check_format, check_same, family_hash
from mia_jax.segments import Segments
from mia_jax.store import Store
from mia_jax.training import Plan
from mia_jax.types import Dataset, Membership

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


class RunDirectory:
    """One study on disk. Made with `create` or `existing`, never half-open."""

    def __init__(self, path: Path, record: Mapping[str, Any]) -> None:
        self.path = path
        self.store = Store(path)
        self.config = configs.from_mapping(record["config"])
        self._record = dict(record)
        self._segments: dict[str, Segments] = {}

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs of the checkpoints."""
        return configs.checkpoint_epochs(self.config)

    @property
    def fingerprint(self) -> str:
        """What tells the records apart from all others."""
        return self._record["data_fingerprint"]

    @property
    def num_classes(self) -> int:
        """The number of classes C of the data."""
        return self.data_facts()["num_classes"]

    def num_parameters(self, family: str) -> int:
        """The number of parameters of each model of a family."""
        return self._family(family)["num_parameters"]

    def data_facts(self) -> dict[str, Any]:
        """What is known of the data."""
        return self.store.require_json("data.json")

    def labels(self, part: str) -> np.ndarray:
        """The labels int32 of the records of "pool", "population" or "test"."""
        found = self.store.read_arrays("labels.npz")
        if found is None:
            raise RunError(f"{self.path}/labels.npz is missing or damaged: run the training again.")
        return found[part]

    def membership(self) -> Membership:
        """The membership of the config's K models."""
        found = self.store.read_arrays("membership.npz")
        if found is None or len(found["member"]) < self.config.membership.num_models:
            raise RunError(f"{self.path}/membership.npz is missing or damaged: run the training again.")
        return Membership(**{key: value[: self.config.membership.num_models] for key, value in found.items()})

    def sessions(self) -> list[dict[str, str]]:
        """The environment of every command that worked on this run, in order."""
        return self.store.read_json("environment.json") or []

    def keep_session(self, environment: Mapping[str, str]) -> None:
        """Add the environment of a command, once for each process."""
        sessions = self.sessions()
        if not sessions or sessions[-1] != environment:
            self.store.write_json("environment.json", [*sessions, dict(environment)])

    def with_section(self, section: str, values: Mapping[str, Any]) -> RunDirectory:
        """The same run with other attack or report settings, not yet written down; None keeps a field.

        Raises `ConfigError` for a value that is not allowed.
        """
        mapping = configs.to_mapping(self.config)
        mapping[section] |= {key: value for key, value in values.items() if value is not None}
        changed = {**self._record, "config": configs.to_mapping(configs.from_mapping(mapping))}
        return RunDirectory(self.path, changed)

    def keep_config(self) -> None:
        """Write the config down as it is now."""
        self.store.write_json("config.json", self._record)

    @property
    def noise_multiplier(self) -> float | None:
        """The noise of DP-SGD, relative to the clip norm; None without it."""
        return self._record.get("noise_multiplier")

    def keep_noise(self, noise_multiplier: float | None, question: str) -> None:
        """Write down the noise of DP-SGD, so that a run goes on with the very number that it began with.

        question: what the noise was solved for.
        """
        self._record |= {"noise_multiplier": noise_multiplier, "noise_question": question}
        self.store.write_json("config.json", self._record)

    def keep_family(self, name: str, family: FamilyConfig, plan: Plan, num_parameters: int) -> Plan:
        """Write down a family's size and plan; give the plan back, as many models together as it was begun with."""
        old = self._record.get("families", {}).get(name, {}).get("plan", {})
        kept = plan._replace(models_together=old.get("models_together", plan.models_together))
        sized = {**configs.to_mapping(family), "num_parameters": num_parameters, "plan": kept._asdict()}
        self._record["families"] = {**self._record.get("families", {}), name: sized}
        self.store.write_json("config.json", self._record)
        return kept

    def segments(self, family: str) -> Segments:
        """A family's finished segments; those of another making are refused (`RunError`)."""
        if family not in self._segments:
            self._segments[family] = Segments(
                self.store,
                family,
                hash=self._hash(family),
                num_models=self.config.membership.num_models,
                num_checkpoints=len(self.epochs),
                parameters=self.config.recording.parameters,
            )
        return self._segments[family]

    def _hash(self, family: str) -> str:
        """The hash of everything that decides a family's numbers."""
        return family_hash(self.config, family, self.fingerprint, self._family(family)["plan"])

    def _family(self, name: str) -> dict[str, Any]:
        """What is written down of a family (`RunError` if its training never began)."""
        families = self._record.get("families", {})
        if name not in families:
            raise RunError(
                f"{self.path} holds no family {name} yet: run scripts/train.py with this --workdir first."
            )
        return families[name]

    # Scores ------------------------------------------------------------------------------

    def forget_scores(self, family: str, attack: str) -> None:
        """Remove an attack's scores, so that none of an older making can be taken for new."""
        self.store.delete(f"scores/{family}/{attack}.json")
        self.store.delete_under(f"scores/{family}/{attack}/")

    def write_scores(self, family: str, attack: str, checkpoint: int, scores: np.ndarray) -> None:
        """Write one attack's scores [K, N] at one checkpoint."""
        shape = (scores.shape[0], len(self.epochs), *scores.shape[1:])
        array = self.store.array(f"scores/{family}/{attack}", shape, np.float64, models_per_chunk=shape[0])
        self.store.write_blocks([(array, 0, scores.shape[0], checkpoint, scores)])

    def sign_scores(self, family: str, attack: str, checkpoints: Sequence[int]) -> None:
        """Say what made an attack's scores, and at which checkpoints it could be run, once all are written."""
        signed = {**self._scores_signature(family), "checkpoints": list(checkpoints)}
        self.store.write_json(f"scores/{family}/{attack}.json", signed)

    def scored(self, family: str, attack: str) -> list[int]:
        """The checkpoints at which an attack was run; scores that are missing, unfinished or of another
        making are refused (`RunError`).
        """
        signed = self.store.read_json(f"scores/{family}/{attack}.json") or {}
        if {**signed, "checkpoints": None} != {**self._scores_signature(family), "checkpoints": None}:
            what = "scores of other models or attack settings" if signed else "no finished scores"
            raise RunError(
                f"{self.path} holds {what} of attack {attack} for family {family}: run scripts/attack.py on it first."
            )
        return signed["checkpoints"]

    def scores(self, family: str, attack: str, checkpoint: int) -> np.ndarray:
        """One attack's scores at one checkpoint, float64 [K, N]; all NaN where it could not be run.

        Scores that are missing, unfinished or of another making are refused (`RunError`).
        """
        models, records = self.config.membership.num_models, self.config.data.pool_size
        if checkpoint not in self.scored(family, attack):
            return np.full((models, records), np.nan)
        return self.store.read_block(f"scores/{family}/{attack}", 0, models, checkpoint)

    def _scores_signature(self, family: str) -> dict[str, Any]:
        """What decides a family's scores, beside the attack's own name."""
        constants = {**configs.to_mapping(self.config.attacks), "names": None}
        models = self.config.membership.num_models
        return {"hash": self._hash(family), "models": models, "attacks": configs.digest(constants)}


def create(
    path: Path, config: Config, dataset: Dataset, membership: Membership, *, overwrite: bool = False
) -> RunDirectory:
    """The run directory of a config, new or continued; one of anything else is refused (`RunError`).

    Nothing is written, and with `overwrite` nothing removed, before all is found to fit.
    """
    old = _read_record(path)
    if old is None:
        check_empty(path)
    fingerprint = dataset.facts["fingerprint"]
    if old is None or overwrite:
        if old is not None:
            remove(path, OURS)
        record = {"format": FORMAT, "data_fingerprint": fingerprint, "config": configs.to_mapping(config)}
        run = RunDirectory(path, record)
    else:
        check_same(path, old, config, fingerprint)
        run = RunDirectory(path, {**old, "config": configs.to_mapping(config)})
        _check_membership(run, membership)
        for family in set(config.families) & set(old.get("families", ())):
            run.segments(family)
    run.store.write_json("config.json", run._record)
    run.store.write_json("data.json", dict(dataset.facts))
    run.store.write_arrays("labels.npz", {part: np.asarray(getattr(dataset, part).y) for part in _LABELLED})
    run.store.write_arrays("membership.npz", {k: np.asarray(v) for k, v in membership._asdict().items()})
    return run


def check_config(path: Path, config: Config) -> None:
    """Refuse a directory whose run is of another config (`RunError`); one without a run is no matter."""
    record = _read_record(path)
    if record is not None:
        check_same(path, record, config, record["data_fingerprint"])


def clear(path: Path) -> None:
    """Remove the run at `path`, if there is one, and nothing else."""
    if _read_record(path) is not None:
        remove(path, OURS)


def kept_noise(path: Path, question: str) -> float | None:
    """The noise of DP-SGD that a run at `path` was begun with, if it was solved for the same; else None."""
    record = _read_record(path) or {}
    same = record.get("format") == FORMAT and record.get("noise_question") == question
    return record.get("noise_multiplier") if same else None


def existing(path: Path) -> RunDirectory:
    """The run directory at `path`, which must hold one (`RunError`)."""
    record = _read_record(path)
    if record is None:
        raise RunError(f"{path} holds no run: run scripts/train.py with this --workdir first.")
    check_format(path, record)
    return RunDirectory(path, record)


@contextmanager
def locked(path: Path, *, existing: bool = False) -> Iterator[Path]:
    """Hold the directory for this process; a second process is refused (`RunError`).

    existing: refuse a directory that is not there, rather than make it.
    """
    if existing and not path.is_dir():
        raise RunError(f"{path} does not exist: run scripts/train.py with this --workdir first.")
    with _lock_file(path) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{path} is in use by another process: wait for it, or name another --workdir."
            ) from None
        yield path


_LABELLED = ("pool", "population", "test")


def _lock_file(path: Path) -> IO[str]:
    """The open lock of a directory, made where it is missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        return (path / "lock").open("w")
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}; name another --workdir.") from None


def check_empty(path: Path) -> None:
    """Refuse a directory that holds anything but no run, whatever its name (`RunError`).

    config.json is what a run writes first and removes last: where it is missing, nothing is a run's.
    """
    half_made = {"lock", "config.json.__lock"}
    strangers = (
        [entry.name for entry in path.iterdir() if entry.name not in half_made] if path.exists() else []
    )
    if strangers:
        raise RunError(
            f"{path} is not empty and holds no run ({sorted(strangers)[0]} is there): name another --workdir."
        )


def remove(path: Path, names: Sequence[str]) -> None:
    """Remove what we write below a directory, in this order, and nothing else."""
    for name in names:
        for entry in (path / name, path / f"{name}.__lock"):
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)


def _read_record(path: Path) -> dict[str, Any] | None:
    """The content of config.json, None where there is none or it is not a run's."""
    record = Store(path).read_json("config.json") if (path / "config.json").exists() else None
    return (
        record
        if isinstance(record, dict) and {"format", "config", "data_fingerprint"} <= set(record)
        else None
    )


def _check_membership(run: RunDirectory, membership: Membership) -> None:
    """Refuse a membership that contradicts the one that is there (`RunError`)."""
    old = run.store.read_arrays("membership.npz")
    if old is None:
        return
    new = np.asarray(membership.member)
    shared = min(len(old["member"]), len(new))
    if not np.array_equal(new[:shared], old["member"][:shared]):
        raise RunError(
            f"{run.path} holds models of another membership, though the config is the same: the random numbers of this "
            "JAX differ from those it was made with, or the file in config.membership.without has changed; use the old "
            "one, or another --workdir."
        )
