"""The commands of a study: train, attack, report, all three together, and studies of many of them."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from mia_jax.cli.processes import BY_HAND, joined, process_flags
from mia_jax.cli.start import start
from mia_jax.config import (
    AttacksConfig,
    Config,
    ConfigError,
    ReportConfig,
    from_config_dict,
    from_mapping,
)
from mia_jax.runs.identity import RunError

OF_ONE_RUN = (
    "The run directory: everything is written there, and resumed from there. A path, or the URL of a bucket."
)
OF_RUNS = "The directory of the study: its runs and what they show are written there, and resumed from there. A path."
"""What --workdir is."""


def run() -> None:
    """Train, attack and report: the whole study of one config.

    Several processes, on as many machines, share training and attacks (docs/clusters.md); process 0 reports.
    """
    _config_flags()
    process_flags()

    def main() -> None:
        from mia_jax import study

        config = _config()
        with joined() as team, _held(team) as workdir:
            tell = _reporter(team)
            trained = study.train(config, workdir, overwrite=flags.FLAGS.overwrite, tell=tell, team=team)
            study.attack(trained, tell=tell, team=team)
            if team.number == 0:
                _show(study.report(trained, tell=tell))

    start(main, run)


def train() -> None:
    """Train the shadow models of a config and record their signals; a run that was stopped goes on.

    Several processes, on as many machines, share the work (docs/clusters.md).
    """
    _config_flags()
    process_flags()

    def main() -> None:
        from mia_jax import study

        config = _config()
        with joined() as team, _held(team) as workdir:
            overwrite, tell = flags.FLAGS.overwrite, _reporter(team)
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
    _workdir_flag()
    flags.DEFINE_string("signals", None, "A .npz file of your own signals, instead of a run's.")
    flags.DEFINE_list(
        "attacks",
        None,
        'Names of attacks, comma-separated; "all": every one whose arrays are there.'
        " (default: those of the run; with --signals all)",
    )
    _section_flags(AttacksConfig, but=("names",))
    _section_flags(ReportConfig)
    flags.DEFINE_float("embedding_p", 2.0, "The p of the norm, where --signals has embeddings.")
    flags.DEFINE_integer("seed", 0, "Seed of the attacks that draw numbers, with --signals.")
    flags.DEFINE_bool("overwrite", False, "With --signals: delete the results in --workdir first.")
    process_flags()

    def main() -> None:
        from mia_jax import study
        from mia_jax.study import own_signals

        names = flags.FLAGS.attacks
        attacks = _section_values(AttacksConfig) | ({} if names is None else {"names": names})
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
            _show(
                own_signals.attack_file(
                    Path(flags.FLAGS.signals),
                    _as_typed(_own_config, attacks),
                    _workdir(),
                    embedding_p=flags.FLAGS.embedding_p,
                    overwrite=flags.FLAGS.overwrite,
                    tell=_reporter(),
                )
            )
            return
        for name in ("seed", "overwrite", "embedding_p"):
            if flags.FLAGS[name].present:
                raise ConfigError(f"--{name} goes with --signals only: a run has its own; leave it out.")
        place = _workdir()
        if isinstance(place, Path) and not place.exists():
            raise RunError(
                f"{flags.FLAGS.workdir} does not exist: run scripts/train.py with this --workdir first, or name a "
                "file of your own signals with --signals."
            )
        with joined() as team, _held(team, existing=True) as workdir:
            sections = {"attacks": attacks, "report": _section_values(ReportConfig)}
            opened = _as_typed(_agreed, workdir, sections, team)
            study.attack(opened, tell=_reporter(team), team=team)

    start(main, attack)


def report() -> None:
    """Summarise the scores of an attacked run: tables, figures and the report page.

    Example:
      python scripts/report.py --workdir=runs/digits --fpr=0.1,0.01
    """
    _workdir_flag()
    _section_flags(ReportConfig)

    def main() -> None:
        from mia_jax import study
        from mia_jax.runs import run_directory

        with _locked(existing=True) as workdir:
            opened = run_directory.existing(workdir)
            opened = _as_typed(opened.with_section, "report", _section_values(ReportConfig))
            _show(study.report(opened, tell=_reporter()))

    start(main, report)


def tradeoff() -> None:
    """Measure what defences buy and cost: a study without them, and one with each at each strength.

    config.tradeoff.grid names defences and strengths; a config file holds it, and a flag replaces it, as in
    "--config.tradeoff.grid={'l2': (0.001, 0.01)}" or --config.tradeoff.grid.l2="(0.001, 0.01)". Every
    training is a run directory of its own below --workdir/seed0, …, to be looked at with
    scripts/report.py; what was stopped goes on. Tables, figures and tradeoff.html are written to --workdir.
    """
    _config_flags("runs/tradeoff", OF_RUNS)

    def main() -> None:
        from mia_jax import tradeoff as study
        from mia_jax.tradeoff import tables, writing

        config, tell = _config(), _reporter()
        with _locked() as workdir:
            workdir = _local(workdir, "a trade-off")
            rows = study.tradeoff(config, workdir, overwrite=flags.FLAGS.overwrite, tell=tell)
            tell.say(f"trade-off: {writing.write_tradeoff(rows, workdir)}")
        _print(tables.terminal(rows))

    start(main, tradeoff, config="tradeoff_digits.py")


def dynamics() -> None:
    """Follow every record through training: the FPR-TPR plane at each checkpoint, and what it shows.

    config.dynamics says whose calls count and what is varied; every combination of its factors is a run
    directory of its own below --workdir, and without factors --workdir is the run itself. What was stopped goes
    on; with --workdir alone, the finished run there is followed. dynamics.html, figures, and tables of arms and
    records are written to --workdir. --predict writes early_warning/ARM.json too: the records that the first
    part of training foretells to be most exposed, for --config.membership.without of another run.
    """
    _config_flags("runs/dynamics", OF_RUNS)
    flags.DEFINE_bool(
        "predict",
        False,
        "Foretell from early training who will be most exposed, and write it down.",
    )

    def main() -> None:
        from mia_jax.dynamics_study import foretelling, runner, tables, writing
        from mia_jax.runs import run_directory

        tell, overwrite = _reporter(), flags.FLAGS.overwrite
        with _locked() as workdir:
            workdir = _local(workdir, "a study of dynamics")
            alone = (workdir / "config.json").exists() and not _config_given()
            config = run_directory.existing(workdir).config if alone else _config()
            if not alone and not _config_given():
                tell.say(f"{workdir} holds no run to follow: the study of {config.name} is done there")
            rows = runner.dynamics(config, workdir, overwrite=overwrite, tell=tell)
            tell.say(f"dynamics: {writing.write_dynamics(rows, workdir)}")
            for path in foretelling.write(rows, workdir) if flags.FLAGS.predict else ():
                tell.say(f"early warning: {path}")
        _print(tables.terminal(rows))

    start(main, dynamics, config="dynamics_digits.py")


def compare() -> None:
    """Compare families as targets: epoch by epoch, and where they are equally overfitted or equally good.

    config.comparison names the family that the others are compared with, how many disjoint pools the study is done
    on, and variants of it. Every pool and variant is a run directory of its own below --workdir, to be looked at
    with scripts/report.py; what was stopped goes on. comparison.json, tables and figures are written to --workdir.
    """
    _config_flags("runs/compare", OF_RUNS)

    def main() -> None:
        from mia_jax import comparison
        from mia_jax.comparison import tables, writing

        config, tell = _config(), _reporter()
        with _locked() as workdir:
            workdir = _local(workdir, "a comparison")
            rows = comparison.compare(config, workdir, overwrite=flags.FLAGS.overwrite, tell=tell)
            tell.say(f"comparison: {writing.write_comparison(rows, workdir)}")
        _print(tables.terminal(rows))

    start(main, compare)


def rnn_vs_ffnn() -> None:
    """Run the study of recurrent beside feed-forward networks, or what is left of it, and write its page.

    Every file in configs/rnn_vs_ffnn is a comparison or (defences_*) a trade-off; each runs in a folder of its own
    below --workdir, and what was stopped goes on. What is kept of each goes to --results, a JSON file a config,
    and the page is made of all that lie there.
    """
    flags.DEFINE_string("data", "", "The folder with the .npz files that the configs name.")
    flags.DEFINE_list("only", [], "Names of configs to run; all where none is named.")
    flags.DEFINE_string("configs", "configs/rnn_vs_ffnn", "The folder of the configs.")
    flags.DEFINE_string(
        "results", "docs/rnn_vs_ffnn/results", "The folder of what is kept; the page lies two above."
    )
    flags.DEFINE_string(
        "scale",
        "default",
        "The sizes of the configs; with any but the default, name --results and --workdir.",
    )
    flags.DEFINE_bool("page_only", False, "Run nothing: make the page anew from what is kept.")
    _workdir_flag("runs/rnn_vs_ffnn", OF_RUNS)

    def main() -> None:
        from mia_jax.rnn_vs_ffnn import runner

        given, tell = flags.FLAGS, _reporter()
        results = Path(given.results)
        if not given.page_only:
            todo = runner.chosen(Path(given.configs), given.only)
            workdir = Path(given.workdir)
            for path in todo:
                tell.say(path.stem)
                where = workdir / path.stem
                runner.run(path, where, results, data=given.data, tell=tell, scale=given.scale)
        tell.say(f"page: {runner.write_page(results)}")

    start(main, rnn_vs_ffnn)


def _config_given() -> bool:
    """Whether the command line names a config or a field of one."""
    return any(re.match(r"--?config\b", word) for word in sys.argv[1:])


def _config_flags(workdir: str = "runs/default", what: str = OF_ONE_RUN) -> None:
    """The flags of commands that train, each kind of study with a run directory of its own."""
    # No default here: it would be read, and the overrides with it, before errors can be caught.
    config_flags.DEFINE_config_file(
        "config", None, "A Python file with get_config(); see --config.FIELD below."
    )
    _workdir_flag(workdir, what)
    runs = "run" if what == OF_ONE_RUN else "runs"
    flags.DEFINE_bool("overwrite", False, f"Delete the {runs} in --workdir and begin anew.")


def _workdir_flag(default: str | None = None, what: str = OF_ONE_RUN) -> None:
    """Where everything is written. what: the help of the flag."""
    flags.DEFINE_string("workdir", default, what)


def _section_flags(section: type, but: Collection[str] = ()) -> None:
    """A flag for every field of a section of the config; what is not given stays as the run has it."""
    for field in dataclasses.fields(section):
        if field.name in but:
            continue
        default = getattr(section(), field.name)
        define = {int: flags.DEFINE_integer, float: flags.DEFINE_float, tuple: flags.DEFINE_list}
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        help_ = f"See below. (default: that of the run; {shown} where there is none)"
        define.get(type(default), flags.DEFINE_string)(field.name, None, help_)


def _section_values(section: type) -> dict[str, Any]:
    """The values of a section's flags that were given."""
    given = {}
    for field in dataclasses.fields(section):
        value = getattr(flags.FLAGS, field.name, None)
        if isinstance(value, list):
            value = [_number(field.name, word) for word in value]
        if value is not None:
            given[field.name] = value
    return given


