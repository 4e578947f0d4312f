"""The commands of one study: train, attack, report, and all three together."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from mia_jax.cli import given
from mia_jax.cli.processes import BY_HAND, joined, process_flags
from mia_jax.cli.start import start
from mia_jax.config import AttacksConfig, Config, ConfigError, ReportConfig, from_mapping
from mia_jax.runs.identity import RunError


def run() -> None:
    """Train, attack and report: the whole study of one config.

    Several processes, on as many machines, share training and attacks (docs/clusters.md); process 0 reports.
    """
    given.config_flags()
    process_flags()

    def main() -> None:
        from mia_jax import study

        config = given.checked_config()
        with joined() as team, _held(team) as workdir:
            tell = given.reporter(team)
            trained = study.train(config, workdir, overwrite=flags.FLAGS.overwrite, tell=tell, team=team)
            study.attack(trained, tell=tell, team=team)
            if team.number == 0:
                given.show(study.report(trained, tell=tell))

    start(main, run)


def train() -> None:
    """Train the shadow models of a config and record their signals; a run that was stopped goes on.

    Several processes, on as many machines, share the work (docs/clusters.md).
    """
    given.config_flags()
    process_flags()

    def main() -> None:
        from mia_jax import study

        config = given.checked_config()
        with joined() as team, _held(team) as workdir:
            overwrite, tell = flags.FLAGS.overwrite, given.reporter(team)
            study.train(config, workdir, overwrite=overwrite, tell=tell, team=team)

    start(main, train)


def attack() -> None:
    """Score the models of a finished training, or the signals of your own models.

    Of a training: --workdir names its run directory; attacks and their constants may be named anew. Several
    processes, on as many machines, share the work (docs/clusters.md).
    Of your own models: --signals names a .npz file with `member` [K, N] and what you have of
    `logits` [K, N, C] with `labels` [N], `log_prob` [K, N], `population_logits` [K, Z, C] and others
    (docs/own_scores.md lists them); results and report are written to --workdir.

    Examples:
      python scripts/attack.py --workdir=runs/digits --attacks=all
      python scripts/attack.py --signals=signals.npz --attacks=all --workdir=runs/mine
    """
    given.workdir_flag()
    flags.DEFINE_string("signals", None, "A .npz file of your own signals, instead of a run's.")
    flags.DEFINE_list(
        "attacks",
        None,
        'Names of attacks, comma-separated; "all": every one whose arrays are there.'
        " (default: those of the run; with --signals all)",
    )
    given.section_flags(AttacksConfig, but=("names",))
    given.section_flags(ReportConfig)
    flags.DEFINE_float("embedding_p", 2.0, "The p of the norm, where --signals has embeddings.")
    flags.DEFINE_integer("seed", 0, "Seed of the attacks that draw numbers, with --signals.")
    flags.DEFINE_bool("overwrite", False, "With --signals: delete the results in --workdir first.")
    process_flags()

    def main() -> None:
        from mia_jax import study
        from mia_jax.study import own_signals

        names = flags.FLAGS.attacks
        attacks = given.section_values(AttacksConfig) | ({} if names is None else {"names": names})
        if flags.FLAGS.signals is not None:
            if not flags.FLAGS.embedding_p >= 1:
                raise ConfigError(
                    f"--embedding_p is {flags.FLAGS.embedding_p}: it must be at least 1 (inf is allowed)."
                )
            for name in ("distributed", *BY_HAND):
                if flags.FLAGS[name].present:
                    raise ConfigError(
                        f"--{name} goes with a run: --signals is read by one process; leave it out."
                    )
            given.show(
                own_signals.attack_file(
                    Path(flags.FLAGS.signals),
                    given.by_flag(_own_config, attacks),
                    given.workdir(),
                    embedding_p=flags.FLAGS.embedding_p,
                    overwrite=flags.FLAGS.overwrite,
                    tell=given.reporter(),
                )
            )
            return
        for name in ("seed", "overwrite", "embedding_p"):
            if flags.FLAGS[name].present:
                raise ConfigError(f"--{name} goes with --signals only: a run has its own; leave it out.")
        place = given.workdir()
        if isinstance(place, Path) and not place.exists():
            raise RunError(
                f"{flags.FLAGS.workdir} does not exist: run scripts/train.py with this --workdir first, or name a "
                "file of your own signals with --signals."
            )
        with joined() as team, _held(team, existing=True) as workdir:
            sections = {"attacks": attacks, "report": given.section_values(ReportConfig)}
            opened = given.by_flag(_agreed, workdir, sections, team)
            study.attack(opened, tell=given.reporter(team), team=team)

    start(main, attack)


def report() -> None:
    """Summarise the scores of an attacked run: tables, figures and the report page.

    Example:
      python scripts/report.py --workdir=runs/digits --fpr=0.1,0.01
    """
    given.workdir_flag()
    given.section_flags(ReportConfig)

    def main() -> None:
        from mia_jax import study
        from mia_jax.runs import run_directory

        with given.locked(existing=True) as workdir:
            opened = run_directory.existing(workdir)
            opened = given.by_flag(opened.with_section, "report", given.section_values(ReportConfig))
            given.show(study.report(opened, tell=given.reporter()))

    start(main, report)


def _own_config(attacks: Mapping[str, Any]) -> Config:
    """What attacks on somebody's own signals read of a config: by default, all attacks."""
    return from_mapping(
        {
            "name": Path(flags.FLAGS.signals).stem,
            "seed": flags.FLAGS.seed,
            "attacks": {"names": ["all"], **attacks},
            "report": given.section_values(ReportConfig),
        }
    )


def _held(team: Any, *, existing: bool = False) -> Any:
    """The run directory, held by process 0 for all processes of its job."""
    return contextlib.nullcontext(given.workdir()) if team.number else given.locked(existing=existing)


def _agreed(workdir: Any, sections: Mapping[str, Mapping[str, Any]], team: Any) -> Any:
    """A finished run with other settings, as process 0 has it in all processes of a job."""
    from mia_jax.runs.processes import agreeing, check_agreed
    from mia_jax.runs.run_directory import RunDirectory, existing
    from mia_jax.study.environment import environment
    from mia_jax.study.together import software

    with agreeing(team):
        environment()  # says how many processes there are, as long as they are together
        given = {f"--{name}": str(value) for values in sections.values() for name, value in values.items()}
        check_agreed(team.gather("facts", {**software(), **given}))
        record = None
        if team.number == 0:
            run = existing(workdir)
            for section, values in sections.items():
                run = run.with_section(section, values)
            record = run.record
        return RunDirectory(workdir, team.share("record", record))
