"""The stages of a study: train, attack, report. Each reads and writes one run directory."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mia_jax import attacks as attack_library
from mia_jax import config as configs
from mia_jax import data, keys, membership, models, run_directory, summary
from mia_jax.attacks import Observations
from mia_jax.command import this_command
from mia_jax.config import Config
from mia_jax.parallel import model_mesh
from mia_jax.progress import Reporter, Silent
from mia_jax.report.inputs import AttackCard, ReportInputs
from mia_jax.run_directory import RunDirectory
from mia_jax.training import Plan, plan, train_shadow_models
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
    _check_references(config)
    dataset = data.load(config.data)
    families, built = models.build_families(config.families, dataset)
    roots = keys.roots(config.seed)
    drawn = membership.draw(roots.membership, config.membership, config.data.pool_size)
    run = run_directory.create(workdir, config, dataset, drawn, overwrite=overwrite)
    _note_other_versions(run, tell)
    run.keep_session(environment())
    sizes = plan(config.training, config.membership.num_models, model_mesh())
    trained = False
    for name, model in built.items():
        count = models.count_parameters(model, models.one_record(dataset))
        kept = run.keep_family(name, families[name], sizes, count)
        tell.say(f"{name}: {families[name].kind}, {count:,} parameters")
        trained |= _train_family(run, name, model, dataset, drawn, roots, kept, tell)
    if trained and (workdir / "report.html").exists():
        tell.say(
            f"note: {workdir / 'report.html'} is of an earlier state until attack and report have run again."
        )
    return run


def _train_family(
    run: RunDirectory,
    name: str,
    model: models.Model,
    dataset: Dataset,
    drawn: Membership,
    roots: keys.Roots,
    sizes: Plan,
    tell: Reporter,
) -> bool:
    """Train what is left of one family, and return whether anything was."""
    config, epochs, segments = run.config, run.epochs, run.segments(name)
    steps = recipe_of(model, drawn, config.training).steps_per_epoch
    chunks = segments.chunks(sizes.models_per_chunk)
    resumed = {chunk: segments.resume(*chunk) for chunk in chunks}
    done = sum((b - a) * epochs[state[0]] * steps for (a, b), state in resumed.items() if state)
    finished = sum(b - a for (a, b), state in resumed.items() if state and state[0] == len(epochs) - 1)
    tell.begin(name, config.membership.num_models, epochs[-1] * steps, done)
    to_do = train_shadow_models(
        model,
        dataset,
        drawn,
        config.training,
        epochs,
        roots,
        logits_at=configs.logit_epochs(config),
        sizes=sizes,
        chunks=chunks,
        resume=lambda start, stop: resumed[start, stop],
    )
    session = len(run.sessions()) - 1
    anything_left = finished < config.membership.num_models
    try:
        for segment in to_do:
            segments.write(segment, models_per_chunk=sizes.models_per_chunk, session=session)
            before = epochs[segment.checkpoint - 1] if segment.checkpoint else 0
            count = segment.stop - segment.start
            finished += count if segment.checkpoint == len(epochs) - 1 else 0
            tell.advance(finished, count * (segment.epoch - before) * steps)
    finally:
        tell.end()
    return anything_left


def attack(run: RunDirectory, *, tell: Reporter | None = None) -> None:
    """Score every family of a trained run with the config's attacks, at every checkpoint."""
    tell = tell or Silent()
    _check_references(run.config)
    run.keep_session(environment())
    chosen = attack_library.chosen(run.config.attacks)
    for family in run.config.families:
        run.segments(family).check_complete()
        for one in chosen:
            run.forget_scores(family, one.name)
        tell.say(f"attack {family}: {', '.join(one.name for one in chosen)}")
        for checkpoint in range(len(run.epochs)):
            seen = observations(run, family, checkpoint)
            for one in chosen:
                run.write_scores(family, one.name, checkpoint, _scores(one, seen))
        for one in chosen:
            run.sign_scores(family, one.name)


