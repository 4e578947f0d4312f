"""Attacks on somebody's own models: one file of signals in, scores, tables and the report out.

signals.json           what made the scores: the file's fingerprint, the settings, what was derived
scores.npz             member, valid, and one array [K, N] for every attack
results.json, results.csv, utility.csv, slices.csv, vulnerability/, figures/, report.html
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy.sparse import csgraph

from mia_jax import __version__, keys, summary
from mia_jax import attacks as attack_library
from mia_jax import config as configs
from mia_jax.attacks import Observations
from mia_jax.config import AttackName, Config, ConfigError
from mia_jax.progress import Reporter, Silent
from mia_jax.report.inputs import ReportInputs
from mia_jax.runs import contents, locking
from mia_jax.runs.identity import RunError
from mia_jax.runs.store import Address, Store
from mia_jax.signals_file import SignalsFile, load
from mia_jax.statistics.cross_fitting import cross_fit
from mia_jax.statistics.pooled import Pooled
from mia_jax.statistics.score_table import as_table
from mia_jax.study import assembly
from mia_jax.study.environment import environment
from mia_jax.study.scoring import scores_of

FAMILY = "own"
"""The name under which a person's own models stand in tables."""

FORMAT = "mia_jax own signals 1"
"""By which signals.json is known for ours."""

SHOWN = ("name", "seed", "attacks", "report")
"""The sections of a config that mean something for signals which somebody brings."""

OURS = ("scores.npz", *contents.REPORTS, "signals.json")
"""In the order of their removal: whatever stops it, what is left is still known for ours."""


def attack_file(
    path: Path,
    config: Config,
    workdir: Address,
    *,
    embedding_p: float = 2.0,
    overwrite: bool = False,
    tell: Reporter | None = None,
) -> ReportInputs:
    """Run the config's attacks on the signals in `path` and write everything to `workdir`.

    Attacks that were run there before on the same file with the same settings stay, and are reported
    beside the new ones. Only `config.name`, `seed`, `attacks` and `report` are read. Raises `ConfigError`
    for a file that cannot be used, before any work, and `RunError` for a directory that holds something
    else.
    """
    tell = tell or Silent()
    brought = load(path, embedding_p=embedding_p)
    record = _record(brought, config, embedding_p)
    _check_free(workdir, record, overwrite=overwrite)
    with locking.locked(workdir):
        _check_free(workdir, record, overwrite=overwrite)
        earlier = {} if overwrite else _earlier(workdir, record)
        inputs, scores = attack(brought, config, earlier=earlier, tell=tell)
        store = Store(workdir)
        if not _same(_old_record(workdir), record):
            contents.remove(workdir, OURS)
            store.write_json("signals.json", record)
        store.write_arrays("scores.npz", scores)
        tell.say(f"report: {_write_report(inputs, workdir)}")
    return inputs


def attack(
    brought: SignalsFile,
    config: Config,
    *,
    earlier: Mapping[str, np.ndarray] | None = None,
    tell: Reporter | None = None,
) -> tuple[ReportInputs, dict[str, np.ndarray]]:
    """What a report shows of a person's signals, and the scores by attack, float64 [K, N] each.

    earlier: scores of attacks that need not be run again, by name.
    """
    tell = tell or Silent()
    seen = brought.observations._replace(key=keys.roots(config.seed).attack)
    there = {field for field, value in seen._asdict().items() if value is not None}
    selected = attack_library.select(config.attacks, there)
    skipped = {name: f"needs {' and '.join(fields)}" for name, fields in selected.lacking.items()}
    _check_groups(brought)
    _check_population(seen)
    _check_possible(config, skipped, selected.attacks)
    for note in brought.facts["notes"]:
        tell.say(f"note: {note}")
    for name, reason in skipped.items():
        tell.say(f"{name} is left out, it {reason}, which the file does not have")
    scores = dict(earlier or {})
    for one in selected.attacks:
        if one.name not in scores:
            tell.say(f"attack: {one.name}")
            scores[one.name] = scores_of(one, seen)
    inputs = _summarise(brought, seen, config, scores, skipped)
    for note in inputs.notes[len(brought.facts["notes"]) :]:
        tell.say(f"note: {note}")
    kept: dict[str, Any] = {"member": seen.member, "valid": _valid(seen)}
    return inputs, {**kept, **scores}


def _summarise(
    brought: SignalsFile,
    seen: Observations,
    config: Config,
    scores: dict[str, np.ndarray],
    skipped: dict[str, str],
) -> ReportInputs:
    """Everything a report shows of the scores."""
    setting = summary.Setting(FAMILY, 0, 0)
    member, twin, valid = np.asarray(seen.member), _twin(seen), _valid(seen)
    labels = None if seen.labels is None else np.asarray(seen.labels)
    groups = dict(brought.groups)
    utility = []
    if labels is not None:
        groups.setdefault("class", labels)
    if seen.correct is not None:
        groups.setdefault("correct", np.asarray(seen.correct) > 0.5)
        confidence = config.report.confidence
        utility.append(summary.own_utility_row(setting, seen.correct, member, valid, confidence))
    run = cast(tuple[AttackName, ...], tuple(scores))
    config = dataclasses.replace(config, attacks=dataclasses.replace(config.attacks, names=run))
    results, found = [], {}
    for name, values in scores.items():
        pooled = Pooled(values, member, twin)
        chosen = cross_fit(pooled)
        results.append(summary.pooled_row(setting, name, pooled, chosen, config.report))
        found[FAMILY, name] = assembly.findings(pooled, chosen)
    facts = assembly.Facts(
        shown_config={key: configs.to_mapping(config)[key] for key in SHOWN},
        environment=environment(),
        data_facts={key: value for key, value in brought.facts.items() if key != "notes"},
        command=environment()["command"],
        utility=utility,
        results=results,
        diverged={FAMILY: [int(k) for k in np.flatnonzero(~valid)]},
        skipped={FAMILY: skipped},
        notes=[*brought.facts["notes"], *_doubts(utility, labels)],
    )
    tables = {(FAMILY, name): as_table(values) for name, values in scores.items()}
    slicing = {FAMILY: {name: assembly.group_of(values) for name, values in groups.items()}}
    return assembly.report_inputs(config, facts, tables, found, member, twin, labels, slicing)


