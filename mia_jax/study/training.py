"""The training of a study: shadow models of every family, and what they say, into a run directory."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax

from mia_jax import config as configs
from mia_jax import data, defences, keys, membership, models, probes
from mia_jax.command import as_typed
from mia_jax.config import Config, ConfigError, FamilyConfig
from mia_jax.defences import Defended
from mia_jax.parallel import model_mesh
from mia_jax.progress import Reporter, Silent
from mia_jax.runs import run_directory
from mia_jax.runs.processes import ALONE, Team, agreeing, check_agreed
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.runs.store import Address, address, below
from mia_jax.study import privacy, without
from mia_jax.study.attacking import check_references
from mia_jax.study.environment import environment
from mia_jax.study.together import ROOM, Share, Work, at_work, divided, facts, work_of
from mia_jax.training import Plan, Probe, hyper_of, planned, train_shadow_models
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
    try:
        check_references(config, 0 if left_out is None else left_out.size)
    except ConfigError:
        data.load(config.data, config.canaries)  # sizes that the records cannot give have to be mended first
        raise
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
    config: Config,
    workdir: Address,
    *,
    overwrite: bool = False,
    tell: Reporter | None = None,
    team: Team = ALONE,
) -> RunDirectory:
    """Train every family of the config, or what is left of it, into `workdir`.

    team: the processes of this job, all of which call this alike; each trains chunks of its own, and all
    have the finished run in the end. Raises `ConfigError` before any work for a config that cannot give an
    answer, `RunError` where the directory holds something else, `StoreError` where it cannot be written,
    `JobError` where other processes do something else or have died.
    """
    tell = tell or Silent()
    workdir = address(workdir)
    with agreeing(team):
        ready, work = _begin(config, workdir, overwrite, tell, team)
    run = RunDirectory(workdir, work.record)
    if team.number:
        # The records may lie elsewhere on this machine; only process 0 writes the config down.
        run = run.with_section("data", {"source": config.data.source, "directory": config.data.directory})
    trained = any(_chunks_left(run, name, work) for name in ready.built)
    with at_work(team, run, tell):
        for name in ready.built:
            share = work.share(name, team.number)
            _tell_of_family(run, name, ready, tell)
            if team.count > 1:
                own, total = sum(b - a for a, b in share.chunks), config.membership.num_models
                tell.say(f"{name}: {team.count} processes share {total} models, and this one has {own}")
            _train_family(run, name, ready, share, work.session, tell)
    if trained and run.store.exists("report.html"):
        tell.say(
            f"note: {below(workdir, 'report.html')} is of an earlier state until attack and report have run again."
        )
    return run.reopened()


def _begin(
    config: Config, workdir: Address, overwrite: bool, tell: Reporter, team: Team
) -> tuple[Prepared, Work]:
    """All that must be known before the first step; process 0 decides, and writes the beginning of the run."""
    question, noise = privacy.question(config), None
    if team.number:
        # Process 0 is ready first: what it has downloaded or solved for, nobody else must.
        noise = team.share("noise")
        ready = prepare(config, noise_multiplier=noise)
        team.gather("facts", facts(config, ready.dataset, ready.drawn))
        return ready, Work(**team.share("work"))
    if overwrite:
        without.check_outside(config, workdir)
    else:
        noise = run_directory.kept_noise(workdir, question)
    ready = prepare(config, noise_multiplier=noise)
    noise = team.share("noise", ready.defended.strengths.get("noise_multiplier"))
    check_agreed(team.gather("facts", facts(config, ready.dataset, ready.drawn)))
    run = run_directory.create(workdir, config, ready.dataset, ready.drawn, overwrite=overwrite)
    run.store.delete_under(f"{ROOM}/")
    run.keep_noise(noise, question)
    _note_other_versions(run, tell)
    run.keep_session(environment())
    one = models.one_record(ready.dataset)
    plans = {}
    for name, model in ready.built.items():
        sizes, count = _plan_of(run, name, ready, tell, team), models.count_parameters(model, one)
        plans[name] = run.keep_family(name, ready.families[name], sizes, count)
    for sentence in privacy.sentences(config, ready.defended):
        tell.say(sentence)
    for sentence in _notes(config, ready.dataset):
        tell.say(f"note: {sentence}")
    work = work_of(run, plans, team.count)
    team.share("work", work._asdict())
    return ready, work


def _notes(config: Config, dataset: Dataset) -> list[str]:
    """What a person should know of a training although nothing is wrong."""
    said, absent = [], dataset.facts["labels_absent"]
    if absent:
        named = ", ".join(map(str, absent[:5])) + (", …" if len(absent) > 5 else "")
        said.append(
            f"no record of {dataset.facts['source']} has the label {named} of 0 to {dataset.num_classes - 1}, models "
            "have outputs for it all the same; number the classes from 0 without gaps where it is not meant"
        )
    if config.tradeoff.grid:
        said.append(
            as_typed("config.tradeoff is for scripts/tradeoff.py; this is the study without its defences")
        )
    return said


def _plan_of(run: RunDirectory, name: str, ready: Prepared, tell: Reporter, team: Team) -> Plan:
    """How a family's models are cut up: as many side by side as it was begun with, else as fit; says why."""
    config, mesh = run.config, model_mesh()
    training, num_models = config.training, config.membership.num_models
    begun = run.record.get("families", {}).get(name, {}).get("plan")
    asked = training.models_per_chunk
    if begun is not None:
        # What was found to fit then is not measured again.
        training = dataclasses.replace(
            training,
            models_together=begun["models_together"],
            models_per_chunk=asked or begun["models_per_chunk"],
            feed=begun.get("feed", "auto") if training.feed == "auto" else training.feed,
        )
    fitted = planned(
        ready.built[name],
        ready.dataset,
        ready.drawn,
        training,
        logits=bool(configs.logit_epochs(config)),
        probes=ready.probed[name],
        hyper=hyper_of(training, num_models, ready.defended.strengths),
        defence=ready.defended.defence,
        mesh=mesh,
    )
    if fitted.why:
        tell.say(f"{name}: {fitted.why}")
    if team.count > 1 and not asked:
        shared = divided(fitted.plan, num_models, team.count, mesh.size)
        # What was asked for, or begun with, decides rounding: the number of processes must not.
        return shared._replace(models_together=training.models_together or shared.models_together)
    return fitted.plan


