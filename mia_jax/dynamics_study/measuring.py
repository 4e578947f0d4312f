"""From one family of a trained run to an `Arm`: all that dynamics measures of it, each number with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mia_jax import blocks, dynamics
from mia_jax.config import DynamicsConfig
from mia_jax.dynamics import Estimate, HalvesAgreement
from mia_jax.dynamics.rates import ROUNDING, rates, sides
from mia_jax.dynamics_study import calling
from mia_jax.dynamics_study.calling import Followed, Judge, NotPlacedError
from mia_jax.dynamics_study.correctness import accuracies_of, difficulty_of
from mia_jax.dynamics_study.depths import prediction_depths
from mia_jax.dynamics_study.halves import (
    Halves,
    between_halves,
    early_checkpoint,
    early_numbers,
    foretold_row,
    mean_rank,
)
from mia_jax.dynamics_study.rows import Arm, Ends, Interval
from mia_jax.models import Model
from mia_jax.study import observing
from mia_jax.types import Dataset

DRAWS = 1000
"""Bootstrap draws of records behind an interval."""


def arm_of(
    followed: Followed,
    factors: Mapping[str, str],
    settings: DynamicsConfig,
    pool: str,
    dataset: Dataset,
    model: Model,
) -> Arm:
    """Everything that is measured of one family. pool: what is the same for all arms on the same records."""
    run, family = followed.run, followed.family
    judge = calling.judge(run, family, settings.attack, settings.fpr)
    seed = [run.config.seed, *family.encode()]
    rng = np.random.default_rng(seed)
    times = np.asarray(run.epochs, np.float64)
    fpr, tpr = _plane(followed, judge)
    _check_known(followed, fpr, tpr)
    ends = _ends(followed, judge)
    errors = _errors(fpr, tpr, ends)
    depths = prediction_depths(followed, dataset, model, settings.depth_neighbours)
    halves = between_halves(followed, judge, settings, depths, rng)
    floor = _floor(followed, judge, settings, rng)
    accuracies = accuracies_of(followed)
    return Arm(
        factors=dict(factors),
        pool=pool,
        epochs=np.asarray(run.epochs),
        num_models=int(followed.valid.sum()),
        who=judge.who,
        fpr=fpr,
        tpr=tpr,
        fpr_error=errors[0],
        tpr_error=errors[1],
        labels=run.labels("pool")[observing.columns(run.config, "pool")],
        difficulty=difficulty_of(followed, depths),
        curves=_curves(fpr, tpr, times, settings, floor, halves.agreement, accuracies),
        numbers=_numbers(followed, fpr, tpr, times, settings, floor, halves, ends, accuracies, rng),
        transitions=dynamics.transition_matrix(tpr - fpr, settings.cuts),
        also=_also(followed, settings),
        foretold=foretold_row(halves.foretold, settings, run.epochs),
        ends=ends,
    )


def _check_known(followed: Followed, fpr: np.ndarray, tpr: np.ndarray) -> None:
    """Refuse a family of which no record can be placed on the plane (`NotPlacedError`)."""
    if any(np.isnan(x + y).all() for x, y in zip(fpr, tpr, strict=True)):
        raise NotPlacedError(
            f"{followed.run.path} has no record with calls by models with it and without it: of family "
            f"{followed.family} {np.sum(followed.valid)} of {len(followed.valid)} models are fit at every checkpoint; "
            "train more models, or others, in another --workdir."
        )


def _plane(followed: Followed, judge: Judge) -> tuple[np.ndarray, np.ndarray]:
    """FPR and TPR of every record at every checkpoint: [T, N] each."""
    found = np.empty((2, len(followed.run.epochs), followed.member.shape[1]))
    for checkpoint in range(len(followed.run.epochs)):
        found[:, checkpoint] = calling.rates_at(followed, judge, checkpoint)[0]
    return found[0], found[1]


def _errors(fpr: np.ndarray, tpr: np.ndarray, ends: Ends) -> np.ndarray:
    """Standard errors of both rates: [2, T, N]."""
    found = np.empty((2, *fpr.shape))
    for part in _blocks(fpr.shape[1], ends):
        known = iter([ends.known_last.columns(part)] * len(fpr))
        found[:, :, part] = dynamics.plane_errors(
            fpr[:, part], tpr[:, part], ends.member.columns(part), known
        )
    return found


def _final_v(ends: Ends) -> np.ndarray:
    """Vulnerability at the end: [N]."""
    found = np.empty(ends.member.shape[1])
    for part in _blocks(found.size, ends):
        known = ends.known_last.columns(part)
        fpr, tpr = rates(ends.last.columns(part), sides(ends.member.columns(part), known))
        found[part] = tpr - fpr
    return found


def _blocks(num_records: int, ends: Ends) -> list[slice]:
    """The records in blocks."""
    return blocks.blocks_of(num_records, blocks.records_at_once(ends.member.shape[0]))


def _ends(followed: Followed, judge: Judge) -> Ends:
    """The calls of the first and the last checkpoint."""
    first = calling.bits_at(followed, judge, 0)
    last = calling.bits_at(followed, judge, len(followed.run.epochs) - 1)
    member = dynamics.as_bits("member", followed.member, followed.member.shape)
    return Ends(first[0], last[0], first[1], last[1], member, followed.twin)


def _floor(
    followed: Followed, judge: Judge, settings: DynamicsConfig, rng: np.random.Generator
) -> np.ndarray:
    """Speeds under permuted membership, the attack fitted anew to each: [permutations, T-1].

    What `dynamics.refitted_speed_noise_floor` gives, from two checkpoints at a time.
    """
    orders = dynamics.model_orders(len(followed.member), settings.permutations, rng, followed.twin)
    epochs = np.asarray(followed.run.epochs, np.float64)
    floor = np.empty((len(orders), len(epochs) - 1))
    for curve, order in zip(floor, orders, strict=True):
        member, last = followed.member[order], np.empty(0)
        for checkpoint in range(len(epochs)):
            here = calling.rates_at(followed, judge, checkpoint, member=member)[0]
            if checkpoint:
                fpr, tpr = np.stack([last, here], axis=1)
                speed = dynamics.encoding_speed(fpr, tpr, epochs[checkpoint - 1 : checkpoint + 1])
                curve[checkpoint - 1] = dynamics.speed_curve(speed)[0]
            last = here
    return floor


def _curves(
    fpr: np.ndarray,
    tpr: np.ndarray,
    times: np.ndarray,
    settings: DynamicsConfig,
    floor: np.ndarray,
    agreement: HalvesAgreement,
    accuracies: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Every measure that has a value at each checkpoint: [T] each; that of an interval stands at its end."""
    v = tpr - fpr
    center = dynamics.center_of_mass(fpr, tpr)
    found = {
        "vulnerability": center[:, 1] - center[:, 0],
        "center_fpr": center[:, 0],
        "center_tpr": center[:, 1],
        "entropy": dynamics.spatial_entropy(fpr, tpr, settings.bins[0]),
        "clustering": dynamics.clustering_index(fpr, tpr, settings.bins[0]),
        "low": _share(v < settings.cuts[0] - ROUNDING, v),
        "high": _share(v >= settings.cuts[-1] - ROUNDING, v),
        "early_recall": agreement.early.recall,
        "early_precision": agreement.early.precision,
        "early_jaccard": agreement.early.jaccard,
        "early_ratio": agreement.ratio.recall,
    }
    if len(times) > 1:
        found |= {
            "speed": _at_end(dynamics.speed_curve(dynamics.encoding_speed(fpr, tpr, times))),
            "speed_floor": _at_end(floor.mean(axis=0)),
            "signed_speed": _at_end(dynamics.speed_curve(dynamics.signed_speed(v, times))),
            "entry": _at_end(dynamics.entry_into_highest(v, settings.cuts).probability),
        }
    return found | dict(accuracies)


