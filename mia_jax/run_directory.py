"""A run directory: what is in it, whose it is, and how far it has come.

config.json            resolved config, format, hash and plan of every family
data.json              facts of the data, its fingerprint among them
environment.json       one entry for every start of a training
membership.npz         member, indices, mask, twin
signals/FAMILY/PART/…  Zarr arrays [K, T, N]
commits/FAMILY/…       one record per finished segment, with checksums: what has no record,
                       does not exist
states/FAMILY/…        where an unfinished chunk of models goes on
parameters/FAMILY/…    where asked for
scores/FAMILY/ATTACK   Zarr arrays [K, T, N], and scores/FAMILY.json: what made them
results.json, results.csv, utility.csv, figures/, report.html
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import numpy as np

from mia_jax import config as configs
from mia_jax.config import Config, FamilyConfig
from mia_jax.identity import FORMAT, RunError, check_format, check_same, family_hash
from mia_jax.store import Store, checksum
from mia_jax.training import Plan, Segment, TrainState
from mia_jax.types import Membership, Signals

PARTS = {"pool": Signals._fields, "population": Signals._fields, "test": ("log_prob", "correct")}
"""The signals that are kept of each part of the data."""


class Place(NamedTuple):
    """Where a segment belongs: models start…stop-1 at a checkpoint's number."""

    start: int
    stop: int
    checkpoint: int


