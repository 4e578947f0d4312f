"""The study's page, in Markdown, from its kept results."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mia_jax.comparison.rows import OTHERS, ComparisonRows
from mia_jax.report import atomic
from mia_jax.rnn_vs_ffnn.claims import ALPHA, ATTACK, CLAIMS, Finding, findings, verdict

HEADLINE = ("digits", "location30", "mnist")
"""Sets with three pools each."""

SETS = (0, HEADLINE), *((place, tuple(f"defences_{name}" for name in HEADLINE)) for place in (1, 2, 3))
"""The sets that each claim is decided on."""

FORGOTTEN = "fixed_order"

AS_IT_IS = ("|", "#", "!")
"""How parts begin that are no prose: tables, headings (with what is below) and figures are not wrapped."""

Row = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Any]]


def write(results: Results, page: Path, figures: Path) -> list[Path]:
    """Write the page and its figures; gives the paths of all."""
    from mia_jax.comparison import figures as drawing
    from mia_jax.report.figures import to_png

    made = []
    for name in HEADLINE:
        if name in results:
            own = {field: results[name][field] for field in ComparisonRows._fields}
            for kind, draw in (("training", drawing.through_training), ("gap", drawing.against_gap)):
                made.append(figures / f"{name}_{kind}.png")
                made[-1].parent.mkdir(parents=True, exist_ok=True)
                atomic.write_bytes(made[-1], to_png(draw(ComparisonRows(**own))))
    shown = [path.relative_to(page.parent).as_posix() for path in made]
    atomic.write_text(page, text(results, shown))
    return [page, *made]


def text(results: Results, figures: Sequence[str] = ()) -> str:
    """The whole page. figures: addresses as seen from the page."""
    found = findings(results, dict(SETS))
    compared = [name for name, one in results.items() if "at_epochs" in one]
    parts = [
        "# Are recurrent networks more exposed than feed-forward ones?",
        "Yang, Gohari and Topcu (PoPETs 2023) say so. This page tests their four claims on other sets, with families "
        "of equal size (parameters within 1 %), one optimizer, schedule and seeds, 64 models each. Everything below is "
        "made from the files in `docs/rnn_vs_ffnn/results` by `scripts/rnn_vs_ffnn.py --page_only`.",
        "## The claims",
        f"One number stands for each claim, under the paper's attack (`{ATTACK}`). A claim is *supported* where on "
        f"every set the number has the claimed sign with p ≤ {ALPHA} (Holm over all {len(found)} numbers), *not "
        "supported* where it has the other sign on every set, and *undecided* otherwise. The rule was written down "
        "after the figures of most sets had been seen. The sets are few and not drawn by chance: nothing "
        "here is a statement about all data. The defences' intervals are of one pool each.",
        "Two things to read with the verdicts. A defence of equal strength may stop one family from learning at all: "
        "what falls in attacks has to be seen beside what is lost in accuracy, both below. And a family "
        "that is worse before a defence has less accuracy to lose: see the accuracies without any.",
        *(_claim(place, found) for place in range(len(CLAIMS))),
        "## Every set, after the last epoch and at equal levels",
        "AUC less that of the reference (MLP; CNN for ReNet), with 95 % intervals, not adjusted. Where a sign changes "
        "from column to column, the way of matching decides the answer.",
        _table(
            (
                "set",
                "attack",
                "last epoch",
                "equal gap of loss",
                "equal gap of accuracy",
                "equal test accuracy",
            ),
            (row for name in compared for row in _places(name, results[name])),
        ),
        "## Accuracy",
        _table(("set", "family", "parameters", "on members", "on others", "pools"), _accuracies(results)),
        "## Size of the training set",
        "The mean of the recurrent families less the MLP, after the last epoch.",
        _table(("set", "training records", "attack", "difference of AUC"), _sizes(results)),
        "## Are early records forgotten?",
        "With one fixed order of records: AUC of members of the first third of an epoch less that of the last third. "
        "Forgetting shows as a negative number.",
        _table(("set", "family", "attack", "early less late"), _orders(results)),
        "## What defences cost",
        "Means over the strengths of each defence; LSTM and MLP, and their difference.",
        _table(("set", "defence", "of", "LSTM", "MLP", "LSTM less MLP"), _defences(results)),
        *(["## Through training"] if figures else []),
        *(f"![{address.split('/')[-1][:-4].replace('_', ', ')}]({address})" for address in figures),
        "## Commands and times",
        "`python scripts/rnn_vs_ffnn.py --data=PATH` makes everything; each config alone:",
        _table(
            ("command", "seconds", "on"),
            ((_command(name), one["seconds"], one["facts"]["device"]) for name, one in results.items()),
        ),
        "Times are of training, attacks, measuring and figures, with lower priority beside other work. The trade-offs "
        "hold everything of DP: kinds of epsilon, relation, δ and γ are in each file's `privacy` rows; an epsilon of "
        "`parameter_noise` from sampled distances (50) is [random differential privacy](dp_pitfalls.md), "
        "no worst case.",
        "See [families compared](comparison.md) for what is matched and how, [defences](defences.md) for trade-offs.",
    ]
    return (
        "\n\n".join(part if part.startswith(AS_IT_IS) else textwrap.fill(part, 118) for part in parts) + "\n"
    )


def _claim(place: int, found: Sequence[Finding]) -> str:
    """A claim, its verdict and its numbers."""
    claim, own = CLAIMS[place], [one for one in found if one.claim == place]
    said = verdict(place, list(found))
    numbers = _table(
        ("set", claim.what, "p (Holm)"),
        ((one.name.removeprefix("defences_"), _number(one.row), f"{one.p:.2g}") for one in own),
    )
    would = "" if said != "undecided" else f"\n\n{textwrap.fill(_deciding(own), 118)}"
    sign = "positive" if claim.sign > 0 else "negative"
    return (
        f"### {place + 1}. {claim.text} **{said.capitalize()}**\n\nThe claim says {sign}.\n\n{numbers}{would}"
    )


def _deciding(own: Sequence[Finding]) -> str:
    """What would decide an undecided claim, from its findings."""
    sure = {one.row["value"] > 0 for one in own if one.p <= ALPHA}
    if len(sure) > 1:
        return (
            "Sets contradict each other, each surely: more models or pools would not decide it; more sets might show "
            "what the sign depends on."
        )
    return "More models and pools of the sets whose interval has 0 would decide it."


def _places(name: str, result: Row) -> Iterable[tuple[Any, ...]]:
    """A line for each attack on a set."""
    family = _others(result)
    ends = [row for row in result["at_epochs"] if _is(row, variant="", family=family, what="auc")]
    last = max(row["epoch"] for row in ends)
    for end in (row for row in ends if row["epoch"] == last):
        cells = []
        for matched in ("loss_gap", "gap", "test_accuracy"):
            asked = {
                "variant": "",
                "family": family,
                "what": "auc",
                "attack": end["attack"],
                "matched": matched,
            }
            row = next((row for row in result["at_levels"] if _is(row, **asked)), None)
            cells.append("" if row is None else f"{_number(row)} at {row['level']:g}")
        yield name, end["attack"], _number(end), *cells


def _accuracies(results: Results) -> Iterable[tuple[Any, ...]]:
    """A line for each family and set, at its last epoch."""
    for name, one in results.items():
        if "at_epochs" not in one:
            continue
        for family in one["config"]["families"]:
            ends = []
            for what in ("train_accuracy", "test_accuracy"):
                rows = [row for row in one["curves"] if _is(row, variant="", family=family, what=what)]
                ends.append(max(rows, key=lambda row: row["epoch"]))
            shown = (f"{row['value']:.3f}" for row in ends)
            yield name, family, f"{one['parameters'][''][family]:,}", *shown, len(ends[0]["pools"])


def _sizes(results: Results) -> Iterable[tuple[Any, ...]]:
    """A line for each variant of a training set's size."""
    for name, one in results.items():
        plain = one["config"]["membership"]["train_size"]
        changes = one["config"].get("comparison", {}).get("variants", {})
        sizes = {
            variant: change.get("membership", {}).get("train_size") for variant, change in changes.items()
        }
        sizes = {variant: size for variant, size in sizes.items() if size}
        if not sizes or "at_epochs" not in one:
            continue
        for variant, size in sorted({**sizes, "": plain}.items(), key=lambda pair: pair[1]):
            rows = [row for row in one["at_epochs"] if _is(row, variant=variant, family=OTHERS, what="auc")]
            last = max(row["epoch"] for row in rows)
            yield from ((name, size, row["attack"], _number(row)) for row in rows if row["epoch"] == last)