def _scores(one: attack_library.Attack, seen: Observations) -> np.ndarray:
    """One attack's scores [K, N]; all NaN with too few models that are fit to be attacked."""
    if seen.valid is not None and np.sum(seen.valid) < FEWEST_MODELS:
        return np.full(np.shape(seen.member), np.nan)
    return one.score(seen)


def observations(run: RunDirectory, family: str, checkpoint: int) -> Observations:
    """What an attacker holds of one family at one checkpoint."""
    drawn, segments = run.membership(), run.segments(family)
    log_prob = segments.signal("pool/log_prob", checkpoint)
    scaled_logit = segments.signal("pool/scaled_logit", checkpoint)
    population = segments.signal("population/log_prob", checkpoint)
    usable = summary.usable_models(drawn.member, run.num_classes, log_prob, scaled_logit, population)
    return Observations(
        drawn.member,
        valid=usable,
        exclude=membership.exclusions(drawn),
        key=keys.roots(run.config.seed).attack,
        log_prob=log_prob,
        scaled_logit=scaled_logit,
        population_log_prob=population,
    )


def _check_references(config: Config) -> None:
    """Refuse attacks for which the design is likely to leave too few references (`ConfigError`)."""
    sides = frozenset().union(*(one.sides for one in attack_library.chosen(config.attacks)))
    membership.check_references(config.membership, config.data.pool_size, sides)


def _note_other_versions(run: RunDirectory, tell: Reporter) -> None:
    """Say so where a run goes on with software or devices that may round differently."""
    earlier, now = run.sessions(), environment()
    if not earlier:
        return
    different = [
        f"{name} {earlier[-1].get(name)} before, {now[name]} now"
        for name in ("jax", "jaxlib", "backend")
        if earlier[-1].get(name) != now[name]
    ]
    if different:
        tell.say(
            f"note: this run goes on elsewhere ({'; '.join(different)}): its models may differ in rounding."
        )


def report(run: RunDirectory, *, tell: Reporter | None = None) -> ReportInputs:
    """Summarise the scores of an attacked run and write tables, figures and the page."""
    from mia_jax.report import write_report

    tell = tell or Silent()
    run.keep_session(environment())
    inputs = summarise(run)
    tell.say(f"report: {write_report(inputs, run.path)}")
    return inputs


def summarise(run: RunDirectory) -> ReportInputs:
    """Everything a report shows, from a run's signals and scores."""
    config, drawn, last = run.config, run.membership(), len(run.epochs) - 1
    utility, results, diverged = [], [], {}
    final: dict[tuple[str, str], np.ndarray] = {}
    for family in config.families:
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
                if checkpoint == last and summary.both_sides(scores, drawn.member):
                    final[family, name] = scores
    return ReportInputs(
        title=config.name,
        config=configs.to_mapping(config),
        environment=run.sessions()[-1],
        data_facts=run.data_facts(),
        command=_commands(run),
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
        run.segments(setting.family).signal("pool/correct", setting.checkpoint),
        drawn.member,
        run.segments(setting.family).signal("test/correct", setting.checkpoint),
        usable,
        num_parameters=run.num_parameters(setting.family),
        confidence=run.config.report.confidence,
    )


def _commands(run: RunDirectory) -> str:
    """The commands that made the run as it stands, each once, in the order of their last use."""
    commands = [session["command"] for session in run.sessions()]
    return "\n".join(reversed(dict.fromkeys(reversed(commands))))


@functools.cache
def environment() -> dict[str, str]:
    """Versions, devices and the command line of this process."""
    devices = jax.local_devices()
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": this_command(),
        "python": platform.python_version(),
        **versions,
        "backend": devices[0].platform,
        "device": f"{len(devices)} × {devices[0].device_kind}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _version(package: str) -> str:
    """The version of a package; of this one also where it is not installed."""
    if package == "mia_jax":
        from mia_jax import __version__

        return __version__
    return importlib.metadata.version(package)
