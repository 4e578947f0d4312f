"""The training of a study: shadow models of every family, and what they say, into a run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from mia_jax import config as configs
from mia_jax import data, defences, keys, membership, models, probes, run_directory
from mia_jax.config import Config, FamilyConfig
from mia_jax.defences import Defended
from mia_jax.parallel import model_mesh
from mia_jax.progress import Reporter, Silent
from mia_jax.run_directory import RunDirectory
from mia_jax.study import privacy, without
from mia_jax.study.attacking import check_references
from mia_jax.study.environment import environment
from mia_jax.training import Plan, Probe, hyper_of, plan, train_shadow_models
from mia_jax.training.shadow import recipe_of
from mia_jax.types import Dataset, Membership


class Prepared(NamedTuple):
    """All that a training needs before its first step; by family where it is a mapping."""

    dataset: Dataset
    families: Mapping[str, FamilyConfig]
    built: Mapping[str, models.Model]
    probed: Mapping[str, Sequence[Probe]]
    roots: keys.Roots
    drawn: Membership
    defended: Defended


def prepare(config: Config, *, noise_multiplier: float | None = None) -> Prepared:
    """Load and build what a config asks for, and write nothing.

    noise_multiplier: of DP-SGD, where it is known already; None: solved for. Raises `ConfigError` for a
    config that cannot give an answer.
    """
    left_out = without.rows_of(config)
    check_references(config, 0 if left_out is None else left_out.size)
    dataset = data.load(config.data, config.canaries)
    left_out = without.rows_of(config, dataset.facts["fingerprint"])
    families, built = models.build_families(config.families, dataset)
    probed = probes.of_families(config, built, dataset)
    roots = keys.roots(config.seed)
    drawn = membership.draw(
        roots.membership, config.membership, config.data.pool_size, dataset.num_canaries, left_out
    )
    for name, model in built.items():
        shapes = jax.eval_shape(model.init, jax.random.key(0), models.one_record(dataset))
        defences.check_parameters(config, name, shapes)
    size = drawn.indices.shape[1]
    defended = defences.chosen(config, dataset, size, noise_multiplier=noise_multiplier)
    return Prepared(dataset, families, built, probed, roots, drawn, defended)


def train(
    config: Config, workdir: Path, *, overwrite: bool = False, tell: Reporter | None = None
) -> RunDirectory:
    """Train every family of the config, or what is left of it, into `workdir`.

    Raises `ConfigError` before any work for a config that cannot give an answer, `RunError` where
    the directory holds something else, `StoreError` where it cannot be written.
    """
    tell = tell or Silent()
    question = privacy.question(config)
    if overwrite:
        without.check_outside(config, workdir)
    kept_noise = None if overwrite else run_directory.kept_noise(workdir, question)
    ready = prepare(config, noise_multiplier=kept_noise)
    dataset, drawn, defended = ready.dataset, ready.drawn, ready.defended
    run = run_directory.create(workdir, config, dataset, drawn, overwrite=overwrite)
    run.keep_noise(defended.strengths.get("noise_multiplier"), question)
    _note_other_versions(run, tell)
    run.keep_session(environment())
    sizes = plan(config.training, config.membership.num_models, model_mesh())
    trained = False
    for sentence in privacy.sentences(config, defended):
        tell.say(sentence)
    if config.tradeoff.grid:
        tell.say("note: config.tradeoff is for scripts/tradeoff.py; this is the study without its defences")
    for name, model in ready.built.items():
        count = models.count_parameters(model, models.one_record(dataset))
        kept = run.keep_family(name, ready.families[name], sizes, count)
        tell.say(f"{name}: {ready.families[name].kind}, {count:,} parameters")
        if "step_logits" in config.recording.signals and model.steps is None:
            tell.say(f"{name}: no step_logits are recorded, as its models do not read step by step")
        trained |= _train_family(run, name, ready, kept, tell)
    if trained and (workdir / "report.html").exists():
        tell.say(
            f"note: {workdir / 'report.html'} is of an earlier state until attack and report have run again."
        )
    return run


def _train_family(run: RunDirectory, name: str, ready: Prepared, sizes: Plan, tell: Reporter) -> bool:
    """Train what is left of one family, and return whether anything was."""
    config, epochs, segments = run.config, run.epochs, run.segments(name)
    model, defended = ready.built[name], ready.defended
    steps = recipe_of(model, ready.drawn, config.training, defended.defence).steps_per_epoch
    chunks = segments.chunks(sizes.models_per_chunk)
    resumed = {chunk: segments.resume(*chunk) for chunk in chunks}
    done = sum((b - a) * epochs[state[0]] * steps for (a, b), state in resumed.items() if state)
    finished = sum(b - a for (a, b), state in resumed.items() if state and state[0] == len(epochs) - 1)
    tell.begin(name, config.membership.num_models, epochs[-1] * steps, done)
    to_do = train_shadow_models(
        model,
        ready.dataset,
        ready.drawn,
        config.training,
        epochs,
        ready.roots,
        logits_at=configs.logit_epochs(config),
        probes=ready.probed[name],
        hyper=hyper_of(config.training, config.membership.num_models, defended.strengths),
        defence=defended.defence,
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
