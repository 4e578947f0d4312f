"""A trade-off study as one HTML file that needs no network, no script and no file beside it."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from mia_jax.report.formatting import counted, interval_name, listed
from mia_jax.report.inputs import Row
from mia_jax.report.page import ROOM, inline_svg
from mia_jax.tradeoff import differences, tables
from mia_jax.tradeoff.matching import PROMISES
from mia_jax.tradeoff.rows import BASELINE, FEWEST_SEEDS, NAMED_AUDIT, TradeoffRows, strongest_attack

CURVES = "tradeoff_curves"
EPSILONS = "tradeoff_epsilons"
STRENGTH = "tradeoff_strength_"

UNFOLDED = 40
"""Rows of a table above which it is folded away."""


class Figure(NamedTuple):
    """A figure on the page; without svg where it no longer fits."""

    id: str
    name: str
    svg: Markup | None
    caption: str


class Section(NamedTuple):
    """What is shown of one defence."""

    name: str
    figure: Figure | None
    table: tables.Table


class Comparison(NamedTuple):
    """One way to compare families."""

    title: str
    words: str
    table: tables.Table


def render(rows: TradeoffRows, figures: Mapping[str, str], compared: Mapping[str, Sequence[Row]]) -> str:
    """The whole page.

    figures: SVG text by name: `CURVES`, `EPSILONS` and `strength_figure` of each defence. compared: the
    `matching.comparisons` of the rows.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = importlib.resources.files("mia_jax.tradeoff").joinpath("page.html.jinja").read_text("utf-8")
    placed = {figure.name: figure for figure in _placed(rows, figures)}
    return environment.from_string(source).render(
        rows=rows,
        most=UNFOLDED,
        style=_style(),
        done=" ".join(_done(rows)),
        reading=_reading(rows),
        overview=[placed[CURVES]] if CURVES in placed else [],
        theory=placed.get(EPSILONS),
        sections=[
            Section(defence, placed.get(strength_figure(defence)), tables.by_strength(rows, defence))
            for defence in rows.defences or [BASELINE]
        ],
        comparisons=list(_comparisons(rows, compared)),
        promises=tables.promises(rows) if rows.privacy else None,
        promise_meanings=_meanings(rows.privacy),
        audits=tables.audits(rows) if rows.audits else None,
        audit_meanings=_meanings(rows.audits),
        limits=_limits(rows),
        config=json.dumps(rows.config, indent=2, default=str, ensure_ascii=False) if rows.config else "",
    )


def strength_figure(defence: str) -> str:
    """The name of a defence's figure, fit for a file."""
    return STRENGTH + re.sub(r"\W", "_", defence, flags=re.ASCII)


def _style() -> Markup:
    """The style sheet of the report page, so that both look alike."""
    source = importlib.resources.files("mia_jax.report").joinpath("page.html.jinja").read_text("utf-8")
    return Markup(source.partition("<style>")[2].partition("</style>")[0])


def _placed(rows: TradeoffRows, figures: Mapping[str, str]) -> Iterator[Figure]:
    """The figures with captions; those that no longer fit the page without their drawing."""
    room, captions = ROOM, _captions(rows)
    for place, (name, svg) in enumerate(figures.items(), start=1):
        inline = inline_svg(svg, f"figure-{place}")
        fits = len(inline) <= room
        room -= len(inline) if fits else 0
        yield Figure(
            f"figure-{place}", name, Markup(inline) if fits else None, captions.get(name, f"{name}.")
        )


def _captions(rows: TradeoffRows) -> dict[str, str]:
    """What each figure shows and how to read it."""
    within = tables.intervals_are(rows)
    found = {
        CURVES: f"Test accuracy against the AUC of {strongest_attack(rows)}, {within}. Each line begins at the "
        "family's baseline (hollow) and goes from the weakest strength to the strongest; both are named. Up and to "
        "the left is better; the dotted line is guessing.",
        EPSILONS: "Theory and practice. Lines: ε as promised, dark where it is the same for all families. Points: "
        f"the lower bound of the audit ({NAMED_AUDIT.replace('_', ' ')}, named beforehand), where one speaks of the "
        f"same relation and at least the same δ{_range_of_bounds(rows)}; a "
        "short dash is its ceiling; dashed across: the bound on the "
        "baseline. A triangle at the upper edge is infinite, at the lower edge 0. A point above its line would "
        "refute the promise (one with γ: only if it were made for every pair).",
    }
    for defence in rows.defences:
        found[strength_figure(defence)] = (
            f"{defence} from weak (left) to strong (right), {within}. Dashed with a band: the family's baseline. "
            "Dotted: guessing. Families are moved apart a little."
        )
    return found


def _range_of_bounds(rows: TradeoffRows) -> str:
    """What stands for several seeds."""
    return ", the median over seeds with their range" if len(rows.seeds) > 1 else ""


