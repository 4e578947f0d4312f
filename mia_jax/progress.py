"""How far a training has come: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 5.0


class Reporter(Protocol):
    """Told what a training does."""

    def say(self, text: str) -> None:
        """One line for the person watching."""

    def begin(self, family: str, models: int, steps: int, done: int) -> None:
        """A family begins: K models of `steps` steps each, `done` model-steps finished before."""

    def advance(self, models_done: int, steps: int) -> None:
        """`steps` more model-steps are done, and `models_done` models are finished."""

    def end(self) -> None:
        """The family is finished."""


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def begin(self, family: str, models: int, steps: int, done: int) -> None:
        """Do nothing."""

    def advance(self, models_done: int, steps: int) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class Bar:
    """A progress bar with models, steps per second and time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._rate = Rate(0)
        self._models = 0

    def say(self, text: str) -> None:
        """Print above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def begin(self, family: str, models: int, steps: int, done: int) -> None:
        """Show the bar."""
        self._models, self._rate = models, Rate(done)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[models]} models · {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._progress.add_task(
            f"train {family}", total=models * steps, completed=done, models=f"0/{models}", rate="compiling"
        )
        self._progress.start()

    def advance(self, models_done: int, steps: int) -> None:
        """Move the bar."""
        pace = self._rate.after(steps)
        rate = "compiled" if pace is None else f"{pace:,.0f} steps/s"
        if self._progress is not None and self._task is not None:
            models = f"{models_done}/{self._models}"
            self._progress.update(self._task, advance=steps, models=models, rate=rate)

    def end(self) -> None:
        """Leave the bar where it is."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class Lines:
    """A line every few seconds, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._family, self._models, self._total = "", 0, 0
        self._rate = Rate(0)
        self._last_line = 0.0

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def begin(self, family: str, models: int, steps: int, done: int) -> None:
        """Say what begins."""
        self._family, self._models, self._total = family, models, models * steps
        self._rate, self._last_line = Rate(done), time.monotonic()
        already = f", {done / self._total:.0%} of it done before" if done else ""
        self.say(f"train {family}: {models} models of {steps:,} steps{already}")

    def advance(self, models_done: int, steps: int) -> None:
        """Say how far it is, if enough time has passed or it is the end."""
        rate = self._rate.after(steps)
        now = time.monotonic()
        left = self._total - self._rate.done
        if left > 0 and now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        pace = "" if rate is None else f", {rate:,.0f} steps/s"
        until = "" if rate is None or left <= 0 else f", {left / rate:.0f} s left"
        self.say(f"train {self._family}: {models_done}/{self._models} models{pace}{until}")

    def end(self) -> None:
        """Nothing is left to say."""


class Rate:
    """Model-steps per second since the first segment, which holds the compilation."""

    def __init__(self, done: int) -> None:
        self.done = done
        self._counted = 0
        self._start: float | None = None

    def after(self, steps: int) -> float | None:
        """The rate after `steps` more; None after the first."""
        self.done += steps
        if self._start is None:
            self._start = time.monotonic()
            return None
        self._counted += steps
        return self._counted / max(time.monotonic() - self._start, 1e-9)


def reporter(console: Console) -> Reporter:
    """What suits the console."""
    return Bar(console) if console.is_terminal else Lines(console)
