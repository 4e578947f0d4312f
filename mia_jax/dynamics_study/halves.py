"""What halves of the models, kept apart, say of each other: early determination, early warning, difficulty."""

from __future__ import annotations

from collections.abc import Mapping
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
    the other halves of the first.
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
    epochs, member = followed.run.epochs, followed.member
    confidence = followed.run.config.report.confidence
    early, last = early_checkpoint(epochs, settings.early), len(epochs) - 1
    splits = dynamics.model_halves(len(member), settings.splits, rng, followed.twin)
    agreed, foretold, by_half = [], [], []
    ranks: dict[str, list[RankCorrelation]] = {}
    for half in splits:
        called, known = calling.calls(followed, judge, half=half)
        agreed.append(
            dynamics.determination_between_halves(called, member, half[None], settings.cuts[-1], known)
        )
        then = calling.calls_at(followed, judge, early, half=half)
        end = calling.calls_at(followed, judge, last, half=half)
        foretold.append(
            dynamics.foretelling(
                then[0],
                end[0],
                member,
                half[None],
                settings.foretold,
                then[1],
                end[1],
                cut=settings.cuts[-1],
            )
        )
        sides = [
            np.stack([vulnerability_by(*pair, member, part) for pair in (then, end)])
            for part in (half, ~half)
        ]
        by_half.append(sides)
        for part, other in ((half, sides[1][1]), (~half, sides[0][1])):
            for name, values in difficulty_of(followed, depths, part).items():
                found = dynamics.rank_correlation(values, other, confidence=confidence)
                ranks.setdefault(name, []).append(found)
    v = np.array(by_half)  # [P, 2, 2, N]: split, half, (early, end)
    return Halves(
        dynamics.combined_halves(agreed),
        dynamics.combined_foretelling(foretold),
        ranks,
        np.concatenate([v[:, 0], v[:, 1]]),
    )


def vulnerability_by(
    called: np.ndarray, known: np.ndarray, member: np.ndarray, part: np.ndarray
) -> np.ndarray:
    """Vulnerability by a part of the models at one checkpoint: [N]."""
    fpr, tpr = dynamics.plane(called[part][:, None], member[part], known[part][:, None])
    return (tpr - fpr)[0]


def early_numbers(
    by_half: np.ndarray, settings: DynamicsConfig, rng: np.random.Generator, over_records: Any
) -> dict[str, Interval]:
    """Early determination between halves with intervals over records. by_half: [2P, 2, N]."""
    known = np.all(np.isfinite(by_half), axis=1)
    known &= np.roll(known, len(known) // 2, axis=0)
    # Vulnerabilities are ratios of small numbers: ties at the edge of a list are drawn by lot, for each anew.
    v = np.where(known[:, None], by_half + rng.uniform(0, 1e-9, by_half.shape), -np.inf)
    high = v >= settings.cuts[-1] - 1e-9

    def shares(rows: np.ndarray) -> np.ndarray:
        recall, ceiling, precision = _agreement(high[:, :, rows])
        listed, drawn = known[:, rows], v[:, :, rows]
        count = listed.sum(axis=1)
        size = np.maximum(1, np.floor(settings.foretold * count + 0.5 + 1e-9).astype(int))
        edge = np.take_along_axis(np.sort(drawn, axis=2), (rows.size - size)[:, None, None], axis=2)
        overlap, at_best, _ = _agreement((drawn >= edge) & listed[:, None])
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
