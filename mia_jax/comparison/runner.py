"""The comparison: train and attack what is left of its runs, measure each, and average over the pools."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mia_jax import __version__, study
from mia_jax import config as configs
from mia_jax.comparison import measuring
from mia_jax.comparison.pooling import over_pools
from mia_jax.comparison.rows import TABLES, ComparisonRows
from mia_jax.comparison.runs import Run, runs
from mia_jax.config import Config
from mia_jax.progress import Reporter, Silent
from mia_jax.runs import contents, locking, run_directory
from mia_jax.runs.identity import RunError
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.runs.store import Store
from mia_jax.study import reporting
from mia_jax.study.environment import environment

MEASURED = 1
"""Of what is measured of a run; raised when any of its numbers may come out otherwise."""

REPORTED = ("results", "utility")
"""As a run's own report has them, of the last checkpoint."""

CONFIG = "comparison_config.json"
KEPT = "comparison/rows.json"
"""Below a run's directory: what was measured of it."""


def compare(
    config: Config, workdir: Path, *, overwrite: bool = False, tell: Reporter | None = None
) -> ComparisonRows:
    """Run every pool and variant of `config.comparison`, or what is left of them, into `workdir`, and compare.

    Each is a run directory of its own below `workdir`. What was trained, attacked or measured before is not done
    again. Raises, before any work, `ConfigError` for a config that cannot be run, and `RunError` where the
    directory holds something else.
    """
    tell = tell or Silent()
    todo = runs(config)
    _check(workdir, todo, overwrite)
    Store(workdir).write_json(CONFIG, configs.to_mapping(config))
    for one in todo if overwrite else ():
        run_directory.clear(workdir / one.name)
    began, found, sizes = time.monotonic(), {}, {}
    reported: dict[str, list[dict[str, Any]]] = {name: [] for name in REPORTED}
    for number, one in enumerate(todo):
        tell.say(f"run {number + 1} of {len(todo)}: {one.name} ({time.monotonic() - began:.0f} s so far)")
        run, rows = _run(one, workdir / one.name, config.comparison.reference, tell)
        found.setdefault(one.variant, []).append(rows)
        for name in REPORTED:
            reported[name] += [{"variant": one.variant, "pool": one.pool, **row} for row in rows[name]]
        sizes[one.variant] = {family: run.num_parameters(family) for family in run.config.families}
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for variant, of_pools in found.items():
        for name in TABLES:
            averaged = over_pools([rows[name] for rows in of_pools], config.report.confidence)
            tables[name] += [{"variant": variant, **row} for row in averaged]
    return ComparisonRows(
        title=config.name,
        **tables,
        **reported,
        parameters=sizes,
        config=configs.to_mapping(config),
        facts={**environment(), "runs": len(todo)},
        confidence=config.report.confidence,
    )


def _run(one: Run, path: Path, reference: str, tell: Reporter) -> tuple[RunDirectory, dict[str, Any]]:
    """One run, trained, attacked and measured; what is finished is not done again."""
    path.mkdir(parents=True, exist_ok=True)
    with locking.locked(path):
        run = study.train(one.config, path, tell=tell)
        signature = _signature(run, reference)
        kept: dict[str, Any] = run.store.read_json(KEPT) or {}
        if kept.get("signature") != signature:
            study.attack(run, tell=tell)
            tell.say("comparing")
            kept = {"signature": signature, "rows": {**measuring.rows_of(run, reference), **_reported(run)}}
            run.store.write_json(KEPT, kept)
    return run, kept["rows"]


def _reported(run: RunDirectory) -> dict[str, list[dict[str, Any]]]:
    """What the run's own report says of every family at its last checkpoint."""
    rows = [reporting.rows_at(run, family, len(run.epochs) - 1) for family in run.config.families]
    return {
        "results": [result for one in rows for result in one.results],
        "utility": [one.utility for one in rows],
    }


def _signature(run: RunDirectory, reference: str) -> str:
    """What decides what is measured of a run."""
    return configs.digest([__version__, MEASURED, configs.to_mapping(run.config), run.fingerprint, reference])


def _check(workdir: Path, todo: list[Run], overwrite: bool) -> None:
    """Refuse runs that cannot be run (`ConfigError`), and a directory of anything else (`RunError`)."""
    if (workdir / "config.json").exists():
        raise RunError(f"{workdir} holds a run of its own: name another --workdir for the comparison.")
    if not (workdir / CONFIG).exists():
        contents.check_empty(workdir)
    for one in todo:
        if not overwrite:
            run_directory.check_config(workdir / one.name, one.config)
        study.prepare(one.config)