def _valid(seen: Observations) -> np.ndarray:
    """The usable models, bool [K]."""
    return np.ones(len(seen.member), bool) if seen.valid is None else np.asarray(seen.valid, bool)


def _twin(seen: Observations) -> np.ndarray:
    """The first other model that each is tied to by exclusions, int [K], -1 for none."""
    if seen.exclude is None:
        return np.full(len(seen.member), -1)
    group = csgraph.connected_components(np.asarray(seen.exclude), directed=False)[1]
    related = (group[:, None] == group[None, :]) & ~np.eye(group.size, dtype=bool)
    return np.where(related.any(axis=1), related.argmax(axis=1), -1)


def _check_possible(config: Config, skipped: dict[str, str], possible: list[Any]) -> None:
    """Refuse a named attack whose arrays are not there, and a file that allows none (`RunError`)."""
    for name in config.attacks.names:
        if name in skipped:
            raise RunError(
                f"--attacks holds {name}, which {skipped[name]}: add the arrays to the file, or leave it out "
                '("all": every attack whose arrays are there).'
            )
    if not possible:
        raise RunError(
            "--signals has no array that an attack could read: add `logits` [K, N, C] with `labels` [N], or "
            "`log_prob` [K, N]."
        )


def _check_groups(brought: SignalsFile) -> None:
    """Refuse a grouping of the person's own with too many values for a table (`ConfigError`)."""
    for name, values in brought.groups.items():
        if np.unique(values).size > assembly.MOST_VALUES:
            raise ConfigError(
                f"slice_{name} has {np.unique(values).size} distinct values: at most {assembly.MOST_VALUES} are "
                f"allowed; put several into one first, as np.digitize does."
            )


def _check_population(seen: Observations) -> None:
    """Refuse a population that is the pool itself (`ConfigError`)."""
    pool, population = np.asarray(seen.scaled_logit), np.asarray(seen.population_scaled_logit)
    if seen.population_scaled_logit is not None and np.array_equal(pool, population):
        raise ConfigError(
            "the population's signals are those of the records themselves: the population must be records that no "
            "model was trained on; leave its arrays out where you have none."
        )


def _doubts(utility: Sequence[Mapping[str, Any]], labels: np.ndarray | None) -> list[str]:
    """What the accuracies say against the arrays: sentences."""
    doubts = []
    for row in utility:
        if row["gap_high"] is not None and row["gap_high"] < 0:
            doubts.append(
                f"the models are right about {row['train_accuracy']:.1%} of members and {row['test_accuracy']:.1%} of "
                "non-members: training does the opposite, so member may be inverted; if so, pass ~member."
            )
        if labels is None or row["train_accuracy"] is None:
            continue
        frequent = np.bincount(labels).max() / labels.size
        if row["train_accuracy"] < frequent and row["test_accuracy"] < frequent:
            doubts.append(
                f"the models are right about {row['train_accuracy']:.1%} of members, and always naming the most "
                f"frequent class would be about {frequent:.1%}: the labels may not belong to these signals, or count "
                "from 1; nothing below means much if so."
            )
    return doubts


def _record(brought: SignalsFile, config: Config, embedding_p: float) -> dict[str, Any]:
    """What makes the results of one command those of no other: the file, and what decides scores."""
    constants = {key: value for key, value in configs.to_mapping(config.attacks).items() if key != "names"}
    return {
        "format": FORMAT,
        "file": brought.facts.get("file"),
        "fingerprint": brought.facts["fingerprint"],
        "settings": {"version": __version__, "seed": config.seed, "embedding_p": embedding_p, **constants},
        "facts": brought.facts,
    }


def _old_record(workdir: Address) -> dict[str, Any] | None:
    """What signals.json says of earlier results; None where there is none, or it is somebody else's."""
    found = Store(workdir).read_json("signals.json")
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def _same(old: Any, record: Mapping[str, Any]) -> bool:
    """Whether earlier results are of the same file and settings."""
    return bool(old) and all(old.get(key) == record[key] for key in ("fingerprint", "settings"))


def _earlier(workdir: Address, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The scores that are there already, by attack; none of another file or other settings."""
    store = Store(workdir)
    if not _same(_old_record(workdir), record):
        return {}
    found = store.read_arrays("scores.npz") or {}
    return {name: values for name, values in found.items() if name not in ("member", "valid")}


def _check_free(workdir: Address, record: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make sure that `workdir` is free, or holds earlier results of the same file and settings (`RunError`)."""
    old = _old_record(workdir)
    if old is None:
        contents.check_empty(workdir)
        return
    if overwrite or _same(old, record):
        return
    what = f"of another file, {old.get('file')}"
    if old.get("fingerprint") == record["fingerprint"]:
        there, here = old.get("settings", {}), record["settings"]
        other = [
            f"{key} {there.get(key)!r}, here {here[key]!r}" for key in here if there.get(key) != here[key]
        ]
        what = f"with other settings ({'; '.join(other)})"
    raise RunError(f"{workdir} holds results {what}: name another --workdir, or --overwrite to delete them.")


def _write_report(inputs: ReportInputs, workdir: Address) -> Address:
    """Tables, figures and the page."""
    from mia_jax.report import write_report

    return write_report(inputs, workdir)
