"""Families compared at equal strength, at equal epsilon and at equal attack success: NumPy, float64.

Every function gives plain rows, one per pair of families and point of comparison. `attack` is whose AUC is
read; by default `strongest_attack`. Nothing is extrapolated: outside of what both families were run at, values
are None. With at least `FEWEST_SEEDS` seeds a difference has a t-interval over its values per seed; with fewer it
has none, and both arms show their own ends.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mia_jax.report.inputs import Row, finite
from mia_jax.tradeoff.rows import (
    BASELINE,
    FEWEST_SEEDS,
    Arm,
    Estimate,
    TradeoffRows,
    arm,
    number_of,
    over_seeds,
    strongest_attack,
    with_ends,
)

PROMISES = {"dp_sgd": ("accounted", "add-or-remove"), "parameter_noise": ("analytic", None)}
"""The kind and relation (None: any) of the epsilons at which a defence is compared."""

COMPARED = ("auc", "test_accuracy")
POINTS = 10
"""Epsilons of a grid, at most."""


class Study(NamedTuple):
    """The values of a study that are compared: name -> arm -> seed -> estimate."""

    attack: str | None
    values: Mapping[str, Mapping[Arm, Mapping[Any, Estimate]]]
    confidence: float


class Point(NamedTuple):
    """One arm on a trade-off curve, over seeds."""

    arm: Arm
    auc: float
    test_accuracy: float


class Promise(NamedTuple):
    """What an epsilon is of; only epsilons of one promise are compared."""

    kind: str
    relation: str
    delta: float
    gamma: float | None


Curve = Sequence[tuple[float, float]]  # (epsilon, strength), epsilon ascending


def comparisons(rows: TradeoffRows, attack: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """All three comparisons of families by name, on their default grids."""
    return {
        "equal_strength": equal_strength(rows, attack),
        "equal_epsilon": equal_epsilon(rows, attack),
        "equal_attack": equal_attack(rows, attack),
    }


def equal_strength(rows: TradeoffRows, attack: str | None = None) -> list[dict[str, Any]]:
    """Differences of AUC and test accuracy between two families at each defence and strength.

    `auc_gain` and `accuracy_loss` are relative to each family's own baseline: how much AUC the defence takes
    from the attack, and how much accuracy it costs. Differences are a minus b.
    """
    study, found = _study(rows, attack), []
    settings = [(BASELINE, 0.0)]
    settings += [(name, strength) for name in rows.defences for strength in rows.strengths(name)]
    for (a, b), (defence, strength) in itertools.product(_pairs(rows), settings):
        arms = (a, defence, strength), (b, defence, strength)
        row = _head(study, a, b, defence=defence, strength=strength)
        counts = []
        for name in COMPARED:
            row |= _side_by_side(study, name, *arms)
            counts.append(row["seeds"])
        row["seeds"] = min((count for count in counts if count), default=0)
        if defence != BASELINE:
            row |= _from_baseline(study, "auc", "auc_gain", *arms)
            row |= _from_baseline(study, "test_accuracy", "accuracy_loss", *arms)
        if row["auc_difference"] is not None or row["test_accuracy_difference"] is not None:
            found.append(row)
    return found


def equal_epsilon(
    rows: TradeoffRows, attack: str | None = None, grid: Sequence[float] | None = None
) -> list[dict[str, Any]]:
    """AUC and test accuracy of two families at equal epsilon, by lines in log epsilon between measured points.

    Of the defences and promises of `PROMISES`. grid: epsilons; by default powers of two (or what was
    measured close by) and the ends of the range that both families, with every seed, were run in. `how_a`,
    `how_b`: measured, interpolated or outside. Ends of intervals are interpolated as values are; with several
    seeds each is interpolated by itself.
    """
    study, found = _study(rows, attack), []
    for (a, b), defence in itertools.product(
        _pairs(rows), [name for name in rows.defences if name in PROMISES]
    ):
        curves = {family: _curves(rows, study, family, defence) for family in (a, b)}
        for promise in [promise for promise in curves[a] if promise in curves[b]]:
            both = curves[a][promise], curves[b][promise]
            for epsilon in _epsilons(both) if grid is None else map(float, grid):
                row = _head(study, a, b, defence=defence, epsilon=epsilon) | promise._asdict()
                sides = [_at(study, f, defence, c, epsilon) for f, c in zip((a, b), both, strict=True)]
                row |= {"how_a": sides[0][0], "how_b": sides[1][0]}
                for name in COMPARED:
                    row |= _two(name, sides[0][1][name], sides[1][1][name], study.confidence)
                found.append(row)
    return found


def equal_attack(
    rows: TradeoffRows, attack: str | None = None, grid: Sequence[float] | None = None
) -> list[dict[str, Any]]:
    """The best test accuracy that two families keep where the attack's AUC is at most a.

    Over the strengths of one defence and the baseline, as they were measured: `defence_a`, `strength_a` say which
    arm has it and `attained_auc_a` its AUC. Means over seeds decide. grid: AUCs a; by default round ones
    between the lowest and highest AUC that both families have.
    """
    study, found = _study(rows, attack), []
    for (a, b), defence in itertools.product(_pairs(rows), rows.defences):
        sides = [_points(study, family, defence, rows.strengths(defence)) for family in (a, b)]
        if not all(sides):
            continue
        low = max(min(point.auc for point in side) for side in sides)
        high = min(max(point.auc for point in side) for side in sides)
        for auc in _round_numbers(low, high) if grid is None else map(float, grid):
            best = [best_within(side, auc) if low <= auc <= high else None for side in sides]
            row = _head(study, a, b, defence=defence, auc=auc)
            for side, point in zip("ab", best, strict=True):
                row |= {f"defence_{side}": point.arm[1] if point else None}
                row |= {f"strength_{side}": point.arm[2] if point else None}
                row |= {f"attained_auc_{side}": point.auc if point else None}
            arms = [point.arm if point else None for point in best]
            found.append(row | _side_by_side(study, "test_accuracy", *arms))
    return found


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats: none has an AUC as low with a higher accuracy; AUC ascending."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.auc, -point.test_accuracy)):
        if not kept or point.test_accuracy > kept[-1].test_accuracy:
            kept.append(point)
    return kept


def best_within(points: Sequence[Point], auc: float) -> Point | None:
    """The point of highest accuracy with an AUC of at most `auc`; None where there is none."""
    return next((point for point in reversed(frontier(points)) if point.auc <= auc), None)


def _study(rows: TradeoffRows, attack: str | None) -> Study:
    """The compared values of a study. Raises ValueError for an attack without results."""
    if attack is not None and attack not in rows.attacks:
        raise ValueError(f"attack is {attack}: it must be one of {', '.join(rows.attacks)}.")
    attack = attack or strongest_attack(rows)
    of_attack = [row for row in rows.results if row["attack"] == attack]
    values = {"auc": _by_arm(of_attack, "auc"), "test_accuracy": _by_arm(rows.utility, "test_accuracy")}
    return Study(attack, values, rows.confidence)


def _by_arm(rows: Sequence[Row], name: str) -> dict[Arm, dict[Any, Estimate]]:
    """One estimate of every arm and seed that has it."""
    found: dict[Arm, dict[Any, Estimate]] = {}
    for row in rows:
        if (value := finite(row.get(name))) is not None:
            ends = (finite(row.get(f"{name}{end}")) for end in ("_low", "_high"))
            found.setdefault(arm(row), {})[row["seed"]] = Estimate(value, *ends)
    return found


def _pairs(rows: TradeoffRows) -> Iterator[tuple[str, str]]:
    """Every two families, in order."""
    return itertools.combinations(rows.families, 2)


def _head(study: Study, a: str, b: str, **where: Any) -> dict[str, Any]:
    """The first columns of a row: which comparison it is."""
    return {**where, "family_a": a, "family_b": b, "attack": study.attack}


def _side_by_side(study: Study, name: str, arm_a: Arm | None, arm_b: Arm | None) -> dict[str, Any]:
    """Both arms' estimates of one quantity and their difference."""
    values = study.values[name]
    a, b = (values.get(one, {}) if one is not None else {} for one in (arm_a, arm_b))
    return _two(name, a, b, study.confidence)