def _done(rows: TradeoffRows) -> list[str]:
    """What was done, in two sentences."""
    arms = sum(len(rows.strengths(defence)) for defence in rows.defences)
    families = f"{'families' if len(rows.families) > 1 else 'family'} {listed(rows.families)}"
    seeds = f", each for {len(rows.seeds)} seeds with a pool of its own" if len(rows.seeds) > 1 else ""
    trained = (
        f"Models of the {families} were trained as they are and with {listed(rows.defences) or 'no defence'}"
        f" ({counted(arms, 'setting')} in all{seeds})."
    )
    audited = " and audited with canaries" if rows.audits else ""
    strongest = strongest_attack(rows)
    shown = f"; the attack shown is {strongest}" if strongest else ""
    return [trained, f"The models of every setting were then attacked{audited}{shown}."]


def _reading(rows: TradeoffRows) -> list[str]:
    """How to read the page."""
    strongest = strongest_attack(rows)
    found = [
        "AUC: the chance that a random member scores above a random non-member; 0.5 is guessing. TPR at an FPR: the "
        "share of members found when that share of non-members is accused.",
        "The baseline (“none”) is the same training without a defence. Strengths go from weak to strong: "
        "for an ε and for the epoch of stopping the smaller is the stronger.",
        f"Values are shown {tables.intervals_are(rows)}.",
    ]
    if strongest:
        found.append(
            f"{strongest} has the highest AUC on the baseline, on average over families and seeds. It was picked after "
            "the fact, on the baseline alone; against a defence another may do better: every attack is in "
            "tradeoff_results.csv."
        )
    return found


def _comparisons(rows: TradeoffRows, compared: Mapping[str, Sequence[Row]]) -> Iterator[Comparison]:
    """The families at equal strength, epsilon and attack success, where there is anything to compare."""
    seeds = (
        f"Differences have {interval_name(rows.confidence)}s (Student's t over seeds) from {FEWEST_SEEDS} seeds on; "
        "with fewer, compare the intervals of both families."
    )
    if found := compared["equal_strength"]:
        words = f"The same strength of the same defence. {seeds}"
        yield Comparison("At equal strength", words, tables.equal_strength(found))
    if found := differences.gains(rows) or compared["equal_strength"]:
        words = (
            "How much AUC a defence takes from the attack, and how much accuracy it costs, at the same strength: a "
            f"family from which less AUC is taken for more accuracy gains less from the defence. {_of_pools(rows)}"
        )
        yield Comparison("What each family gains", words, tables.gains(found))
    if found := compared["equal_epsilon"]:
        names = [name for name in PROMISES if any(row["defence"] == name for row in found)]
        words = (
            f"The same promise, for {listed(names)}. Between measured points, values and ends of intervals are "
            f"interpolated on a line in log ε; nothing is extrapolated. {seeds}"
        )
        yield Comparison("At equal ε", words, tables.equal_epsilon(found))
    if found := compared["equal_attack"]:
        words = (
            "The best accuracy that each family keeps while the attack's AUC is at most this: the frontier of what was "
            f"measured, the baseline included and nothing in between. “Outside”: beyond what both reached. {seeds}"
        )
        yield Comparison("At equal attack success", words, tables.equal_attack(found))
    if found := differences.kept(rows):
        words = (
            "The accuracy that each family keeps where one defence holds the attack's AUC to this, in straight lines "
            f"from the strongest strength to the baseline. {_of_pools(rows)}"
        )
        yield Comparison("At equal AUC", words, tables.kept_at_auc(found))


def _of_pools(rows: TradeoffRows) -> str:
    """What the intervals of contrasts are over."""
    if not rows.contrasts:
        return ""
    pools = "this pool" if len(rows.seeds) == 1 else f"each of the {len(rows.seeds)} pools"
    return f"Differences have {interval_name(rows.confidence)}s, over the models and records of {pools}."


def _limits(rows: TradeoffRows) -> list[str]:
    """What the page cannot say."""
    found = [
        "Attacks are lower bounds on what leaks: a defence that holds against these may not hold against "
        "one made for it.",
        "Where the best of several strengths is taken, its value is a little too good: it was picked after the fact, "
        "and by estimates whose own error was not counted.",
        "The same strength need not mean the same for two families: a penalty or a noise acts on parameters of another "
        "number and scale. Equal ε and equal attack success do.",
        "An ε and a lower bound speak of one relation and one δ; those of different ones are not compared here.",
    ]
    seeds = len(rows.seeds)
    if seeds < FEWEST_SEEDS:
        found.append(
            f"{counted(seeds, 'seed')}: differences between families have no interval over pools, and one pool of "
            "records may be unlike another. Run more seeds before a claim is made."
        )
    else:
        found.append(
            f"Intervals over {seeds} seeds take pools as draws from one source; each {interval_name(rows.confidence)} "
            "stands by itself, and among many some miss."
        )
    return found


def _meanings(rows: Sequence[Row]) -> list[str]:
    """How epsilons came about, each sentence once, with the defences it is of."""
    found: dict[str, Any] = {}
    for row in rows:
        if row.get("meaning"):
            found.setdefault(row["meaning"], []).append(row["defence"])
    return [f"{listed(list(dict.fromkeys(names)))}: {meaning}" for meaning, names in found.items()]
