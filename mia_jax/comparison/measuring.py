"""What one run says of its families: plain rows, each an estimate with its standard error.

A row's `what` is one of `train_accuracy`, `test_accuracy`, `gap` (their difference), `loss_gap` (the mean loss of
others less that of members, in nats), all of a family, without an attack; `auc`, `balanced_accuracy`. Accuracies
and losses are those on the pool's own records, of members and of all others, so that they are of the same targets
and records as the attacks are, and every difference knows how both err together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mia_jax.comparison.rows import OTHERS
from mia_jax.runs.identity import RunError
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.statistics.contrasts import (
    Measured,
    at_level,
    less,
    mean_of,
    measured_accuracy,
    measured_auc,
    measured_mean,
    reaches,
    whole,
)
from mia_jax.statistics.cross_fitting import cross_fit_decisions
from mia_jax.study import observing
from mia_jax.study.attacking import selection

UTILITIES = ("train_accuracy", "test_accuracy", "gap", "loss_gap")
SUCCESSES = ("auc", "balanced_accuracy")

MATCHED = {"gap": 0.01, "loss_gap": 0.05, "test_accuracy": 0.05}
"""What families are made equal in, beside the epoch: at the multiples of these."""

EARLY_AND_LATE = 1 / 3
"""Of a model's members, this share is its early ones and this share its late ones, by the last epoch's order."""


class Curves(NamedTuple):
    """A family through training: a list over checkpoints for each utility, and for each success of one attack."""

    utility: dict[str, list[Measured]]
    success: dict[str, list[Measured]]


Row = dict[str, Any]


def rows_of(run: RunDirectory, reference: str) -> dict[str, list[Row]]:
    """Everything that is compared, of one run: curves, at_epochs, at_levels, by_order.

    Every row has value, error, degrees and fewest (`contrasts.Whole`), and says of what: curves of a family at an
    epoch; at_epochs, at_levels of a family, or of `OTHERS`, less `reference`; by_order of early members less late ones.
    """
    drawn = run.membership(lists=False)
    ours = observing.columns(run.config, "pool")
    member, twin = np.asarray(drawn.member, bool)[:, ours], np.asarray(drawn.twin)
    utility = {family: _utility(run, family, member) for family in run.config.families}
    found: dict[str, list[Row]] = {"curves": [], "at_epochs": [], "at_levels": [], "by_order": []}
    for family, curves in utility.items():
        found["curves"] += _curve_rows(run, family, "", curves, twin)
    others = [family for family in utility if family != reference]
    for attack in everywhere(run):
        curves = {
            family: Curves(utility[family], _success(run, family, attack, member, twin)) for family in utility
        }
        for family, one in curves.items():
            found["curves"] += _curve_rows(run, family, attack, one.success, twin)
            found["by_order"] += _by_order(run, family, attack, member, twin)
        for family in (*others, OTHERS) if len(others) > 1 else others:
            head = {"family": family, "reference": reference, "attack": attack}
            sides = [curves[name] for name in (others if family == OTHERS else [family])]
            found["at_epochs"] += _at_epochs(run, head, sides, curves[reference], twin)
            found["at_levels"] += _at_levels(head, sides, curves[reference], twin)
    return found


def everywhere(run: RunDirectory) -> list[str]:
    """The attacks that were run on every family at every checkpoint."""
    chosen = [one.name for one in selection(run, next(iter(run.config.families))).attacks]
    every = list(range(len(run.epochs)))
    possible = [{one.name for one in selection(run, family).attacks} for family in run.config.families]
    return [
        name
        for name in chosen
        if all(name in names for names in possible)
        and all(run.scored(family, name) == every for family in run.config.families)
    ]


def _utility(run: RunDirectory, family: str, member: np.ndarray) -> dict[str, list[Measured]]:
    """The accuracies of a family and their difference, at every checkpoint."""
    segments, found = run.segments(family), {name: [] for name in UTILITIES}
    ours = observing.columns(run.config, "pool")
    for checkpoint in range(len(run.epochs)):
        usable = observing.usable_models(run, family, checkpoint)[:, None]
        if not usable.any():
            raise RunError(
                f"{run.path} has no {family} that is fit to be attacked after epoch {run.epochs[checkpoint]}: all have "
                "diverged; train them less wildly."
            )
        right = np.asarray(segments.signal("pool/correct", checkpoint, records=ours)) > 0.5
        log_prob = segments.signal("pool/log_prob", checkpoint, records=ours)
        (train, test), (told, untold) = (
            (measured_mean(values, member & usable), measured_mean(values, ~member & usable))
            for values in (right, log_prob)
        )
        for name, one in zip(UTILITIES, (train, test, less(train, test), less(told, untold)), strict=True):
            found[name].append(one)
    return found


def _success(
    run: RunDirectory, family: str, attack: str, member: np.ndarray, twin: np.ndarray
) -> dict[str, list[Measured]]:
    """How well an attack does on a family, at every checkpoint."""
    found = {name: [] for name in SUCCESSES}
    for checkpoint in range(len(run.epochs)):
        scores = run.scores(family, attack, checkpoint)
        called = cross_fit_decisions(scores, member, twin)
        found["auc"].append(measured_auc(scores, member))
        found["balanced_accuracy"].append(measured_accuracy(called, scores, member))
    return found


def _by_order(
    run: RunDirectory, family: str, attack: str, member: np.ndarray, twin: np.ndarray
) -> Iterator[Row]:
    """At the end, the AUC of early members less that of late ones, each against all non-members."""
    last = len(run.epochs) - 1
    ours = observing.columns(run.config, "pool")
    seen = np.asarray(run.segments(family).signal("pool/last_seen", last, records=ours))
    place = np.where(member & (seen >= 0), seen, np.nan).astype(np.float64)
    usable = observing.usable_models(run, family, last)
    with_place = usable & ~np.isnan(place).all(axis=1)
    ends = np.full((2, len(place), 1), np.nan)
    ends[:, with_place, 0] = np.nanquantile(place[with_place], (EARLY_AND_LATE, 1 - EARLY_AND_LATE), axis=1)
    if np.any(ends[0] >= ends[1]):  # a step takes so many records that nobody is early or late
        return
    scores = run.scores(family, attack, last)
    early, late = (
        measured_auc(scores, member, ~member | part) for part in (place <= ends[0], place >= ends[1])
    )
    head = {"family": family, "attack": attack, "epoch": run.epochs[last], "what": "auc"}
    for part, one in (("early", early), ("late", late), ("early less late", less(early, late))):
        yield {**head, "part": part, **_numbers(one, twin)}


def _curve_rows(
    run: RunDirectory, family: str, attack: str, curves: dict[str, list[Measured]], twin: np.ndarray
) -> Iterator[Row]:
    """A family's curves point by point."""
    for what, points in curves.items():
        for epoch, point in zip(run.epochs, points, strict=True):
            yield {"family": family, "attack": attack, "epoch": epoch, "what": what, **_numbers(point, twin)}


