"""The stages of a study: train, attack, report. Each reads and writes one run directory."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mia_jax import attacks as attack_library
from mia_jax import config as configs
from mia_jax import data, keys, membership, models, run_directory, summary
from mia_jax.attacks import Observations
from mia_jax.config import Config
from mia_jax.identity import RunError
from mia_jax.parallel import model_mesh
from mia_jax.progress import Reporter, Silent
from mia_jax.report.inputs import AttackCard, ReportInputs
from mia_jax.run_directory import RunDirectory
from mia_jax.training import plan, train_shadow_models
from mia_jax.training.shadow import recipe_of
from mia_jax.types import Dataset, Membership

FEWEST_MODELS = 4
"""Usable models below which nothing is attacked."""

PACKAGES = ("mia_jax", "jax", "jaxlib", "flax", "optax", "numpy")


def train(
    config: Config, workdir: Path, *, overwrite: bool = False, tell: Reporter | None = None
) -> RunDirectory:
    """Train every family of the config, or what is left of it, into `workdir`.

    Raises `ConfigError` before any work for a config that cannot give an answer, `RunError` where
    the directory holds something else, `StoreError` where it cannot be written.
    """
    tell = tell or Silent()
    sides = frozenset().union(*(attack.sides for attack in attack_library.chosen(config.attacks)))
    membership.check_references(config.membership, config.data.pool_size, sides)
    dataset = data.load(config.data)
    families, built = models.build_families(config.families, dataset)
    roots = keys.roots(config.seed)
    drawn = membership.draw(roots.membership, config.membership, config.data.pool_size)
    run = run_directory.create(workdir, config, dataset.facts, overwrite=overwrite)
    run.keep_membership(drawn)
    run.keep_session(environment())
    for name, model in built.items():
        count = models.count_parameters(model, models.one_record(dataset))
        sizes = run.keep_family(
            name, families[name], plan(config.training, config.membership.num_models, model_mesh()), count
        )
        tell.say(f"{name}: {families[name].kind}, {count:,} parameters")
        _train_family(run, name, model, dataset, drawn, roots, sizes, tell)
    return run


def _train_family(
    run: RunDirectory,
    name: str,
    model: models.Model,
    dataset: Dataset,
    drawn: Membership,
    roots: keys.Roots,
    sizes: Any,
    tell: Reporter,
) -> None:
    """Train what is left of one family."""
    config, epochs = run.config, run.epochs
    steps = recipe_of(model, drawn, config.training).steps_per_epoch
    chunks = run.chunks(name, sizes)
    resumed = {chunk: run.resume(name, *chunk) for chunk in chunks}
    done = sum((b - a) * epochs[state[0]] * steps for (a, b), state in resumed.items() if state)
    finished = sum(b - a for (a, b), state in resumed.items() if state and state[0] == len(epochs) - 1)
    tell.begin(name, config.membership.num_models, epochs[-1] * steps, done)
    segments = train_shadow_models(
        model,
        dataset,
        drawn,
        config.training,
        epochs,
        roots,
        logits_at=config.recording.logits_at,
        sizes=sizes,
        chunks=chunks,
        resume=lambda start, stop: resumed[start, stop],
    )
    try:
        for segment in segments:
            run.write_segment(name, segment)
            before = epochs[segment.checkpoint - 1] if segment.checkpoint else 0
            count = segment.stop - segment.start
            finished += count if segment.checkpoint == len(epochs) - 1 else 0
            tell.advance(finished, count * (segment.epoch - before) * steps)
    finally:
        tell.end()


def attack(run: RunDirectory, *, tell: Reporter | None = None) -> None:
    """Score every family of a trained run with the config's attacks, at every checkpoint."""
    tell = tell or Silent()
    chosen = attack_library.chosen(run.config.attacks)
    for family in run.config.families:
        run.check_complete(family)
        run.forget_scores(family)
        tell.say(f"attack {family}: {', '.join(attack.name for attack in chosen)}")
        for checkpoint in range(len(run.epochs)):
            seen = observations(run, family, checkpoint)
            for one in chosen:
                run.write_scores(family, one.name, checkpoint, _scores(run, family, one, seen))
        run.sign_scores(family)


