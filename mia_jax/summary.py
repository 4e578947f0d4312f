"""From scores to the rows, curves and histograms of a report: nothing is drawn, nothing is read."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mia_jax import metrics
from mia_jax.blocks import blocks_of
from mia_jax.config import ReportConfig
from mia_jax.report.inputs import Curve, Histogram, ppv_key, tpr_key
from mia_jax.statistics import intervals, multiple_testing
from mia_jax.statistics.cross_fitting import CrossFit, cross_fit
from mia_jax.statistics.pooled import Block, Pooled
from mia_jax.statistics.pooled_roc import INSIDE, OUTSIDE, PooledRoc
from mia_jax.statistics.roc import auc_and_tprs
from mia_jax.statistics.score_table import AT_ONCE, ScoreTable, as_table
from mia_jax.types import Array

CURVE_POINTS = 600
HISTOGRAM_BINS = 60


class Setting(NamedTuple):
    """Where a row belongs."""

    family: str
    checkpoint: int
    epoch: int


def utility_row(
    setting: Setting,
    correct: Array | ScoreTable,
    member: Array,
    test_correct: Array | ScoreTable,
    usable: np.ndarray,
    *,
    num_parameters: int,
    confidence: float,
) -> dict[str, Any]:
    """Accuracy on members and on the test part, and their gap, over the usable models.

    correct, member: [K, N]. test_correct: [K, …]. Intervals are t-intervals over models, which are
    independent given the pool and the test records.
    """
    pool, held = as_table(correct), np.asarray(member, bool)
    tested = as_table(test_correct)
    # A pool need not fit.
    right = [np.sum(pool.rows(some) * held[some], axis=1) for some in _models_at_once(pool)]
    train = np.concatenate(right)[usable] / np.sum(held, axis=1)[usable]
    test = np.concatenate([tested.rows(some).mean(axis=1) for some in _models_at_once(tested)])[usable]
    row: dict[str, Any] = {**setting._asdict(), "num_parameters": num_parameters, "models": int(usable.sum())}
    return row | _accuracies(train, test, confidence)


def _models_at_once(table: ScoreTable) -> list[slice]:
    """The models of a table in blocks."""
    num_models, num_records = table.shape
    return blocks_of(num_models, max(1, AT_ONCE // max(1, num_records)))


def own_utility_row(
    setting: Setting, correct: Array, member: Array, usable: np.ndarray, confidence: float
) -> dict[str, Any]:
    """The accuracies of somebody's own models [K, N]: of each on its members and on all other records."""
    held, right = np.asarray(member, bool)[usable], np.asarray(correct, np.float64)[usable]
    both = held.any(axis=1) & ~held.all(axis=1)
    held, right = held[both], right[both]
    train = np.sum(right * held, axis=1) / np.maximum(held.sum(axis=1), 1)
    test = np.sum(right * ~held, axis=1) / np.maximum((~held).sum(axis=1), 1)
    row: dict[str, Any] = {**setting._asdict(), "models": int(usable.sum())}
    return row | _accuracies(train, test, confidence)


def attack_row(
    setting: Setting,
    attack: str,
    scores: Array | ScoreTable,
    member: Array,
    twin: Array,
    config: ReportConfig,
) -> dict[str, Any]:
    """One row of results.json. scores: [K, N], NaN where missing. member: bool [K, N]. twin: int [K].

    `auc`, `balanced_accuracy` and `tpr_at_fpr_…` pool all targets; `target_…` are means over targets.
    The balanced accuracy's threshold, and with it the advantage's (TPR - FPR), is chosen on other
    targets and other records. A TPR, and the PPV that it means at `config.prior`, is null with fewer than
    one expected false positive.
    """
    pooled = Pooled(scores, member, twin)
    return pooled_row(setting, attack, pooled, cross_fit(pooled), config)


def pooled_row(
    setting: Setting, attack: str, pooled: Pooled, chosen: CrossFit, config: ReportConfig
) -> dict[str, Any]:
    """The same of what is pooled already. chosen: its thresholds."""
    row: dict[str, Any] = {"family": setting.family, "attack": attack}
    row |= {"checkpoint": setting.checkpoint, "epoch": setting.epoch}
    row |= _over_targets(pooled, chosen, config) if pooled.both_sides else _nothing_pooled(config)
    row |= _per_target(pooled, config.fpr)
    records = pooled.table.shape[1]
    return row | {
        "targets": pooled.targets,
        "records": records,
        "missing": pooled.targets * records - pooled.entries,
    }


def comparisons(
    scores: Mapping[tuple[str, str], Array | ScoreTable], member: Array, twin: Array, confidence: float
) -> list[dict[str, Any]]:
    """For each attack and pair of families the difference of their AUCs, over the same targets and records.

    p: of there being none; p_holm: adjusted for all of the table.
    """
    rows: list[dict[str, Any]] = []
    for attack in dict.fromkeys(attack for _, attack in scores):
        families = [family for family, name in scores if name == attack]
        for a, b in itertools.combinations(families, 2):
            arms = intervals.paired_arms(scores[a, attack], scores[b, attack], member, twin)
            if not arms[0].both_sides:
                continue
            found = intervals.pooled_auc_difference(*arms, confidence)
            names = {"attack": attack, "family_a": a, "family_b": b}
            rows.append(
                {**names, "difference": found.value, "low": found.low, "high": found.high, "p": found.p}
            )
    return with_holm(rows, "p", "p_holm")


