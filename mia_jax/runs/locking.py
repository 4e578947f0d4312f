"""A directory is held by one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mia_jax.runs.identity import JobError, RunError
from mia_jax.runs.signs_of_life import LOCK, SILENCE, leased
from mia_jax.runs.store import WITHOUT_LOCKS, Address, Store, address


@contextmanager
def locked(
    path: Address,
    *,
    existing: bool = False,
    silence: float = SILENCE,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Address]:
    """Hold the directory for this process; a second process is refused (`JobError`).

    A local directory is held by the system's own lock, which ends with its process; any other, and one on a
    file system without locks, by a sign of life in it (`signs_of_life.leased`). existing: refuse a directory
    that is not there, rather than make it. silence: seconds after which a holder's silence is its death.
    """
    place = address(path)
    if existing and not (place.is_dir() if isinstance(place, Path) else Store(place).exists("config.json")):
        raise RunError(f"{place} does not exist: run scripts/train.py with this --workdir first.")
    if not isinstance(place, Path):
        with leased(Store(place), silence=silence, say=say):
            yield place
        return
    with _lock_file(place) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobError(
                f"{place} is in use by another process: wait for it, or name another --workdir."
            ) from None
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            with leased(Store(place), silence=silence, say=say):
                # What the dead have left holds their files for ever.
                Store(place).release(but=LOCK)
                yield place
            return
        yield place


def _lock_file(path: Path) -> IO[str]:
    """The open lock of a directory, made where it is missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        return (path / "lock").open("w")
    except FileExistsError:
        raise RunError(f"{path} is a file, and no directory: name another --workdir.") from None
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}; name another --workdir.") from None
