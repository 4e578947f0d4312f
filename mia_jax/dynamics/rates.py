"""The FPR-TPR plane: how often each record is called a member, by models without it and with it.

Calls are read one checkpoint at a time and counted as integers, so that working memory is a few
arrays [K, N], whatever the number of checkpoints. NumPy, float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from mia_jax.types import Array
from mia_jax.validation import as_mask, as_numbers

Calls = Array | Iterator[Array]
"""Bool [K, T, N], or an iterator (a generator, say) of bool [K, N], one a checkpoint, read once."""

ROUNDING = 1e-9
"""Rates are ratios of small integers: closer than this to a bound, they are meant to be on it."""


class Sides(NamedTuple):
    """The models with and without each record: bool [K, N], and how many, float64 [N], NaN for none."""

    inside: np.ndarray
    outside: np.ndarray
    times_in: np.ndarray
    times_out: np.ndarray


def plane(calls: Calls, member: Array, known: Calls | None = None) -> tuple[np.ndarray, np.ndarray]:
    """FPR and TPR of every record at every checkpoint: float64 [T, N] each, NaN where no model is on that side.

    calls: who is called a member, bool [K, T, N] or an iterator of bool [K, N], one a checkpoint.
    member: bool [K, N]. known: of the form of `calls`, where there is a call at all; None: everywhere.
    A missing score compares as False, which is a call too: without `known` it would count as "not a
    member". Raises ValueError for arrays that do not fit and for no checkpoint. Chen et al. 2025.
    """
    points = [rates(called, present) for called, present in counted(calls, member, known)]
    return np.stack([fpr for fpr, _ in points]), np.stack([tpr for _, tpr in points])


def plane_errors(
    fpr: Array, tpr: Array, member: Array, known: Calls | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors of both rates over models, [T, N] each; NaN where the rate is.

    fpr, tpr: [T, N]. member, known: as for `plane`. They are of a share with two of each outcome added
    (Agresti & Coull 1998), and do not vanish where a few models happen to agree; near one half they are
    .088 with 32 models on the side. Those of one record at two checkpoints are of the same models, and
    far from independent. Models that share noisy references err together, which is not part of it: of
    leave-one-out LiRA without any signal (64 models), TPR - FPR varies 1.9 times as much. Raises
    ValueError for arrays that do not fit.
    """
    fpr, tpr = on_plane(fpr, tpr)
    held = table_of_members(member)
    if held.shape[1] != fpr.shape[1]:
        raise ValueError(
            f"member has shape {held.shape}: it must be [K, N] with the {fpr.shape[1]} records of fpr."
        )
    if known is None:
        seen = [sides(held)] * len(fpr)
    else:
        seen = [sides(held, present) for present in by_checkpoint("known", known, held.shape)]
    if len(seen) != len(fpr):
        raise ValueError(f"known has {len(seen)} checkpoints: it must have the {len(fpr)} of fpr.")
    times_out, times_in = np.stack([s.times_out for s in seen]), np.stack([s.times_in for s in seen])
    return _share_error(fpr, times_out), _share_error(tpr, times_in)


def vulnerability(fpr: Array, tpr: Array) -> np.ndarray:
    """TPR - FPR of every record at every checkpoint, in [-1, 1]: [T, N]; NaN where either is. Our definition."""
    fpr, tpr = on_plane(fpr, tpr)
    return tpr - fpr


def rates(called: np.ndarray, seen: Sides) -> tuple[np.ndarray, np.ndarray]:
    """FPR and TPR of one checkpoint, [N] each. called: bool [K, N]."""
    return _count(called & seen.outside) / seen.times_out, _count(called & seen.inside) / seen.times_in


def sides(held: np.ndarray, present: np.ndarray | None = None) -> Sides:
    """The models on each side of each record. held, present: bool [K, N]; None: all have a call."""
    outside = ~held
    inside, outside = (held, outside) if present is None else (held & present, outside & present)
    times_in, times_out = _count(inside), _count(outside)
    return Sides(
        inside,
        outside,
        np.where(times_in > 0, times_in, np.nan),
        np.where(times_out > 0, times_out, np.nan),
    )


