"""The report of a study: what its signals and scores amount to, in tables, figures and a page."""

from __future__ import annotations

from typing import Any

import numpy as np

from mia_jax import audit, summary
from mia_jax import config as configs
from mia_jax.progress import Reporter, Silent
from mia_jax.report.inputs import ReportInputs
from mia_jax.run_directory import RunDirectory
from mia_jax.study import assembly, observing
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
    drawn, ours = run.membership(), observing.columns(run.config, "pool")
    member = np.asarray(drawn.member)[:, ours]
    drawn = drawn._replace(member=member)
    utility, results, diverged, groups = [], [], {}, {}
    audits: list[dict[str, Any]] = []
    final: dict[tuple[str, str], np.ndarray] = {}
    labels = run.labels("pool")[ours]
    for family in config.families:
        for checkpoint, epoch in enumerate(run.epochs):
            setting = summary.Setting(family, checkpoint, epoch)
            usable = observing.usable_models(run, family, checkpoint)
            diverged[family] = [int(model) for model in np.flatnonzero(~usable)]
            utility.append(_utility_row(run, setting, drawn, usable))
            for attack, scores in _scores(run, family, checkpoint).items():
                row = summary.attack_row(setting, attack, scores, drawn.member, drawn.twin, config.report)
                results.append(row)
                if checkpoint == last:
                    final[family, attack] = scores
        correct = run.segments(family).signal("pool/correct", last)[:, ours] > 0.5
        groups[family] = {"class": labels, "correct": correct}
        audits += _audits(run, family, last, drawn)
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
    )
    return assembly.report_inputs(config, facts, final, member, drawn.twin, labels, groups)


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


def _audits(run: RunDirectory, family: str, checkpoint: int, drawn: Membership) -> list[dict[str, Any]]:
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
        twin=drawn.twin,
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
