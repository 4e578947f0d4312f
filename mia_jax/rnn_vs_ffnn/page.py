"""The study's page, in Markdown, from its kept results."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from mia_jax.report import atomic
from mia_jax.report.formatting import listed
from mia_jax.rnn_vs_ffnn import figures as drawing
from mia_jax.rnn_vs_ffnn import tables
from mia_jax.rnn_vs_ffnn.claims import ALPHA, ATTACK, CLAIMS, Finding, findings, mean, models_needed, verdict
from mia_jax.rnn_vs_ffnn.tables import Results, Table, number

HEADLINE = ("digits", "location30", "mnist")
"""Sets with three pools each."""

SETS = (0, HEADLINE), *((place, tuple(f"defences_{name}" for name in HEADLINE)) for place in (1, 2, 3))
"""The sets that each claim is decided on."""

AS_IT_IS = ("|", "#", "!")
"""How parts begin that are no prose: tables, headings (with what is below) and figures are not wrapped."""

Shown = dict[str, str]
"""Addresses of figures, as seen from the page, by name."""


def write(results: Results, page: Path, figures: Path) -> list[Path]:
    """Write the page and its figures; gives the paths of all."""
    from mia_jax.report.figures import to_png

    made = []
    for name, draw in drawing.planned(results, HEADLINE).items():
        made.append(figures / f"{name}.png")
        made[-1].parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(made[-1], to_png(draw()))
    atomic.write_text(page, text(results, addresses(results, figures.relative_to(page.parent).as_posix())))
    return [page, *made]


def addresses(results: Results, folder: str) -> Shown:
    """Where every figure lies. folder: of the figures, as seen from the page."""
    return {name: f"{folder}/{name}.png" for name in drawing.planned(results, HEADLINE)}


def text(results: Results, shown: Shown | None = None) -> str:
    """The whole page. shown: the figures on it."""
    shown = shown or {}
    found = findings(results, dict(SETS))
    models = sorted({one["config"]["membership"]["num_models"] for one in results.values()})
    parts = [
        "# Are recurrent networks more exposed than feed-forward ones?",
        "Yang, Gohari and Topcu (PoPETs 2023) say so. This page tests their four claims on other sets, with families "
        "of equal size (parameters within 1 %), one optimizer, schedule and seeds, "
        f"{listed(models)} models each. Everything below is "
        "made from the files in `docs/rnn_vs_ffnn/results` by `scripts/rnn_vs_ffnn.py --page_only`.",
        *_claims(found),
        "## Every set, after the last epoch and at equal levels",
        "AUC less that of the reference (MLP; CNN for ReNet), with 95 % intervals, not adjusted. Where a sign changes "
        "from column to column, the way of matching decides the answer.",
        _markdown(tables.differences(results)),
        "## Every family after the last epoch",
        f"Means over pools. Classifier: the paper's attack, `{ATTACK}`; LiRA: `{tables.STRONG}`. Equal epochs are not "
        "equal performance: see the table above for that.",
        _markdown(tables.families(results)),
        "## Size of the training set",
        "The mean of the recurrent families less the MLP, after the last epoch.",
        *_drawn(shown, [drawing.SIZES]),
        _markdown(tables.sizes(results)),
        "## Are early records forgotten?",
        "With one fixed order of records: AUC of members of the first third of an epoch less that of the last third. "
        "Forgetting shows as a negative number.",
        _markdown(tables.orders(results)),
        *_defences(results, shown),
        *(["## Through training, and against the gap"] if shown else []),
        *_drawn(shown, [f"{name}_{kind}" for name in HEADLINE for kind in ("training", "gap")]),
        *_commands(results),
    ]
    return (
        "\n\n".join(part if part.startswith(AS_IT_IS) else textwrap.fill(part, 118) for part in parts) + "\n"
    )


def _claims(found: Sequence[Finding]) -> list[str]:
    """The rule, how to read the verdicts, and every claim."""
    return [
        "## The claims",
        f"One number stands for each claim, under the paper's attack (`{ATTACK}`). A claim is *supported* where on "
        f"every set the number has the claimed sign with p ≤ {ALPHA} (Holm over all {len(found)} numbers), *not "
        "supported* where it has the other sign on every set, and *undecided* otherwise. The rule was written down "
        "after the figures of most sets had been seen. The sets are few and not drawn by chance: nothing "
        "here is a statement about all data, and the mean is of these sets alone; it decides nothing. The "
        "defences' intervals are of one pool each.",
        "Two things to read with the verdicts. A defence of equal strength may stop one family from learning at all: "
        "what falls in attacks has to be seen beside what is lost in accuracy, both below. And a family "
        "that is worse before a defence has less accuracy to lose: see the accuracies without any.",
        *(part for place in range(len(CLAIMS)) for part in _claim(place, found)),
    ]


def _claim(place: int, found: Sequence[Finding]) -> list[str]:
    """A claim, its verdict and its numbers."""
    claim, own = CLAIMS[place], [one for one in found if one.claim == place]
    said = verdict(place, list(found))
    lines = [(tables.set_of(one.name), number(one.row), f"{one.p:.2g}") for one in own]
    lines += [("mean of these", number(mean([one.row for one in own])), "")] if len(own) > 1 else []
    return [
        f"### {place + 1}. {claim.text} **{said.capitalize()}**",
        f"The claim says {'positive' if claim.sign > 0 else 'negative'}.",
        _markdown(Table(("set", claim.what, "p (Holm)"), lines)),
        *([_deciding(own)] if said == "undecided" else []),
    ]


def _deciding(own: Sequence[Finding]) -> str:
    """What would decide an undecided claim, from its findings."""
    if len({one.row["value"] > 0 for one in own if one.p <= ALPHA}) > 1:
        return (
            "Sets contradict each other, each surely: more models or pools would not decide it; more sets might show "
            "what the sign depends on."
        )
    unsure = [one for one in own if one.p > ALPHA]
    needed = listed(
        [f"{models_needed(one.row):.3g} times as many on {tables.set_of(one.name)}" for one in unsure]
    )
    return (
        f"More models and pools would decide it: about {needed}, if the difference is what it seems to be (for a power "
        "of 80 %, before Holm)."
        if needed
        else "More sets would decide it."
    )


def _defences(results: Results, shown: Shown) -> list[str]:
    """What two families gain and lose by defences, compared in three ways."""
    draws = sorted({one["config"]["tradeoff"]["sensitivity_draws"] for _, one in tables.defended(results)})
    return [
        "## Defences at equal strength",
        f"Against each family's own baseline: accuracy on others that is lost, and AUC that is taken from `{ATTACK}`, "
        "with 95 % intervals, not adjusted. `mean` is over the strengths.",
        _markdown(tables.at_equal_strength(results, ("l2", "parameter_noise"))),
        "## Defences at equal ε",
        "DP-SGD was run at these ε (add or remove one record, δ in the files), so equal strength is equal ε.",
        _markdown(tables.at_equal_strength(results, ("dp_sgd",))),
        f"Noise after training: its ε follows from {listed(draws)} measured distances of models trained with and "
        "without one record, so it is [random differential privacy](dp_pitfalls.md), no worst case, and comes without "
        "an interval. Between measured points accuracy and AUC are read off straight lines in log ε.",
        _markdown(tables.at_equal_epsilon(results)),
        "## Defences at equal success of the attack",
        f"Accuracy on others that is kept where the AUC of `{ATTACK}` is held to a level, in straight lines between "
        "the strengths; levels that both families come to.",
        _markdown(tables.at_equal_attack(results)),
        *_drawn(shown, [name for name in shown if name.endswith("_defences")]),
    ]


def _commands(results: Results) -> list[str]:
    """How everything is made again."""
    lines = [
        (f"`python scripts/rnn_vs_ffnn.py --data=PATH --only={name}`", one["seconds"], one["facts"]["device"])
        for name, one in results.items()
    ]
    return [
        "## Commands and times",
        "`python scripts/rnn_vs_ffnn.py --data=PATH` makes everything, from a checkout; each config alone:",
        _markdown(Table(("command", "seconds", "on"), lines)),
        "Times are of training, attacks, measuring and figures, with lower priority beside other work; some files were "
        "made by `scripts/compare.py` of the same config, which does the same. PATH holds the "
        "`.npz` files that the configs name. The files hold more: every epoch and level, every pool, intervals of "
        "accuracies; kinds of ε, relation, δ and γ are in the `privacy` rows of the trade-offs.",
        "See [families compared](comparison.md) for what is matched and how, [defences](defences.md) for trade-offs.",
    ]


def _drawn(shown: Shown, names: Sequence[str]) -> list[str]:
    """Those of some figures that are there."""
    return [f"![{name.replace('_', ', ')}]({shown[name]})" for name in names if name in shown]


def _markdown(table: Table) -> str:
    """A table in Markdown."""
    lines = [table.head, ["---"] * len(table.head), *table.lines]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
