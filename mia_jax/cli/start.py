"""From flags to an exit code: parsing, and one sentence where something is wrong."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags

from mia_jax.cli.help import help_text
from mia_jax.cli.processes import check_process_flags
from mia_jax.command import as_typed, this_command
from mia_jax.config import ConfigError
from mia_jax.runs.identity import JobError, RunError

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
"""Exit codes: of what the same command may do better another time, of what it never will, and of Ctrl-C."""


OF_FAMILIES = "Which families there are stands in the config file: copy one and name it with --config."


def start(main: Callable[[], None], command: Callable[[], None], *, config: str = "digits.py") -> None:
    """Parse the flags, run `main` and end with the right exit code.

    command: whose docstring --help prints. config: the file in configs/ that is read where none is named.
    """

    def parse(argv: Sequence[str]) -> list[str]:
        if {"--help", "-h", "-help", "--helpfull"} & set(argv):
            _print_help(help_text(command, config))
            sys.exit(0)
        try:
            rest = flags.FLAGS(_with_config(argv, config))
            if "config" in flags.FLAGS:
                flags.FLAGS.config.to_dict()  # a file that is not there is not missed before
        except flags.Error as error:
            _stop(_flag_sentence(str(error)))
        except Exception as error:
            # A config file is a program, read while flags are parsed: it may raise anything.
            _stop(_config_sentence(error, argv))
        if len(rest) > 1:
            _stop(f"{rest[1]!r} is not a flag: flags look like {_example()}; --help lists them.")
        if "workdir" in flags.FLAGS and not flags.FLAGS.workdir:
            _stop("--workdir is missing: name a run directory, as in --workdir=runs/digits.")
        return rest

    def guarded(_: Sequence[str]) -> None:
        try:
            if "cpu_devices" in flags.FLAGS:
                check_process_flags()
            _use_devices()
            main()
        except JobError as error:
            _stop(str(error), FAILED)
        except (ConfigError, RunError) as error:
            _stop(str(error))
        except OSError as error:
            _stop(_system_sentence(error), FAILED)
        except KeyboardInterrupt:
            print(f"\nStopped{_how_to_go_on()}", file=sys.stderr)
            sys.exit(INTERRUPTED)

    # absl shows INFO of every library; of a backend that is not there nobody needs to hear.
    logging.getLogger("jax").setLevel(logging.WARNING)
    app.run(guarded, flags_parser=parse)


def _print_help(text: str) -> None:
    """Print a long text, of which a reader such as head may want only the beginning."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # nothing is left to be flushed at exit


def _use_devices() -> None:
    """Say which devices JAX has on a CPU, before its first computation."""
    if "workdir" in flags.FLAGS:  # whatever has none computes nothing with JAX, and need not wait for it
        from mia_jax import parallel

        parallel.use_cpu_cores(flags.FLAGS.cpu_devices if "cpu_devices" in flags.FLAGS else None)


def default_config_file(name: str = "digits.py") -> Path:
    """configs/NAME: of the wheel, or of the checkout that an editable install points to."""
    package = Path(__file__).parents[1]
    places = (package / "configs" / name, package.parent / "configs" / name)
    return next(place for place in places if place.exists())


def _system_sentence(error: OSError) -> str:
    """What the store says, or what the system does."""
    from mia_jax.runs.store import StoreError

    if isinstance(error, StoreError):
        return str(error)
    return (
        f"{error.filename or 'the system'}: {error.strerror or error}; what was written before stays usable."
    )


def _how_to_go_on() -> str:
    """What to type to go on, where something was written."""
    if "workdir" not in flags.FLAGS:
        return "."
    return f"; every finished segment is kept. To continue: {_without_overwrite(this_command())}"


def _example() -> str:
    """A flag as this command has it."""
    return "--workdir=runs/digits" if "workdir" in flags.FLAGS else "--num_examples=1000"


def _with_config(argv: Sequence[str], config: str) -> list[str]:
    """The command line, with the default config where it names none."""
    given = "config" not in flags.FLAGS or any(re.match(r"--?config(=|$)", word) for word in argv)
    return list(argv) if given else [argv[0], f"--config={default_config_file(config)}", *argv[1:]]


def _config_sentence(error: Exception, argv: Sequence[str]) -> str:
    """What is wrong with the config file or an override of one of its fields."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    text = str(error.args[0] if error.args else error)
    unknown = re.match(r"'(\w+)'(?:\s+Did you mean \"(\w+)\")?", text)
    flag = next((word for word in argv if unknown and re.match(rf"--?config\S*\.{unknown[1]}\b", word)), None)
    if unknown and flag:
        meant = f" Did you mean {unknown[2]!r}?" if unknown[2] else ""
        more = "" if unknown[2] or ".families." not in flag else f" {OF_FAMILIES}"
        return f"{flag}: the config has no field {unknown[1]!r}.{meant}{more} --help lists the fields."
    file = _config_file(argv)
    reason = "no such file" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    if isinstance(error, AttributeError) and "'get_config'" in reason:
        reason = "it defines no get_config"
    if isinstance(error, AttributeError) and "'to_dict'" in reason:
        return f"{file}: get_config() must return a ConfigDict, as mia_jax.config.to_config_dict makes one."
    return f"{file}: the config cannot be read: {' '.join(reason.split())}. It must be a Python file with get_config()."


def _config_file(argv: Sequence[str]) -> str:
    """The flag that names the config file."""
    return next((word for word in argv if re.match(r"--?config=", word)), "--config")


def _flag_sentence(text: str) -> str:
    """absl's and ml_collections' words as one sentence."""
    if "Error whilst parsing config file" in text:  # get_config raised: the last line of its trace says what
        raised = re.sub(r"^[\w.]*Error: ", "", text.strip().splitlines()[-1]).strip()
        return f"{_config_file(sys.argv)}: get_config() raised: {raised}"
    number = re.match(
        r"flag --(\S+?)=(.*): (?:invalid literal for int|could not convert string to float)", text
    )
    switch = re.match(r"flag --(\S+?)=(.*): \('Non-boolean argument", text)
    if switch:
        return f"--{switch[1]} is {switch[2]!r}: it must stand alone, or be true or false."
    if number:
        kind = "a whole number" if "int()" in text else "a number"
        return f"--{number[1]} is {number[2]!r}: it must be {kind}."
    first = re.sub(r"\s*\?\s*\.*$", "?", re.sub(r"\s+", " ", text).strip()).rstrip(".")
    end = "" if first.endswith("?") else "."
    return f"{first}{end} --help lists the flags and fields."


def _without_overwrite(command: str) -> str:
    """The command that continues what this one began."""
    return re.sub(r"\s--overwrite(=true)?\b", "", command, flags=re.IGNORECASE)


def _stop(sentence: str, code: int = REFUSED) -> NoReturn:
    """Print one sentence and end with an exit code."""
    print(as_typed(f"error: {sentence}"), file=sys.stderr)
    sys.exit(code)