def _scores(run: RunDirectory, family: str, one: attack_library.Attack, seen: Observations) -> np.ndarray:
    """One attack's scores [K, N], some of members and some of non-members (`RunError`)."""
    scores = one.score(seen)
    known = ~np.isnan(scores)
    if not (known & seen.member).any() or not (known & ~seen.member).any():
        raise RunError(
            f"{run.path}: attack {one.name} could score no record of family {family}, because every one has too few "
            "reference models: train more (config.membership.num_models may grow), or leave this attack out."
        )
    return scores


def observations(run: RunDirectory, family: str, checkpoint: int) -> Observations:
    """What an attacker holds of one family at one checkpoint. Raises `RunError` with too few usable models."""
    drawn = run.membership()
    log_prob = run.signal(family, "pool/log_prob", checkpoint)
    scaled_logit = run.signal(family, "pool/scaled_logit", checkpoint)
    population = run.signal(family, "population/log_prob", checkpoint)
    usable = summary.usable_models(drawn.member, run.num_classes, log_prob, scaled_logit, population)
    if usable.sum() < FEWEST_MODELS:
        raise RunError(
            f"{run.path}: only {usable.sum()} of {usable.size} models of family {family} did not diverge, at least "
            f"{FEWEST_MODELS} are needed: lower config.training.learning_rate."
        )
    exclude = membership.exclusions(drawn)
    return Observations(drawn.member, log_prob, scaled_logit, population, exclude, usable)


def report(run: RunDirectory, *, tell: Reporter | None = None) -> ReportInputs:
    """Summarise the scores of an attacked run and write tables, figures and the page."""
    from mia_jax.report import write_report

    tell = tell or Silent()
    inputs = summarise(run)
    tell.say(f"report: {write_report(inputs, run.path)}")
    return inputs


def summarise(run: RunDirectory) -> ReportInputs:
    """Everything a report shows, from a run's signals and scores."""
    config, drawn, last = run.config, run.membership(), len(run.epochs) - 1
    utility, results, diverged = [], [], {}
    final: dict[tuple[str, str], np.ndarray] = {}
    for family in config.families:
        run.check_scores(family)
        for checkpoint, epoch in enumerate(run.epochs):
            setting = summary.Setting(family, checkpoint, epoch)
            usable = np.asarray(observations(run, family, checkpoint).valid)
            diverged[family] = [int(model) for model in np.flatnonzero(~usable)]
            utility.append(_utility_row(run, setting, drawn, usable))
            for name in config.attacks.names:
                scores = run.scores(family, name, checkpoint)
                results.append(
                    summary.attack_row(setting, name, scores, drawn.member, drawn.twin, config.report)
                )
                if checkpoint == last:
                    final[family, name] = scores
    return ReportInputs(
        title=config.name,
        config=configs.to_mapping(config),
        environment=run.last_session(),
        data_facts=run.data_facts(),
        command=run.last_session()["command"],
        utility=utility,
        results=results,
        curves={key: summary.curve(scores, drawn.member) for key, scores in final.items()},
        histograms={key: summary.histogram(scores, drawn.member) for key, scores in final.items()},
        comparisons=summary.comparisons(final, drawn.member, config.report.confidence),
        attacks={
            one.name: AttackCard(one.title, one.threat_model, one.source)
            for one in attack_library.chosen(config.attacks)
        },
        diverged=diverged,
        confidence=config.report.confidence,
    )


def _utility_row(
    run: RunDirectory, setting: summary.Setting, drawn: Membership, usable: np.ndarray
) -> dict[str, Any]:
    """Accuracies of one family at one checkpoint."""
    return summary.utility_row(
        setting,
        run.signal(setting.family, "pool/correct", setting.checkpoint),
        drawn.member,
        run.signal(setting.family, "test/correct", setting.checkpoint),
        usable,
        num_parameters=run.num_parameters(setting.family),
        confidence=run.config.report.confidence,
    )


def environment() -> dict[str, str]:
    """Versions, devices and the command line of this process."""
    devices = jax.local_devices()
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.argv] if sys.argv[0].endswith(".py") else sys.argv),
        "python": platform.python_version(),
        **versions,
        "device": f"{len(devices)} × {devices[0].device_kind}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _version(package: str) -> str:
    """The version of a package; of this one also where it is not installed."""
    if package == "mia_jax":
        from mia_jax import __version__

        return __version__
    return importlib.metadata.version(package)
