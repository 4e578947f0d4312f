"""A study of dynamics: train what is left of its runs, measure every arm, and say what it shows."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from mia_jax import __version__, data, models, study
from mia_jax import config as configs
from mia_jax.attacks import chosen
from mia_jax.config import Config, ConfigError
from mia_jax.dynamics_study import calling, comparing, keeping, measuring, showing
from mia_jax.dynamics_study.arms import Run, runs
from mia_jax.dynamics_study.calling import NotPlacedError
from mia_jax.dynamics_study.claims import claims
from mia_jax.dynamics_study.rows import FAMILY, Arm, DynamicsRows, Shown
from mia_jax.progress import Reporter, Silent
from mia_jax.runs import contents, locking, run_directory
from mia_jax.runs.identity import RunError
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.runs.store import Store
from mia_jax.study import observing, without
from mia_jax.study.environment import environment
from mia_jax.types import Dataset

MEASURED = 3
"""Of what is measured and kept of an arm; raised when any of its numbers may come out otherwise."""


def dynamics(
    config: Config, workdir: Path, *, overwrite: bool = False, tell: Reporter | None = None
) -> DynamicsRows:
    """Run every combination of `config.dynamics.factors`, or what is left of them, into `workdir`, and measure.

    Each run is a run directory of its own below `workdir`, or `workdir` itself where nothing is varied. What was
    trained or measured before is not done again. Raises, before any work, `ConfigError` for a config that cannot
    be run, and `RunError` where the directory holds something else.
    """
    tell = tell or Silent()
    todo = runs(config)
    _check(workdir, todo, overwrite)
    if config.dynamics.factors:
        Store(workdir).write_json("dynamics_config.json", configs.to_mapping(config))
    for one in todo if overwrite else ():
        run_directory.clear(workdir / one.name)
    began, arms, shown = time.monotonic(), [], {}
    with_family = _names_families(todo)
    for number, one in enumerate(todo):
        if one.levels:
            passed = time.monotonic() - began
            tell.say(f"run {number + 1} of {len(todo)}: {one.name} ({passed:.0f} s so far)")
        found, dataset = _run_arms(one, workdir / one.name, with_family, tell)
        if config.dynamics.show:
            shown |= {arm.pool: dataset for arm in found}
        arms += found
    expected = sum(len(one.config.families) for one in todo)
    if not arms:
        raise RunError(
            f"{workdir} has no arm whose models are fit to be attacked: all have diverged; train them less wildly."
        )
    compared = comparing.comparisons(arms, config.report.confidence)
    return DynamicsRows(
        title=config.name,
        arms=tuple(arms),
        shown=_shown(arms, shown, config.dynamics.show),
        claims=claims(arms, compared, config.report.confidence),
        config=configs.to_mapping(config),
        facts={**environment(), "runs": len(todo), "arms left out": expected - len(arms)},
        cuts=config.dynamics.cuts,
        confidence=config.report.confidence,
        compared=tuple(compared),
    )


def _names_families(todo: Sequence[Run]) -> bool:
    """Whether the family tells arms apart."""
    return not todo[0].levels or any(len(one.config.families) > 1 for one in todo)


def _run_arms(one: Run, path: Path, with_family: bool, tell: Reporter) -> tuple[list[Arm], Dataset]:
    """One run's arms, a family each; what is trained or measured is not done again."""
    path.mkdir(parents=True, exist_ok=True)
    # The caller holds the study's own directory.
    with locking.locked(path) if one.levels else contextlib.nullcontext():
        run = study.train(one.config, path, tell=tell)
        dataset = data.load(one.config.data, one.config.canaries)
        built = models.build_families(one.config.families, dataset)[1]
        arms = []
        for family, model in built.items():
            levels = {**one.levels, FAMILY: family} if with_family else dict(one.levels)
            signature = _signature(run, family, levels)
            arm = keeping.read_arm(run, family, signature)
            if arm is None:
                tell.say(f"dynamics of {family}")
                followed = calling.follow(run, family)
                try:
                    arm = measuring.arm_of(
                        followed, levels, run.config.dynamics, run.fingerprint, dataset, model
                    )
                except NotPlacedError as error:
                    tell.say(f"left out: {error}")
                    continue
                keeping.keep_arm(run, family, signature, arm)
            arms.append(arm)
        return arms, dataset


def _signature(run: RunDirectory, family: str, levels: dict[str, str]) -> str:
    """What decides what is measured of a family."""
    values = configs.to_mapping(run.config)
    values["dynamics"] |= {"show": None, "factors": None}
    return configs.digest([__version__, MEASURED, values, run.fingerprint, family, levels])


def _shown(arms: Sequence[Arm], datasets: dict[str, Dataset], count: int) -> dict[str, Shown]:
    """The most exposed records of every pool."""
    if not count:
        return {}
    found = {}
    for pool, dataset in datasets.items():
        rows = showing.most_exposed([arm for arm in arms if arm.pool == pool], count)
        found[pool] = showing.shown(dataset, rows)
    return found


def _check(workdir: Path, todo: Sequence[Run], overwrite: bool) -> None:
    """Refuse runs that cannot be run (`ConfigError`), and a directory of anything else (`RunError`)."""
    if todo[0].levels:
        if (workdir / "config.json").exists():
            raise RunError(f"{workdir} holds a run of its own: name another --workdir for the study.")
        if not (workdir / "dynamics_config.json").exists():
            contents.check_empty(workdir)
    if FAMILY in todo[0].levels and _names_families(todo):
        raise ConfigError(
            f"config.dynamics.factors has the name {FAMILY!r}: where runs have several families, it is theirs; choose "
            "another."
        )
    for one in todo:
        if overwrite:
            without.check_outside(one.config, workdir)
        else:
            run_directory.check_config(workdir / one.name, one.config)
        _check_recorded(one.config)
        study.prepare(one.config)


def _check_recorded(config: Config) -> None:
    """Refuse attacks whose arrays are not recorded at every checkpoint (`ConfigError`)."""
    recording = config.recording
    have = {
        "logits": recording.logits == "all",
        "query_log_prob": bool(recording.queries),
        "query_scaled_logit": bool(recording.queries),
        "step_logits": "step_logits" in recording.signals and recording.logits == "all",
        **{name: name in recording.signals for name in observing.MODEL_SIGNALS},
    }
    asked = config.dynamics
    for name in (asked.attack, *asked.also_attacks):
        one = chosen(dataclasses.replace(config.attacks, names=(name,)))[0]
        lacking = sorted(field for field in one.needs if not have.get(field, True))
        if lacking:
            raise ConfigError(
                f"config.dynamics names {name}, which needs {' and '.join(map(observing.missing, lacking))} at every "
                "checkpoint."
            )