def _at_epochs(
    run: RunDirectory, head: Row, sides: Sequence[Curves], reference: Curves, twin: np.ndarray
) -> Iterator[Row]:
    """Differences at the same epoch, of the mean of all sides."""
    for what in SUCCESSES:
        for place, epoch in enumerate(run.epochs):
            mean = mean_of([side.success[what][place] for side in sides])
            found = less(mean, reference.success[what][place])
            yield {**head, "epoch": epoch, "what": what, **_numbers(found, twin)}


def _at_levels(head: Row, sides: Sequence[Curves], reference: Curves, twin: np.ndarray) -> Iterator[Row]:
    """Differences where all families come to the same level of what is matched for good."""
    for matched, step in MATCHED.items():
        for level in levels(step, *(side.utility[matched] for side in (*sides, reference))):
            for what in SUCCESSES:
                *at, base = (
                    _at(side.utility[matched], side.success[what], level) for side in (*sides, reference)
                )
                row = {**head, "matched": matched, "level": level, "what": what}
                yield row | _numbers(less(mean_of(at), base), twin)


def _at(x: Sequence[Measured], y: Sequence[Measured], level: float) -> Measured:
    """What y is at a level that x is known to reach."""
    found = at_level(x, y, level)
    assert found is not None
    return found


def levels(step: float, *curves: Sequence[Measured]) -> list[float]:
    """The multiples of `step` that all curves come to for good."""
    low = max(min(point.value for point in curve) for curve in curves)
    high = min(curve[-1].value for curve in curves)
    first, last = int(np.floor(low / step)) + 1, int(np.floor(high / step + 1e-9))
    found = [round(number * step, 6) for number in range(first, last + 1)]
    return [level for level in found if all(_reached(curve, level) for curve in curves)]


def _reached(curve: Sequence[Measured], level: float) -> bool:
    """Whether a family comes to a level for good."""
    return reaches([point.value for point in curve], level) is not None


def _numbers(one: Measured, twin: np.ndarray) -> Row:
    """An estimate as a row has it."""
    found = whole(one, twin)
    return {
        "value": found.value,
        "error": found.spread.error,
        "degrees": found.spread.degrees,
        "fewest": found.fewest,
    }
