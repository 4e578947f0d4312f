"""A study of dynamics as one HTML file that needs no network and no file beside it.

Its explorer is a script of the page's own; without scripts, tables, figures and words remain.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from mia_jax.dynamics_study.page import html_tables, payload, words
from mia_jax.dynamics_study.rows import DynamicsRows
from mia_jax.report.formatting import listed
from mia_jax.report.page import inline_svg

ROOM = 4_000_000
"""Characters of SVG on one page: as many as the rates of a middling study take."""

SCRIPTS = (
    "parts",
    "palette",
    "data",
    "state",
    "shading",
    "canvas",
    "planes",
    "ways",
    "charts",
    "records",
    "controls",
    "start",
)
"""The files of the explorer's script in the order in which they are joined: what runs at once needs what is above."""


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
        script=Markup(_script()),
        data=Markup(payload.as_json(sent)),
        done=" ".join(words.done(rows)),
        arms=html_tables.arms_table(rows),
        foretold=html_tables.plain_table(
            "Of records listed early", [(arm.name, [arm.foretold]) for arm in rows.arms]
        ),
        also=html_tables.plain_table(
            "Called a member otherwise", [(arm.name, arm.also) for arm in rows.arms]
        ),
        compared=html_tables.comparison_table(rows),
        cuts=listed([f"{cut:g}" for cut in rows.cuts]),
        precision=" ".join(words.precision(sent)),
        figures=list(_placed(rows, svgs)),
        reading=words.reading(rows),
        limits=words.limits(rows),
        config=json.dumps(rows.config, indent=2, default=str, ensure_ascii=False) if rows.config else "",
    )


def _own(*names: str) -> str:
    """The text of a file of this package, by the names of its folders and its own."""
    place = importlib.resources.files("mia_jax.dynamics_study.page").joinpath(*names)
    return place.read_text("utf-8")


def _script() -> str:
    """The explorer's files as one function, so that none of their names is the page's."""
    files = "\n".join(_own("explorer", f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{files}}})();'


def _style() -> str:
    """The style sheet of the report page, so that all pages look alike, and the explorer's."""
    source = importlib.resources.files("mia_jax.report").joinpath("page.html.jinja").read_text("utf-8")
    return source.partition("<style>")[2].partition("</style>")[0] + _own("explorer", "explorer.css")


def _placed(rows: DynamicsRows, svgs: Mapping[str, str]) -> Iterator[Figure]:
    """The figures with captions; those that no longer fit the page without their drawing."""
    room = ROOM
    for place, (name, svg) in enumerate(svgs.items(), start=1):
        inline = inline_svg(svg, f"figure-{place}")
        fits = len(inline) <= room
        room -= len(inline) if fits else 0
        yield Figure(f"figure-{place}", name, Markup(inline) if fits else None, words.caption(rows, name))