def _two(
    name: str, a: Mapping[Any, Estimate], b: Mapping[Any, Estimate], confidence: float
) -> dict[str, Any]:
    """Two estimates over the seeds that both have, their difference, and how many seeds those are."""
    seeds = [seed for seed in a if seed in b] if a and b else []
    row: dict[str, Any] = {"seeds": len(seeds)}
    for side, arms in zip("ab", (a, b), strict=True):
        row |= with_ends(f"{name}_{side}", _over([arms[s] for s in seeds or arms], confidence, name))
    return row | with_ends(f"{name}_difference", _difference(a, b, seeds, confidence))


def _over(estimates: Sequence[Estimate], confidence: float, name: str) -> Estimate:
    """One estimate of several seeds; of a single one, as it is."""
    if len(estimates) == 1:
        return estimates[0]
    return over_seeds([e.value for e in estimates if e.value is not None], confidence, name)


def _difference(
    a: Mapping[Any, Estimate], b: Mapping[Any, Estimate], seeds: Sequence[Any], confidence: float
) -> Estimate:
    """The mean of a - b over seeds; without an interval where they are few."""
    found = [_value(a[seed]) - _value(b[seed]) for seed in seeds]
    if len(found) >= FEWEST_SEEDS:
        return over_seeds(found, confidence)
    return Estimate(sum(found) / len(found) if found else None)


def _from_baseline(study: Study, name: str, changed: str, arm_a: Arm, arm_b: Arm) -> dict[str, Any]:
    """How far each arm is below its family's own baseline, seed by seed, and the difference of the two."""
    values = study.values[name]
    a, b = (_falls(values.get((one[0], BASELINE, 0.0), {}), values.get(one, {})) for one in (arm_a, arm_b))
    seeds = [seed for seed in a if seed in b]
    row: dict[str, Any] = {}
    for side, found in zip("ab", (a, b), strict=True):
        kept = [_value(found[seed]) for seed in seeds or found]
        row[f"{changed}_{side}"] = sum(kept) / len(kept) if kept else None
    return row | with_ends(f"{changed}_difference", _difference(a, b, seeds, study.confidence))