def _at_end(of_intervals: np.ndarray) -> np.ndarray:
    """A curve of intervals [T-1] as one of checkpoints [T]."""
    return np.concatenate([[np.nan], of_intervals])


def _share(marked: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The share of the records with a vulnerability that are marked: [T]."""
    known = ~np.isnan(v)
    return np.sum(marked & known, axis=1) / np.maximum(known.sum(axis=1), 1)


def _numbers(
    followed: Followed,
    fpr: np.ndarray,
    tpr: np.ndarray,
    times: np.ndarray,
    settings: DynamicsConfig,
    floor: np.ndarray,
    halves: Halves,
    ends: Ends,
    accuracies: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> dict[str, Interval]:
    """Every measure of the whole arm."""
    confidence = followed.run.config.report.confidence
    v, num_records = tpr - fpr, fpr.shape[1]

    def over_records(statistic: Any, draws: int = DRAWS) -> Any:
        return dynamics.record_bootstrap(statistic, num_records, rng, draws, confidence)

    center = dynamics.center_interval(
        ends.first,
        ends.last,
        ends.member,
        ends.known_first,
        ends.known_last,
        twin=ends.twin,
        confidence=confidence,
    )
    found = {
        "vulnerability": _interval(center.vulnerability),
        "displacement": _interval(center.displacement),
        "path": _alone(dynamics.center_path_length(dynamics.center_of_mass(fpr, tpr))),
        "high": _of_bootstrap(
            over_records(lambda rows: _share(v[-1:, rows] >= settings.cuts[-1] - ROUNDING, v[-1:, rows])[0])
        ),
        "clustering": _of_bootstrap(
            over_records(
                lambda rows: dynamics.clustering_index(fpr[-1:, rows], tpr[-1:, rows], settings.bins[0])[0],
                200,
            )
        ),
    }
    both = fpr[[0, -1]], tpr[[0, -1]]
    for bins in settings.bins:
        name = "entropy_change" if bins == settings.bins[0] else f"entropy_change_{bins}"
        found[name] = _of_bootstrap(
            over_records(
                lambda rows, bins=bins: _entropy_change(both[0][:, rows], both[1][:, rows], bins), 200
            )
        )
    if len(times) > 1:
        found |= _speeds(fpr, tpr, times, floor, over_records, confidence)
        entry = dynamics.entry_into_highest(v, settings.cuts)
        found["peak_entry"] = _alone(entry.peak)
    epochs = followed.run.epochs
    if epochs[early_checkpoint(epochs, settings.early)] <= settings.early * epochs[-1]:
        found |= early_numbers(halves.early_v, settings, rng, over_records)
    for name, ranks in halves.ranks.items():
        found[f"rank_{name}"] = mean_rank(ranks)
    for name, curve in accuracies.items():
        found[name] = _alone(float(curve[-1]))
    return found


def _speeds(
    fpr: np.ndarray,
    tpr: np.ndarray,
    times: np.ndarray,
    floor: np.ndarray,
    over_records: Any,
    confidence: float,
) -> dict[str, Interval]:
    """Speeds, and what chance alone makes of them."""
    speed = dynamics.encoding_speed(fpr, tpr, times)
    signed = dynamics.signed_speed(tpr - fpr, times)

    def mean_and_peak(rows: np.ndarray) -> np.ndarray:
        found = dynamics.speed_summary(dynamics.speed_curve(speed[:, rows]), times)
        grown = dynamics.speed_summary(dynamics.speed_curve(signed[:, rows]), times)
        return np.array([found.mean, found.peak, grown.mean])

    own = over_records(mean_and_peak)
    by_chance = dynamics.speed_summary(floor, times).mean
    low, high = np.quantile(by_chance, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return {
        "speed": Interval(float(own.value[0]), float(own.low[0]), float(own.high[0])),
        "speed_floor": Interval(float(by_chance.mean()), float(low), float(high)),
        "peak_speed": Interval(float(own.value[1]), float(own.low[1]), float(own.high[1])),
        "signed_speed": Interval(float(own.value[2]), float(own.low[2]), float(own.high[2])),
    }


def _entropy_change(fpr: np.ndarray, tpr: np.ndarray, bins: int) -> float:
    """Spatial entropy at the end less at first. fpr, tpr: [2, N]."""
    first, last = dynamics.spatial_entropy(fpr, tpr, bins)
    return float(last - first)


def _also(followed: Followed, settings: DynamicsConfig) -> list[dict[str, Any]]:
    """The center by other decisions: the same attack at stated FPRs, and other attacks at them."""
    found: list[dict[str, Any]] = []
    for name in (settings.attack, *settings.also_attacks):
        for fpr in settings.also_fpr:
            judge = calling.judge(followed.run, followed.family, name, fpr)
            ends = _ends(followed, judge)
            v = _final_v(ends)
            if np.isnan(v).all():  # this attack places no record
                found.append({"attack": name, "fpr": fpr})
                continue
            center = dynamics.center_interval(
                ends.first,
                ends.last,
                ends.member,
                ends.known_first,
                ends.known_last,
                twin=ends.twin,
                confidence=followed.run.config.report.confidence,
            )
            found.append(
                {
                    "attack": name,
                    "fpr": fpr,
                    "vulnerability": _interval(center.vulnerability),
                    "displacement": _interval(center.displacement),
                    "high": float(_share((v >= settings.cuts[-1] - ROUNDING)[None], v[None])[0]),
                }
            )
    return found


def _interval(found: Estimate) -> Interval:
    """An estimate as the rows have it."""
    return Interval(found.value, found.low, found.high)


def _of_bootstrap(found: Any) -> Interval:
    """A scalar that was resampled as the rows have it."""
    return Interval(float(found.value), float(found.low), float(found.high))


def _alone(value: float) -> Interval:
    """A number without an interval."""
    return Interval(float(value), np.nan, np.nan)
