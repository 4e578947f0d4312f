"""The report as one HTML file that needs no network, no script and no file beside it."""

from __future__ import annotations

import html
import importlib.resources
import json
import re
from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup

from mia_jax.report import captions, cells, facts, sections, selection
from mia_jax.report.findings import findings
from mia_jax.report.formatting import interval_name, number, percent, rate
from mia_jax.report.inputs import ReportInputs, last_rows

ROOM = 1_250_000  # characters of SVG on one page; a phone still opens it at once


def render(inputs: ReportInputs, figures: Mapping[str, str]) -> str:
    """The whole page. figures: SVG text by name; known names have captions, others their name."""
    source = importlib.resources.files("mia_jax.report").joinpath("page.html.jinja").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    groups = sections.slices(inputs)
    return environment.from_string(source).render(
        inputs=inputs,
        findings=findings(inputs),
        run_facts=facts.of_run(inputs),
        data_facts=facts.of_data(inputs),
        config=json.dumps(inputs.config, indent=2, default=str, ensure_ascii=False),
        utility=cells.utility(inputs, last_rows(inputs.utility)),
        utility_heads=list(cells.utility_counts(inputs).values()),
        utility_over_training=cells.utility_over_training(inputs),
        rates=[rate(fpr) for fpr in inputs.fprs],
        guesses=[number(0.5), number(0.5), *(percent(fpr) for fpr in inputs.fprs)],
        attacks=cells.attacks(inputs),
        rule=selection.rule(inputs, "the others follow, folded"),
        values=cells.values(inputs),
        prior=rate(prior) if (prior := inputs.config.get("report", {}).get("prior")) else "",
        comparisons=cells.comparisons(inputs),
        skipped=sections.skipped(inputs),
        groups=groups,
        groups_left_out=sections.slices_left_out(inputs, groups),
        headline=rate(inputs.headline_fpr) if inputs.headline_fpr is not None else "the asked",
        exposed=sections.exposed(inputs),
        promises=sections.promises(inputs),
        audits=sections.audits(inputs),
        meanings=sections.meanings(inputs),
        confidence=rate(inputs.confidence),
        adjusted=any("p_holm" in row for row in inputs.comparisons),
        with_intervals=f"{f'{inputs.at_last}, with'.strip(' ,').capitalize()} {interval_name(inputs.confidence)}s",
        when_every=" at every checkpoint" if inputs.at_last else "",
        cards=_cards(inputs),
        figures=_placed(inputs, figures),
    )


def _cards(inputs: ReportInputs) -> cells.Folded:
    """What is known of each attack, (name, title, card); those that are not shown apart."""
    known = [(name, inputs.titles[name], inputs.attacks.get(name)) for name in inputs.attack_names]
    shown = selection.strongest(inputs)
    return cells.Folded(
        [card for card in known if card[0] in shown], [card for card in known if card[0] not in shown]
    )


def inline_svg(svg: str, name: str) -> str:
    """An SVG document as an element for a page: ids under `name`, sized by the page, labelled.

    The prologue, comments, metadata and style sheet are dropped (the page has its own), and the
    element is described by the element with the id `{name}-caption`.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns:xlink="[^"]*"', "", svg).replace("xlink:href=", "href=")
    svg = re.sub(r'(\sid=")', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(\shref="#|url\(#)', rf"\g<1>{name}-", svg)
    head, body = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    body = re.sub(r"\n\s*", "\n", body)
    body = re.sub(r'\s(?:d|x|y)="[^"]*"', lambda match: _shorter(match.group()), body)
    label = html.escape(f"{name}-caption", quote=True)
    return f'{head} role="img" aria-labelledby="{label}">{body}'.rstrip()


def _placed(inputs: ReportInputs, figures: Mapping[str, str]) -> list[dict[str, Any]]:
    """The figures in their order, with captions; those that no longer fit the page have no `svg`."""
    placed, room = [], ROOM
    for place, (name, svg) in enumerate(figures.items(), start=1):
        inline = inline_svg(svg, f"figure-{place}")
        fits = len(inline) <= room
        room -= len(inline) if fits else 0
        shown = Markup(inline) if fits else None
        placed.append(
            {"id": f"figure-{place}", "name": name, "svg": shown, "caption": captions.caption(inputs, name)}
        )
    return placed


def _shorter(coordinates: str) -> str:
    """Coordinates to a hundredth of a point, a fifth of what a page would otherwise weigh."""
    return re.sub(r"\s*\n", " ", re.sub(r"(\.\d\d)\d+", r"\1", coordinates))