def _as_typed(make: Callable[..., Any], *given: Any) -> Any:
    """What `make` gives; a field of the config that it refuses is named by the flag that a person typed."""
    try:
        return make(*given)
    except ConfigError as error:
        flag = re.match(r"config\.(?:(?:attacks|report)\.)?(\w+)(?= (?:is|holds) )", str(error))
        name = {"names": "attacks"}.get(flag[1], flag[1]) if flag else ""
        if flag is None or name not in flags.FLAGS or not flags.FLAGS[name].present:
            raise
        raise ConfigError(f"--{name}{str(error)[flag.end() :]}") from None


def _number(flag: str, word: str) -> float:
    """A number of a list (`ConfigError`)."""
    try:
        return float(word)
    except ValueError:
        raise ConfigError(f"--{flag} holds {word!r}: it must be numbers, as in --{flag}=0.1,0.01.") from None


def _own_config(attacks: Mapping[str, Any]) -> Config:
    """What attacks on somebody's own signals read of a config: by default, all attacks."""
    return from_mapping(
        {
            "name": Path(flags.FLAGS.signals).stem,
            "seed": flags.FLAGS.seed,
            "attacks": {"names": ["all"], **attacks},
            "report": _section_values(ReportConfig),
        }
    )


def _config() -> Config:
    """The checked config of the flags."""
    return from_config_dict(flags.FLAGS.config)


