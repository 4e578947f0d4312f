"""The processes of one job: who they are, and what they agree on before each works alone.

JAX's distributed runtime brings them together (`jax.distributed.initialize` knows Slurm, Open MPI,
Kubernetes and TPU pods), and its coordination service carries what they tell each other: what process 0
decides, and what must be the same in all. Then they leave it, before the first step: a process that
dies later takes no other with it, not even process 0. Training needs no word of the others.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from mia_jax.runs.identity import JobError, RunError
from mia_jax.runs.signs_of_life import SILENCE

TO_START = 300
"""Seconds to wait for all processes of a job to start; JAX's own default."""

_PAUSE = 2.0
"""Seconds between two questions whether another process has failed, while an answer is waited for."""


class Launch(NamedTuple):
    """How the processes find each other. All None: JAX finds out from what started them."""

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


class Team(Protocol):
    """The processes of a job as one of them sees it; process 0 leads."""

    @property
    def number(self) -> int:
        """Which process this is."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    @property
    def silence(self) -> float:
        """Seconds without a sign of life after which a process counts as dead."""
        ...

    @property
    def job(self) -> str:
        """What tells this job apart from all others."""
        ...

    def share(self, name: str, value: Any = None) -> Any:
        """Process 0's value, which can be written as JSON, in every process. Raises `JobError`."""

    def gather(self, name: str, value: Any) -> list[Any]:
        """In process 0 the values of all processes in their order, elsewhere none. Raises `JobError`."""

    def part(self) -> None:
        """Leave the others, when there is nothing more to agree on."""

    def fail(self, sentence: str) -> None:
        """Tell the others what went wrong here, and leave them; nothing where all have parted."""


class Alone(NamedTuple):
    """A job of one process, which has nobody to agree with."""

    number: int = 0
    count: int = 1
    silence: float = SILENCE
    job: str = "job"

    def share(self, name: str, value: Any = None) -> Any:
        """The value."""
        return value

    def gather(self, name: str, value: Any) -> list[Any]:
        """The value, as the only one."""
        return [value]

    def part(self) -> None:
        """Nobody is left behind."""

    def fail(self, sentence: str) -> None:
        """Nobody is told."""


ALONE = Alone()


class Joined:
    """A job of several processes, through the coordination service of JAX's runtime.

    client: of the service: `key_value_set`, `blocking_key_value_get`, `key_value_dir_get`. leave: ends the
    connection, once all have called it. patience: seconds to wait for another's word. What tells the job apart
    process 0 decides.
    """

    def __init__(
        self,
        client: Any,
        number: int,
        count: int,
        *,
        leave: Callable[[], None],
        silence: float = SILENCE,
        patience: float = 3600.0,
    ) -> None:
        self.number, self.count, self.silence = number, count, silence
        self._client, self._leave, self._patience = client, leave, patience
        self._parted = False
        self.job: str = self.share("job", secrets.token_hex(4))

    def share(self, name: str, value: Any = None) -> Any:
        """Process 0's value in every process."""
        if self.number == 0:
            self._client.key_value_set(f"mia/{name}", json.dumps(value))
            return value
        return self._told(f"mia/{name}", by=0)

    def gather(self, name: str, value: Any) -> list[Any]:
        """In process 0 the values of all processes, elsewhere none."""
        if self.number:
            self._client.key_value_set(f"mia/{name}/{self.number}", json.dumps(value))
            return []
        return [value, *(self._told(f"mia/{name}/{other}", by=other) for other in range(1, self.count))]

    def part(self) -> None:
        """Leave the others."""
        self._parted = True
        try:
            self._leave()
        except RuntimeError as error:
            raise JobError(f"the processes could not part: {_first_line(error)}.") from None

    def fail(self, sentence: str) -> None:
        """Tell the others what went wrong here, and leave them once they know; nothing after parting."""
        if self._parted:
            return
        self._parted = True
        try:
            self._client.key_value_set(f"mia/failed/{self.number}", json.dumps(sentence))
            self._leave()
        except RuntimeError:  # nobody is there any more
            return

    def _told(self, key: str, by: int) -> Any:
        """What another process says under a key (`JobError` if any has failed, or none comes)."""
        began = time.monotonic()
        while time.monotonic() - began < self._patience:
            try:
                return json.loads(self._client.blocking_key_value_get(key, int(1000 * _PAUSE)))
            except RuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise JobError(f"process {by} cannot be reached: {_first_line(error)}.") from None
            for failed, sentence in self._client.key_value_dir_get("mia/failed/"):
                raise JobError(f"process {failed.rsplit('/', 1)[1]} has failed: {json.loads(sentence)}")
        raise JobError(f"process {by} has said nothing for {self._patience:g} s: look at what it does.")


