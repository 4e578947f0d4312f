"""What a trade-off study hands over: plain rows, their order from weak to strong, and their pooling over seeds."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mia_jax.report.inputs import Row, finite
from mia_jax.statistics.intervals import mean_interval

BASELINE = "none"
"""The defence of the rows that everything is compared with; its strength is 0."""

NAMED_AUDIT = "joint_runs"
"""The audit that counts, named before it was seen."""

KINDS = ("accounted", "analytic", "nominal")
"""How an epsilon came about, the one to be preferred first."""

FEWEST_SEEDS = 3
"""With fewer seeds a difference over seeds has no interval."""

STRENGTHS = {
    "l2": "L2 penalty",
    "l2_norm": "L2-norm penalty",
    "l1": "L1 penalty",
    "weight_decay": "Weight decay",
    "label_smoothing": "Label smoothing",
    "dropout": "Dropout rate",
    "early_stopping": "Epoch of stopping",
    "dp_sgd": "Target ε",
    "parameter_noise": "Noise σ",
    "label_privacy": "ε of labels",
    "adversarial": "Radius",
}
"""What the strength of a defence is."""

_SMALLER_IS_STRONGER = frozenset({"dp_sgd", "label_privacy", "early_stopping"})
_SETTING = ("family", "defence", "strength")
_RATES = ("accuracy", "auc", "tpr_at_", "ppv_at_")

Arm = tuple[str, str, float]  # (family, defence, strength)


class Estimate(NamedTuple):
    """A value and the ends of its interval; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class TradeoffRows:
    """Everything a trade-off study shows, as plain values.

    utility: a row per (seed, family, defence, strength) with `train_accuracy`, `test_accuracy`, `gap`. results:
    a row per arm and attack with `auc`, `balanced_accuracy`, `tpr_at_fpr_…`. An estimate has `_low` and
    `_high` beside it. privacy: a row per promise: unit, kind (one of `KINDS`), relation, epsilon (None: none
    could be had; infinite: nothing is promised), delta, gamma (None but where the promise holds for most
    records only), meaning. audits: a row per lower bound: method, relation, epsilon, ceiling, delta,
    confidence. contrasts: rows of `mia_jax.tradeoff.contrasts`. config: the resolved configuration. facts: what was
    done, name to value. confidence: of every interval. The baseline has the defence "none".
    """

    title: str
    utility: Sequence[Row]
    results: Sequence[Row]
    privacy: Sequence[Row] = ()
    audits: Sequence[Row] = ()
    contrasts: Sequence[Row] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 0.95

    @property
    def families(self) -> list[str]:
        """The families with any utility or result, in their order."""
        return _distinct(row["family"] for row in (*self.utility, *self.results))

    @property
    def defences(self) -> list[str]:
        """The defences with any row but the baseline, in their order."""
        every = (*self.utility, *self.results, *self.privacy, *self.audits)
        return [name for name in _distinct(row["defence"] for row in every) if name != BASELINE]

    @property
    def attacks(self) -> list[str]:
        """The attacks with any result, in their order."""
        return _distinct(row["attack"] for row in self.results)

    @property
    def seeds(self) -> list[Any]:
        """The seeds, each with its own pool, in their order."""
        return _distinct(row["seed"] for row in (*self.utility, *self.results))

    @property
    def fprs(self) -> list[float]:
        """The false-positive rates at which TPR was read, ascending."""
        keys = {key for row in self.results for key in row}
        found = [re.fullmatch(r"tpr_at_fpr_([\d.e+-]+)", key) for key in keys]
        return sorted(float(match.group(1)) for match in found if match)

    @functools.cached_property
    def utility_over_seeds(self) -> list[dict[str, Any]]:
        """`pooled` of utility."""
        return pooled(self.utility, self.confidence)

    @functools.cached_property
    def results_over_seeds(self) -> list[dict[str, Any]]:
        """`pooled` of results."""
        return pooled(self.results, self.confidence)

    def strengths(self, defence: str) -> list[float]:
        """The strengths at which a defence was run, from weak to strong."""
        rows = (*self.utility, *self.results)
        return weak_to_strong(defence, (row["strength"] for row in rows if row["defence"] == defence))


def stronger_is_smaller(defence: str) -> bool:
    """Whether a smaller strength protects more: an epsilon, or the epoch at which training stops."""
    return defence in _SMALLER_IS_STRONGER


def weak_to_strong(defence: str, strengths: Iterable[float]) -> list[float]:
    """The distinct strengths of a defence from weak to strong."""
    return sorted({float(value) for value in strengths}, reverse=stronger_is_smaller(defence))


def in_order(rows: Sequence[Row]) -> list[Row]:
    """The rows by family and defence as they come, the baseline first, then from weak to strong."""
    families = _distinct(row["family"] for row in rows)
    defences = _distinct([BASELINE, *(row["defence"] for row in rows)])

    def place(row: Row) -> tuple[int, int, float]:
        sign = -1.0 if stronger_is_smaller(row["defence"]) else 1.0
        return families.index(row["family"]), defences.index(row["defence"]), sign * float(row["strength"])

    return sorted(rows, key=place)


def arm(row: Row) -> Arm:
    """Where a row belongs."""
    return row["family"], row["defence"], float(row["strength"])


