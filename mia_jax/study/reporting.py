"""The report of a study: what its signals and scores amount to, in tables, figures and a page."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mia_jax import audit, summary
from mia_jax import config as configs
from mia_jax.progress import Reporter, Silent
from mia_jax.report.inputs import ReportInputs
from mia_jax.runs.run_directory import RunDirectory
from mia_jax.statistics.cross_fitting import cross_fit
from mia_jax.statistics.pooled import Pooled
from mia_jax.statistics.score_table import ReadTable, ScoreTable
from mia_jax.study import assembly, observing, privacy
from mia_jax.study.attacking import check_possible, selection, skipped
from mia_jax.study.environment import environment


def report(run: RunDirectory, *, tell: Reporter | None = None) -> ReportInputs:
    """Summarise the scores of an attacked run and write tables, figures and the page."""
    from mia_jax.report import write_report

    tell = tell or Silent()
    inputs = summarise(run)
    run.keep_config()
    run.keep_session(environment())
    tell.say(f"report: {write_report(inputs, run.path)}")
    return inputs


def summarise(run: RunDirectory) -> ReportInputs:
    """Everything a report shows, from a run's signals and scores."""
    check_possible(run)
    config, last = run.config, len(run.epochs) - 1
    pool = _drawn(run)
    utility, results, diverged, groups = [], [], {}, {}
    audits: list[dict[str, Any]] = []
    final: dict[tuple[str, str], ScoreTable] = {}
    findings: dict[tuple[str, str], assembly.Findings | None] = {}
    labels = run.labels("pool")[observing.columns(run.config, "pool")]
    for family in config.families:
        for checkpoint in range(len(run.epochs)):
            found = _rows(run, pool, family, checkpoint)
            diverged[family] = found.diverged
            utility.append(found.utility)
            results += found.results
            if checkpoint == last:
                findings |= {(family, attack): of for attack, of in found.findings.items()}
        final |= {(family, attack): scores for attack, scores in _scores(run, family, last).items()}
        groups[family] = {"class": assembly.group_of(labels), "correct": _correctness(run, family)}
        audits += audit_rows(run, family, last)
    facts = assembly.Facts(
        shown_config=configs.to_mapping(config),
        environment=run.sessions()[-1],
        data_facts=run.data_facts(),
        command=_commands(run),
        utility=utility,
        results=results,
        diverged=diverged,
        skipped={family: skipped(run, family) | _not_run(run, family) for family in config.families},
        audits=audits,
        promises=privacy.rows(config, run.noise_multiplier),
    )
    return assembly.report_inputs(config, facts, final, findings, pool.member, pool.twin, labels, groups)


class Rows(NamedTuple):
    """One family at one checkpoint: its accuracies, a row for each attack, and the models that were left out.

    findings: what the page shows of each attack, of the last checkpoint alone.
    """

    utility: dict[str, Any]
    results: list[dict[str, Any]]
    diverged: list[int]
    findings: dict[str, assembly.Findings | None]


class _Pool(NamedTuple):
    """The membership of the pool's own records, bool [K, N], and the twins, int [K]."""

    member: np.ndarray
    twin: np.ndarray


def rows_at(run: RunDirectory, family: str, checkpoint: int) -> Rows:
    """What a family's signals and scores amount to at one checkpoint, canaries left aside."""
    return _rows(run, _drawn(run), family, checkpoint)


def _rows(run: RunDirectory, pool: _Pool, family: str, checkpoint: int) -> Rows:
    """The same; one attack's scores are judged after another's."""
    setting = summary.Setting(family, checkpoint, run.epochs[checkpoint])
    usable = observing.usable_models(run, family, checkpoint)
    results, findings = [], {}
    for attack, scores in _scores(run, family, checkpoint).items():
        pooled = Pooled(scores, pool.member, pool.twin)
        chosen = cross_fit(pooled)
        results.append(summary.pooled_row(setting, attack, pooled, chosen, run.config.report))
        if checkpoint == len(run.epochs) - 1:
            findings[attack] = assembly.findings(pooled, chosen)
    utility = _utility_row(run, setting, pool, usable)
    return Rows(utility, results, [int(model) for model in np.flatnonzero(~usable)], findings)


def _drawn(run: RunDirectory) -> _Pool:
    """The membership of the pool's own records."""
    drawn = run.membership()
    # A copy where there are canaries, so that nothing keeps the rest.
    member = np.ascontiguousarray(np.asarray(drawn.member, bool)[:, observing.columns(run.config, "pool")])
    return _Pool(member, np.asarray(drawn.twin))


def _scores(run: RunDirectory, family: str, checkpoint: int) -> dict[str, ScoreTable]:
    """The scores of every attack that could be run on a family at a checkpoint, to be read in blocks."""
    names = [one.name for one in selection(run, family).attacks]
    shape = run.config.membership.num_models, run.config.data.pool_size

    def table(attack: str) -> ScoreTable:
        return ReadTable(
            shape,
            lambda models, records: run.scores(family, attack, checkpoint, models=models, records=records),
        )

    return {name: table(name) for name in names if checkpoint in run.scored(family, name)}


def _correctness(run: RunDirectory, family: str) -> assembly.Group:
    """Whether a model is right about a record at the end, read where exposure is sliced by it."""
    ours = observing.columns(run.config, "pool")
    read = run.segments(family).signal
    return assembly.Group(2, lambda: read("pool/correct", len(run.epochs) - 1, records=ours) > 0.5)


def _not_run(run: RunDirectory, family: str) -> dict[str, str]:
    """The attacks that were possible but for the records themselves, which could not be read again."""
    names = [one.name for one in selection(run, family).attacks]
    return {
        name: "needs features, which could not be read again"
        for name in names
        if not run.scored(family, name)
    }


def audit_rows(run: RunDirectory, family: str, checkpoint: int) -> list[dict[str, Any]]:
    """The lower bounds on epsilon that a family's canaries prove; none where none were planted."""
    if not run.config.canaries.count:
        return []
    seen = observing.observations(run, family, checkpoint, ("scaled_logit",), "canaries")
    assert seen.scaled_logit is not None
    rows = audit.audit_rows(
        seen.scaled_logit,
        seen.member,
        delta=run.config.audit.delta,
        guesses=run.config.audit.guesses,
        confidence=run.config.report.confidence,
        valid=seen.valid,
        twin=run.membership().twin,
    )
    return [{"family": family, **row} for row in rows]


def _utility_row(
    run: RunDirectory, setting: summary.Setting, pool: _Pool, usable: np.ndarray
) -> dict[str, Any]:
    """Accuracies of one family at one checkpoint."""
    segments = run.segments(setting.family)

    def correct(part: str, size: int) -> ScoreTable:
        return ReadTable(
            (len(pool.member), size),
            lambda models, records: segments.signal(
                f"{part}/correct", setting.checkpoint, models=models, records=records
            ),
        )

    return summary.utility_row(
        setting,
        correct("pool", pool.member.shape[1]),
        pool.member,
        correct("test", run.labels("test").size),
        usable,
        num_parameters=run.num_parameters(setting.family),
        confidence=run.config.report.confidence,
    )


def _commands(run: RunDirectory) -> str:
    """The commands that made the run as it stands, each once, in the order of their last use."""
    commands = [session["command"] for session in run.sessions()]
    return "\n".join(reversed(dict.fromkeys(reversed(commands))))
