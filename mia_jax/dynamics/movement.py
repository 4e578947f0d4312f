"""How fast records move on the plane, what chance alone would move them, and where the cloud goes.

A distance between two noisy points is never zero: an unsigned speed means something only beside its
noise floor. NumPy, float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mia_jax.dynamics.rates import (
    Calls,
    Sides,
    by_record,
    mean_of_known,
    on_plane,
    plane,
    rates,
    sides,
    table_of_members,
    with_known,
)
from mia_jax.statistics.roc import leaders
from mia_jax.types import Array
from mia_jax.validation import as_numbers, check_generator, check_whole


class Speed(NamedTuple):
    """Two numbers of a curve of speeds, float64 [...] each: its mean over time and its largest value.

    peak_interval: int [...], the interval t -> t + 1 of the peak, -1 where no speed is known.
    """

    mean: np.ndarray
    peak: np.ndarray
    peak_interval: np.ndarray


def encoding_speed(fpr: Array, tpr: Array, times: Array) -> np.ndarray:
    """How far each record moves on the plane per unit of time, >= 0: [T-1, N], NaN where a rate is.

    fpr, tpr: [T, N]. times: [T], rising, in epochs or steps. Raises ValueError for arrays that do
    not fit. The name is Chen et al.'s (2025), the formula |s(t+1) - s(t)| / (times[t+1] - times[t])
    our definition.
    """
    fpr, tpr = on_plane(fpr, tpr)
    return np.hypot(np.diff(fpr, axis=0), np.diff(tpr, axis=0)) / _durations(times, len(fpr))[:, None]


def signed_speed(vulnerability: Array, times: Array) -> np.ndarray:
    """How fast each record's vulnerability grows per unit of time: [T-1, N]. Our definition.

    vulnerability: [T, N], TPR - FPR. times: [T], rising. Chance moves it both ways alike, so its mean
    over records needs no noise floor. Raises ValueError for arrays that do not fit.
    """
    values = by_record("vulnerability", vulnerability)
    return np.diff(values, axis=0) / _durations(times, len(values))[:, None]


def speed_curve(speed: Array) -> np.ndarray:
    """The mean over records at each interval: [T-1]. speed: [T-1, N]; NaN entries are left out."""
    values = as_numbers("speed", speed)
    if values.ndim != 2:
        raise ValueError(f"speed has shape {values.shape}: it must be [T-1, N], interval by record.")
    return mean_of_known(values)


def speed_summary(curve: Array, times: Array) -> Speed:
    """The mean over time of a curve of speeds, each interval by its length, and its peak.

    curve: [..., T-1], e.g. of `speed_curve` or `speed_noise_floor`; NaN intervals are left out.
    times: [T]. With checkpoints at equal distances the mean is the plain one. The peak is a largest
    value of noisy ones: compare it with the peaks of the noise floor. Raises ValueError.
    """
    values = as_numbers("curve", curve)
    lengths = _durations(times, values.shape[-1] + 1 if values.ndim else 0)
    if not lengths.size:
        raise ValueError("times has shape (1,): a speed needs at least two checkpoints.")
    known = ~np.isnan(values)
    total = np.sum(lengths * known, axis=-1)
    mean = np.sum(np.where(known, values, 0.0) * lengths, axis=-1) / np.where(total > 0, total, np.nan)
    interval = np.argmax(np.where(known, values, -np.inf), axis=-1)
    peak = np.take_along_axis(values, np.expand_dims(interval, -1), axis=-1)[..., 0]
    return Speed(mean, peak, np.where(known.any(axis=-1), interval, -1))


def speed_noise_floor(
    calls: Calls,
    member: Array,
    times: Array,
    rng: np.random.Generator,
    *,
    permutations: int = 20,
    known: Calls | None = None,
    twin: Array | None = None,
) -> np.ndarray:
    """The curve of encoding speeds if calls had nothing to do with membership: [permutations, T-1].

    Only for calls of an attack that was not fitted with `member` (a threshold, a population): of
    others the floor is too low, take `refitted_speed_noise_floor`. calls, member, known: as for
    `plane`. times: [T]. Each permutation gives every model another model's whole row of calls, the same
    one at all checkpoints. twin: as for `model_orders`. Where membership tells nothing the speed is one
    more draw of these; that it exceeds them all has p = 1 / (permutations + 1). A record's drift along
    the diagonal is part of both. Raises ValueError for arrays that do not fit. Our definition.
    """
    held = table_of_members(member)
    orders = model_orders(len(held), permutations, rng, twin)
    everywhere = sides(held)
    last: np.ndarray | None = None
    curves = []
    for called, present in with_known(calls, known, held.shape):
        # Calls change places in place of members: it is the same, and the sides stay.
        here = np.array([_rates_in_order(called, held, present, everywhere, order) for order in orders])
        if last is not None:
            curves.append(mean_of_known(np.hypot(*np.moveaxis(here - last, 1, 0))))
        last = here
    durations = _durations(times, len(curves) + 1)
    return np.reshape(curves, (len(curves), permutations)).T / durations


def refitted_speed_noise_floor(
    call: Callable[[np.ndarray], tuple[Calls, Calls | None]],
    member: Array,
    times: Array,
    rng: np.random.Generator,
    *,
    permutations: int = 20,
    twin: Array | None = None,
) -> np.ndarray:
    """The same floor for attacks that are fitted with membership, which are fitted anew: [permutations, T-1].

    call: from a membership, bool [K, N], to the attack's calls and where they are known, as for
    `plane`; it sees the signals as they are, and the rows of `member` in another order. member, times,
    rng, permutations, twin: as for `speed_noise_floor`. Models that share noisy references err together,
    and reordered calls do not: of leave-one-out LiRA without any signal (64 models) the speed is 9-12 %
    above that other floor, and on this one. Where membership tells much, both floors hold the movement
    of calls too, and a speed may lie below: they say whether there is any, not how much. Raises
    ValueError. Our definition.
    """
    held = table_of_members(member)
    curves = []
    for order in model_orders(len(held), permutations, rng, twin):
        calls, known = call(held[order])
        curves.append(speed_curve(encoding_speed(*plane(calls, held[order], known), times)))
    return np.stack(curves)


def model_orders(
    num_models: int, permutations: int, rng: np.random.Generator, twin: Array | None = None
) -> np.ndarray:
    """Random permutations of the models that keep twins twins: int [permutations, K].

    twin: int [K], the model with the complementary records (-1: none). Raises ValueError for fewer than
    one permutation.
    """
    check_whole("permutations", permutations, 1)
    check_generator("rng", rng)
    return np.stack([_reordered(num_models, twin, rng) for _ in range(permutations)])


def center_of_mass(fpr: Array, tpr: Array) -> np.ndarray:
    """The mean FPR and mean TPR of all records at each checkpoint: [T, 2]; NaN where no record has both.

    fpr, tpr: [T, N]; a record without either rate is left out of both means. Chen et al. 2025 (the
    formula is our definition).
    """
    fpr, tpr = on_plane(fpr, tpr)
    both = ~np.isnan(fpr + tpr)
    return np.stack([mean_of_known(np.where(both, rate, np.nan)) for rate in (fpr, tpr)], axis=-1)


def center_displacement(center: Array) -> float:
    """The distance from the first to the last checkpoint's center of mass. center: [T, 2]."""
    path = _path(center)
    return float(np.hypot(*(path[-1] - path[0])))


