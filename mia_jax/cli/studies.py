"""The commands of studies of many runs: trade-offs, dynamics, comparisons, and one made with them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from absl import flags

from mia_jax.cli import given
from mia_jax.cli.start import start
from mia_jax.config import ConfigError


def tradeoff() -> None:
    """Measure what defences buy and cost: a study without them, and one with each at each strength.

    config.tradeoff.grid names defences and strengths; a config file holds it, and a flag replaces it, as in
    "--config.tradeoff.grid={'l2': (0.001, 0.01)}" or --config.tradeoff.grid.l2="(0.001, 0.01)". Every
    training is a run directory of its own below --workdir/seed0, …, to be looked at with
    scripts/report.py; what was stopped goes on. Tables, figures and tradeoff.html are written to --workdir.
    """
    given.config_flags("runs/tradeoff", given.OF_RUNS)

    def main() -> None:
        from mia_jax import tradeoff as study
        from mia_jax.tradeoff import tables, writing

        config, tell = given.checked_config(), given.reporter()
        with given.locked() as workdir:
            workdir = _local(workdir, "a trade-off")
            rows = study.tradeoff(config, workdir, overwrite=flags.FLAGS.overwrite, tell=tell)
            tell.say(f"trade-off: {writing.write_tradeoff(rows, workdir)}")
        given.printed(tables.terminal(rows))

    start(main, tradeoff, config="tradeoff_digits.py")


def dynamics() -> None:
    """Follow every record through training: the FPR-TPR plane at each checkpoint, and what it shows.

    config.dynamics says whose calls count and what is varied; every combination of its factors is a run
    directory of its own below --workdir, and without factors --workdir is the run itself. What was stopped goes
    on; with --workdir alone, the finished run there is followed. dynamics.html, figures, and tables of arms and
    records are written to --workdir. --predict writes early_warning/ARM.json too: the records that the first
    part of training foretells to be most exposed, for --config.membership.without of another run.
    """
    given.config_flags("runs/dynamics", given.OF_RUNS)
    flags.DEFINE_bool(
        "predict",
        False,
        "Foretell from early training who will be most exposed, and write it down.",
    )

    def main() -> None:
        from mia_jax.dynamics_study import foretelling, runner, tables, writing
        from mia_jax.runs import run_directory

        tell, overwrite = given.reporter(), flags.FLAGS.overwrite
        with given.locked() as workdir:
            workdir = _local(workdir, "a study of dynamics")
            alone = (workdir / "config.json").exists() and not _config_given()
            config = run_directory.existing(workdir).config if alone else given.checked_config()
            if not alone and not _config_given():
                tell.say(f"{workdir} holds no run to follow: the study of {config.name} is done there")
            rows = runner.dynamics(config, workdir, overwrite=overwrite, tell=tell)
            tell.say(f"dynamics: {writing.write_dynamics(rows, workdir)}")
            for path in foretelling.write(rows, workdir) if flags.FLAGS.predict else ():
                tell.say(f"early warning: {path}")
        given.printed(tables.terminal(rows))

    start(main, dynamics, config="dynamics_digits.py")


def compare() -> None:
    """Compare families as targets: epoch by epoch, and where they are equally overfitted or equally good.

    config.comparison names the family that the others are compared with, how many disjoint pools the study is done
    on, and variants of it. Every pool and variant is a run directory of its own below --workdir, to be looked at
    with scripts/report.py; what was stopped goes on. comparison.json, tables and figures are written to --workdir.
    """
    given.config_flags("runs/compare", given.OF_RUNS)

    def main() -> None:
        from mia_jax import comparison
        from mia_jax.comparison import tables, writing

        config, tell = given.checked_config(), given.reporter()
        with given.locked() as workdir:
            workdir = _local(workdir, "a comparison")
            rows = comparison.compare(config, workdir, overwrite=flags.FLAGS.overwrite, tell=tell)
            tell.say(f"comparison: {writing.write_comparison(rows, workdir)}")
        given.printed(tables.terminal(rows))

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
    given.workdir_flag("runs/rnn_vs_ffnn", given.OF_RUNS)

    def main() -> None:
        from mia_jax.rnn_vs_ffnn import runner

        asked, tell = flags.FLAGS, given.reporter()
        results = Path(asked.results)
        if not asked.page_only:
            todo = runner.chosen(Path(asked.configs), asked.only)
            workdir = Path(asked.workdir)
            for path in todo:
                tell.say(path.stem)
                where = workdir / path.stem
                runner.run(path, where, results, data=asked.data, tell=tell, scale=asked.scale)
        tell.say(f"page: {runner.write_page(results)}")

    start(main, rnn_vs_ffnn)


def _config_given() -> bool:
    """Whether the command line names a config or a field of one."""
    return any(re.match(r"--?config\b", word) for word in sys.argv[1:])


def _local(place: Any, what: str) -> Path:
    """The path of a study that is kept in a local directory only (`ConfigError`)."""
    if not isinstance(place, Path):
        raise ConfigError(f"--workdir is {place}: {what} is kept in a local directory; name one.")
    return place