def _tell_of_family(run: RunDirectory, name: str, ready: Prepared, tell: Reporter) -> None:
    """What there is to know of a family before it is trained."""
    tell.say(f"{name}: {ready.families[name].kind}, {run.num_parameters(name):,} parameters")
    if "step_logits" in run.config.recording.signals and ready.built[name].steps is None:
        tell.say(f"{name}: no step_logits are recorded, as its models do not read step by step")


def _chunks_left(run: RunDirectory, name: str, work: Work) -> bool:
    """Whether anything of a family is still to do, by whomever."""
    segments = run.segments(name)
    return any(segments.segments_left(*chunk) for chunks in work.dealt[name] for chunk in chunks)


def _train_family(
    run: RunDirectory, name: str, ready: Prepared, share: Share, session: int, tell: Reporter
) -> None:
    """Train what is left of this process's share of one family."""
    config, epochs, segments = run.config, run.epochs, run.segments(name)
    model, defended = ready.built[name], ready.defended
    steps = recipe_of(model, ready.drawn, config.training, defended.defence).steps_per_epoch
    done = finished = 0
    for start, stop in share.chunks:
        last = len(epochs) - 1 - segments.segments_left(start, stop)
        done += (stop - start) * (epochs[last] if last >= 0 else 0) * steps
        finished += (stop - start) * (last == len(epochs) - 1)
    tell.begin(name, sum(stop - start for start, stop in share.chunks), epochs[-1] * steps, done)
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
        sizes=share.plan,
        chunks=share.chunks,
        resume=segments.resume,
    )
    try:
        for segment in to_do:
            segments.write(segment, models_per_chunk=share.plan.models_per_chunk, session=session)
            before = epochs[segment.checkpoint - 1] if segment.checkpoint else 0
            count = segment.stop - segment.start
            finished += count if segment.checkpoint == len(epochs) - 1 else 0
            tell.advance(finished, count * (segment.epoch - before) * steps)
    finally:
        tell.end()


def _note_other_versions(run: RunDirectory, tell: Reporter) -> None:
    """Say so where a run goes on with software or devices that may round differently."""
    earlier, now = run.sessions(), environment()
    if not earlier:
        return
    before = {**earlier[-1], "device": _kind(earlier[-1].get("device", ""))}
    after = {**now, "device": _kind(now["device"])}
    different = [
        f"{name} {before.get(name)} before, {after[name]} now"
        for name in ("jax", "jaxlib", "backend", "device")
        if before.get(name) != after[name]
    ]
    if different:
        tell.say(
            f"note: this run goes on elsewhere ({'; '.join(different)}): its models may differ in rounding."
        )


def _kind(devices: str) -> str:
    """The kind of the devices of a session, without their number and that of their processes."""
    return re.sub(r"^\d+ × | in \d+ processes$", "", devices)
