"""The commands: absl flags in, one call into the library, one sentence where something is wrong."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags
from ml_collections import config_flags
from rich.console import Console

from mia_jax import parallel
from mia_jax.command import this_command
from mia_jax.config import (
    AttacksConfig,
    Config,
    ConfigError,
    ReportConfig,
    from_config_dict,
    from_mapping,
)
from mia_jax.identity import RunError
from mia_jax.store import StoreError

USER_ERRORS = (ConfigError, RunError, StoreError)
INTERRUPTED = 130


def run() -> None:
    """Train, attack and report: the whole study of one config."""
    _config_flags()

    def main() -> None:
        from mia_jax import study

        tell, config = _reporter(), _config()
        with _locked() as workdir:
            trained = study.train(config, workdir, overwrite=flags.FLAGS.overwrite, tell=tell)
            study.attack(trained, tell=tell)
            _show(study.report(trained, tell=tell))

    _start(main, run)


def train() -> None:
    """Train the shadow models of a config and record their signals; a run that was stopped goes on."""
    _config_flags()

    def main() -> None:
        from mia_jax import study

        config = _config()
        with _locked() as workdir:
            study.train(config, workdir, overwrite=flags.FLAGS.overwrite, tell=_reporter())

    _start(main, train)


def attack() -> None:
    """Score the models of a finished training, or the signals of your own models.

    Of a training: --workdir names its run directory; attacks and their constants may be named anew.
    Of your own models: --signals names a .npz file with `member` [K, N] and what you have of
    `logits` [K, N, C] with `labels` [N], `log_prob` [K, N], `population_logits` [K, Z, C] and others
    (docs/own_scores.md lists them); results and report are written to --workdir.
    """
    _workdir_flag()
    flags.DEFINE_string("signals", None, "A .npz file of your own signals, instead of a run's.")
    flags.DEFINE_list(
        "attacks", None, 'Names of attacks, comma-separated; "all": every one whose arrays are there.'
    )
    _section_flags(AttacksConfig, but=("names",))
    _section_flags(ReportConfig)
    flags.DEFINE_float("embedding_p", 2.0, "The p of the norm, where --signals has embeddings.")
    flags.DEFINE_integer("seed", 0, "Seed of the attacks that draw numbers, with --signals.")
    flags.DEFINE_bool("overwrite", False, "With --signals: delete the results in --workdir first.")

    def main() -> None:
        from mia_jax import run_directory, study
        from mia_jax.study import own_signals

        names = flags.FLAGS.attacks
        attacks = _section_values(AttacksConfig) | ({} if names is None else {"names": names})
        if flags.FLAGS.signals is not None:
            _show(
                own_signals.attack_file(
                    Path(flags.FLAGS.signals),
                    _own_config(attacks),
                    Path(flags.FLAGS.workdir),
                    embedding_p=flags.FLAGS.embedding_p,
                    overwrite=flags.FLAGS.overwrite,
                    tell=_reporter(),
                )
            )
            return
        for name in ("seed", "overwrite", "embedding_p"):
            if flags.FLAGS[name].present:
                raise ConfigError(f"--{name} goes with --signals only: a run has its own; leave it out.")
        if not Path(flags.FLAGS.workdir).exists():
            raise RunError(
                f"{flags.FLAGS.workdir} does not exist: run scripts/train.py with this --workdir first, or name a "
                "file of your own signals with --signals."
            )
        with _locked(existing=True) as workdir:
            opened = run_directory.existing(workdir).with_section("attacks", attacks)
            study.attack(opened.with_section("report", _section_values(ReportConfig)), tell=_reporter())

    _start(main, attack)


def report() -> None:
    """Summarise the scores of an attacked run: tables, figures and the report page."""
    _workdir_flag()
    _section_flags(ReportConfig)

    def main() -> None:
        from mia_jax import run_directory, study

        with _locked(existing=True) as workdir:
            opened = run_directory.existing(workdir)
            _show(
                study.report(opened.with_section("report", _section_values(ReportConfig)), tell=_reporter())
            )

    _start(main, report)


def default_config_file() -> Path:
    """configs/digits.py: of the wheel, or of the checkout that an editable install points to."""
    package = Path(__file__).parent
    places = (package / "configs" / "digits.py", package.parent / "configs" / "digits.py")
    return next(place for place in places if place.exists())


def _config_flags() -> None:
    """The flags of commands that train."""
    # No default here: it would be read, and the overrides with it, before errors can be caught.
    config_flags.DEFINE_config_file(
        "config", None, "A Python file with get_config(); see --config.FIELD below."
    )
    _workdir_flag("runs/default")
    flags.DEFINE_bool("overwrite", False, "Delete the run in --workdir and begin anew.")


def _workdir_flag(default: str | None = None) -> None:
    """The run directory."""
    flags.DEFINE_string(
        "workdir", default, "The run directory: everything is written there, and resumed from there."
    )


def _section_flags(section: type, but: Collection[str] = ()) -> None:
    """A flag for every field of a section of the config; what is not given stays as the run has it."""
    for field in dataclasses.fields(section):
        if field.name in but:
            continue
        default = getattr(section(), field.name)
        define = {int: flags.DEFINE_integer, float: flags.DEFINE_float, tuple: flags.DEFINE_list}
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        help_ = f"Default: that of the run, {shown} where there is none."
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


def _start(main: Callable[[], None], command: Callable[[], None]) -> None:
    """Parse the flags, run `main` and end with the right exit code."""

    def parse(argv: Sequence[str]) -> list[str]:
        if {"--help", "-h", "-help", "--helpfull"} & set(argv):
            print(help_text(command))
            sys.exit(0)
        try:
            rest = flags.FLAGS(_with_config(argv))
            if "config" in flags.FLAGS:
                flags.FLAGS.config.to_dict()  # a file that is not there is not missed before
        except flags.Error as error:
            _stop(_flag_sentence(str(error)))
        except Exception as error:
            # A config file is a program, read while flags are parsed: it may raise anything.
            _stop(_config_sentence(error, argv))
        if len(rest) > 1:
            _stop(f"{rest[1]!r} is not a flag: flags look like --workdir=runs/digits; --help lists them.")
        if not flags.FLAGS.workdir:
            _stop("--workdir is missing: name a run directory, as in --workdir=runs/digits.")
        return rest

    def guarded(_: Sequence[str]) -> None:
        try:
            main()
        except USER_ERRORS as error:
            _stop(str(error))
        except OSError as error:
            _stop(
                f"{error.filename or 'the system'}: {error.strerror or error}; what was written before stays usable."
            )
        except KeyboardInterrupt:
            print(
                f"\nStopped; every finished segment is kept. To continue: {_without_overwrite(this_command())}",
                file=sys.stderr,
            )
            sys.exit(INTERRUPTED)

    parallel.use_cpu_cores()
    # absl shows INFO of every library; of a backend that is not there nobody needs to hear.
    logging.getLogger("jax").setLevel(logging.WARNING)
    app.run(guarded, flags_parser=parse)


def help_text(command: Callable[[], None]) -> str:
    """What --help prints: the command, its flags and, where it takes a config, every field of it."""
    text = [str(inspect.getdoc(command)), "", "Flags:"]
    for flag in flags.FLAGS.get_flags_for_module("mia_jax.cli"):
        default = "configs/digits.py" if flag.name == "config" else flag.default
        text.append(f"  --{flag.name}: {flag.help}" + (f" (default: {default})" if default else ""))
    for section in (AttacksConfig, ReportConfig):
        if dataclasses.fields(section)[-1].name in flags.FLAGS:
            text += ["", *_said(section)]
    if "config" in flags.FLAGS:
        text += ["", "Fields of the config, each settable as --config.FIELD=VALUE:", *_field_lines()]
        text += [
            "",
            "Example:",
            "  python scripts/run.py --config=configs/digits.py --config.training.epochs=30 --workdir=runs/short",
        ]
    if "config" in flags.FLAGS or "attacks" in flags.FLAGS:
        text += ["", *_attack_lines()]
    return "\n".join(text)


def _attack_lines() -> list[str]:
    """One line for each attack: its name, its title and the arrays it needs."""
    from mia_jax.attacks import catalogue

    lines = ['Attacks, and the arrays that each needs ("all": every one whose arrays are there):']
    everything = catalogue(AttacksConfig())
    width = max(map(len, everything))
    for one in everything.values():
        lines.append(f"  {one.name:{width}}  {one.title} ({', '.join(sorted(one.needs))})")
    return lines


def _field_lines() -> list[str]:
    """One line for each field of the default config, each section with its docstring."""
    lines = []
    config = Config()
    sections = {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}
    for name, section in sections.items():
        if dataclasses.is_dataclass(section):
            lines += _section_lines(name, section)
        elif name == "families":
            for family, values in section.items():
                lines += _section_lines(f"families.{family}", values)
        else:
            lines.append(f"  --config.{name}={section!r}")
    return lines


def _section_lines(name: str, section: Any) -> list[str]:
    """The fields of one section with their defaults, below what its docstring says."""
    said = _said(type(section))
    fields = [f"  --config.{name}.{f.name}={getattr(section, f.name)!r}" for f in dataclasses.fields(section)]
    return ["", *said, *fields]


def _said(section: type) -> list[str]:
    """What the docstring of a section says, indented."""
    return [f"    {line}".rstrip() for line in str(inspect.getdoc(section)).splitlines()]


def _config() -> Config:
    """The checked config of the flags."""
    return from_config_dict(flags.FLAGS.config)


def _locked(*, existing: bool = False) -> Any:
    """The run directory, held by this process."""
    from mia_jax import run_directory

    return run_directory.locked(Path(flags.FLAGS.workdir), existing=existing)


def _reporter() -> Any:
    """What tells the person at the keyboard how far it is."""
    from mia_jax import progress

    return progress.reporter(Console())


def _show(inputs: Any) -> None:
    """Print the tables of a report."""
    from mia_jax.report.tables import terminal

    console = Console()
    # A log has no width of its own; the tables are made for 110 columns.
    (console if console.is_terminal else Console(width=110)).print(terminal(inputs))


def _with_config(argv: Sequence[str]) -> list[str]:
    """The command line, with the default config where it names none."""
    given = "config" not in flags.FLAGS or any(re.match(r"--?config(=|$)", word) for word in argv)
    return list(argv) if given else [argv[0], f"--config={default_config_file()}", *argv[1:]]


def _config_sentence(error: Exception, argv: Sequence[str]) -> str:
    """What is wrong with the config file or an override of one of its fields."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    text = str(error.args[0] if error.args else error)
    unknown = re.match(r"'(\w+)'(?:\s+Did you mean \"(\w+)\")?", text)
    flag = next((word for word in argv if unknown and re.match(rf"--?config\S*\.{unknown[1]}\b", word)), None)
    if unknown and flag:
        meant = f" Did you mean {unknown[2]!r}?" if unknown[2] else ""
        return f"{flag}: the config has no field {unknown[1]!r}.{meant} --help lists the fields."
    file = next((word for word in argv if re.match(r"--?config=", word)), "--config")
    reason = "no such file" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return f"{file}: the config cannot be read: {' '.join(reason.split())}. It must be a Python file with get_config()."


def _flag_sentence(text: str) -> str:
    """absl's and ml_collections' words as one sentence."""
    first = re.sub(r"\s*\?\s*\.*$", "?", re.sub(r"\s+", " ", text).strip()).rstrip(".")
    end = "" if first.endswith("?") else "."
    return f"{first}{end} --help lists the flags and fields."


def _without_overwrite(command: str) -> str:
    """The command that continues what this one began."""
    return re.sub(r"\s--overwrite(=true)?\b", "", command, flags=re.IGNORECASE)


def _stop(sentence: str) -> NoReturn:
    """Print one sentence and end with exit code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)
