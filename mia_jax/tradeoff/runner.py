"""The trade-off study: train, attack and audit every arm, measure noisy releases, and write what it shows.

Every arm is a run directory of its own, with all that such a directory promises: a trade-off that was
stopped goes on where it was. Strengths that change no shape are the same compiled programs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mia_jax import __version__, data, defences, models, releases, sensitivity, study
from mia_jax import config as configs
from mia_jax.config import Config, ConfigError
from mia_jax.progress import Reporter, Silent
from mia_jax.runs import contents, locking, run_directory
from mia_jax.runs.identity import RunError
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.runs.store import Store
from mia_jax.statistics.contrasts import Measured
from mia_jax.study import privacy, reporting
from mia_jax.study.environment import environment
from mia_jax.tradeoff.arms import Arm, arms
from mia_jax.tradeoff.contrasts import contrasts
from mia_jax.tradeoff.measuring import Sample, from_arrays, of_run, to_arrays
from mia_jax.tradeoff.rows import BASELINE, TradeoffRows, weak_to_strong
from mia_jax.types import Dataset

Rows = dict[str, list[dict[str, Any]]]
"""utility, results, privacy, audits: rows of an arm, before they are named by it."""

KINDS = ("utility", "results", "privacy", "audits")

KEPT = "tradeoff"
"""Below an arm's directory: what was summarised of it."""

SIGNATURE = "signature"
"""Among the arrays of releases: what decides them."""


def tradeoff(
    config: Config, workdir: Path, *, overwrite: bool = False, tell: Reporter | None = None
) -> TradeoffRows:
    """Run every arm of `config.tradeoff`, or what is left of them, into `workdir`, and summarise them.

    Raises, before any work, `ConfigError` where the grid is empty or an arm's config cannot be run, and
    `RunError` where the directory holds something else. overwrite: all arms are removed first, so that one
    that is stopped goes on like any other.
    """
    tell = tell or Silent()
    if not config.tradeoff.grid:
        raise ConfigError(
            "config.tradeoff.grid is empty: name defences and strengths, as in "
            "\"--config.tradeoff.grid={'l2': (0.001, 0.01)}\"."
        )
    found: Rows = {kind: [] for kind in KINDS}
    samples: dict[int, Sample] = {}
    todo = arms(config)
    _check(workdir, todo, overwrite)
    Store(workdir).write_json("tradeoff_config.json", configs.to_mapping(config))
    for arm in todo if overwrite else ():
        run_directory.clear(workdir / arm.name)
    began = time.monotonic()
    for number, arm in enumerate(todo):
        tell.say(f"arm {number + 1} of {len(todo)}: {arm.name} ({time.monotonic() - began:.0f} s so far)")
        run = _run_arm(arm, workdir / arm.name, tell)
        _add(
            found,
            arm.seed,
            arm.defence,
            arm.strength,
            _kept(run, "rows", _signature(run), lambda r=run: arm_rows(r)),
        )
        sample = samples.setdefault(arm.seed, Sample(np.asarray(run.membership(lists=False).twin), {}))
        for family in config.families:
            sample.arms[family, arm.defence, arm.strength] = of_run(run, family, len(run.epochs) - 1)
        if arm.defence == BASELINE:
            _add_early_stopping(found, sample, config, arm, run)
            _add_releases(found, sample, config, arm, run, tell)
    return TradeoffRows(
        title=config.name,
        **found,
        contrasts=contrasts(list(samples.values()), config.report.confidence),
        config=configs.to_mapping(config),
        facts={**environment(), "arms": len(todo)},
        confidence=config.report.confidence,
    )


def arm_rows(run: RunDirectory, checkpoint: int = -1) -> Rows:
    """What one arm's run amounts to at one checkpoint, its last if not named otherwise."""
    at = checkpoint % len(run.epochs)
    found: Rows = {kind: [] for kind in KINDS}
    for family in run.config.families:
        rows = reporting.rows_at(run, family, at)
        found["utility"].append(rows.utility)
        found["results"] += rows.results
        found["audits"] += reporting.audit_rows(run, family, at)
        found["privacy"] += [
            {"family": family, "kind": "accounted", "gamma": None, **row}
            for row in privacy.rows(run.config, run.noise_multiplier)
        ]
    return found


def _run_arm(arm: Arm, path: Path, tell: Reporter) -> RunDirectory:
    """One arm's run, trained and attacked; what is finished is not done again."""
    path.mkdir(parents=True, exist_ok=True)
    with locking.locked(path):
        run = study.train(arm.config, path, tell=tell)
        if (run.store.read_json(f"{KEPT}/rows.json") or {}).get("signature") != _signature(run):
            study.attack(run, tell=tell)
    return run


def _signature(run: RunDirectory) -> str:
    """What decides the rows of an arm."""
    made = [__version__, configs.to_mapping(run.config), run.fingerprint, run.noise_multiplier]
    return configs.digest(made)


def _kept(run: RunDirectory, name: str, signature: str, make: Callable[[], Any]) -> Any:
    """What was written down under a name in a run's directory; made, and written, where it is of another making."""
    entry = f"{KEPT}/{name}.json"
    old = run.store.read_json(entry) or {}
    if old.get("signature") != signature:
        old = {"signature": signature, "content": make()}
        run.store.write_json(entry, old)
    return old["content"]


def _add(found: Rows, seed: int, defence: str, strength: float, rows: Mapping[str, Any]) -> None:
    """An arm's rows to all others, each with where it belongs."""
    for kind in KINDS:
        for row in rows[kind]:
            rest = {k: v for k, v in row.items() if k not in ("checkpoint", "sigma")}
            if rest.get("defence") is not None:  # of a promise: the defence's own name, which the arm has
                rest.pop("defence")
            found[kind].append(
                {"seed": seed, "family": rest.pop("family"), "defence": defence, "strength": strength, **rest}
            )


