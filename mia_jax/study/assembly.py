"""From the last checkpoint's scores to everything a report shows of them; nothing is read or drawn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mia_jax import attacks as attack_library
from mia_jax import summary
from mia_jax.config import Config
from mia_jax.report.inputs import (
    AttackCard,
    Curve,
    Histogram,
    LongTable,
    Pair,
    ReportInputs,
    Row,
    last_rows,
)
from mia_jax.slices import slice_rows
from mia_jax.statistics import intervals
from mia_jax.statistics.cross_fitting import CrossFit
from mia_jax.statistics.pooled import Pooled
from mia_jax.statistics.score_table import ScoreTable
from mia_jax.statistics.vulnerability import Vulnerability, blocks_of_records
from mia_jax.types import Array

Vulnerabilities = Iterator[tuple[slice, Vulnerability]]
"""The table of records, block by block."""

MOST_EXPOSED = 20
"""Records of a family that the page lists; the whole table is in vulnerability/."""


MOST_VALUES = 200
"""Values of a grouping, above which it is left out."""

MOST_ENTRIES = 2e7
"""Values of a grouping times scores, above which it would take minutes for each attack."""

SLICED = frozenset({"loss", "lira_online", "lira_offline", "rmia_online", "shadow_classifier"})
"""The attacks by which groups are compared: named beforehand, so that few tests are paid for. Where none of
them was run, all are."""


class Facts(NamedTuple):
    """What a report says beside scores; see `ReportInputs`."""

    shown_config: Mapping[str, Any]
    environment: Mapping[str, str]
    data_facts: Mapping[str, Any]
    command: str
    utility: Sequence[Row]
    results: Sequence[Row]
    diverged: Mapping[str, Sequence[int]]
    skipped: Mapping[str, Mapping[str, str]]
    audits: Sequence[Row] = ()
    promises: Sequence[Row] = ()
    notes: Sequence[str] = ()


class Findings(NamedTuple):
    """What a report shows of one attack on one family beside its row.

    p: of the pooled AUC being 0.5. chosen: who is called a member.
    """

    p: float
    curve: Curve
    histogram: Histogram
    chosen: CrossFit


class Group(NamedTuple):
    """A grouping that exposure is sliced by: its number of values, and how to come by it, [N] or [K, N]."""

    count: int
    values: Callable[[], np.ndarray]


def group_of(values: Array) -> Group:
    """A grouping that is there already."""
    held = np.asarray(values)
    return Group(np.unique(held).size, lambda: held)


def findings(pooled: Pooled, chosen: CrossFit) -> Findings | None:
    """What a report shows of these scores; None where they are of one side only."""
    if not pooled.both_sides:
        return None
    p = intervals.pooled_auc_p_value(pooled)
    return Findings(p, summary.pooled_curve(pooled), summary.pooled_histogram(pooled), chosen)


def report_inputs(
    config: Config,
    facts: Facts,
    scores: Mapping[Pair, ScoreTable],
    found: Mapping[Pair, Findings | None],
    member: np.ndarray,
    twin: Array,
    labels: np.ndarray | None,
    groups: Mapping[str, Mapping[str, Group]],
) -> ReportInputs:
    """Everything a report shows.

    scores: [K, N] of the last checkpoint, by family and attack; they are read again, also when the table of
    records is written. found: the same keys. member: bool [K, N]. twin: int [K]. labels: int [N]. groups: by family,
    the groupings that exposure is sliced by.
    """
    there = {key: one for key, one in found.items() if one is not None}
    usable = {key: scores[key] for key in there}
    tables: dict[str, dict[str, Callable[[], Vulnerabilities]]] = {}
    for (family, attack), table in usable.items():
        chosen = there[family, attack].chosen
        blocks = functools.partial(blocks_of_records, table, member, chosen)
        tables.setdefault(family, {})[attack] = blocks
    return ReportInputs(
        title=config.name,
        config=facts.shown_config,
        environment=facts.environment,
        data_facts=facts.data_facts,
        command=facts.command,
        utility=facts.utility,
        results=_with_p_values(facts.results, there),
        curves={key: one.curve for key, one in there.items()},
        histograms={key: one.histogram for key, one in there.items()},
        comparisons=summary.comparisons(usable, member, twin, config.report.confidence),
        attacks={
            one.name: AttackCard(one.title, one.threat_model, one.source)
            for one in attack_library.chosen(config.attacks)
        },
        diverged=facts.diverged,
        confidence=config.report.confidence,
        skipped=facts.skipped,
        slices=_slices(config, usable, member, twin, groups),
        vulnerability={family: _wide(blocks, labels) for family, blocks in tables.items()},
        exposed={
            family: _most_exposed(blocks, labels, _strongest(family, facts.results))
            for family, blocks in tables.items()
        },
        audits=facts.audits,
        promises=facts.promises,
        notes=[*facts.notes, *_left_out(groups, member)],
    )


def _with_p_values(results: Sequence[Row], found: Mapping[Pair, Findings]) -> list[Row]:
    """The results, those of the last checkpoint with `auc_p_holm`: that an AUC is 0.5, adjusted for all of them."""
    last = [row for row in last_rows(results) if (row["family"], row["attack"]) in found]
    values = [{"p": found[row["family"], row["attack"]].p} for row in last]
    adjusted = [row["p_holm"] for row in summary.with_holm(values, "p", "p_holm")]
    by_row = {id(row): p for row, p in zip(last, adjusted, strict=True)}
    return [{**row, "auc_p_holm": by_row.get(id(row))} for row in results]


def _slices(
    config: Config,
    scores: Mapping[Pair, ScoreTable],
    member: np.ndarray,
    twin: Array,
    groups: Mapping[str, Mapping[str, Group]],
) -> list[dict[str, Any]]:
    """Exposure by group under the attacks chosen beforehand, the p-values adjusted for all of the table."""
    names = {attack for _, attack in scores}
    sliced = names & SLICED or names
    rows: list[dict[str, Any]] = []
    for (family, attack), table in scores.items():
        few = {name: of for name, of in groups.get(family, {}).items() if not too_many(name, of, member)}
        if attack in sliced and few:
            found = slice_rows(
                table.rows(slice(0, table.shape[0])),
                member,
                {name: of.values() for name, of in few.items()},
                fprs=config.report.fpr,
                confidence=config.report.confidence,
                most_values=MOST_VALUES,
                twin=twin,
            )
            rows += [_slice_row(family, attack, row) for row in found]
    return summary.with_holm(rows, "p", "p_holm")


def too_many(name: str, group: Group, member: np.ndarray) -> str:
    """Why exposure is not reported by a grouping; "" where it is."""
    if group.count > MOST_VALUES:
        return f"{name} has {group.count} values, more than {MOST_VALUES}: exposure is not reported by it."
    if group.count * member.size > MOST_ENTRIES:
        return (
            f"{name} has {group.count} values and there are {member.size:,} scores of each attack: exposure is not "
            "reported by it here; mia_jax.slices.slice_rows does it for one attack."
        )
    return ""


def _left_out(groups: Mapping[str, Mapping[str, Group]], member: np.ndarray) -> list[str]:
    """Sentences on the groupings that are left out, each once."""
    reasons = [too_many(name, of, member) for named in groups.values() for name, of in named.items()]
    return list(dict.fromkeys(filter(None, reasons)))


def _slice_row(family: str, attack: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """One row of slices.csv."""
    rest = {key: value for key, value in found.items() if key not in ("group", "value", "p_holm")}
    others = found["entries"] - found["members"]
    where = {"family": family, "attack": attack, "slice": found["group"], "value": found["value"]}
    return {**where, **rest, "others": others}


def _wide(tables: Mapping[str, Callable[[], Vulnerabilities]], labels: np.ndarray | None) -> LongTable:
    """One row for each record: its label, and what every attack learns of it."""
    names = ["label"] if labels is not None else []
    names += [f"{attack}_{name}" for attack in tables for name in Vulnerability._fields]

    def rows() -> Iterator[Row]:
        for blocks in zip(*(blocks() for blocks in tables.values()), strict=True):
            records = blocks[0][0]
            columns = [labels[records].tolist()] if labels is not None else []
            columns += [values.tolist() for _, found in blocks for values in found]
            for number, row in enumerate(zip(*columns, strict=True), records.start):
                yield {"record": number, **dict(zip(names, row, strict=True))}

    return LongTable(["record", *names], rows)


def _most_exposed(
    tables: Mapping[str, Callable[[], Vulnerabilities]], labels: np.ndarray | None, attack: str
) -> list[dict[str, Any]]:
    """The records that the strongest attack tells best, surest first: by the AUC less its standard error."""
    found = Vulnerability(*map(np.concatenate, zip(*(block for _, block in tables[attack]()), strict=True)))
    order = np.argsort(-np.nan_to_num(found.auc - found.auc_error, nan=-1.0), kind="stable")[:MOST_EXPOSED]
    return [
        {
            "record": int(n),
            "label": None if labels is None else int(labels[n]),
            "attack": attack,
            "times_in": int(found.times_in[n]),
            "times_out": int(found.times_out[n]),
            "auc": float(found.auc[n]),
            "auc_error": float(found.auc_error[n]),
            "tpr": float(found.tpr[n]),
            "fpr": float(found.fpr[n]),
        }
        for n in order
    ]


def _strongest(family: str, results: Sequence[Row]) -> str:
    """The attack with the highest AUC on a family at its last checkpoint.

    Not online LiRA, if there is another: of single records its AUC is too low (`vulnerability`).
    """
    rows = [row for row in last_rows(results) if row["family"] == family and row["auc"] is not None]
    fair = [row for row in rows if not row["attack"].startswith("lira_online")] or rows
    return max(fair, key=lambda row: row["auc"])["attack"]
