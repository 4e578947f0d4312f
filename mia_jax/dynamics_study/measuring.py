"""From one family of a trained run to an `Arm`: all that dynamics measures of it, each number with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mia_jax import dynamics
from mia_jax.config import DynamicsConfig
from mia_jax.dynamics import Estimate, Foretelling, HalvesAgreement, RankCorrelation
from mia_jax.dynamics_study import calling
from mia_jax.dynamics_study.calling import Followed, Judge
from mia_jax.dynamics_study.depths import prediction_depths
from mia_jax.dynamics_study.rows import Arm, Ends, Interval
from mia_jax.identity import RunError
from mia_jax.models import Model
from mia_jax.study import observing
from mia_jax.types import Dataset

DRAWS = 1000
"""Bootstrap draws of records behind an interval."""


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
    fpr, tpr = dynamics.plane(*_spread(followed, judge))
    _check_known(followed, fpr + tpr)
    ends = _ends(followed, judge)
    errors = dynamics.plane_errors(fpr, tpr, followed.member, iter([ends.known_last] * len(times)))
    depths = prediction_depths(followed, dataset, model, settings.depth_neighbours)
    halves = _halves(followed, judge, settings, depths, rng)
    floor = _floor(followed, judge, settings, rng)
    accuracies = _accuracies(followed)
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
        difficulty=_difficulty(followed, depths),
        curves=_curves(fpr, tpr, times, settings, floor, halves.agreement, accuracies),
        numbers=_numbers(followed, fpr, tpr, times, settings, floor, halves, ends, accuracies, rng),
        transitions=dynamics.transition_matrix(tpr - fpr, settings.cuts),
        also=_also(followed, settings),
        foretold=_foretold(halves.foretold, settings, run.epochs),
        ends=ends,
    )


def early_checkpoint(epochs: tuple[int, ...], share: float) -> int:
    """The last checkpoint within the first `share` of training, the first where none is."""
    return max((number for number, epoch in enumerate(epochs) if epoch <= share * epochs[-1]), default=0)


def _check_known(followed: Followed, v: np.ndarray) -> None:
    """Refuse a family of which no record can be placed on the plane (`RunError`)."""
    if np.isnan(v).all(axis=1).any():
        raise RunError(
            f"{followed.run.path} has no record with calls by models with it and without it: of family "
            f"{followed.family} {np.sum(followed.valid)} of {len(followed.valid)} models are fit at every checkpoint; "
            "train more models, or others, in another --workdir."
        )


def _spread(followed: Followed, judge: Judge) -> tuple[Any, np.ndarray, Any]:
    """The arguments of `dynamics.plane`."""
    called, known = calling.calls(followed, judge)
    return called, followed.member, known


def _ends(followed: Followed, judge: Judge) -> Ends:
    """The calls of the first and the last checkpoint."""
    first = calling.calls_at(followed, judge, 0)
    last = calling.calls_at(followed, judge, len(followed.run.epochs) - 1)
    return Ends(first[0], last[0], first[1], last[1], followed.member, followed.twin)


def _floor(
    followed: Followed, judge: Judge, settings: DynamicsConfig, rng: np.random.Generator
) -> np.ndarray:
    """Speeds under permuted membership, the attack fitted anew to each: [permutations, T-1]."""
    return dynamics.refitted_speed_noise_floor(
        lambda member: calling.calls(followed, judge, member=member),
        followed.member,
        np.asarray(followed.run.epochs, np.float64),
        rng,
        permutations=settings.permutations,
        twin=followed.twin,
    )


def _correct(followed: Followed, checkpoint: int) -> np.ndarray:
    """Whether each model is right about each record of the pool: bool [K, N]."""
    ours = observing.columns(followed.run.config, "pool")
    return followed.run.segments(followed.family).signal("pool/correct", checkpoint)[:, ours] > 0.5


def _difficulty(
    followed: Followed, depths: np.ndarray | None, models: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Difficulties by the valid models of a part, larger = harder: [N] each. models: bool [K]; None: all."""
    part = followed.valid if models is None else followed.valid & models
    member, epochs = followed.member[part], followed.run.epochs
    right = (_correct(followed, number)[part] for number in range(len(epochs)))
    found = {}
    if len(epochs) > 1:
        found["epoch_learned"] = dynamics.epoch_learned(right, member, np.asarray(epochs, np.float64)).epoch
    last = _correct(followed, len(epochs) - 1)[part]
    found["out_error"] = 1.0 - dynamics.out_accuracy(last[:, None], member)[0]
    if depths is not None:
        found["prediction_depth"] = dynamics.mean_depth(depths[part], member)
    return found


