"""The rows of the table: each case checked for equality and then timed, ours and theirs in turn."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import jax
import numpy as np

from benchmarks import shadow_work, torch_workers
from benchmarks.shadow_work import FAMILIES, LEARNING_RATE, Case, Sizes, Work
from benchmarks.torch_workers import Workers

MATMUL_SIZE = 2048
MATMUL_SIZE_ELSEWHERE = 8192


def run(setting: str, cases: Sequence[Case], sizes: Sizes, *, torch_models: int) -> Iterator[dict[str, Any]]:
    """Yield, after each case, its row and what the devices are and can do.

    torch_models: the first models of each case are what PyTorch trains, at most so many; 0: PyTorch
    is not timed.
    """
    devices = jax.devices()
    on_cpu = devices[0].platform == "cpu"
    limit = 0.0
    for case in cases:
        work = shadow_work.work_of(case, sizes)
        with ExitStack() as stack:
            theirs, count = None, min(torch_models, case.num_models)
            if count:
                theirs = stack.enter_context(Workers(min(len(devices), count) if on_cpu else 1))
            row = {"setting": setting, **case._asdict(), **_row(work, theirs, count)}
        # The best of many, spread over the run: other work on the machine may have slowed one of them.
        limit = max(limit, shadow_work.matmul_limit(MATMUL_SIZE if on_cpu else MATMUL_SIZE_ELSEWHERE))
        yield {
            "row": row,
            "device": "cpu" if on_cpu else devices[0].device_kind,
            "limit": {"devices": len(devices), "matmul_flop_per_s": limit},
        }


def _row(work: Work, theirs: Workers | None, count: int) -> dict[str, Any]:
    """What is measured of one case; rates are of all models of a side together. count: PyTorch's models."""
    apart = _check(work, theirs) if theirs else None
    compilation, ours, others = _timed(work, theirs, count)
    row: dict[str, Any] = {
        "compile_s": compilation,
        "recording_share": work.sizes.recording_share(work.case.steps),
        "ours": _side(work, ours, work.case.num_models),
    }
    if others:
        ratios = [b / count / (a / work.case.num_models) for a, b in zip(ours, others, strict=True)]
        row["torch"] = {"num_models": count, **_side(work, others, count)}
        row["ratio"] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
        row["largest_difference"] = apart
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


def _timed(work: Work, theirs: Workers | None, count: int) -> tuple[float, list[float], list[float]]:
    """Seconds of compilation, and of every repeat: ours and theirs, chunk after chunk in turn."""
    compilation = 0.0
    ours, others = [0.0] * work.case.repeats, [0.0] * work.case.repeats
    for seconds, segment in shadow_work.segments(work):
        repeat = segment.checkpoint - shadow_work.SEGMENTS_BEFORE
        if segment.start == segment.checkpoint == 0:
            compilation = seconds
        if repeat >= 0:
            ours[repeat] += seconds
        models = range(segment.start, min(segment.stop, count))
        if theirs and models and repeat == -1:
            theirs.begin(models)
        if theirs and models and repeat >= 0:
            others[repeat] += theirs.train(work.epochs)
    return compilation, ours, others if theirs else []


def _side(work: Work, seconds: Sequence[float], num_models: int) -> dict[str, Any]:
    """One side's times with so many models, and what they mean."""
    steps_per_s = num_models * work.case.steps / statistics.median(seconds)
    return {
        "seconds": list(seconds),
        "steps_per_s": steps_per_s,
        "flop_per_s": steps_per_s * work.flop_per_step,
    }