def counted(calls: Calls, member: Array, known: Calls | None) -> Iterator[tuple[np.ndarray, Sides]]:
    """Every checkpoint's calls, bool [K, N], with the sides on which they count."""
    held = table_of_members(member)
    everywhere = sides(held)
    for called, present in with_known(calls, known, held.shape):
        yield called, everywhere if present is None else sides(held, present)


def with_known(
    calls: Calls, known: Calls | None, shape: tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Every checkpoint's calls with where they are known, bool [K, N] each; None: everywhere."""
    each = by_checkpoint("calls", calls, shape)
    if known is None:
        yield from ((called, None) for called in each)
        return
    for called, present in zip_longest(each, by_checkpoint("known", known, shape)):
        if called is None or present is None:
            raise ValueError("known has another number of checkpoints than calls: both must have the same.")
        yield called, present


def by_checkpoint(name: str, values: Calls, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The checkpoints of an array [K, T, N] or of an iterator, each a bool [K, N]. Raises ValueError."""
    num_read = 0
    for part in values if isinstance(values, Iterator) else _checkpoints_of(name, np.asarray(values), shape):
        yield as_mask(f"{name}[:, {num_read}]", part, shape)
        num_read += 1
    if not num_read:
        raise ValueError(f"{name} has 0 checkpoints: it must have at least one.")


def table_of_members(member: Array) -> np.ndarray:
    """Membership as bool [K, N]. Raises ValueError."""
    shape = np.shape(member)
    if len(shape) != 2:
        raise ValueError(f"member has shape {shape}: it must be [K, N], model by record.")
    return as_mask("member", member, shape)


def on_plane(fpr: Array, tpr: Array) -> tuple[np.ndarray, np.ndarray]:
    """Both rates as float64 [T, N], in [0, 1] or NaN. Raises ValueError."""
    fpr, tpr = by_record("fpr", fpr), by_record("tpr", tpr)
    if fpr.shape != tpr.shape:
        raise ValueError(f"tpr has shape {tpr.shape}: it must have shape {fpr.shape}, fpr's.")
    for name, rate in (("fpr", fpr), ("tpr", tpr)):
        outside = (rate < 0) | (rate > 1)
        if outside.any():
            raise ValueError(f"{name} holds {rate[outside][0]:g}: a rate must lie in [0, 1], or be NaN.")
    return fpr, tpr


def by_record(name: str, values: Array) -> np.ndarray:
    """A float64 array [T, N] of at least one checkpoint. Raises ValueError."""
    array = as_numbers(name, values)
    if array.ndim != 2 or not len(array):
        raise ValueError(f"{name} has shape {array.shape}: it must be [T, N], checkpoint by record.")
    return array


def mean_of_known(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean along an axis without NaN entries; NaN where all of them are."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    return np.where(known, values, 0.0).sum(axis=axis) / np.where(count > 0, count, np.nan)


def _checkpoints_of(name: str, array: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The slices [K, N] of an array [K, T, N]."""
    if array.ndim != 3 or (array.shape[0], array.shape[2]) != shape:
        raise ValueError(
            f"{name} has shape {array.shape}: it must be [K, T, N] with the K, N of member, {shape}."
        )
    return (array[:, t] for t in range(array.shape[1]))


def _count(marked: np.ndarray) -> np.ndarray:
    """How many models are marked, for every record: [N]."""
    return np.add.reduce(marked, axis=0, dtype=np.int32)  # twice as fast as count_nonzero along this axis


def _share_error(share: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """The standard error of a share, as in `mia_jax.statistics.vulnerability`."""
    centred = (share * trials + 2.0) / (trials + 4.0)
    return np.sqrt(centred * (1.0 - centred) / trials)