def _falls(before: Mapping[Any, Estimate], after: Mapping[Any, Estimate]) -> dict[Any, Estimate]:
    """By how much each seed's value fell."""
    return {seed: Estimate(_value(before[seed]) - _value(after[seed])) for seed in after if seed in before}


def _curves(rows: TradeoffRows, study: Study, family: str, defence: str) -> dict[Promise, dict[Any, Curve]]:
    """The epsilons of one family and defence at which something was measured: promise -> seed -> curve."""
    kind, relation = PROMISES[defence]
    found: dict[Promise, dict[Any, dict[float, float]]] = {}
    for row in rows.privacy:
        epsilon, one = number_of(row, "epsilon"), arm(row)
        if one[:2] != (family, defence) or row["kind"] != kind or relation not in (None, row["relation"]):
            continue
        seen = all(row["seed"] in study.values[name].get(one, {}) for name in COMPARED)
        if seen and epsilon is not None and 0 < epsilon < math.inf:
            promise = Promise(kind, row["relation"], row["delta"], row.get("gamma"))
            found.setdefault(promise, {}).setdefault(row["seed"], {}).setdefault(epsilon, one[2])
    return {
        promise: {seed: sorted(curve.items()) for seed, curve in seeds.items()}
        for promise, seeds in found.items()
    }


def _epsilons(both: Sequence[Mapping[Any, Curve]]) -> list[float]:
    """Powers of two between the ends of the range that all curves share, and the ends; at most `POINTS`."""
    curves = [curve for side in both for curve in side.values()]
    low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    if low >= high:
        return [low] if low == high else []
    measured = [epsilon for curve in curves for epsilon, _ in curve]
    powers = (2.0**power for power in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1))
    inside = [_measured_near(power, measured) for power in powers]
    inside = [epsilon for epsilon in inside if low * 1.1 < epsilon < high / 1.1]
    return [low, *inside[:: max(1, math.ceil(len(inside) / (POINTS - 2)))], high]


def _measured_near(epsilon: float, measured: Sequence[float]) -> float:
    """The measured epsilon nearest to one asked for, if it is within a twentieth; else the latter."""
    nearest = min(measured, key=lambda one: abs(math.log(one / epsilon)))
    return nearest if abs(math.log(nearest / epsilon)) < 0.05 else epsilon


def _at(
    study: Study, family: str, defence: str, curves: Mapping[Any, Curve], epsilon: float
) -> tuple[str, dict[str, dict[Any, Estimate]]]:
    """How and what a family measured at an epsilon: name -> seed -> estimate; nothing outside of any seed's range."""
    found: dict[str, dict[Any, Estimate]] = {name: {} for name in COMPARED}
    if any(not curve[0][0] <= epsilon <= curve[-1][0] for curve in curves.values()):
        return "outside", found
    how = "measured"
    for seed, curve in curves.items():
        place = next(place for place, (there, _) in enumerate(curve) if there >= epsilon)
        left, right = curve[place if curve[place][0] == epsilon else place - 1], curve[place]
        weight = 1.0
        if left[0] != right[0]:
            how, weight = "interpolated", math.log(epsilon / left[0]) / math.log(right[0] / left[0])
        for name in COMPARED:
            arms = study.values[name]
            start, end = (arms[family, defence, strength][seed] for _, strength in (left, right))
            found[name][seed] = _between(start, end, weight)
    return how, found


def _between(left: Estimate, right: Estimate, weight: float) -> Estimate:
    """The estimate so far on the way from left to right; ends only where both have them."""
    if weight == 1.0:
        return right

    def part(start: float | None, end: float | None) -> float | None:
        return None if start is None or end is None else start + weight * (end - start)

    return Estimate(part(left.value, right.value), part(left.low, right.low), part(left.high, right.high))


def _points(study: Study, family: str, defence: str, strengths: Sequence[float]) -> list[Point]:
    """The baseline and the arms of a defence that have both values, their means over the seeds with both."""
    found = []
    for one in ((family, BASELINE, 0.0), *((family, defence, strength) for strength in strengths)):
        auc, accuracy = (study.values[name].get(one, {}) for name in COMPARED)
        seeds = [seed for seed in auc if seed in accuracy]
        if seeds:
            means = (sum(_value(side[s]) for s in seeds) / len(seeds) for side in (auc, accuracy))
            found.append(Point(one, *means))
    return found


def _round_numbers(low: float, high: float) -> list[float]:
    """Round numbers in [low, high], at least four where there are any at a thousandth."""
    for step in (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001):
        found = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step
        if len(found) >= 4 or step == 0.001:
            return [round(float(value), 3) for value in found if low <= round(float(value), 3) <= high]
    return []


def _value(estimate: Estimate) -> float:
    """The value of an estimate that has one."""
    assert estimate.value is not None
    return estimate.value
