"""Who is exposed: the pooled estimates within parts of the table, each compared with all the rest.

A part is the entries [K, N] where some array has one value: the class of a record, whether a model
is right about it, or anything a user knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mia_jax.report.inputs import tpr_key
from mia_jax.statistics.clustering import Ranking, auc_of, clusters, disjoint_spread, ranking, spread
from mia_jax.statistics.intervals import Interval, difference, pooled_tprs, share_ends
from mia_jax.statistics.multiple_testing import holm
from mia_jax.statistics.pooled import Pooled
from mia_jax.statistics.roc import estimable, roc_curve, step, target_by_record
from mia_jax.types import Array

FEWEST_CLUSTERS = 5
"""Below so many targets or records a part has no interval."""


class _Part(NamedTuple):
    """The entries of one value of one group, bool [K, N], without those that lack a score."""

    group: str
    value: Any
    entries: np.ndarray


class _Table(NamedTuple):
    """Scores and membership [K, N], where there is a score, the scores' order, and the twins."""

    scores: np.ndarray
    held: np.ndarray
    known: np.ndarray
    ranked: Ranking
    twin: Array | None
    confidence: float


def slice_rows(
    scores: Array,
    member: Array,
    groups: Mapping[str, Array],
    *,
    fprs: Sequence[float] = (0.1, 0.01),
    confidence: float = 0.95,
    fewest: int = 20,
    most_values: int = 50,
    twin: Array | None = None,
) -> list[dict[str, Any]]:
    """One row for each value of each group, in order of the values.

    scores, member: [K, N]; NaN scores are missing. groups: by name, an array [N] of what is known of
    the records or [K, N] of what is known of models and records; strings, integers, booleans, or
    floats that are whole numbers. twin: int [K], the other model of a pair (-1: none).

    A row holds `group`, `value`, `records`, `entries`, `members` (entries); `auc` and, for each FPR,
    `tpr_at_fpr_…` within the part, with `_low` and `_high`; `pooled_tpr_at_fpr_…` and
    `pooled_fpr_at_fpr_…`, what the threshold that has this FPR in the whole table does within the
    part; `difference`, its AUC less that of all other entries, with `_low`, `_high` and `p` that
    there is none, and `p_holm`, adjusted for all rows. None for all of these in a part with fewer
    than `fewest` members or non-members, or fewer than 5 targets or records; None for the
    differences where the rest is such a part; for a TPR with fewer than one expected false positive.

    Raises ValueError for shapes that differ and for groups with other values or more than `most_values`.
    """
    scores, held = target_by_record(scores, member)
    if not isinstance(groups, Mapping):
        raise ValueError(f"groups is a {type(groups).__name__}: it must be a mapping of names to arrays.")
    if np.ndim(fprs) != 1:
        raise ValueError(f"fprs is {fprs}: it must be a sequence of rates in [0, 1].")
    known = ~np.isnan(scores)
    table = _Table(scores, held, known, ranking(scores), twin, confidence)
    thresholds = _pooled_thresholds(scores[known], held[known], fprs)
    rows = []
    for part in _parts(groups, known, most_values):
        row = _counts(part, held) | _nothing(fprs)
        if _enough(part.entries, held, fewest):
            own = auc_of(table.ranked, part.entries & held, part.entries & ~held)
            row |= _within(part, own, table, fprs) | _at_thresholds(part, table, thresholds)
            row |= _against_the_rest(part, own, table, fewest)
        rows.append(row)
    adjusted = holm([np.nan if row["p"] is None else row["p"] for row in rows])
    return [
        row | {"p_holm": None if np.isnan(p) else float(p)} for row, p in zip(rows, adjusted, strict=True)
    ]


def _parts(groups: Mapping[str, Array], known: np.ndarray, most_values: int) -> Iterator[_Part]:
    """Every value of every group with its entries. Raises ValueError."""
    for name, given in groups.items():
        values = _checked_group(name, given, known.shape)
        distinct = np.unique(values)
        if distinct.size > most_values:
            raise ValueError(
                f"groups[{name!r}] has {distinct.size} distinct values: at most {most_values} are allowed; put "
                "several into one first."
            )
        for value in distinct:
            yield _Part(name, value.item(), known & (values == value))


