"""Signs of life in a shared store: who holds a place, who is still at work, and who has fallen silent.

A process renews its entry as long as it lives. Whoever watches takes it for dead once the entry has
not changed for some time by the watcher's own clock: clocks of two machines are never compared.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from mia_jax.runs.identity import JobError, RunError
from mia_jax.runs.store import Store, StoreError

SILENCE = 100.0
"""Seconds without a sign of life after which a process counts as dead; JAX's own default."""

RENEWALS = 8
"""Signs of life in that time: several may be late or lost."""

LOCK = "lock.json"
"""The entry of whoever holds a store."""


def this_process() -> dict[str, Any]:
    """What tells this process apart for a person who looks for it."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def described(who: Mapping[str, Any]) -> str:
    """A process as a person would look for it."""
    return f"host {who.get('host')}, process id {who.get('pid')}"


class Sign:
    """The sign of life of this process: an entry with what it says of itself, renewed until it leaves.

    A failure to write is no failure of the work: the sign is late, and written the next time.
    """

    def __init__(self, store: Store, name: str, says: Mapping[str, Any], *, silence: float = SILENCE) -> None:
        self._store, self._name = store, name
        self._says, self._count = {**this_process(), **says}, 0
        self._turn, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._renew, args=(silence / RENEWALS,), daemon=True)

    def begin(self) -> None:
        """Write the sign, from now on again and again."""
        self._write()
        self._thread.start()

    def say(self, says: Mapping[str, Any]) -> None:
        """Add to what the sign says, at once."""
        with self._turn:
            self._says |= says
        self._write()

    def end(self) -> None:
        """Renew no longer; what was said last stays."""
        self._ended.set()
        self._thread.join()

    def _renew(self, seconds: float) -> None:
        """Write again and again."""
        while not self._ended.wait(seconds):
            self._write()

    def _write(self) -> None:
        """Write what the sign says, with a number that it never had."""
        with self._turn:
            self._count += 1
            try:
                self._store.write_json(self._name, {**self._says, "sign": self._count})
            except StoreError:
                return


class Seen(NamedTuple):
    """What a sign says, None where it never came, and for how many seconds it has not changed."""

    says: Mapping[str, Any] | None
    silent: float


class Watch:
    """Watches signs of life, so that nobody is dead within `silence` seconds of its last sign.

    What passes between two looks counts for no more than a sign's distance: where the watcher itself, or the
    store, was held up, nobody else has been silent. clock: seconds, of this process alone.
    """

    def __init__(
        self,
        store: Store,
        names: Sequence[str],
        *,
        silence: float = SILENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._names, self._clock = store, names, clock
        self._longest = silence / RENEWALS
        self._last: dict[str, tuple[bytes | None, float, float]] = {}

    def look(self) -> dict[str, Seen]:
        """Every sign as it is now."""
        return {name: self._look(name) for name in self._names}

    def _look(self, name: str) -> Seen:
        """One sign; what cannot be read now has not changed."""
        now = self._clock()
        before, looked, silent = self._last.get(name, (None, now, 0.0))
        try:
            content = self._store.read(name)
        except StoreError:
            content = before
        silent = silent + min(now - looked, self._longest) if content == before else 0.0
        self._last[name] = (content, now, silent)
        return Seen(None if content is None else json.loads(content), silent)


@contextmanager
def leased(
    store: Store,
    *,
    silence: float = SILENCE,
    say: Callable[[str], None] = lambda text: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold a store by an entry that only one process can write, and that it renews.

    For places that have no locks of their own. An entry whose holder has died is taken over once it was
    not renewed for `silence` seconds, which takes as long to find out. Raises `JobError` where somebody
    holds the store, and `RunError` at the end where somebody has taken this one for dead.
    """
    lease = _Lease(store, silence)
    lease.take(say, sleep)
    try:
        yield
    except BaseException:
        with suppress(StoreError):
            lease.give_back()
        raise
    if not lease.give_back():
        raise RunError(
            f"{store.address} was taken over by another process while this one gave no sign of life for "
            f"{silence:g} s: look at what that one does, and run the same command again."
        )


class _Lease:
    """The entry of whoever holds a store, written only over the version that is known."""

    def __init__(self, store: Store, silence: float) -> None:
        self._store, self._silence = store, silence
        self._version, self._count, self._held = b"", 0, False
        self._who = {**this_process(), "token": secrets.token_hex(8)}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def take(self, say: Callable[[str], None], sleep: Callable[[float], None]) -> None:
        """Take the lock, where nobody lives who holds it (`JobError`)."""
        while not self._held:
            found, version = self._store.read_version(LOCK)
            if found is not None:
                self._outlive(found, version, say, sleep)
            self._write_over(version)
        self._thread.start()

    def give_back(self) -> bool:
        """Remove the entry, and whether it was still this process's."""
        self._ended.set()
        self._thread.join()
        return self._held and self._store.write_version(LOCK, None, self._version) is not None

    def _outlive(
        self, found: bytes, version: bytes, say: Callable[[str], None], sleep: Callable[[float], None]
    ) -> None:
        """Wait until an entry was not renewed for long enough (`JobError` where it is)."""
        entry = json.loads(found)
        who = described(entry)
        # A holder that shows itself more seldom than this process would is waited for as long as it asks.
        silence = max(self._silence, entry.get("silence", 0.0))
        say(f"{self._store.address} was held by {who}: waiting up to {silence:g} s for a sign of life")
        for _ in range(2 * RENEWALS):
            sleep(silence / RENEWALS / 2)
            now, newer = self._store.read_version(LOCK)
            if now is None:
                return
            if newer != version:
                who = described(json.loads(now))
                raise JobError(
                    f"{self._store.address} is in use by another process ({who}): wait for it, or name another "
                    "--workdir."
                )

    def _renew(self) -> None:
        """Write again and again, until somebody else has."""
        while self._held and not self._ended.wait(self._silence / RENEWALS):
            try:
                self._write_over(self._version)
            except StoreError:  # late, and tried again
                continue

    def _write_over(self, version: bytes) -> None:
        """Write the entry over a version of it; whether it is held says whether that was the last."""
        self._count += 1
        written = self._store.write_version(
            LOCK, json.dumps({**self._who, "sign": self._count, "silence": self._silence}).encode(), version
        )
        if written is None and self._held:
            # A write whose answer was lost was done all the same.
            found, version = self._store.read_version(LOCK)
            written = version if found and self._who["token"] in found.decode() else None
        self._held, self._version = written is not None, written or b""
