"""The report of a study: what its signals and scores amount to, in tables, figures and a page."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mia_jax import audit, summary
from mia_jax import config as configs
from mia_jax.progress import Reporter, Silent
from mia_jax.report.inputs import ReportInputs
from mia_jax.run_directory import RunDirectory
from mia_jax.study import assembly, observing, privacy
from mia_jax.study.attacking import check_possible, selection, skipped
from mia_jax.study.environment import environment
from mia_jax.types import Membership


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
    drawn, ours = _drawn(run), observing.columns(run.config, "pool")
    utility, results, diverged, groups = [], [], {}, {}
    audits: list[dict[str, Any]] = []
    final: dict[tuple[str, str], np.ndarray] = {}
    labels = run.labels("pool")[ours]
    for family in config.families:
        for checkpoint in range(len(run.epochs)):
            found = rows_at(run, family, checkpoint)
            diverged[family] = found.diverged
            utility.append(found.utility)
            results += found.results
        final |= {(family, attack): scores for attack, scores in _scores(run, family, last).items()}
        correct = run.segments(family).signal("pool/correct", last)[:, ours] > 0.5
        groups[family] = {"class": labels, "correct": correct}
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
    return assembly.report_inputs(config, facts, final, np.asarray(drawn.member), drawn.twin, labels, groups)


class Rows(NamedTuple):
    """One family at one checkpoint: its accuracies, a row for each attack, and the models that were left out."""

    utility: dict[str, Any]
    results: list[dict[str, Any]]
    diverged: list[int]


def rows_at(run: RunDirectory, family: str, checkpoint: int) -> Rows:
    """What a family's signals and scores amount to at one checkpoint, canaries left aside."""
    setting = summary.Setting(family, checkpoint, run.epochs[checkpoint])
    drawn = _drawn(run)
    usable = observing.usable_models(run, family, checkpoint)
    results = [
        summary.attack_row(setting, attack, scores, drawn.member, drawn.twin, run.config.report)
        for attack, scores in _scores(run, family, checkpoint).items()
    ]
    utility = _utility_row(run, setting, drawn, usable)
    return Rows(utility, results, [int(model) for model in np.flatnonzero(~usable)])


def _drawn(run: RunDirectory) -> Membership:
    """The membership of the pool's own records."""
    drawn = run.membership()
    return drawn._replace(member=np.asarray(drawn.member)[:, observing.columns(run.config, "pool")])


def _scores(run: RunDirectory, family: str, checkpoint: int) -> dict[str, np.ndarray]:
    """The scores [K, N] of every attack that could be run on a family at a checkpoint."""
    names = [one.name for one in selection(run, family).attacks]
    return {
        name: run.scores(family, name, checkpoint) for name in names if checkpoint in run.scored(family, name)
    }


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
    run: RunDirectory, setting: summary.Setting, drawn: Membership, usable: np.ndarray
) -> dict[str, Any]:
    """Accuracies of one family at one checkpoint."""
    return summary.utility_row(
        setting,
        run.segments(setting.family).signal("pool/correct", setting.checkpoint)[:, : drawn.member.shape[1]],
        drawn.member,
        run.segments(setting.family).signal("test/correct", setting.checkpoint),
        usable,
        num_parameters=run.num_parameters(setting.family),
        confidence=run.config.report.confidence,
    )


def _commands(run: RunDirectory) -> str:
    """The commands that made the run as it stands, each once, in the order of their last use."""
    commands = [session["command"] for session in run.sessions()]
    return "\n".join(reversed(dict.fromkeys(reversed(commands))))