def _halves(
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
        sides = [np.stack([_v(*pair, member, part) for pair in (then, end)]) for part in (half, ~half)]
        by_half.append(sides)
        for part, other in ((half, sides[1][1]), (~half, sides[0][1])):
            for name, values in _difficulty(followed, depths, part).items():
                found = dynamics.rank_correlation(values, other, confidence=confidence)
                ranks.setdefault(name, []).append(found)
    v = np.array(by_half)  # [P, 2, 2, N]: split, half, (early, end)
    return Halves(
        dynamics.combined_halves(agreed),
        dynamics.combined_foretelling(foretold),
        ranks,
        np.concatenate([v[:, 0], v[:, 1]]),
    )


def _v(called: np.ndarray, known: np.ndarray, member: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Vulnerability by a part of the models at one checkpoint: [N]."""
    fpr, tpr = dynamics.plane(called[part][:, None], member[part], known[part][:, None])
    return (tpr - fpr)[0]


def _accuracies(followed: Followed) -> dict[str, np.ndarray]:
    """Mean accuracy of the valid models at each checkpoint, on members and on test records: [T] each."""
    found: dict[str, list[float]] = {"train_accuracy": [], "test_accuracy": []}
    segments, fit = followed.run.segments(followed.family), followed.valid
    for number in range(len(followed.run.epochs)):
        right, member = _correct(followed, number)[fit], followed.member[fit]
        found["train_accuracy"].append(float(np.sum(right & member) / max(np.sum(member), 1)))
        found["test_accuracy"].append(float(np.mean(segments.signal("test/correct", number)[fit])))
    return {name: np.array(values) for name, values in found.items()}


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
        "low": _share(v < settings.cuts[0], v),
        "high": _share(v >= settings.cuts[-1] - 1e-9, v),
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
        followed.member,
        ends.known_first,
        ends.known_last,
        twin=followed.twin,
        confidence=confidence,
    )
    found = {
        "vulnerability": _interval(center.vulnerability),
        "displacement": _interval(center.displacement),
        "path": _alone(dynamics.center_path_length(dynamics.center_of_mass(fpr, tpr))),
        "high": _of_bootstrap(
            over_records(lambda rows: _share(v[-1:, rows] >= settings.cuts[-1] - 1e-9, v[-1:, rows])[0])
        ),
        "clustering": _of_bootstrap(
            over_records(
                lambda rows: dynamics.clustering_index(fpr[-1:, rows], tpr[-1:, rows], settings.bins[0])[0],
                200,
            )
        ),
    }
    for bins in settings.bins:
        name = "entropy_change" if bins == settings.bins[0] else f"entropy_change_{bins}"
        found[name] = _of_bootstrap(
            over_records(lambda rows, bins=bins: _entropy_change(fpr[:, rows], tpr[:, rows], bins), 200)
        )
    if len(times) > 1:
        found |= _speeds(fpr, tpr, times, floor, over_records, confidence)
        entry = dynamics.entry_into_highest(v, settings.cuts)
        found["peak_entry"] = _alone(entry.peak)
    found |= _early(halves.early_v, settings, rng, over_records)
    for name, ranks in halves.ranks.items():
        found[f"rank_{name}"] = _mean_rank(ranks)
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
    """Spatial entropy at the end less at first."""
    first, last = dynamics.spatial_entropy(fpr[[0, -1]], tpr[[0, -1]], bins)
    return float(last - first)


def _early(
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


def _mean_rank(ranks: list[RankCorrelation]) -> Interval:
    """The mean correlation over splits, its interval as wide as that of one split on average."""
    rows = np.array([rank[:3] for rank in ranks])
    rows = rows[~np.isnan(rows).any(axis=1)]
    if not len(rows):
        return Interval(np.nan, np.nan, np.nan)
    # Splits share records and models: averaging them takes noise away, and no width is claimed for it.
    return Interval(
        *(float(end) for end in np.tanh(np.mean(np.arctanh(np.clip(rows, -0.999999, 0.999999)), axis=0)))
    )


def _also(followed: Followed, settings: DynamicsConfig) -> list[dict[str, Any]]:
    """The center by other decisions: the same attack at stated FPRs, and other attacks at them."""
    found = []
    for name in (settings.attack, *settings.also_attacks):
        for fpr in settings.also_fpr:
            judge = calling.judge(followed.run, followed.family, name, fpr)
            ends = _ends(followed, judge)
            center = dynamics.center_interval(
                ends.first,
                ends.last,
                followed.member,
                ends.known_first,
                ends.known_last,
                twin=followed.twin,
                confidence=followed.run.config.report.confidence,
            )
            v = _v(ends.last, ends.known_last, followed.member, np.ones(len(followed.member), bool))
            found.append(
                {
                    "attack": name,
                    "fpr": fpr,
                    "vulnerability": _interval(center.vulnerability),
                    "displacement": _interval(center.displacement),
                    "high": float(_share((v >= settings.cuts[-1] - 1e-9)[None], v[None])[0]),
                }
            )
    return found


def _foretold(found: Foretelling, settings: DynamicsConfig, epochs: tuple[int, ...]) -> dict[str, Any]:
    """The early warning as plain values: what a list reaches, beside its ceiling and chance."""
    row: dict[str, Any] = {
        "epoch": epochs[early_checkpoint(epochs, settings.early)],
        "share": settings.foretold,
    }
    for name in found.early._fields:
        for kind in ("early", "ceiling", "chance"):
            row[name if kind == "early" else f"{name}_{kind}"] = float(getattr(getattr(found, kind), name))
    return row


def _interval(found: Estimate) -> Interval:
    """An estimate as the rows have it."""
    return Interval(found.value, found.low, found.high)


def _of_bootstrap(found: Any) -> Interval:
    """A scalar that was resampled as the rows have it."""
    return Interval(float(found.value), float(found.low), float(found.high))


def _alone(value: float) -> Interval:
    """A number without an interval."""
    return Interval(float(value), np.nan, np.nan)