class RunDirectory:
    """One study on disk. Made with `create` or `existing`, never half-open."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.store = Store(path)
        self._record = record
        self.config = configs.from_mapping(record["config"])
        self._commit_records: dict[str, dict[Place, dict[str, Any]]] = {}

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs of the checkpoints."""
        return configs.checkpoint_epochs(self.config)

    @property
    def data_fingerprint(self) -> str:
        """The fingerprint of the data that the run was made with."""
        return self._record["data_fingerprint"]

    @property
    def num_classes(self) -> int:
        """The number of classes C of the data."""
        return self.data_facts()["num_classes"]

    def num_parameters(self, family: str) -> int:
        """The number of parameters of each model of a family."""
        return self._record["families"][family]["num_parameters"]

    def data_facts(self) -> dict[str, Any]:
        """What is known of the data."""
        return self.store.require_json("data.json")

    def keep_session(self, environment: Mapping[str, str]) -> None:
        """Add one start of a training to the list of them."""
        sessions = self.store.read_json("environment.json") or []
        self.store.write_json("environment.json", [*sessions, dict(environment)])

    def last_session(self) -> dict[str, str]:
        """The environment of the last start of a training."""
        return self.store.require_json("environment.json")[-1]

    def with_section(self, section: str, values: Mapping[str, Any]) -> RunDirectory:
        """The same run with other attack or report settings, written down; None keeps a field.

        Raises `ConfigError` for a value that is not allowed.
        """
        mapping = configs.to_mapping(self.config)
        mapping[section] |= {key: value for key, value in values.items() if value is not None}
        self._record["config"] = configs.to_mapping(configs.from_mapping(mapping))
        self.store.write_json("config.json", self._record)
        return RunDirectory(self.path, self._record)

    def hash(self, family: str) -> str:
        """The hash of everything that decides a family's numbers."""
        return family_hash(self.config, family, self.data_fingerprint, self._record["plans"][family])

    # Membership and plan -----------------------------------------------------------------

    def keep_membership(self, membership: Membership) -> None:
        """Write the membership, refusing one that contradicts what is there."""
        old = self.store.read_arrays("membership.npz")
        new = {key: np.asarray(value) for key, value in membership._asdict().items()}
        if old is not None:
            rows = len(old["member"])
            if len(new["member"]) < rows or not np.array_equal(new["member"][:rows], old["member"]):
                raise RunError(
                    f"{self.path} holds models of another membership, though the config is the same: the random "
                    "numbers of this JAX differ from those it was made with; use that version, or another workdir."
                )
        self.store.write_arrays("membership.npz", new)

    def membership(self) -> Membership:
        """The membership as written."""
        found = self.store.read_arrays("membership.npz")
        if found is None:
            raise RunError(f"{self.path}/membership.npz is missing or damaged: run the training again.")
        return Membership(**found)

    def keep_family(self, name: str, family: FamilyConfig, plan: Plan, num_parameters: int) -> Plan:
        """Write down a family's size and plan, and return the plan it was begun with."""
        plans = self._record.setdefault("plans", {})
        plans.setdefault(name, plan._asdict())
        sized = {**configs.to_mapping(family), "num_parameters": num_parameters}
        self._record.setdefault("families", {})[name] = sized
        self.store.write_json("config.json", self._record)
        return Plan(**plans[name])

    # Segments ----------------------------------------------------------------------------

    def write_segment(self, family: str, segment: Segment) -> None:
        """Write a finished segment; it exists once its commit record does."""
        place = Place(segment.start, segment.stop, segment.checkpoint)
        arrays = dict(_observed_arrays(segment))
        self.store.write_blocks(
            (self._array(family, name, values), place.start, place.stop, place.checkpoint, values)
            for name, values in arrays.items()
        )
        if self._keeps_parameters(place.checkpoint):
            self.store.write_arrays(_entry("parameters", family, place), _named_leaves(segment.state.params))
        record: dict[str, Any] = {
            "hash": self.hash(family),
            "checksums": {name: checksum(values) for name, values in arrays.items()},
        }
        last = place.checkpoint == len(self.epochs) - 1
        if not last:
            record["state"] = self.store.write_arrays(_entry("states", family, place), _leaves(segment.state))
        self.store.write_json(_entry("commits", family, place), record)
        self._commits(family)[place] = record
        if place.checkpoint:
            self.store.delete(_entry("states", family, place._replace(checkpoint=place.checkpoint - 1)))

    def chunks(self, family: str, plan: Plan) -> list[tuple[int, int]]:
        """The chunks of models, start and stop: those that were begun, then the rest as planned."""
        begun = sorted({(place.start, place.stop) for place in self._commits(family)})
        models, first = self.config.membership.num_models, begun[-1][1] if begun else 0
        size = plan.models_per_chunk
        return begun + [(start, min(start + size, models)) for start in range(first, models, size)]

    def resume(self, family: str, start: int, stop: int) -> tuple[int, list[np.ndarray]] | None:
        """The last committed checkpoint of a chunk and its state's leaves; None to begin anew.

        A state that is missing or damaged costs its chunk's work, which is then done again.
        """
        done = [place for place in self._commits(family) if place[:2] == (start, stop)]
        if not done:
            return None
        last = max(done)
        if last.checkpoint == len(self.epochs) - 1:
            return last.checkpoint, []
        state = self.store.read_arrays(_entry("states", family, last), self._commits(family)[last]["state"])
        return None if state is None else (last.checkpoint, list(state.values()))

    def signal(self, family: str, name: str, checkpoint: int) -> np.ndarray:
        """One signal of all K models at one checkpoint, checked: [K, …]. name: "pool/log_prob", …"""
        blocks = []
        for place, record in sorted(self._commits(family).items()):
            if place.checkpoint != checkpoint or name not in record["checksums"]:
                continue
            values = self.store.read_block(f"signals/{family}/{name}", *place)
            if checksum(values) != record["checksums"][name]:
                raise RunError(
                    f"{self.path}/signals/{family}/{name} is damaged for models {place.start} to {place.stop - 1}: "
                    f"delete {self.path}/commits/{family} and run the training again to restore it."
                )
            blocks.append(values)
        return np.concatenate(blocks)

    def check_complete(self, family: str) -> None:
        """Refuse to read a family whose training is not finished (`RunError`)."""
        models, last = self.config.membership.num_models, len(self.epochs) - 1
        done = sum(place.stop - place.start for place in self._commits(family) if place.checkpoint == last)
        if done < models:
            raise RunError(
                f"{self.path} holds {done} of {models} finished models of family {family}: run scripts/train.py "
                "with the same config and workdir first."
            )

    def _commits(self, family: str) -> dict[Place, dict[str, Any]]:
        """All commit records of a family, read once; those of another making are refused."""
        known = self._commit_records.get(family)
        if known is None:
            names = self.store.names(f"commits/{family}/")
            known = {_place(name): self.store.require_json(name) for name in names}
            for place, record in known.items():
                if record["hash"] != self.hash(family):
                    raise RunError(
                        f"{self.path}/commits/{family} records models {place.start} to {place.stop - 1} of another "
                        "run: use another --workdir, or --overwrite to delete what is there."
                    )
            self._commit_records[family] = known
        return known

    def _array(self, family: str, name: str, values: np.ndarray) -> Any:
        """The array [K, T, …] that blocks like `values` [M, …] belong to."""
        shape = (self.config.membership.num_models, len(self.epochs), *values.shape[1:])
        chunk = self._record["plans"][family]["models_per_chunk"]
        return self.store.array(f"signals/{family}/{name}", shape, values.dtype, models_per_chunk=chunk)

    def _keeps_parameters(self, checkpoint: int) -> bool:
        """Whether parameters are asked for at this checkpoint."""
        kept = self.config.recording.parameters
        return kept == "all" or (kept == "final" and checkpoint == len(self.epochs) - 1)

    # Scores ------------------------------------------------------------------------------

    def write_scores(self, family: str, attack: str, checkpoint: int, scores: np.ndarray) -> None:
        """Write one attack's scores [K, N] at one checkpoint, as float32."""
        shape = (scores.shape[0], len(self.epochs), *scores.shape[1:])
        place = f"scores/{family}/{attack}"
        array = self.store.array(place, shape, np.float32, models_per_chunk=scores.shape[0])
        self.store.write_blocks([(array, 0, scores.shape[0], checkpoint, scores.astype(np.float32))])

    def forget_scores(self, family: str) -> None:
        """Remove a family's scores, so that none of an older making can be taken for new."""
        self.store.delete(f"scores/{family}.json")
        self.store.delete_under(f"scores/{family}/")

    def sign_scores(self, family: str) -> None:
        """Say what made a family's scores, once all are written."""
        self.store.write_json(f"scores/{family}.json", self._scores_signature(family))

    def check_scores(self, family: str) -> None:
        """Refuse scores that are missing, unfinished or of another making (`RunError`)."""
        signed = self.store.read_json(f"scores/{family}.json")
        if signed != self._scores_signature(family):
            what = "no finished scores" if signed is None else "scores of other models or attack settings"
            raise RunError(
                f"{self.path} holds {what} for family {family}: run scripts/attack.py on it first."
            )

    def _scores_signature(self, family: str) -> dict[str, Any]:
        """What decides a family's scores."""
        models = self.config.membership.num_models
        return {"hash": self.hash(family), "models": models, "attacks": configs.digest(self.config.attacks)}

    def scores(self, family: str, attack: str, checkpoint: int) -> np.ndarray:
        """One attack's scores at one checkpoint: float64 [K, N]."""
        models = self.config.membership.num_models
        return self.store.read_block(f"scores/{family}/{attack}", 0, models, checkpoint).astype(np.float64)