def with_holm(rows: Sequence[Mapping[str, Any]], name: str, adjusted: str) -> list[dict[str, Any]]:
    """The rows with their p-values adjusted for all of the table (Holm); None where there is none."""
    values = [np.nan if row.get(name) is None else row[name] for row in rows]
    found = [None if np.isnan(value) else float(value) for value in multiple_testing.holm(values)]
    return [{**row, adjusted: value} for row, value in zip(rows, found, strict=True)]


def pooled_curve(pooled: Pooled) -> Curve:
    """The pooled ROC, thinned evenly on the logarithm of the FPR; every point kept is exact."""
    pooled.require_both_sides()
    roc = pooled.roc
    steps = roc.steps_at(np.geomspace(roc.smallest_fpr, 1.0, CURVE_POINTS))
    false, true = np.array([(step.false, step.true) for step in steps]).T
    return Curve(false / roc.others, true / roc.members)


def pooled_histogram(pooled: Pooled) -> Histogram:
    """Densities of members' and non-members' scores between the .5th and 99.5th percentile, ends piled up."""
    pooled.require_both_sides()
    low, high = (pooled.roc.quantile(share) for share in (0.005, 0.995))
    edges = np.linspace(low, high if high > low else low + 1.0, HISTOGRAM_BINS + 1)
    return Histogram(edges, *(_density(pooled.roc, edges, label) for label in (INSIDE, OUTSIDE)))


def _density(roc: PooledRoc, edges: np.ndarray, label: int) -> np.ndarray:
    """The density of one side's scores, those beyond the ends in the first and last bin."""
    below = [roc.below(edge, label) for edge in edges[1:-1].tolist()]
    counts = np.diff([0, *below, int(roc.scores.totals[label])])
    return counts / np.diff(edges) / counts.sum()


def _over_targets(pooled: Pooled, chosen: CrossFit, config: ReportConfig) -> dict[str, Any]:
    """The estimates over all targets with their intervals."""

    def decide(block: Block) -> np.ndarray:
        return chosen.decisions(block.scores, block.models)

    accuracy = intervals.pooled_accuracy(pooled, decide, config.confidence)
    row = _estimate("auc", *intervals.pooled_auc(pooled, config.confidence))
    row |= _estimate("balanced_accuracy", *accuracy)
    row |= _estimate("advantage", *intervals.advantage_of(*accuracy))
    tprs = intervals.pooled_tprs(pooled, config.fpr, config.confidence)
    for fpr, tpr in zip(config.fpr, tprs, strict=True):
        row |= _estimate(tpr_key(fpr), *tpr)
    for fpr in config.fpr:
        row |= _estimate(ppv_key(fpr), *_ppv(row, fpr, config.prior))
    return row


def _ppv(row: Mapping[str, Any], fpr: float, prior: float) -> tuple[float | None, metrics.Interval]:
    """The positive predictive value at an FPR: what the TPR and its ends mean at a share of members."""
    at = [row[f"{tpr_key(fpr)}{end}"] for end in ("", "_low", "_high")]
    value, low, high = (None if tpr is None else metrics.ppv(tpr, fpr, prior) for tpr in at)
    return value, metrics.Interval(low, high)


def _nothing_pooled(config: ReportConfig) -> dict[str, Any]:
    """The same columns where nothing could be scored."""
    row: dict[str, Any] = {}
    names = ("auc", "balanced_accuracy", "advantage", *map(tpr_key, config.fpr), *map(ppv_key, config.fpr))
    for name in names:
        row |= _estimate(name, None, metrics.Interval(None, None))
    return row


def _per_target(pooled: Pooled, fprs: Sequence[float]) -> dict[str, Any]:
    """Means over targets of each target's own AUC and TPRs; None where no target allows an estimate."""
    found = np.full((1 + len(fprs), pooled.table.shape[0]), np.nan)
    for block in pooled.blocks():
        for model, own, inside, outside in zip(
            block.models, block.scores, block.inside, block.outside, strict=True
        ):
            if inside.any() and outside.any():
                found[:, model] = auc_and_tprs(own[inside], own[outside], fprs)
    aucs, *tprs = found
    means = {f"target_{tpr_key(fpr)}": _mean(values) for fpr, values in zip(fprs, tprs, strict=True)}
    return {"target_auc": _mean(aucs), **means}


def _accuracies(train: np.ndarray, test: np.ndarray, confidence: float) -> dict[str, Any]:
    """Mean accuracies over models and their gap, with t-intervals. train, test: of each model."""
    row: dict[str, Any] = {}
    for name, values in (("train_accuracy", train), ("test_accuracy", test), ("gap", train - test)):
        ends = metrics.mean_interval(values, confidence) if values.size else (None, np.nan, np.nan)
        row |= {name: ends[0], f"{name}_low": _clip(name, ends[1]), f"{name}_high": _clip(name, ends[2])}
    return row


def _mean(values: np.ndarray) -> float | None:
    """The mean of the values that are there, None of nothing."""
    found = values[~np.isnan(values)]
    return float(np.mean(found)) if found.size else None


def _estimate(name: str, value: float | None, ends: metrics.Interval) -> dict[str, Any]:
    """An estimate and its ends under their column names."""
    return {name: value, f"{name}_low": ends.low, f"{name}_high": ends.high}


def _clip(name: str, value: float) -> float | None:
    """An end of an interval within the range of an accuracy (a gap may be negative); None for NaN."""
    if np.isnan(value):
        return None
    return value if name == "gap" else float(np.clip(value, 0.0, 1.0))
