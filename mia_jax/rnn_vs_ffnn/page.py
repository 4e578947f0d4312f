"""The study's first page: the four claims, what the results say of each, and how everything is made again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mia_jax.report import atomic
from mia_jax.report.formatting import listed, probability
from mia_jax.rnn_vs_ffnn import details, markdown, tables
from mia_jax.rnn_vs_ffnn import figures as drawing
from mia_jax.rnn_vs_ffnn.claims import (
    ALPHA,
    ATTACK,
    CLAIMS,
    HEADLINE,
    SETS,
    Finding,
    as_claimed,
    contradictory,
    findings,
    mean,
    models_needed,
    verdict,
)
from mia_jax.rnn_vs_ffnn.markdown import Shown
from mia_jax.rnn_vs_ffnn.tables import Results, Table, number

DETAILS = "tables.md"
"""The second page, in the study's folder."""


def write(results: Results, page: Path, folder: Path) -> list[Path]:
    """Write both pages and the figures; gives the paths of all. folder: of everything but the first page."""
    from mia_jax.report.figures import to_png

    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    made = []
    for name, draw in drawing.planned(results).items():
        made.append(figures / f"{name}.png")
        atomic.write_bytes(made[-1], to_png(draw()))
    inside, details_page = folder.relative_to(page.parent).as_posix(), folder / DETAILS
    atomic.write_text(page, text(results, addresses(results, f"{inside}/figures"), f"{inside}/{DETAILS}"))
    atomic.write_text(details_page, details.text(results, addresses(results, "figures")))
    return [page, details_page, *made]


def addresses(results: Results, folder: str) -> Shown:
    """Where every figure lies. folder: of the figures, as seen from the page."""
    return markdown.addresses(drawing.planned(results), folder)


def text(results: Results, shown: Shown, more: str) -> str:
    """The whole page. shown: the figures on it. more: the address of the page with all tables."""
    found = findings(results, SETS)
    models = sorted({one["config"]["membership"]["num_models"] for one in results.values()})
    return markdown.page(
        [
            "# Are recurrent networks more exposed than feed-forward ones?",
            "Yang, Gohari and Topcu (PoPETs 2023) say so. This page tests their four claims on other sets, with "
            "families of equal size (parameters within 1 %), one optimizer, schedule and seeds, "
            f"{listed(models)} models each. Everything below is made from the files in "
            "`docs/rnn_vs_ffnn/results` by `scripts/rnn_vs_ffnn.py --page_only`.",
            "## In short",
            *_short(found, shown),
            *_rule(results, found),
            *(part for place in range(len(CLAIMS)) for part in _claim(place, found, results)),
            *_through_training(shown),
            *_defences(results, shown, more),
            "## How it was run",
            "Every family of a set has the same records, members, seeds and settings; recurrent ones read images row "
            "by row, and Location-30 in steps of features.",
            markdown.table(tables.settings(results)),
            *_commands(results, more),
        ]
    )


def _short(found: Sequence[Finding], shown: Shown) -> list[str]:
    """Every verdict in a line, and the figure of all numbers."""
    lines = []
    for place, claim in enumerate(CLAIMS):
        own = [one for one in found if one.claim == place]
        signs = ", ".join(f"{tables.set_of(one.name)} {_sign(one)}" for one in own)
        why = ": sets contradict each other" if contradictory(own) else ""
        lines.append((f"{place + 1}. {claim.text}", f"**{verdict(place, found)}**{why}", signs))
    return [
        markdown.table(Table(("claim", "verdict", "on each set"), lines)),
        "“+”: surely as claimed; “-”: surely the contrary; “?”: not told from nothing.",
        *markdown.drawn(shown, [drawing.CLAIMS]),
    ]


def _sign(one: Finding) -> str:
    """Whether a number is surely as claimed."""
    return "?" if one.p > ALPHA else "+" if as_claimed(one) else "-"