def _checked_group(name: str, given: Array, shape: tuple[int, ...]) -> np.ndarray:
    """A group's values as [N] or [K, N]. Raises ValueError."""
    try:
        values = np.asarray(given)
    except ValueError:
        raise ValueError(f"groups[{name!r}] is ragged: it must have shape {shape[1:]} or {shape}.") from None
    if values.shape not in (shape, shape[1:]):
        raise ValueError(
            f"groups[{name!r}] has shape {values.shape}: it must have shape {shape[1:]} or {shape}."
        )
    if values.dtype.kind == "f":
        odd = np.argwhere(values != np.round(values))
        if odd.size:
            where = tuple(int(i) for i in odd[0])
            raise ValueError(
                f"groups[{name!r}]{list(where)} is {values[where]}: values must be strings, whole numbers or "
                "booleans; bin others first, as with numpy.digitize at their quartiles."
            )
        return values.astype(np.int64)
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.flat):
        return values.astype(str)
    if values.dtype.kind not in "biuUS":
        raise ValueError(
            f"groups[{name!r}] has dtype {values.dtype}: it must hold strings, whole numbers or booleans."
        )
    return values


def _counts(part: _Part, held: np.ndarray) -> dict[str, Any]:
    """What a part is, and how large."""
    return {
        "group": part.group,
        "value": part.value,
        "records": int(part.entries.any(axis=0).sum()),
        "entries": int(part.entries.sum()),
        "members": int((part.entries & held).sum()),
    }


def _nothing(fprs: Sequence[float]) -> dict[str, Any]:
    """The columns of a part too small to be judged."""
    names = ["auc", "auc_low", "auc_high", "difference", "difference_low", "difference_high", "p"]
    for key in map(tpr_key, fprs):
        names += [key, f"{key}_low", f"{key}_high", f"pooled_{key}", f"pooled_fpr_{key[4:]}"]
    return dict.fromkeys(names)


def _enough(entries: np.ndarray, held: np.ndarray, fewest: int) -> bool:
    """Whether a part has enough of everything for an interval."""
    members = int((entries & held).sum())
    sides = min(members, int(entries.sum()) - members)
    return sides >= max(fewest, 1) and min(clusters(entries)) >= FEWEST_CLUSTERS


def _within(
    part: _Part, own: tuple[float, np.ndarray], table: _Table, fprs: Sequence[float]
) -> dict[str, Any]:
    """AUC and TPRs among the part's entries alone. own: its AUC and influence values."""
    value, influence = own
    error = spread(influence, part.entries, table.twin)
    row = _estimate(
        "auc",
        value,
        Interval(*share_ends(value, error, error, min(clusters(part.entries)), table.confidence)),
    )
    # A class is a few columns of the table: the others need not be looked at.
    some = part.entries.any(axis=0)
    scores = np.where(part.entries, table.scores, np.nan)[:, some]
    held = table.held[:, some]
    tprs = pooled_tprs(Pooled(scores, held, table.twin), fprs, table.confidence)
    for fpr, tpr in zip(fprs, tprs, strict=True):
        row |= _estimate(tpr_key(fpr), *tpr)
    return row


def _pooled_thresholds(scores: np.ndarray, held: np.ndarray, fprs: Sequence[float]) -> dict[float, float]:
    """By FPR, the threshold that has it in the whole table, where it can be estimated."""
    rates, _, thresholds = roc_curve(scores, held)
    return {fpr: float(thresholds[step(rates, fpr)]) for fpr in fprs if estimable(held, fpr)}


def _at_thresholds(part: _Part, table: _Table, thresholds: Mapping[float, float]) -> dict[str, Any]:
    """TPR and FPR within the part at the thresholds of the whole table."""
    row: dict[str, Any] = {}
    for fpr, threshold in thresholds.items():
        called = table.scores >= threshold
        row[f"pooled_{tpr_key(fpr)}"] = float(called[part.entries & table.held].mean())
        row[f"pooled_fpr_{tpr_key(fpr)[4:]}"] = float(called[part.entries & ~table.held].mean())
    return row


def _against_the_rest(
    part: _Part, own: tuple[float, np.ndarray], table: _Table, fewest: int
) -> dict[str, Any]:
    """The part's AUC less that of all other entries. own: its AUC and influence values."""
    rest = table.known & ~part.entries
    if not _enough(rest, table.held, fewest):
        return {}
    other, influence = auc_of(table.ranked, rest & table.held, rest & ~table.held)
    error = disjoint_spread(own[1], part.entries, influence, rest, table.twin)
    fewer = min(part.entries, rest, key=lambda entries: min(clusters(entries)))
    found = difference(own[0] - other, error, error, fewer, table.confidence)
    ends = Interval(found.low, found.high)
    return _estimate("difference", found.value, ends) | {"p": found.p}


def _estimate(name: str, value: float | None, ends: Interval) -> dict[str, Any]:
    """An estimate and its ends under their column names."""
    return {name: value, f"{name}_low": ends.low, f"{name}_high": ends.high}
