"""What a defence takes from attacks and costs in accuracy, one family less another, with intervals from a single pool.

All arms of a pool have the same records and members, so a difference of differences knows what its four arms have in
common. Several seeds are averaged as independent: their pools share no record. `mia_jax.tradeoff.matching`
compares the same over seeds alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mia_jax.statistics.contrasts import Measured, Whole, at_level, averaged, interval, less, mean_of, whole
from mia_jax.tradeoff.measuring import ACCURACY, Sample
from mia_jax.tradeoff.rows import BASELINE, weak_to_strong

LEVEL = 0.02
"""AUCs at which accuracies are compared are multiples of this."""

MEAN = "mean"
"""Stands for a strength: the mean over all of a defence's."""

Row = dict[str, Any]
Key = tuple[tuple[str, Any], ...]


def contrasts(samples: Sequence[Sample], confidence: float) -> list[Row]:
    """A row for every quantity, pair of families, attack, defence and strength or AUC that all pools have.

    Rows have `what`, `defence`, `strength` (a number, or `MEAN`) or `auc`, `attack` (of costs: ""), `family_a`,
    `family_b`, and `value` of a less b with low, high and p; `value_a`, `value_b`; `pools`. `what`: "auc_gain", the
    AUC of the family's own baseline less that with the defence; "accuracy_loss", likewise; "accuracy_at_auc", the
    accuracy on non-members that is kept where the attack's AUC is held to `auc`, in straight lines between
    the arms from the strongest to the baseline.
    """
    found: dict[Key, list[tuple[Whole, float, float]]] = {}
    for sample in samples:
        for where, a, b in _pairs(sample):
            one = whole(less(a, b), sample.twin)
            found.setdefault(tuple(where.items()), []).append((one, a.value, b.value))
    return [
        dict(where) | _averaged(parts, confidence)
        for where, parts in found.items()
        if len(parts) == len(samples)
    ]


def _averaged(parts: Sequence[tuple[Whole, float, float]], confidence: float) -> Row:
    """One contrast over the pools."""
    mean = averaged([one for one, _, _ in parts])
    found = interval(mean, confidence)
    return {
        "value": found.value,
        "error": mean.spread.error,
        "degrees": mean.spread.degrees,
        "fewest": mean.fewest,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "value_a": sum(a for _, a, _ in parts) / len(parts),
        "value_b": sum(b for _, _, b in parts) / len(parts),
        "pools": [one.value for one, _, _ in parts],
    }


def _pairs(sample: Sample) -> Iterator[tuple[Row, Measured, Measured]]:
    """Every two families' own values of everything that is compared in one pool."""
    families = list(dict.fromkeys(family for family, _, _ in sample.arms))
    defences = [name for name in dict.fromkeys(name for _, name, _ in sample.arms) if name != BASELINE]
    for (a, b), defence in itertools.product(itertools.combinations(families, 2), defences):
        pair = {"defence": defence, "family_a": a, "family_b": b}
        sides = [_by_strength(sample, family, defence) for family in (a, b)]
        for name in (name for name in sides[0][0] if name in sides[1][0]):
            what = "accuracy_loss" if name == ACCURACY else "auc_gain"
            falls = [_falls(*side, name) for side in sides]
            both = [strength for strength in falls[0] if strength in falls[1]]
            for strength in both:
                where = {"what": what, "attack": name, **pair, "strength": strength}
                yield where, falls[0][strength], falls[1][strength]
            if len(both) > 1:
                of_a, of_b = (mean_of([fall[strength] for strength in both]) for fall in falls)
                yield {"what": what, "attack": name, **pair, "strength": MEAN}, of_a, of_b
            if name != ACCURACY:
                yield from _at_auc(sides, name, pair)


def _by_strength(
    sample: Sample, family: str, defence: str
) -> tuple[Mapping[str, Measured], dict[float, Mapping[str, Measured]]]:
    """A family's baseline, and its arms of a defence from weak to strong."""
    strengths = [s for own, name, s in sample.arms if (own, name) == (family, defence)]
    ordered = weak_to_strong(defence, strengths)
    return sample.arms.get((family, BASELINE, 0.0), {}), {
        strength: sample.arms[family, defence, strength] for strength in ordered
    }


def _falls(
    baseline: Mapping[str, Measured], arms: Mapping[float, Mapping[str, Measured]], name: str
) -> dict[float, Measured]:
    """By how much a quantity falls below the baseline, at each strength that has it."""
    return {strength: less(baseline[name], arm[name]) for strength, arm in arms.items() if name in arm}


def _at_auc(sides: Sequence[Any], name: str, pair: Row) -> Iterator[tuple[Row, Measured, Measured]]:
    """The accuracies that both families keep where the attack's AUC is held to each level."""
    curves = []
    for baseline, arms in sides:
        points = [arm for arm in reversed(arms.values()) if name in arm and ACCURACY in arm]
        points = [*points, baseline] if ACCURACY in baseline else []
        curves.append(([point[name] for point in points], [point[ACCURACY] for point in points]))
    for number in range(1, round(1 / LEVEL)):
        auc = round(number * LEVEL, 6)
        a, b = (at_level(x, y, auc) for x, y in curves)
        if a is not None and b is not None:
            yield {"what": "accuracy_at_auc", "attack": name, **pair, "auc": auc}, a, b