def _locked(*, existing: bool = False) -> Any:
    """The run directory, held by this process."""
    from mia_jax.runs import run_directory
    from mia_jax.runs.signs_of_life import SILENCE

    silence = flags.FLAGS.heartbeat_timeout if "heartbeat_timeout" in flags.FLAGS else SILENCE
    return run_directory.locked(_workdir(), existing=existing, silence=silence, say=_reporter().say)


def _workdir() -> Any:
    """The address of the run directory."""
    from mia_jax.runs import store

    return store.address(flags.FLAGS.workdir)


def _local(place: Any, what: str) -> Path:
    """The path of a study that is kept in a local directory only (`ConfigError`)."""
    if not isinstance(place, Path):
        raise ConfigError(f"--workdir is {place}: {what} is kept in a local directory; name one.")
    return place


def _held(team: Any, *, existing: bool = False) -> Any:
    """The run directory, held by process 0 for all processes of its job."""
    return contextlib.nullcontext(_workdir()) if team.number else _locked(existing=existing)


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


def _reporter(team: Any = None) -> Any:
    """What tells the person at the keyboard how far it is; process 0 does."""
    from mia_jax import progress

    return progress.Silent() if team is not None and team.number else progress.reporter(Console())


def _show(inputs: Any) -> None:
    """Print the tables of a report."""
    from mia_jax.report.tables import terminal

    _print(terminal(inputs))


def _print(tables: Any) -> None:
    """Print to the terminal."""
    console = Console()
    # A log has no width of its own; the tables are made for 110 columns.
    (console if console.is_terminal else Console(width=110)).print(tables)