def _orders(results: Results) -> Iterable[tuple[Any, ...]]:
    """A line for each family and attack under one fixed order."""
    for name, one in results.items():
        for row in one.get("by_order", ()):
            if _is(row, variant=FORGOTTEN, part="early less late"):
                yield name, row["family"], row["attack"], _number(row)


def _defences(results: Results) -> Iterable[tuple[Any, ...]]:
    """A line for each defence and set: the loss of accuracy and the fall of the AUC."""
    for name, one in results.items():
        for row in one.get("contrasts", ()):
            if row.get("strength") == "mean" and row["attack"] in ("", ATTACK, "lira_online_global"):
                what = "loss of accuracy" if not row["attack"] else f"fall of AUC, {row['attack']}"
                sides = (f"{row['value_a']:.3f}", f"{row['value_b']:.3f}")
                yield name.removeprefix("defences_"), row["defence"], what, *sides, _number(row)


def _others(result: Row) -> str:
    """What stands for all but the reference."""
    families = list(result["config"]["families"])
    reference = result["config"]["comparison"]["reference"]
    return OTHERS if len(families) > 2 else next(name for name in families if name != reference)


def _command(name: str) -> str:
    """The command of one config."""
    script = "tradeoff" if name.startswith("defences") else "compare"
    return f"`scripts/{script}.py --config=configs/rnn_vs_ffnn/{name}.py`"


def _is(row: Row, **asked: Any) -> bool:
    """Whether a row is of all that is asked."""
    return asked.items() <= row.items()


def _number(row: Row) -> str:
    """An estimate with its interval."""
    return f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