def center_path_length(center: Array) -> float:
    """The length of the center of mass's way, at least its displacement. center: [T, 2]."""
    return float(np.sum(np.hypot(*np.diff(_path(center), axis=0).T)))


def _rates_in_order(
    called: np.ndarray, held: np.ndarray, present: np.ndarray | None, everywhere: Sides, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """FPR and TPR of one checkpoint with the models' calls in another order: [N] each."""
    return rates(called[order], everywhere if present is None else sides(held, present[order]))


def _path(center: Array) -> np.ndarray:
    """Points [T, 2], float64. Raises ValueError."""
    path = as_numbers("center", center)
    if path.ndim != 2 or path.shape[1] != 2 or not len(path):
        raise ValueError(f"center has shape {path.shape}: it must be [T, 2], FPR and TPR by checkpoint.")
    return path


def _durations(times: Array, num_checkpoints: int) -> np.ndarray:
    """The lengths of the intervals between checkpoints: [T-1]. Raises ValueError."""
    moments = as_numbers("times", times)
    if moments.shape != (num_checkpoints,):
        raise ValueError(
            f"times has shape {moments.shape}: it must be [{num_checkpoints}], one a checkpoint."
        )
    lengths = np.diff(moments)
    if not np.isfinite(moments).all() or (lengths <= 0).any():
        raise ValueError(f"times is {moments.tolist()}: it must be finite and rise.")
    return lengths


def _reordered(num_models: int, twin: Array | None, rng: np.random.Generator) -> np.ndarray:
    """A permutation of the models, int [K], that keeps pairs of twins pairs."""
    first = leaders(num_models, twin)
    order = np.arange(num_models)
    paired = np.zeros(num_models, bool) if twin is None else np.asarray(twin) >= 0
    alone = np.flatnonzero(~paired)
    order[alone] = rng.permutation(alone)
    leading = np.flatnonzero(paired & (first == order))
    if leading.size:
        twins = np.asarray(twin)
        pairs = np.stack([leading, twins[leading]])
        order[pairs] = rng.permuted(rng.permutation(pairs, axis=1), axis=0)
    return order
