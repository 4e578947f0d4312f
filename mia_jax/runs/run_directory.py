"""A run directory: what is in it, whose it is, and how far it has come.

It is a local folder, or whatever else TensorStore opens (`gs://…`, `s3://…`), with the same entries;
`mia_jax.runs.contents` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mia_jax import config as configs
from mia_jax.blocks import records_at_once, whole
from mia_jax.config import Config, FamilyConfig
from mia_jax.runs import contents
from mia_jax.runs.identity import FORMAT, RunError, check_format, check_same, family_hash
from mia_jax.runs.processes import ALONE
from mia_jax.runs.segments import Segments
from mia_jax.runs.store import Address, Store, address, unwritten
from mia_jax.training import Plan
from mia_jax.types import Dataset, Membership


class RunDirectory:
    """One study on disk or in a bucket. Made with `create` or `existing`, never half-open.

    path: its address; a `Path` where it is local. record: what its config.json holds.
    """

    def __init__(self, path: Address, record: Mapping[str, Any]) -> None:
        self.path = address(path)
        self.store = Store(path)
        self.config = configs.from_mapping(record["config"])
        self.record = dict(record)
        self._segments: dict[str, Segments] = {}

    def reopened(self) -> RunDirectory:
        """The same run with all that other processes have finished meanwhile."""
        return RunDirectory(self.path, self.record)

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs of the checkpoints."""
        return configs.checkpoint_epochs(self.config)

    @property
    def fingerprint(self) -> str:
        """What tells the records apart from all others."""
        return self.record["data_fingerprint"]

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

    def membership(self, *, lists: bool = True) -> Membership:
        """The membership of the config's K models. lists: with `indices` and `mask`, which are large; else [K, 0]."""
        found = self.store.read_some("membership.npz", Membership._fields if lists else ("member", "twin"))
        models = self.config.membership.num_models
        if found is None or len(found["member"]) < models:
            raise RunError(f"{self.path}/membership.npz is missing or damaged: run the training again.")
        none = {"indices": np.zeros((models, 0), np.int32), "mask": np.zeros((models, 0), bool)}
        return Membership(**{**none, **{name: values[:models] for name, values in found.items()}})

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
        changed = {**self.record, "config": configs.to_mapping(configs.from_mapping(mapping))}
        return RunDirectory(self.path, changed)

    def keep_config(self) -> None:
        """Write the config down as it is now."""
        self.store.write_json("config.json", self.record)

    @property
    def noise_multiplier(self) -> float | None:
        """The noise of DP-SGD, relative to the clip norm; None without it."""
        return self.record.get("noise_multiplier")

    def keep_noise(self, noise_multiplier: float | None, question: str) -> None:
        """Write down the noise of DP-SGD, so that a run goes on with the very number that it began with.

        question: what the noise was solved for.
        """
        self.record |= {"noise_multiplier": noise_multiplier, "noise_question": question}
        self.store.write_json("config.json", self.record)

    def keep_family(self, name: str, family: FamilyConfig, plan: Plan, num_parameters: int) -> Plan:
        """Write down a family's size and plan; give the plan back, as many models together as it was begun with."""
        old = self.record.get("families", {}).get(name, {}).get("plan", {})
        kept = plan._replace(models_together=old.get("models_together", plan.models_together))
        sized = {**configs.to_mapping(family), "num_parameters": num_parameters, "plan": kept._asdict()}
        self.record["families"] = {**self.record.get("families", {}), name: sized}
        self.store.write_json("config.json", self.record)
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
        families = self.record.get("families", {})
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

    def write_scores(
        self,
        family: str,
        attack: str,
        checkpoint: int,
        scores: np.ndarray,
        *,
        first_record: int = 0,
        job: str = ALONE.job,
    ) -> None:
        """Write one attack's scores [K, N'] of the records from `first_record` on at one checkpoint.

        Blocks of `blocks.records_at_once` records, begun at multiples of it, are files of their own. job: whose scores
        these are; those of one that was taken for dead never get among another's.
        """
        models, records = scores.shape[0], self.config.data.pool_size
        array = self.store.array(
            f"scores/{family}/{attack}/{job}",
            (models, len(self.epochs), records),
            np.float64,
            models_per_chunk=models,
            records_per_file=records_at_once(models),
        )
        self.store.write_blocks(
            [(array[:, :, first_record : first_record + scores.shape[1]], 0, models, checkpoint, scores)]
        )

    def sign_scores(
        self, family: str, attack: str, checkpoints: Sequence[int], *, job: str = ALONE.job
    ) -> None:
        """Say what made an attack's scores, and at which checkpoints it could be run, once all are written."""
        signed = {**self._scores_signature(family), "checkpoints": list(checkpoints), "job": job}
        self.store.write_json(f"scores/{family}/{attack}.json", signed)

    def scored(self, family: str, attack: str) -> list[int]:
        """The checkpoints at which an attack was run; scores that are missing, unfinished or of another
        making are refused (`RunError`).
        """
        return self._signed(family, attack)["checkpoints"]

    def _signed(self, family: str, attack: str) -> dict[str, Any]:
        """What was said of an attack's scores (`RunError`)."""
        signed = self.store.read_json(f"scores/{family}/{attack}.json") or {}
        signature = self._scores_signature(family)
        if {name: signed.get(name) for name in signature} != signature or "job" not in signed:
            what = "scores of other models or attack settings" if signed else "no finished scores"
            raise RunError(
                f"{self.path} holds {what} of attack {attack} for family {family}: run scripts/attack.py on it first."
            )
        return signed

    def scores(
        self,
        family: str,
        attack: str,
        checkpoint: int,
        *,
        models: slice = slice(None),
        records: slice = slice(None),
    ) -> np.ndarray:
        """One attack's scores of some models and records (default: all) at one checkpoint, float64 [K', N'].

        All NaN where the attack could not be run. Scores that are missing, unfinished or of another making are
        refused (`RunError`).
        """
        first, last = whole(models, self.config.membership.num_models)
        start, stop = whole(records, self.config.data.pool_size)
        signed = self._signed(family, attack)
        if checkpoint not in signed["checkpoints"]:
            return np.full((last - first, stop - start), np.nan)
        name = f"scores/{family}/{attack}/{signed['job']}"
        found = self.store.read_block(name, first, last, checkpoint, records=slice(start, stop))
        if unwritten(found):
            raise RunError(
                f"{self.path}/{name} lacks scores that were written: run scripts/attack.py on it again."
            )
        return found

    def _scores_signature(self, family: str) -> dict[str, Any]:
        """What decides a family's scores, beside the attack's own name."""
        constants = {**configs.to_mapping(self.config.attacks), "names": None}
        models = self.config.membership.num_models
        return {"hash": self._hash(family), "models": models, "attacks": configs.digest(constants)}


