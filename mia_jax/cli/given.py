"""What flags give a command: a config, sections of one, a run directory; and where its answer is printed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection
from typing import Any

from absl import flags
from ml_collections.config_flags import DEFINE_config_file
from rich.console import Console

from mia_jax.config import Config, ConfigError, from_config_dict

OF_ONE_RUN = (
    "The run directory: everything is written there, and resumed from there. A path, or the URL of a bucket."
)
OF_RUNS = "The directory of the study: its runs and what they show are written there, and resumed from there. A path."
"""What --workdir is."""


def config_flags(workdir: str = "runs/default", what: str = OF_ONE_RUN) -> None:
    """The flags of commands that train, each kind of study with a run directory of its own."""
    # No default here: it would be read, and the overrides with it, before errors can be caught.
    DEFINE_config_file("config", None, "A Python file with get_config(); see --config.FIELD below.")
    workdir_flag(workdir, what)
    runs = "run" if what == OF_ONE_RUN else "runs"
    flags.DEFINE_bool("overwrite", False, f"Delete the {runs} in --workdir and begin anew.")


def workdir_flag(default: str | None = None, what: str = OF_ONE_RUN) -> None:
    """Where everything is written. what: the help of the flag."""
    flags.DEFINE_string("workdir", default, what)


def section_flags(section: type, but: Collection[str] = ()) -> None:
    """A flag for every field of a section of the config; what is not given stays as the run has it."""
    for field in dataclasses.fields(section):
        if field.name in but:
            continue
        default = getattr(section(), field.name)
        define = {int: flags.DEFINE_integer, float: flags.DEFINE_float, tuple: flags.DEFINE_list}
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        help_ = f"See below. (default: that of the run; {shown} where there is none)"
        define.get(type(default), flags.DEFINE_string)(field.name, None, help_)


def section_values(section: type) -> dict[str, Any]:
    """The values of a section's flags that were given."""
    given = {}
    for field in dataclasses.fields(section):
        value = getattr(flags.FLAGS, field.name, None)
        if isinstance(value, list):
            value = [number(field.name, word) for word in value]
        if value is not None:
            given[field.name] = value
    return given


def by_flag(make: Callable[..., Any], *given: Any) -> Any:
    """What `make` gives; a field of the config that it refuses is named by the flag that a person typed."""
    try:
        return make(*given)
    except ConfigError as error:
        flag = re.match(r"config\.(?:(?:attacks|report)\.)?(\w+)(?= (?:is|holds) )", str(error))
        name = {"names": "attacks"}.get(flag[1], flag[1]) if flag else ""
        if flag is None or name not in flags.FLAGS or not flags.FLAGS[name].present:
            raise
        raise ConfigError(f"--{name}{str(error)[flag.end() :]}") from None


def number(flag: str, word: str) -> float:
    """A number of a list (`ConfigError`)."""
    try:
        return float(word)
    except ValueError:
        raise ConfigError(f"--{flag} holds {word!r}: it must be numbers, as in --{flag}=0.1,0.01.") from None


def checked_config() -> Config:
    """The checked config of the flags."""
    return from_config_dict(flags.FLAGS.config)


def locked(*, existing: bool = False) -> Any:
    """The run directory, held by this process."""
    from mia_jax.runs import locking
    from mia_jax.runs.signs_of_life import SILENCE

    silence = flags.FLAGS.heartbeat_timeout if "heartbeat_timeout" in flags.FLAGS else SILENCE
    return locking.locked(workdir(), existing=existing, silence=silence, say=reporter().say)


def workdir() -> Any:
    """The address of the run directory."""
    from mia_jax.runs import store

    return store.address(flags.FLAGS.workdir)


def reporter(team: Any = None) -> Any:
    """What tells the person at the keyboard how far it is; process 0 does."""
    from mia_jax import progress

    return progress.Silent() if team is not None and team.number else progress.reporter(Console())


def show(inputs: Any) -> None:
    """Print the tables of a report."""
    from mia_jax.report.tables import terminal

    printed(terminal(inputs))


def printed(tables: Any) -> None:
    """Print to the terminal."""
    console = Console()
    # A log has no width of its own; the tables are made for 110 columns.
    (console if console.is_terminal else Console(width=110)).print(tables)