def _rule(results: Results, found: Sequence[Finding]) -> list[str]:
    """What the verdicts mean, and what to read them with."""
    pools = sorted({len(one.row.get("pools") or [None]) for one in found})
    return [
        "## How it is decided",
        "One number stands for each claim, under the paper's attack, a [shadow "
        f"classifier](attacks/shadow_classifiers.md) (`{ATTACK}`). A claim is *supported* where on every set the "
        f"number has the claimed sign with p ≤ {ALPHA} (Holm over all {len(found)} numbers), *not supported* where it "
        "has the other sign, as surely, on every set, and *undecided* otherwise. The rule was written down after the "
        f"figures of most sets had been seen. Claims are decided on {listed(HEADLINE)}, which were run on several "
        "disjoint pools of records, each with models of its own (every number is a mean over "
        f"{listed(pools)}); the other sets have one pool each, and stand beside the first claim. Sets are few and "
        "not drawn by chance: nothing here is a statement about all data. The mean of sets is of these alone, and "
        "decides nothing.",
        "Two things to read with the verdicts. A defence of equal strength may stop one family from learning at all: "
        "what falls in attacks has to be seen beside what is lost in accuracy. And a family that is worse before a "
        "defence has less accuracy to lose: without any,",
        markdown.table(tables.before_defences(results)),
    ]


def _claim(place: int, found: Sequence[Finding], results: Results) -> list[str]:
    """A claim, its verdict and its numbers."""
    claim, own = CLAIMS[place], [one for one in found if one.claim == place]
    said = verdict(place, found)
    lines = [
        (tables.set_of(one.name), number(one.row), tables.by_pool(one.row), probability(one.p)) for one in own
    ]
    lines += [("mean of these", number(mean([one.row for one in own])), "", "")] if len(own) > 1 else []
    return [
        f"## {place + 1}. {claim.text} **{said.capitalize()}**",
        f"The claim says {'positive' if claim.sign > 0 else 'negative'}.",
        markdown.table(Table(("set", claim.what, "each pool", "p (Holm)"), lines)),
        *([_deciding(own)] if said == "undecided" else []),
        *(_matched(results) if place == 0 else []),
    ]


def _matched(results: Results) -> list[str]:
    """How often recurrent networks are the more exposed ones, by what is held equal."""
    return [
        "And on all sets, the small ones and ReNet among them, under every attack and by what is held equal: on how "
        "many the recurrent families' mean is surely above the feed-forward one, surely below, or neither (intervals "
        "of 95 %, not adjusted).",
        markdown.table(tables.signs(results)),
    ]


def _deciding(own: Sequence[Finding]) -> str:
    """What would decide an undecided claim, from its findings."""
    if contradictory(own):
        return (
            "Sets contradict each other, each surely: it is not so of all data, nor the contrary. More models or pools "
            "would not change that; more sets could show what the sign depends on."
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


def _through_training(shown: Shown) -> list[str]:
    """Exposure by epoch and by gap, where it was drawn."""
    names = [name for name in shown if name.endswith(("_training", "_gap"))]
    return [
        *(
            [
                "## Through training, and against the gap",
                "Equal epochs and equal overfitting are not the same comparison. Above each other: the attacks' AUC "
                "and the accuracies by epoch, and the AUC against the gap of loss between others and members.",
            ]
            if names
            else []
        ),
        *markdown.drawn(shown, names),
    ]


def _defences(results: Results, shown: Shown, more: str) -> list[str]:
    """What two families gain and lose by defences."""
    names = [name for name in shown if name.endswith("_defences")]
    if not any(tables.defended(results)):
        return []
    return [
        "## What defences buy and cost",
        "Up and to the left is better; a line begins at the hollow point, the family without a defence. "
        f"[All tables]({more}) have the families at equal strength, equal ε and equal success of the attack.",
        *markdown.drawn(shown, names),
    ]


def _commands(results: Results, more: str) -> list[str]:
    """How everything is made again."""
    lines = [
        (f"`python scripts/rnn_vs_ffnn.py --data=PATH --only={name}`", one["seconds"], one["facts"]["device"])
        for name, one in results.items()
    ]
    return [
        "## Commands and times",
        "`python scripts/rnn_vs_ffnn.py --data=PATH` makes everything, from a checkout; each config alone:",
        markdown.table(Table(("command", "seconds", "on"), lines)),
        "Times are of training, attacks, measuring and figures, some beside a dozen other processes on the same cores; "
        "each config says in its first lines about how long it takes alone. PATH holds the `.npz` files that the "
        "configs name. With `--scale=full` the studies have the sizes for accelerators.",
        f"Further: [all tables]({more}); [families compared](comparison.md) for what is matched and how; "
        "[defences](defences.md) for trade-offs.",
    ]