def create(
    path: Address, config: Config, dataset: Dataset, membership: Membership, *, overwrite: bool = False
) -> RunDirectory:
    """The run directory of a config, new or continued; one of anything else is refused (`RunError`).

    Nothing is written, and with `overwrite` nothing removed, before all is found to fit.
    """
    old = _read_record(path)
    if old is None:
        contents.check_empty(path)
    fingerprint = dataset.facts["fingerprint"]
    if old is None or overwrite:
        if old is not None:
            contents.remove(path, contents.OURS)
        record = {"format": FORMAT, "data_fingerprint": fingerprint, "config": configs.to_mapping(config)}
        run = RunDirectory(path, record)
    else:
        check_same(path, old, config, fingerprint)
        run = RunDirectory(path, {**old, "config": configs.to_mapping(config)})
        _check_membership(run, membership)
        for family in set(config.families) & set(old.get("families", ())):
            run.segments(family)
    run.store.write_json("config.json", run.record)
    run.store.write_json("data.json", dict(dataset.facts))
    run.store.write_arrays("labels.npz", {part: np.asarray(getattr(dataset, part).y) for part in _LABELLED})
    run.store.write_arrays("membership.npz", {k: np.asarray(v) for k, v in membership._asdict().items()})
    return run


def check_config(path: Address, config: Config) -> None:
    """Refuse a directory whose run is of another config (`RunError`); one without a run is no matter."""
    record = _read_record(path)
    if record is not None:
        check_same(path, record, config, record["data_fingerprint"])


def clear(path: Address) -> None:
    """Remove the run at `path`, if there is one, and nothing else."""
    if _read_record(path) is not None:
        contents.remove(path, contents.OURS)


def kept_noise(path: Address, question: str) -> float | None:
    """The noise of DP-SGD that a run at `path` was begun with, if it was solved for the same; else None."""
    record = _read_record(path) or {}
    same = record.get("format") == FORMAT and record.get("noise_question") == question
    return record.get("noise_multiplier") if same else None


def existing(path: Address) -> RunDirectory:
    """The run directory at `path`, which must hold one (`RunError`)."""
    record = _read_record(path)
    if record is None:
        raise RunError(f"{path} holds no run: run scripts/train.py with this --workdir first.")
    check_format(path, record)
    return RunDirectory(path, record)


_LABELLED = ("pool", "population", "test")


def _read_record(path: Address) -> dict[str, Any] | None:
    """The content of config.json, None where there is none or it is not a run's."""
    record = Store(path).read_json("config.json")
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
