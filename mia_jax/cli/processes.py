"""The flags by which a command finds the other processes of its job, and its own devices."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from absl import flags

from mia_jax.config import ConfigError
from mia_jax.runs.identity import RunError

BY_HAND = ("coordinator", "num_processes", "process_id")
"""The flags that say together what --distributed finds out."""


def process_flags() -> None:
    """The flags of commands that several processes can share."""
    flags.DEFINE_bool(
        "distributed",
        False,
        "One of several processes, numbered by Slurm, Open MPI, Kubernetes or a TPU pod.",
    )
    flags.DEFINE_string(
        "coordinator", None, "Of processes started by hand: process 0's HOST:PORT, the same in all."
    )
    flags.DEFINE_integer("num_processes", None, "With --coordinator: how many processes there are.")
    flags.DEFINE_integer("process_id", None, "With --coordinator: which of them this is, from 0.")
    flags.DEFINE_integer(
        "cpu_devices", None, "Devices that a CPU counts as. (default: one for each core it may use)"
    )
    flags.DEFINE_float("heartbeat_timeout", 100.0, "Seconds after which a silent process counts as dead.")
    flags.DEFINE_integer("start_timeout", 300, "Seconds to wait until all processes have started.")


def check_process_flags() -> None:
    """Refuse flags that do not fit together (`ConfigError`)."""
    given = flags.FLAGS
    by_hand = [name for name in BY_HAND if given[name].value is not None]
    if given.distributed and by_hand:
        raise ConfigError(
            f"--distributed and --{by_hand[0]}: --distributed finds out what --{by_hand[0]} says; give one of them."
        )
    if by_hand and len(by_hand) < len(BY_HAND):
        missing = next(name for name in BY_HAND if name not in by_hand)
        raise ConfigError(
            f"--{missing} is missing: processes that are started by hand need --coordinator, --num_processes and "
            "--process_id."
        )
    if by_hand:
        _check_by_hand(given.coordinator, given.num_processes, given.process_id)
    for name in ("cpu_devices", "heartbeat_timeout", "start_timeout"):
        value = given[name].value
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is {value:g}: it must be at least 1.")


def _check_by_hand(coordinator: str, num_processes: int, process_id: int) -> None:
    """Refuse what is no place, no number of processes or no number of one (`ConfigError`)."""
    if not re.fullmatch(r".+:\d+", coordinator):
        raise ConfigError(f"--coordinator is {coordinator!r}: it must be HOST:PORT, as in 10.0.0.1:9876.")
    if num_processes < 1:
        raise ConfigError(f"--num_processes is {num_processes}: it must be at least 1.")
    if not 0 <= process_id < num_processes:
        raise ConfigError(
            f"--process_id is {process_id}: it must be from 0 to {num_processes - 1}, --num_processes less one."
        )


@contextmanager
def joined() -> Iterator[Any]:
    """The place of this command among the processes of its job: the `Team` that a training takes.

    What goes wrong in another process than the first is said with its number.
    """
    from mia_jax.runs import processes
    from mia_jax.runs.store import StoreError

    given = flags.FLAGS
    team: processes.Team = processes.ALONE
    if given.distributed or given.coordinator is not None:
        launch = processes.Launch(given.coordinator, given.num_processes, given.process_id)
        # JAX's runtime would end this process with a stack trace, and cannot be asked not to.
        patience = threading.Timer(given.start_timeout, _give_up)
        patience.daemon = True
        patience.start()
        try:
            team = processes.join(launch, silence=given.heartbeat_timeout, to_start=given.start_timeout + 60)
        except RunError as error:
            raise _numbered(error, given.process_id or 0) from None
        finally:
            patience.cancel()
    try:
        yield team
    except (ConfigError, RunError, StoreError) as error:
        team.fail(str(error))
        raise _numbered(error, team.number) from None
    except Exception as error:
        team.fail(str(error) or type(error).__name__)
        raise


def _give_up() -> None:
    """End a process whose job does not come together; nothing was written yet."""
    given = flags.FLAGS
    who, where = "", "what --distributed finds"
    if given.coordinator is not None:
        who, where = f"process {given.process_id}: ", given.coordinator
    sentence = (
        f"error: {who}the processes of this job did not find each other at {where} within {given.start_timeout} s: "
        "start all of them, and see that process 0 can be reached there."
    )
    print(sentence, file=sys.stderr, flush=True)
    os._exit(1)


def _numbered(error: Exception, number: int) -> Exception:
    """An error with the number of the process, unless it is the first."""
    return type(error)(f"process {number}: {error}") if number else error
