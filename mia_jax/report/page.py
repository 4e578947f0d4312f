"""The report as one HTML file that needs no network, no script and no file beside it."""

from __future__ import annotations

import html
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from mia_jax.report.findings import findings
from mia_jax.report.formatting import bounds, interval, number, percent, rate
from mia_jax.report.inputs import ReportInputs, Row, finite, last_rows, tpr_key

ROOM = 1_250_000  # characters of SVG on one page; a phone still opens it at once


class Cell(NamedTuple):
    """One estimate: its value and, in smaller type, its interval or why there is none."""

    value: str
    interval: str = ""


def render(inputs: ReportInputs, figures: Mapping[str, str]) -> str:
    """The whole page. figures: SVG text by name; known names have captions, others their name."""
    source = importlib.resources.files("mia_jax.report").joinpath("page.html.jinja").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source).render(
        inputs=inputs,
        findings=findings(inputs),
        run_facts=_run_facts(inputs),
        data_facts=list(_flat(inputs.data_facts)),
        config=json.dumps(inputs.config, indent=2, default=str, ensure_ascii=False),
        utility=[_utility_cells(row) for row in last_rows(inputs.utility)],
        utility_over_training=_utility_over_training(inputs),
        rates=[rate(fpr) for fpr in inputs.fprs],
        guesses=[number(0.5), number(0.5), *(percent(fpr) for fpr in inputs.fprs)],
        attack_blocks=_attack_blocks(inputs),
        comparisons=[_comparison_cells(inputs, row) for row in inputs.comparisons],
        confidence=rate(inputs.confidence),
        cards=[(name, inputs.titles[name], inputs.attacks.get(name)) for name in inputs.attack_names],
        figures=_placed(inputs, figures),
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
            {"id": f"figure-{place}", "name": name, "svg": shown, "caption": _caption(inputs, name)}
        )
    return placed


def _shorter(coordinates: str) -> str:
    """Coordinates to a hundredth of a point, a fifth of what a page would otherwise weigh."""
    return re.sub(r"\s*\n", " ", re.sub(r"(\.\d\d)\d+", r"\1", coordinates))


def _run_facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    """The design of the study in a few lines; whatever the configuration does not hold is left out."""
    config = inputs.config
    membership, training = config.get("membership", {}), config.get("training", {})
    last = last_rows(inputs.utility)
    size = {row["family"]: f"{row['num_parameters']:,} parameters" for row in last}
    facts = [
        ("Data", config.get("data", {}).get("source")),
        ("Families", ", ".join(f"{name} ({size.get(name, 'size unknown')})" for name in inputs.families)),
        ("Models of each family", membership.get("num_models")),
        ("Records in the pool", config.get("data", {}).get("pool_size")),
        ("Records each model is trained on", membership.get("train_size")),
        ("Membership design", membership.get("design")),
        ("Training", _training(training)),
        ("Checkpoints", ", ".join(str(epoch) for epoch in sorted({row["epoch"] for row in inputs.utility}))),
        ("Seed", str(config.get("seed", ""))),
    ]
    return [(name, _counted(value)) for name, value in facts if value not in (None, "")]


def _training(training: Mapping[str, Any]) -> str:
    """Epochs, optimizer, learning rate and batch size in one line."""
    words = {"epochs": "{} epochs", "optimizer": "{}", "learning_rate": "learning rate {}"}
    words |= {"batch_size": "batches of {}"}
    return ", ".join(text.format(training[key]) for key, text in words.items() if key in training)


def _counted(value: Any) -> str:
    """A value as text, counts with separators."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as (name, text), the outer names before the inner."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}: ")
        else:
            parts = value if isinstance(value, list | tuple) else [value]
            yield f"{prefix}{key}".replace("_", " "), ", ".join(map(_counted, parts)) or "none"


def _cell(row: Row, name: str, style: Any = number, absent: str = "not estimable") -> Cell:
    """The cell of one estimate."""
    if finite(row.get(name)) is None:
        return Cell(absent)
    return Cell(style(row[name]), interval(row, name, style))


def _utility_cells(row: Row) -> dict[str, Any]:
    """One row of the utility table."""
    names = ("train_accuracy", "test_accuracy", "gap")
    return {
        "family": row["family"],
        "counts": [f"{row[name]:,}" for name in ("num_parameters", "models", "epoch")],
        "cells": [_cell(row, name, percent) for name in names],
    }


def _utility_over_training(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The utility at every checkpoint; empty where there is only one."""
    rows = [_utility_cells(row) for row in inputs.utility]
    return rows if len(rows) > len(last_rows(inputs.utility)) else []


def _attack_blocks(inputs: ReportInputs) -> list[tuple[str, list[dict[str, Any]]]]:
    """The attack table, a block of rows per family; the highest AUC of each is marked."""
    rows, blocks = last_rows(inputs.results), []
    for family in inputs.families:
        block = [row for row in rows if row["family"] == family]
        best = max((finite(row.get("auc")) or 0.0 for row in block), default=0.0)
        if block:
            blocks.append((family, [_attack_cells(inputs, row, best) for row in block]))
    return blocks


def _attack_cells(inputs: ReportInputs, row: Row, best: float) -> dict[str, Any]:
    """One row of the attack table."""
    cells = [_cell(row, name, absent="not computed") for name in ("auc", "balanced_accuracy")]
    cells += [_cell(row, tpr_key(fpr), percent) for fpr in inputs.fprs]
    return {
        "title": inputs.titles[row["attack"]],
        "name": row["attack"],
        "cells": [*cells, _cell(row, "target_auc", absent="not computed")],
        "strongest": finite(row.get("auc")) == best,
    }


def _comparison_cells(inputs: ReportInputs, row: Row) -> dict[str, Any]:
    """One row of the table of differences, with its reading."""
    low, high = bounds(row, "")
    reading = "no interval"
    if low is not None and high is not None:
        reading = f"{row['family_a']} more exposed" if low > 0 else "not distinguishable"
        reading = f"{row['family_b']} more exposed" if high < 0 else reading
    difference = Cell("not computed")
    if finite(row["difference"]) is not None:
        difference = Cell(f"{row['difference']:+.3f}", interval(row, ""))
    return {
        "title": inputs.titles.get(row["attack"], row["attack"]),
        "families": (row["family_a"], row["family_b"]),
        "difference": difference,
        "reading": reading,
    }


def _caption(inputs: ReportInputs, name: str) -> str:
    """What a figure shows and how to read it."""
    within = f"{rate(inputs.confidence)} interval"
    captions = {
        "exposure_by_attack": f"How well each attack does at the last checkpoint: points with {within}s. "
        "The dotted line is guessing. Where a point is absent, the rate is not estimable.",
        "roc": "ROC curves on logarithmic axes at the last checkpoint: how many members are found (up) for "
        "how many non-members accused (right). The dotted diagonal is guessing; vertical lines mark the "
        "false-positive rates of the table. What counts for privacy is the left side.",
        "score_distributions": "Scores of members (filled) and non-members (dark line) at the last "
        "checkpoint. The more they overlap, the less an attacker learns.",
        "exposure_over_training": f"AUC of each attack over training, with {within}s as bands; first the "
        "generalisation gap, which rises alongside and confounds.",
    }
    return captions.get(name, name.replace("_", " ").capitalize() + ".")
