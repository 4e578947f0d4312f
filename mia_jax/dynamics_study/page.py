"""A study of dynamics as one HTML file that needs no network and no file beside it.

Its explorer is a script of the page's own; without scripts, tables, figures and words remain.
"""

from __future__ import annotations

import importlib.resources
import json
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from mia_jax.dynamics_study import payload, tables
from mia_jax.dynamics_study.rows import CURVES, NUMBERS, DynamicsRows, Interval
from mia_jax.report.cells import Cell
from mia_jax.report.formatting import counted, interval_name, listed
from mia_jax.report.inputs import finite
from mia_jax.report.page import inline_svg

ROOM = 4_000_000
"""Characters of SVG on one page: as many as the rates of a middling study take."""

NARROW = 4
"""Arms up to which each is a column; of more, each is a row."""


class Table(NamedTuple):
    """A table of the page. names: how many columns on the left are words."""

    caption: str
    heads: list[Cell]
    rows: list[list[Cell]]
    names: int = 1


class Figure(NamedTuple):
    """A figure on the page; without svg where it no longer fits."""

    id: str
    name: str
    svg: Markup | None
    caption: str


def render(rows: DynamicsRows, svgs: Mapping[str, str]) -> str:
    """The whole page.

    svgs: SVG text by the figure's name, in the order of the page; known names have captions. Raises
    ValueError where rates lie outside [0, 1] or labels of one pool differ, as `payload.payload` does.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    sent = payload.payload(rows)
    return environment.from_string(_own("page.html.jinja")).render(
        rows=rows,
        style=Markup(_style()),
        script=Markup(_own("explorer.js")),
        data=Markup(payload.as_json(sent)),
        done=" ".join(_done(rows)),
        arms=arms_table(rows),
        foretold=_plain_table("Of records listed early", [(arm.name, [arm.foretold]) for arm in rows.arms]),
        also=_plain_table("Called a member otherwise", [(arm.name, arm.also) for arm in rows.arms]),
        cuts=listed([f"{cut:g}" for cut in rows.cuts]),
        precision=" ".join(_precision(sent)),
        figures=list(_placed(rows, svgs)),
        reading=_reading(rows),
        limits=_limits(rows),
        config=json.dumps(rows.config, indent=2, default=str, ensure_ascii=False) if rows.config else "",
    )


def arms_table(rows: DynamicsRows) -> Table:
    """The numbers of all arms: a column an arm while arms are few, else a row an arm."""
    names = tables.columns_of(rows)
    caption = f"Numbers of every arm, with {interval_name(rows.confidence)}s where they have any"
    heads = [Cell(NUMBERS[name].title, NUMBERS[name].unit) for name in names]
    if len(rows.arms) > NARROW:
        factors = list(rows.factors)
        lines = [
            [Cell(str(arm.factors.get(factor, ""))) for factor in factors]
            + [tables.number_cell(arm.numbers.get(name)) for name in names]
            for arm in rows.arms
        ]
        return Table(
            caption, [*(Cell(factor.capitalize()) for factor in factors), *heads], lines, len(factors)
        )
    lines = [
        [Cell(head.value, _about(name)), *(tables.number_cell(arm.numbers.get(name)) for arm in rows.arms)]
        for name, head in zip(names, heads, strict=True)
    ]
    return Table(caption, [Cell("Measure"), *(Cell(arm.name) for arm in rows.arms)], lines)


def _about(name: str) -> str:
    """What a number says, with its unit."""
    return ", ".join(part for part in (NUMBERS[name].says, NUMBERS[name].unit) if part)


def _own(name: str) -> str:
    """The text of a file beside this one."""
    return importlib.resources.files("mia_jax.dynamics_study").joinpath(name).read_text("utf-8")


def _style() -> str:
    """The style sheet of the report page, so that all pages look alike, and the explorer's."""
    source = importlib.resources.files("mia_jax.report").joinpath("page.html.jinja").read_text("utf-8")
    return source.partition("<style>")[2].partition("</style>")[0] + _own("explorer.css")


def _plain_table(caption: str, given: Iterable[tuple[str, Sequence[Mapping[str, Any]]]]) -> Table | None:
    """Plain rows of arms as a table with the columns that any has; None where there are no rows."""
    lines = [(name, row) for name, rows in given for row in rows if row]
    columns = list(dict.fromkeys(column for _, row in lines for column in row))
    if not columns:
        return None
    heads = [Cell("Arm"), *(Cell(_title(column)) for column in columns)]
    cells = [[Cell(name), *(_cell(row.get(column)) for column in columns)] for name, row in lines]
    return Table(caption, heads, cells)


def _title(column: str) -> str:
    """A column's name as a heading."""
    return NUMBERS[column].title if column in NUMBERS else _words(column)