def _add_early_stopping(found: Rows, sample: Sample, config: Config, arm: Arm, run: RunDirectory) -> None:
    """The baseline's earlier checkpoints, each as a training that was stopped there."""
    stops = config.tradeoff.grid.get("early_stopping", ())
    for epoch in weak_to_strong("early_stopping", stops):
        at = run.epochs.index(int(epoch))
        rows = _kept(run, f"rows_at_{int(epoch)}", _signature(run), lambda at=at: arm_rows(run, at))
        _add(found, arm.seed, "early_stopping", epoch, rows)
        for family in config.families:
            sample.arms[family, "early_stopping", float(epoch)] = of_run(run, family, at)


def _add_releases(
    found: Rows, sample: Sample, config: Config, arm: Arm, run: RunDirectory, tell: Reporter
) -> None:
    """The baseline's finished models, released with noise of every deviation."""
    sigmas = weak_to_strong("parameter_noise", config.tradeoff.grid.get("parameter_noise", ()))
    if not sigmas:
        return
    dataset = data.load(arm.config.data, arm.config.canaries)
    built = models.build_families(arm.config.families, dataset)[1]
    for family, model in built.items():
        tell.say(
            f"releases of {family}: {len(sigmas)} deviations, {config.tradeoff.draws} draws of each model"
        )
        rows, measured = _releases(run, family, model, dataset, sigmas, config.tradeoff.draws)
        for sigma, measures in measured.items():
            sample.arms[family, "parameter_noise", sigma] = measures
        moved = _sensitivity(run, config, arm, family, model, dataset, tell)
        for attack in rows["skipped"]:
            tell.say(f"releases of {family}: {attack} is left out, a release does not give what it needs")
        kept_promises = privacy.rows(run.config, run.noise_multiplier)  # noise comes on top of them
        for sigma in sigmas:
            own = {kind: [r for r in rows.get(kind, []) if r["sigma"] == sigma] for kind in KINDS}
            own["privacy"] = [
                {"family": family, "kind": "accounted", "gamma": None, **p} for p in kept_promises
            ]
            if moved is not None:
                promises = sensitivity.release_epsilons(moved, sigma, config.dp_sgd.delta)
                own["privacy"] += [{"family": family, "unit": "record", **row} for row in promises]
            _add(found, arm.seed, "parameter_noise", sigma, own)


def _releases(
    run: RunDirectory, family: str, model: models.Model, dataset: Dataset, sigmas: list[float], draws: int
) -> tuple[dict[str, Any], dict[float, dict[str, Measured]]]:
    """The rows of all deviations of one family, and what is measured of each; made where they are not kept."""
    signature = configs.digest([_signature(run), family, sigmas, draws])
    arrays = f"{KEPT}/releases_{family}.npz"
    kept = run.store.read_arrays(arrays)
    measured = None if kept is None or str(kept.get(SIGNATURE)) != signature else from_arrays(kept)

    def make() -> dict[str, Any]:
        nonlocal measured
        rows = releases.release_rows(
            run,
            family,
            model,
            dataset,
            sigmas,
            draws,
            run.config.audit.delta,
            parameters=run.config.parameter_noise.parameters,
        )
        measured = rows.pop("measured")
        run.store.write_arrays(arrays, {SIGNATURE: np.array(signature), **to_arrays(measured)})
        return rows

    if measured is None:  # rows without their arrays are made anew
        run.store.delete(f"{KEPT}/releases_{family}.json")
    rows = _kept(run, f"releases_{family}", signature, make)
    assert measured is not None
    return rows, measured


def _sensitivity(
    run: RunDirectory,
    config: Config,
    arm: Arm,
    family: str,
    model: models.Model,
    dataset: Dataset,
    tell: Reporter,
) -> sensitivity.Sensitivity | None:
    """How far one record moves a family's parameters, sampled; None where nothing could be promised with it."""
    asked = config.tradeoff
    # Where some parameters are released without noise, nothing is promised, however little they move.
    if not asked.sensitivity_draws or arm.config.parameter_noise.parameters:
        return None
    tell.say(
        f"sensitivity of {family}: {asked.sensitivity_draws} pairs, one record of each {asked.neighbour}d"
    )
    signature = configs.digest([_signature(run), family, asked.sensitivity_draws, asked.neighbour])
    size = arm.config.membership.train_size
    defended = defences.chosen(arm.config, dataset, size, noise_multiplier=run.noise_multiplier)
    kept = _kept(
        run,
        f"sensitivity_{family}",
        signature,
        lambda: sensitivity.to_mapping(
            sensitivity.sample_sensitivity(
                model,
                dataset,
                arm.config.training,
                size,
                num_draws=asked.sensitivity_draws,
                relation=asked.neighbour,
                seed=arm.seed,
                defence=defended.defence,
                strengths=defended.strengths,
            )
        ),
    )
    return sensitivity.from_mapping(kept)


def _check(workdir: Path, todo: Sequence[Arm], overwrite: bool) -> None:
    """Refuse arms that cannot be run (`ConfigError`), and a directory of anything else (`RunError`)."""
    if (workdir / "config.json").exists():
        raise RunError(f"{workdir} holds a run of its own: name another --workdir for the trade-off.")
    if not (workdir / "tradeoff_config.json").exists():
        contents.check_empty(workdir)
    for arm in todo:
        if not overwrite:
            run_directory.check_config(workdir / arm.name, arm.config)
        study.prepare(arm.config)
