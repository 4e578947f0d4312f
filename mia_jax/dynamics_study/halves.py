"""What halves of the models, kept apart, say of each other: early determination, early warning, difficulty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from mia_jax import dynamics
from mia_jax.config import DynamicsConfig
from mia_jax.dynamics import Foretelling, HalvesAgreement, RankCorrelation
from mia_jax.dynamics_study import calling
from mia_jax.dynamics_study.calling import Followed, Judge
from mia_jax.dynamics_study.correctness import difficulty_of
from mia_jax.dynamics_study.rows import Interval


class Halves(NamedTuple):
    """What the splits of the models into halves say, all splits together.

    agreement, foretold: between halves. ranks: by difficulty, one correlation a split and direction. early_v:
    [2P, 2, N], by each half the vulnerability at the early checkpoint and at the end; the second P rows are
    the other halves of the first; it is the largest array of a study that has many splits.
    """

    agreement: HalvesAgreement
    foretold: Foretelling
    ranks: Mapping[str, list[RankCorrelation]]
    early_v: np.ndarray


def early_checkpoint(epochs: tuple[int, ...], share: float) -> int:
    """The last checkpoint within the first `share` of training, the first where none is."""
    return max((number for number, epoch in enumerate(epochs) if epoch <= share * epochs[-1]), default=0)


def between_halves(
    followed: Followed,
    judge: Judge,
    settings: DynamicsConfig,
    depths: np.ndarray | None,
    rng: np.random.Generator,
) -> Halves:
    """Early determination, early warning and difficulty between halves of the models, kept apart."""
    epochs, confidence = followed.run.epochs, followed.run.config.report.confidence
    early, last = early_checkpoint(epochs, settings.early), len(epochs) - 1
    splits = dynamics.model_halves(len(followed.member), settings.splits, rng, followed.twin)
    by_half = np.empty((2 * len(splits), 2, followed.member.shape[1]))
    agreed, foretold = [], []
    ranks: dict[str, list[RankCorrelation]] = {}
    for number, half in enumerate(splits):
        sides = by_half[[number, number + len(splits)]]  # [2, 2, N]: half, (early, end)
        agreed.append(
            dynamics.determination_of_halves(
                _kept(_vulnerabilities(followed, judge, half), sides, early, last), settings.cuts[-1]
            )
        )
        by_half[[number, number + len(splits)]] = sides
        foretold.append(
            dynamics.foretelling_of_halves(sides[:, 0], sides[:, 1], settings.foretold, cut=settings.cuts[-1])
        )
        for part, other in ((half, sides[1, 1]), (~half, sides[0, 1])):
            for name, values in difficulty_of(followed, depths, part).items():
                found = dynamics.rank_correlation(values, other, confidence=confidence)
                ranks.setdefault(name, []).append(found)
    return Halves(dynamics.combined_halves(agreed), dynamics.combined_foretelling(foretold), ranks, by_half)


def _vulnerabilities(followed: Followed, judge: Judge, half: np.ndarray) -> Iterator[np.ndarray]:
    """Vulnerability by each half of a split, checkpoint after checkpoint: [2, N]."""
    for checkpoint in range(len(followed.run.epochs)):
        found = calling.rates_at(followed, judge, checkpoint, half=half)
        yield found[:, 1] - found[:, 0]


def _kept(each: Iterator[np.ndarray], into: np.ndarray, early: int, last: int) -> Iterator[np.ndarray]:
    """The same, of which those of two checkpoints are written down: [2, 2, N], half by time."""
    for checkpoint, v in enumerate(each):
        for time, wanted in enumerate((early, last)):
            if checkpoint == wanted:
                into[:, time] = v
        yield v


def early_numbers(
    by_half: np.ndarray, settings: DynamicsConfig, rng: np.random.Generator, over_records: Any
) -> dict[str, Interval]:
    """Early determination between halves with intervals over records. by_half: [2P, 2, N], which are overwritten."""
    known = np.stack([np.isfinite(v).all(axis=0) for v in by_half])
    known &= np.roll(known, len(known) // 2, axis=0)
    # Vulnerabilities are ratios of small numbers: ties at the edge of a list are drawn by lot, for each anew.
    for v, listed in zip(by_half, known, strict=True):
        v += rng.uniform(0, 1e-9, v.shape)
        v[:, ~listed] = -np.inf

    def shares(rows: np.ndarray) -> np.ndarray:
        high, top = (np.empty((len(known), 2, rows.size), bool) for _ in range(2))
        listed = known[:, rows]
        count = listed.sum(axis=1)
        size = np.maximum(1, np.floor(settings.foretold * count + 0.5 + 1e-9).astype(int))
        for way, v in enumerate(by_half):
            drawn = v[:, rows]
            high[way] = drawn >= settings.cuts[-1] - 1e-9
            place = rows.size - size[way]
            top[way] = (drawn >= np.partition(drawn, place, axis=1)[:, place, None]) & listed[way]
        recall, ceiling, precision = _agreement(high)
        overlap, at_best, _ = _agreement(top)
        chance = _mean_ratio(size, count)
        return np.array(
            [
                recall,
                ceiling,
                _over(recall, ceiling),
                precision,
                overlap,
                at_best,
                _over(overlap - chance, at_best - chance),
            ]
        )

    names = (
        "early_recall",
        "early_ceiling",
        "early_ratio",
        "early_precision",
        "top_overlap",
        "top_ceiling",
        "top_ratio",
    )
    found = over_records(shares)
    return {
        name: Interval(float(found.value[i]), float(found.low[i]), float(found.high[i]))
        for i, name in enumerate(names)
    }


def _agreement(marked: np.ndarray) -> tuple[float, float, float]:
    """Of sets marked early and at the end by each half, bool [2P, 2, S], with the other half's at the end: mean
    recall, the same of the set at the end, and mean precision.
    """
    other = np.roll(marked[:, 1], len(marked) // 2, axis=0)
    sizes, listed = other.sum(axis=1), marked[:, 0].sum(axis=1)
    then, end = ((marked[:, i] & other).sum(axis=1) for i in (0, 1))
    return (
        _mean_ratio(then, sizes),
        _mean_ratio(end, sizes),
        _mean_ratio(then, listed),
    )


def _mean_ratio(part: np.ndarray, whole: np.ndarray) -> float:
    """The mean of the ratios whose whole is not 0; NaN where none is."""
    some = whole > 0
    return float(np.mean(part[some] / whole[some])) if some.any() else float("nan")


def _over(part: float, whole: float) -> float:
    """part / whole, NaN where the whole is not positive."""
    return part / whole if whole > 0 else float("nan")


def mean_rank(ranks: list[RankCorrelation]) -> Interval:
    """The mean correlation over splits, its interval as wide as that of one split on average."""
    rows = np.array([rank[:3] for rank in ranks])
    rows = rows[~np.isnan(rows).any(axis=1)]
    if not len(rows):
        return Interval(np.nan, np.nan, np.nan)
    # Splits share records and models: averaging them takes noise away, and no width is claimed for it.
    return Interval(
        *(float(end) for end in np.tanh(np.mean(np.arctanh(np.clip(rows, -0.999999, 0.999999)), axis=0)))
    )


def foretold_row(found: Foretelling, settings: DynamicsConfig, epochs: tuple[int, ...]) -> dict[str, Any]:
    """The early warning as plain values: what a list reaches, beside its ceiling and chance."""
    row: dict[str, Any] = {
        "epoch": epochs[early_checkpoint(epochs, settings.early)],
        "share": settings.foretold,
    }
    for name in found.early._fields:
        for kind in ("early", "ceiling", "chance"):
            row[name if kind == "early" else f"{name}_{kind}"] = float(getattr(getattr(found, kind), name))
    return row
