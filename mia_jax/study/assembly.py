"""From the last checkpoint's scores to everything a report shows of them; nothing is read or drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mia_jax import attacks as attack_library
from mia_jax import metrics, summary
from mia_jax.config import Config
from mia_jax.report.inputs import AttackCard, Pair, ReportInputs, Row, last_rows
from mia_jax.slices import slice_rows
from mia_jax.types import Array
from mia_jax.vulnerability import Vulnerability, record_vulnerability

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


def report_inputs(
    config: Config,
    facts: Facts,
    scores: Mapping[Pair, np.ndarray],
    member: np.ndarray,
    twin: Array,
    labels: np.ndarray | None,
    groups: Mapping[str, Mapping[str, np.ndarray]],
) -> ReportInputs:
    """Everything a report shows.

    scores: float64 [K, N] of the last checkpoint, by family and attack. member: bool [K, N]. twin: int
    [K]. labels: int [N]. groups: by family, the groupings [N] or [K, N] that exposure is sliced by.
    """
    usable = {key: values for key, values in scores.items() if summary.both_sides(values, member)}
    tables: dict[str, dict[str, Vulnerability]] = {}
    for (family, attack), values in usable.items():
        decisions = metrics.cross_fit_decisions(values, member, twin)
        tables.setdefault(family, {})[attack] = record_vulnerability(values, member, decisions)
    return ReportInputs(
        title=config.name,
        config=facts.shown_config,
        environment=facts.environment,
        data_facts=facts.data_facts,
        command=facts.command,
        utility=facts.utility,
        results=_with_p_values(facts.results, usable, member, twin),
        curves={key: summary.curve(values, member) for key, values in usable.items()},
        histograms={key: summary.histogram(values, member) for key, values in usable.items()},
        comparisons=summary.comparisons(usable, member, twin, config.report.confidence),
        attacks={
            one.name: AttackCard(one.title, one.threat_model, one.source)
            for one in attack_library.chosen(config.attacks)
        },
        diverged=facts.diverged,
        confidence=config.report.confidence,
        skipped=facts.skipped,
        slices=_slices(config, usable, member, twin, groups),
        vulnerability={family: _wide(table, labels) for family, table in tables.items()},
        exposed={
            family: _most_exposed(table, labels, _strongest(family, facts.results))
            for family, table in tables.items()
        },
        audits=facts.audits,
        promises=facts.promises,
        notes=[*facts.notes, *_left_out(groups, member)],
    )


def _with_p_values(
    results: Sequence[Row], scores: Mapping[Pair, np.ndarray], member: np.ndarray, twin: Array
) -> list[Row]:
    """The results, those of the last checkpoint with `auc_p_holm`: that an AUC is 0.5, adjusted for all of them."""
    last = [row for row in last_rows(results) if (row["family"], row["attack"]) in scores]
    found = [{"p": metrics.auc_p_value(scores[row["family"], row["attack"]], member, twin)} for row in last]
    adjusted = [row["p_holm"] for row in summary.with_holm(found, "p", "p_holm")]
    by_row = {id(row): p for row, p in zip(last, adjusted, strict=True)}
    return [{**row, "auc_p_holm": by_row.get(id(row))} for row in results]


def _slices(
    config: Config,
    scores: Mapping[Pair, np.ndarray],
    member: np.ndarray,
    twin: Array,
    groups: Mapping[str, Mapping[str, np.ndarray]],
) -> list[dict[str, Any]]:
    """Exposure by group under the attacks chosen beforehand, the p-values adjusted for all of the table."""
    names = {attack for _, attack in scores}
    sliced = names & SLICED or names
    rows: list[dict[str, Any]] = []
    for (family, attack), values in scores.items():
        if attack in sliced:
            found = slice_rows(
                values,
                member,
                {name: of for name, of in groups.get(family, {}).items() if not too_many(name, of, member)},
                fprs=config.report.fpr,
                confidence=config.report.confidence,
                most_values=MOST_VALUES,
                twin=twin,
            )
            rows += [_slice_row(family, attack, row) for row in found]
    return summary.with_holm(rows, "p", "p_holm")


def too_many(name: str, group: np.ndarray, member: np.ndarray) -> str:
    """Why exposure is not reported by a grouping, [N] or [K, N]; "" where it is."""
    count = np.unique(group).size
    if count > MOST_VALUES:
        return f"{name} has {count} values, more than {MOST_VALUES}: exposure is not reported by it."
    if count * member.size > MOST_ENTRIES:
        return (
            f"{name} has {count} values and there are {member.size:,} scores of each attack: exposure is not reported "
            "by it here; mia_jax.slices.slice_rows does it for one attack."
        )
    return ""


def _left_out(groups: Mapping[str, Mapping[str, np.ndarray]], member: np.ndarray) -> list[str]:
    """Sentences on the groupings that are left out, each once."""
    reasons = [too_many(name, of, member) for named in groups.values() for name, of in named.items()]
    return list(dict.fromkeys(filter(None, reasons)))


def _slice_row(family: str, attack: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """One row of slices.csv."""
    rest = {key: value for key, value in found.items() if key not in ("group", "value", "p_holm")}
    others = found["entries"] - found["members"]
    where = {"family": family, "attack": attack, "slice": found["group"], "value": found["value"]}
    return {**where, **rest, "others": others}


def _wide(table: Mapping[str, Vulnerability], labels: np.ndarray | None) -> list[dict[str, Any]]:
    """One row for each record: its label, and what every attack learns of it."""
    columns: dict[str, list[Any]] = {}
    if labels is not None:
        columns["label"] = labels.tolist()
    for attack, found in table.items():
        for name, values in found._asdict().items():
            columns[f"{attack}_{name}"] = values.tolist()
    names = list(columns)
    return [
        {"record": number, **dict(zip(names, row, strict=True))}
        for number, row in enumerate(zip(*columns.values(), strict=True))
    ]


def _most_exposed(
    table: Mapping[str, Vulnerability], labels: np.ndarray | None, attack: str
) -> list[dict[str, Any]]:
    """The records that the strongest attack tells best, surest first: by the AUC less its standard error."""
    found = table[attack]
    order = np.argsort(-np.nan_to_num(found.auc - found.auc_error, nan=-1.0), kind="stable")[:MOST_EXPOSED]
    return [
        {
            "record": int(n),
            "label": None if labels is None else int(labels[n]),
            "attack": attack,
            "times_in": int(found.times_in[n]),
            "times_out": int(found.times_out[n]),
            "auc": float(found.auc[n]),
            "se": float(found.auc_error[n]),
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
