"""Measure how often the intervals cover the truth: python -m benchmarks.coverage.

In every simulated world memberships, records, models and noise are drawn anew, so the truth is what
other targets and other records of the same kind would give. The worlds of a cell are two halves of
their own seeds; the truth of one half is the mean estimate of the other (its error is 1 / sqrt(half
the worlds) of the estimate's own, which costs less than .1 % of coverage).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from scipy import stats

from benchmarks.machine import machine
from benchmarks.simulated_worlds import SCORES, Cell, World, closed_form, draw_records, draw_world, scored
from mia_jax import metrics

RESULT = Path(__file__).resolve().parent / "results" / "coverage.json"
CELLS = (
    *(
        Cell(models, records, signal)
        for models in (32, 64)
        for records in (200, 500)
        for signal in (False, True)
    ),
    *(Cell(models, 200, signal, "bernoulli") for models in (32, 64) for signal in (False, True)),
)
QUICK = (Cell(32, 200, False), Cell(32, 200, True))
FIXED_POOL = (Cell(32, 200, False), Cell(32, 200, True))
POOLS = 4
CONFIDENCE = 0.95
FPRS = {"tpr_at_fpr_0.1": 0.1, "tpr_at_fpr_0.01": 0.01}
STATISTICS = ("auc", *FPRS, "balanced_accuracy", "auc_difference", "tpr_difference_0.1")
ON_FIXED_POOLS = ("auc, two-way", "auc, by target")

Estimated = tuple[float, float | None, float | None]  # value, low, high
Estimate = Callable[[World, str], list[Estimated]]

FLAGS = flags.FLAGS
flags.DEFINE_integer("worlds", 1000, "Worlds of every cell: an even number.", lower_bound=2)
flags.DEFINE_integer("seed", 1, "Of all worlds. Seed 0 was looked at while the intervals were being made.")
flags.DEFINE_bool("quick", False, "Two cells, and no fixed pools; writes only to --out.")
flags.DEFINE_string("out", "", "The JSON file. Default: benchmarks/results/coverage.json.")
flags.DEFINE_string("show", "", "Print the table of this JSON file in Markdown and do nothing else.")


def main(_: Sequence[str]) -> None:
    """Measure, print the table, write the JSON file."""
    if FLAGS.show:
        print(markdown(json.loads(Path(FLAGS.show).read_text())["rows"]))
        return
    if FLAGS.worlds % 2:
        raise app.UsageError(f"--worlds is {FLAGS.worlds}: it must be even.")
    rows: list[dict[str, Any]] = []
    for cell, new_pool in cells(FLAGS.quick):
        start = time.perf_counter()
        rows += rows_of(cell, FLAGS.worlds, new_pool, FLAGS.seed)
        print(
            f"{cell.name}{'' if new_pool else ', fixed pools'}: {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    result = {
        "machine": machine(("numpy", "scipy")),
        "seed": FLAGS.seed,
        "confidence": CONFIDENCE,
        "rows": rows,
    }
    if FLAGS.out or not FLAGS.quick:
        Path(FLAGS.out or RESULT).write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(rows))


def cells(quick: bool) -> Iterator[tuple[Cell, bool]]:
    """What is measured: a cell, and whether every world has a pool of its own."""
    yield from ((cell, True) for cell in (QUICK if quick else CELLS))
    if not quick:
        yield from ((cell, False) for cell in FIXED_POOL)


def rows_of(cell: Cell, worlds: int, new_pool: bool, seed: int) -> list[dict[str, Any]]:
    """One row for each kind of scores and each statistic of a cell."""
    names = STATISTICS if new_pool else ON_FIXED_POOLS
    estimate = estimates if new_pool else estimates_on_fixed_pools
    numbers: list[int | None] = [None] if new_pool else list(range(POOLS))
    found = [halves(cell, worlds // len(numbers), estimate, number, seed) for number in numbers]
    rows = []
    for s, scores in enumerate(SCORES):
        for i, name in enumerate(names):
            row: dict[str, Any] = {"models": cell.models, "records": cell.records, "design": cell.design}
            row |= {"signal": cell.signal, "pool": "new" if new_pool else "fixed"}
            row |= {"scores": scores, "statistic": name}
            row |= judged([part[:, :, s, i] for part in found])
            if scores == "raw" and new_pool and (name == "auc" or name in FPRS):
                row["closed_form"] = closed_form(cell, FPRS.get(name))
            rows.append(row)
    return rows


def halves(cell: Cell, worlds: int, estimate: Estimate, pool: int | None, seed: int) -> np.ndarray:
    """Value, low and high of every world: [2 halves, worlds / 2, scores, statistics, 3].

    pool: the number of the pool that all worlds share; None draws one for each.
    """
    key = [seed, cell.models, cell.records, int(cell.signal), int(cell.design == "bernoulli")]
    key.append(0 if pool is None else 1 + pool)
    records = None if pool is None else draw_records(np.random.default_rng([*key, 2]), cell)
    found = []
    for half in (0, 1):
        rng = np.random.default_rng([*key, half])
        for _ in range(worlds // 2):
            world = draw_world(rng, cell, records)
            found.append([estimate(world, scores) for scores in SCORES])
    return np.array(found).reshape(2, worlds // 2, len(SCORES), -1, 3)


def estimates(world: World, scores: str) -> list[Estimated]:
    """Value, low and high of every statistic."""
    first, second, member = scored(world, 0, scores), scored(world, 1, scores), world.member
    known = ~np.isnan(first)
    area = metrics.auc(first[known], member[known])
    found = [beside(area, metrics.auc_interval(first, member, CONFIDENCE))]
    for fpr in FPRS.values():
        ends = metrics.tpr_interval(first, member, fpr, CONFIDENCE)
        found.append(beside(metrics.tpr_at_fpr(first[known], member[known], fpr), ends))
    decisions = metrics.cross_fit_decisions(first, member)
    value, ends = metrics.balanced_accuracy_interval(decisions, first, member, CONFIDENCE)
    found.append(beside(value, ends))
    for difference in (
        metrics.auc_difference(first, second, member, CONFIDENCE),
        metrics.tpr_difference(first, second, member, 0.1, CONFIDENCE),
    ):
        assert difference is not None
        found.append((difference.value, difference.low, difference.high))
    return found


def estimates_on_fixed_pools(world: World, scores: str) -> list[Estimated]:
    """The AUC with its interval, and with one clustered by target alone."""
    first, member = scored(world, 0, scores), world.member
    known = ~np.isnan(first)
    value = metrics.auc(first[known], member[known])
    targets = metrics.auc_influence(first, member).sum(axis=1)
    error = np.sqrt(np.sum(targets**2) * targets.size / (targets.size - 1))
    reach = stats.t.ppf(0.5 + CONFIDENCE / 2, targets.size - 1) * error
    two_way = beside(value, metrics.auc_interval(first, member, CONFIDENCE))
    return [two_way, (value, value - reach, value + reach)]


def beside(value: float, ends: metrics.Interval) -> Estimated:
    """A value with its ends."""
    return value, ends.low, ends.high


def judged(parts: Sequence[np.ndarray]) -> dict[str, Any]:
    """How often intervals cover the other half's mean, and how wide they are beside the ideal.

    parts: value, low and high [2, W, 3] of each pool. ideal: the interval of a normal estimate of
    known variance.
    """
    hits, widths, ideal = [], [], []
    for part in parts:
        truth = part[::-1, :, 0].mean(axis=1)[:, None]
        hits.append((part[..., 1] <= truth) & (truth <= part[..., 2]))
        widths.append(np.mean(part[..., 2] - part[..., 1]))
        ideal.append(2.0 * stats.norm.ppf(0.5 + CONFIDENCE / 2) * part[..., 0].std(axis=1, ddof=1).mean())
    hit, worlds = int(np.sum(hits)), int(np.size(hits))
    sure = stats.binomtest(hit, worlds).proportion_ci(0.95)
    return {
        "worlds": worlds,
        "coverage": hit / worlds,
        "coverage_low": float(sure.low),
        "coverage_high": float(sure.high),
        "truth": float(np.mean([part[..., 0].mean() for part in parts])),
        "mean_width": float(np.mean(widths)),
        "ideal_width": float(np.mean(ideal)),
        "ratio": float(np.mean(widths) / np.mean(ideal)),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Coverage in %, and in brackets the width as a multiple of the ideal one."""
    lines = []
    for pool in ("new", "fixed"):
        some = [row for row in rows if row["pool"] == pool]
        names = list(dict.fromkeys(row["statistic"] for row in some))
        if some:
            lines += ["", f"| cell | scores | {' | '.join(names)} |", "|---|---|" + "---:|" * len(names)]
        for row in some:
            if row["statistic"] != names[0]:
                continue
            same = ("models", "records", "design", "signal", "scores")
            line = [other for other in some if all(other[key] == row[key] for key in same)]
            cell = Cell(row["models"], row["records"], row["signal"], row["design"]).name
            figures = [f"{100 * other['coverage']:.1f} ({other['ratio']:.2f})" for other in line]
            lines.append(f"| {cell} | {row['scores']} | {' | '.join(figures)} |")
    return "\n".join(lines).strip()


if __name__ == "__main__":
    app.run(main)