def create(
    path: Path, config: Config, data_facts: Mapping[str, Any], *, overwrite: bool = False
) -> RunDirectory:
    """The run directory of a config, new or continued; one of anything else is refused (`RunError`)."""
    old = _read_record(path)
    if overwrite and old is not None:
        _empty(path)
        old = None
    if old is None:
        if path.exists() and any(entry.name != "lock" for entry in path.iterdir()):
            raise RunError(f"{path} is not empty and holds no run: name another --workdir.")
        old = {"format": FORMAT, "data_fingerprint": data_facts["fingerprint"]}
    else:
        check_same(path, old, config, data_facts)
    record = {**old, "config": configs.to_mapping(config)}
    run = RunDirectory(path, record)
    run.store.write_json("config.json", record)
    run.store.write_json("data.json", dict(data_facts))
    return run


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


def _lock_file(path: Path) -> IO[str]:
    """The open lock of a directory, made where it is missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        return (path / "lock").open("w")
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}; name another --workdir.") from None


def _empty(path: Path) -> None:
    """Remove everything but the lock."""
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def _read_record(path: Path) -> dict[str, Any] | None:
    """The content of config.json, None where there is none."""
    return Store(path).read_json("config.json") if (path / "config.json").exists() else None


def _observed_arrays(segment: Segment) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a segment by their names below signals/FAMILY/."""
    observed = segment.observed
    for part, fields in PARTS.items():
        signals = getattr(observed, part)
        for field in fields:
            yield f"{part}/{field}", np.asarray(getattr(signals, field))
    yield "pool/last_seen", np.asarray(observed.last_seen)
    for part, logits in observed.logits.items():
        yield f"{part}/logits", np.asarray(logits)


def _entry(room: str, family: str, place: Place) -> str:
    """The name of a segment's entry in commits, states or parameters."""
    suffix = "json" if room == "commits" else "npz"
    return f"{room}/{family}/{place.start:06d}-{place.stop:06d}/{place.checkpoint:04d}.{suffix}"


def _place(entry: str) -> Place:
    """Where the segment of a commit's entry belongs."""
    models, checkpoint = entry.removesuffix(".json").split("/")[-2:]
    start, stop = (int(part) for part in models.split("-"))
    return Place(start, stop, int(checkpoint))


def _leaves(state: TrainState) -> dict[str, np.ndarray]:
    """A state's leaves in their order."""
    return {f"{number:05d}": np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(state))}


def _named_leaves(params: Any) -> dict[str, np.ndarray]:
    """Parameters by their path in the tree."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in paths}