def number_of(row: Row, name: str) -> float | None:
    """A number of a row that may be infinite, written as "inf" or not; None where it is None or NaN."""
    value = row.get(name)
    return None if value is None or math.isnan(float(value)) else float(value)


def strongest_attack(rows: TradeoffRows) -> str | None:
    """The attack with the highest AUC on undefended models, on average over families and seeds.

    Of attacks that not every family was attacked with, only if there are no others; of the defended
    models, if there is no baseline. None where no attack has an AUC.
    """
    known = [row for row in rows.results if finite(row.get("auc")) is not None]
    known = [row for row in known if row["defence"] == BASELINE] or known
    found: dict[str, list[Row]] = {}
    for row in known:
        found.setdefault(row["attack"], []).append(row)
    widest = max((len({row["family"] for row in some}) for some in found.values()), default=0)
    means = {
        name: sum(row["auc"] for row in some) / len(some)
        for name, some in found.items()
        if len({row["family"] for row in some}) == widest
    }
    return max(means, key=lambda name: means[name], default=None)


def pooled(rows: Sequence[Row], confidence: float = 0.95) -> list[dict[str, Any]]:
    """Utility or result rows over seeds: one row per arm (and attack), with `seeds`, how many there were.

    One seed: the row as it is. Several: the mean of every estimate with a t-interval over seeds, rates cut
    to [0, 1]; None where a seed has none. Other values stay where all seeds agree. Raises ValueError for
    two rows of one seed.
    """
    return [_pooled(group, confidence) for group in _groups(rows, (*_SETTING, "attack"))]


def pooled_privacy(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Promises over seeds: of each the largest epsilon, which holds for all of them; None where a seed has none."""
    found = []
    for group in _groups(rows, (*_SETTING, "unit", "kind", "relation", "delta", "gamma")):
        values = [number_of(row, "epsilon") for row in group]
        known = [value for value in values if value is not None]
        worst = group[values.index(max(known))] if known else group[0]
        epsilon = max(known) if len(known) == len(values) else None
        found.append({**_without_seed(worst), "epsilon": epsilon, "seeds": len(group)})
    return found


def pooled_audits(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Lower bounds over seeds: of each the row of the median seed (the lower one of two), and the range.

    `epsilon_low` and `epsilon_high` are the smallest and largest of the seeds. The seeds are independent and
    at least half of the bounds reach the median, so that it holds at least as surely as one of them.
    """
    found = []
    for group in _groups(rows, (*_SETTING, "method", "relation")):
        ordered = sorted(group, key=lambda row: -math.inf if (e := number_of(row, "epsilon")) is None else e)
        middle = ordered[(len(ordered) - 1) // 2]
        ends = {"epsilon_low": ordered[0].get("epsilon"), "epsilon_high": ordered[-1].get("epsilon")}
        found.append({**_without_seed(middle), **(ends if len(group) > 1 else {}), "seeds": len(group)})
    return found


def over_seeds(values: Sequence[float], confidence: float, name: str = "") -> Estimate:
    """The mean of one value per seed and its t-interval; that of a rate is cut to [0, 1]."""
    if len(values) < 2:
        return Estimate(float(values[0]) if values else None)
    mean, low, high = mean_interval(np.asarray(values), confidence)
    if any(part in name for part in _RATES):
        low, high = max(low, 0.0), min(high, 1.0)
    return Estimate(mean, low, high)


def with_ends(name: str, estimate: Estimate) -> dict[str, float | None]:
    """An estimate as the columns NAME, NAME_low and NAME_high of a row."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _groups(rows: Sequence[Row], by: Sequence[str]) -> list[list[Row]]:
    """The rows of each setting, in order; a seed may appear once in each."""
    found: dict[tuple[Any, ...], dict[Any, Row]] = {}
    for row in in_order(rows):
        group = found.setdefault(tuple(row.get(name) for name in by), {})
        if row["seed"] in group:
            setting = ", ".join(f"{name} {row[name]}" for name in by if row.get(name) is not None)
            raise ValueError(f"seed {row['seed']} has two rows of {setting}: it must have one.")
        group[row["seed"]] = row
    return [list(group.values()) for group in found.values()]


def _pooled(group: Sequence[Row], confidence: float) -> dict[str, Any]:
    """One row of several seeds."""
    if len(group) == 1:
        return {**group[0], "seeds": 1}
    found = _without_seed(group[0]) | {"seeds": len(group)}
    ends = {f"{name}{end}" for name in found for end in ("_low", "_high") if f"{name}{end}" in found}
    for name in [name for name in found if f"{name}_low" in ends]:
        values = [finite(row.get(name)) for row in group]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        found |= with_ends(name, over_seeds(known, confidence, name) if whole else Estimate(None))
        ends |= {name}
    for name in set(found) - ends - {"seeds"}:
        if any(row.get(name) != found[name] for row in group):
            found[name] = None
    return found


def _without_seed(row: Row) -> dict[str, Any]:
    """A row that speaks of several seeds."""
    return {name: value for name, value in row.items() if name != "seed"}


def _distinct(names: Iterable[Any]) -> list[Any]:
    """The names, each once, in order of appearance."""
    return list(dict.fromkeys(names))