@contextmanager
def agreeing(team: Team) -> Iterator[None]:
    """Agree within this; whatever goes wrong here ends the others too, with the same sentence."""
    try:
        yield
    except JobError:
        team.fail("it has stopped, as another process has failed")
        raise
    except Exception as error:
        team.fail(str(error) or type(error).__name__)
        raise
    team.part()


def check_agreed(facts: Sequence[Mapping[str, Any]]) -> None:
    """Refuse processes whose facts differ (`RunError`). facts: of every process, in their order."""
    for number, other in enumerate(facts):
        different = [name for name in sorted({*facts[0], *other}) if facts[0].get(name) != other.get(name)]
        if different:
            named = "; ".join(
                f"{name} is {facts[0].get(name)!r} in process 0 and {other.get(name)!r} in process {number}"
                for name in different[:5]
            )
            raise RunError(
                f"process {number} does not do what process 0 does: {named}; start all with the same command, on the "
                "same software and kind of device."
            )


def join(launch: Launch, *, silence: float = SILENCE, to_start: int = TO_START) -> Joined:
    """Join the other processes of this job; before the first computation of the process.

    silence: seconds without a sign of life after which a process counts as dead. to_start: seconds to wait
    until all are there. Raises `JobError` where they do not find each other.
    """
    import jax
    from jax._src import distributed

    # No array is shared by processes, so none need carry numbers between them.
    jax.config.update("jax_cpu_collectives_implementation", None)
    # It would keep SIGTERM, by which schedulers end a job, from ending this process.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            launch.coordinator,
            launch.num_processes,
            launch.process_id,
            initialization_timeout=to_start,
            heartbeat_timeout_seconds=max(1, round(silence)),
            # Whoever fails waits for the others, who may still be reading the data.
            shutdown_timeout_seconds=to_start,
            cluster_detection_method=None if launch.coordinator is None else "deactivate",
        )
    except ValueError:
        raise JobError(
            "--distributed: nothing around this process says which job it belongs to; start it with Slurm, Open MPI, "
            "Kubernetes or on a TPU pod, or name --coordinator, --num_processes and --process_id."
        ) from None
    except RuntimeError as error:
        raise JobError(
            f"the processes of this job did not find each other: {_first_line(error)}; see that process 0's port is "
            "free, and open to the others."
        ) from None
    try:
        jax.local_devices()
    except RuntimeError as error:
        raise JobError(f"the devices of this job's processes did not start: {_first_line(error)}.") from None
    # JAX offers its key-value store to libraries by this name only.
    state = distributed.global_state
    return Joined(
        state.client, state.process_id, state.num_processes, leave=jax.distributed.shutdown, silence=silence
    )


def _first_line(error: Exception) -> str:
    """What an error of JAX's runtime says, without where in its code."""
    return re.sub(r"\s*\[type\..*", "", str(error).splitlines()[0]).rstrip(".")


def deal(loads: Sequence[int], count: int, begun: Sequence[int] = ()) -> list[int]:
    """Whom each piece of work goes to, so that `count` processes have about as much: the heaviest first.

    loads: of each piece; those of 0 go to process 0. begun: what each process has to do already.
    """
    totals = [*begun, *[0] * (count - len(begun))]
    mine = [0] * count
    given = [0] * len(loads)
    for piece in sorted(range(len(loads)), key=lambda piece: (-loads[piece], piece)):
        if loads[piece]:
            given[piece] = min(range(count), key=lambda process: (mine[process], totals[process], process))
            mine[given[piece]] += loads[piece]
            totals[given[piece]] += loads[piece]
    return given