def _words(name: str) -> str:
    """A name in snake case as words with a capital."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _cell(value: Any) -> Cell:
    """A plain value or an interval in a table."""
    if isinstance(value, Interval):
        return tables.number_cell(value)
    if value is None:
        return Cell("none")
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        known = finite(value)
        return Cell("none" if known is None else f"{known:.4g}")
    return Cell(str(value))


def _placed(rows: DynamicsRows, svgs: Mapping[str, str]) -> Iterator[Figure]:
    """The figures with captions; those that no longer fit the page without their drawing."""
    room = ROOM
    for place, (name, svg) in enumerate(svgs.items(), start=1):
        inline = inline_svg(svg, f"figure-{place}")
        fits = len(inline) <= room
        room -= len(inline) if fits else 0
        yield Figure(f"figure-{place}", name, Markup(inline) if fits else None, _caption(rows, name))


def _caption(rows: DynamicsRows, name: str) -> str:
    """What a figure shows; its name where it is not a known one."""
    within = f"{interval_name(rows.confidence)}s"
    captions = {
        "dynamics_planes_difficulty": "The same clouds, coloured by how hard a record is to learn for models that "
        "did not train on it. Where hard records lie farthest from the diagonal, difficulty goes with exposure.",
        "dynamics_planes": "Every record on the FPR-TPR plane at first, early and at the end. The diagonal gives "
        "nothing away; dotted lines are the cuts of vulnerability; the line is the way of the center.",
        "dynamics_trajectories": "The ways of the most exposed records beside those of typical ones. The exposed ones "
        "were picked after the fact, so that their ends lie too far out on average.",
        "dynamics_curves": "Curves over training, a line an arm. Gaps: nothing to be said there.",
        "dynamics_arms": f"The headline numbers of every arm, with {within} where they have any.",
        "dynamics_transitions": "How records pass between states of vulnerability, from row to column, and the shares "
        "in each state over time. Sampling noise alone moves records that lie near a cut.",
        "dynamics_difficulty": "Vulnerability at the end against difficulty. The correlation (ρ) is taken between "
        "disjoint halves of the models, so that shared noise cannot make it.",
    }
    known = next((start for start in captions if name == start or name.startswith(f"{start}_")), None)
    if known is None:
        return _words(name) + "."
    rest = name[len(known) :].strip("_")
    return f"{captions[known]} Arm: {rest.replace('_', ' ')}." if rest else captions[known]


def _done(rows: DynamicsRows) -> list[str]:
    """What was done, in a few sentences."""
    if not rows.arms:
        return ["No arm has come to its end yet."]
    sizes = sorted({len(arm.labels) for arm in rows.arms})
    models = sorted({arm.num_models for arm in rows.arms})
    checkpoints = sorted({len(arm.epochs) for arm in rows.arms})
    found = [
        f"In {counted(len(rows.arms), 'arm')}, {_range(models, 'model')} each were trained on random parts of a pool "
        f"of {_range(sizes, 'record')}, and attacked at {_range(checkpoints, 'checkpoint')} of their training.",
        "Every record is followed by two rates: how often models that were trained with it call it a member (TPR), "
        "and how often models without it do (FPR).",
    ]
    return [*found, *(f"Attack and decision: {who}." for who in dict.fromkeys(arm.who for arm in rows.arms))]


def _range(values: Sequence[int], noun: str) -> str:
    """Counts with their noun: "64 models", "32 to 64 models"."""
    low, high = values[0], values[-1]
    return counted(high, noun) if low == high else f"{low:,} to {counted(high, noun)}"


def _precision(sent: Mapping[str, Any]) -> list[str]:
    """What the explorer rounds and leaves out."""
    found = [
        f"Rates are drawn to 1/{payload.LEVELS}; standard errors are of the end of training alone; points that "
        "coincide are moved by less than the step between two shares of the models."
    ]
    if any(len(arm["epochs"]) < arm["checkpoints"] for arm in sent["arms"]):
        found.append("Not every checkpoint is on the plane, to keep this page light: all are in the curves.")
    cut = [
        pool for pool in sent["pools"] if pool["shown"] and len(pool["shown"]["rows"]) < pool["shown"]["all"]
    ]
    if cut:
        found.append("Of the records themselves only the most exposed are on this page.")
    return found


def _reading(rows: DynamicsRows) -> list[str]:
    """How to read the page."""
    cuts = listed([f"{cut:g}" for cut in rows.cuts])
    have = {name for arm in rows.arms for name in arm.curves}
    shown = [f"{CURVES[name].title}: {CURVES[name].says}." for name in CURVES if name in have]
    return [
        "A record on the diagonal is called a member as often by models that never saw it as by those that did. The "
        "farther up and to the left, the more its membership shows.",
        f"Vulnerability: TPR - FPR of one record, from -1 to 1. Its states are parted at {cuts}.",
        f"Numbers stand with {interval_name(rows.confidence)}s below them, where they have any.",
        "Speed by chance is what sampling noise alone makes: only what exceeds it is movement.",
        "Early recall and precision are taken between disjoint halves of the models; even a cloud that stands still "
        "reaches no more than the ceiling.",
        *shown,
    ]


def _limits(rows: DynamicsRows) -> list[str]:
    """What the page cannot say."""
    fewest = min((arm.num_models for arm in rows.arms), default=0)
    error = f", about {0.5 / (fewest / 2) ** 0.5:.2f} near one half" if fewest else ""
    return [
        f"A rate of one record is a share of few models and has a standard error{error}. Models that share references "
        "err together, so that single records are less certain still.",
        "The most exposed records are picked after the fact: their vulnerability is too high on average.",
        "Ways of single records hold sampling noise at every checkpoint, of the same models and thus correlated.",
        "An attack is a lower bound on what leaks: a stronger one would place records farther out.",
        "Intervals stand each by itself; among many some miss. Differences between arms need those of the claims.",
        "Everything is of these pools of records. Another pool may behave otherwise.",
    ]
