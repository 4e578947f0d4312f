"""The rows of the table: each case checked for equality and then timed, ours and theirs in turn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import shadow_work, torch_workers
from benchmarks.shadow_work import FAMILIES, LEARNING_RATE, Case, Sizes, Work
from benchmarks.torch_workers import Workers

MATMUL_SIZE = 2048
MATMUL_SIZE_ELSEWHERE = 8192


class Opponent(NamedTuple):
    """A way to train the same models with PyTorch: its name in a row, and the program of its workers."""

    name: str
    program: str


LOOP = Opponent("torch", "torch_loop")
VMAP = Opponent("vmap", "torch_vmap")


class Rival:
    """An opponent at one case: its workers, the first models of the case that it trains, and its times."""

    def __init__(self, workers: Workers, count: int, work: Work, most_seconds: float) -> None:
        """count: of models; most_seconds: that a repeat may take, or nothing of it is timed."""
        self.workers, self.count, self.work, self.most_seconds = workers, count, work, most_seconds
        self.seconds = [0.0] * work.case.repeats
        self.too_slow: float | None = None

    def begin(self, models: range) -> None:
        """Make these models; give up where a repeat of all would take too long by the first epoch."""
        epoch = self.workers.begin(models)
        expected = epoch * self.work.epochs * self.count / len(models)
        if expected > self.most_seconds:
            self.too_slow = expected

    def train(self, repeat: int) -> None:
        """Train what was made last; once more, in this repeat."""
        self.seconds[repeat] += self.workers.train(self.work.epochs)


def run(
    setting: str,
    cases: Sequence[Case],
    sizes: Sizes,
    *,
    counts: Mapping[Opponent, int],
    most_seconds: float = math.inf,
) -> Iterator[dict[str, Any]]:
    """Yield, after each case, its row and what the devices are and can do.

    counts: of each opponent, the first models of each case that it trains, at most so many; 0: it is
    not timed. most_seconds: the most that an opponent's repeat may take; where it would take more, the row
    says how long instead.
    """
    devices = jax.devices()
    on_cpu = devices[0].platform == "cpu"
    limit = 0.0
    for case in cases:
        work = shadow_work.work_of(case, sizes)
        with ExitStack() as stack:
            rivals = {}
            for opponent, most in counts.items():
                if count := min(most, case.num_models):
                    processes = min(len(devices), count) if on_cpu else 1
                    workers = stack.enter_context(Workers(opponent.program, processes))
                    rivals[opponent.name] = Rival(workers, count, work, most_seconds)
            row = {"setting": setting, **case._asdict(), **_row(work, rivals)}
        # The best of many, spread over the run: other work on the machine may have slowed one of them.
        limit = max(limit, shadow_work.matmul_limit(MATMUL_SIZE if on_cpu else MATMUL_SIZE_ELSEWHERE))
        yield {
            "row": row,
            "device": "cpu" if on_cpu else devices[0].device_kind,
            "limit": {"devices": len(devices), "matmul_flop_per_s": limit},
        }


def _row(work: Work, rivals: Mapping[str, Rival]) -> dict[str, Any]:
    """What is measured of one case; rates are of all models of a side together."""
    apart = {name: _check(work, rival.workers) for name, rival in rivals.items()}
    compilation, ours = _timed(work, list(rivals.values()))
    row: dict[str, Any] = {
        "compile_s": compilation,
        "recording_share": work.sizes.recording_share(work.case.steps),
        "ours": _side(work, ours, work.case.num_models),
    }
    for name, rival in rivals.items():
        if rival.too_slow is not None:
            row[name] = {"num_models": rival.count, "too_slow_s": rival.too_slow}
            continue
        per_model = [a / work.case.num_models for a in ours]
        ratios = [b / rival.count / a for a, b in zip(per_model, rival.seconds, strict=True)]
        row[name] = {
            "num_models": rival.count,
            **_side(work, rival.seconds, rival.count),
            "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
            "largest_difference": apart[name],
        }
    return row


def _check(work: Work, theirs: Workers) -> float:
    """Load the workers; how far loss and gradient of one batch are apart with equal parameters."""
    family, pool = FAMILIES[work.case.family], work.dataset.pool
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    options = {"device": device, "learning_rate": LEARNING_RATE, "batch_size": work.sizes.batch_size}
    shape = (family.kind, family.record[-1], family.hidden, family.num_classes)
    theirs.load(shape, pool.x, pool.y, work.members.indices, options)
    rows = np.asarray(work.members.indices)[0, : work.sizes.batch_size]
    params = shadow_work.initial_params(work)
    loss, gradient = shadow_work.loss_and_gradient(work, params, rows)
    return torch_workers.largest_difference(
        loss, gradient, *theirs.loss_and_gradient(torch_workers.as_torch(params), rows)
    )


def _timed(work: Work, rivals: Sequence[Rival]) -> tuple[float, list[float]]:
    """Seconds of compilation, and of every repeat of ours; the others' go on after it, chunk after chunk in turn."""
    compilation, ours = 0.0, [0.0] * work.case.repeats
    for seconds, segment in shadow_work.segments(work):
        repeat = segment.checkpoint - shadow_work.SEGMENTS_BEFORE
        if segment.start == segment.checkpoint == 0:
            compilation = seconds
        if repeat >= 0:
            ours[repeat] += seconds
        for rival in rivals:
            models = range(segment.start, min(segment.stop, rival.count))
            if models and repeat == -1 and rival.too_slow is None:
                rival.begin(models)
            if models and repeat >= 0 and rival.too_slow is None:
                rival.train(repeat)
    return compilation, ours


def _side(work: Work, seconds: Sequence[float], num_models: int) -> dict[str, Any]:
    """One side's times with so many models, and what they mean."""
    steps_per_s = num_models * work.case.steps / statistics.median(seconds)
    return {
        "seconds": list(seconds),
        "steps_per_s": steps_per_s,
        "flop_per_s": steps_per_s * work.flop_per_step,
    }
