"""A whole study of dynamics, from its rows to files."""

from __future__ import annotations

import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mia_jax.dynamics_study import tables
from mia_jax.dynamics_study.rows import Arm, DynamicsRows
from mia_jax.report import atomic
from mia_jax.report import tables as report_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "dynamics.html"
ARMS = "dynamics_arms"
CURVES = "dynamics_curves"
COMPARISONS = "dynamics_comparisons"
PLANES = "dynamics_planes"
DIFFICULT_PLANES = "dynamics_planes_difficulty"
TRAJECTORIES = "dynamics_trajectories_"
TRANSITIONS = "dynamics_transitions_"
DIFFICULTY = "dynamics_difficulty_"
"""Names of figures; the last three are followed by an arm's file name."""

COLOURINGS = ("prediction_depth", "epoch_learned", "out_error")
"""The difficulties that colour the plane, the first that all shown arms have."""

LONGEST = 80
"""Characters of a file's name, its ending apart."""

DIGITS = 6
"""Significant digits of the records' tables."""


def write_dynamics(rows: DynamicsRows, directory: pathlib.Path) -> pathlib.Path:
    """Write what a study of dynamics shows into a directory and give the path of dynamics.html.

    dynamics.json has everything but the records; arms/ARM.json the same of one arm; dynamics_arms.csv a
    line an arm; dynamics_curves.csv a line an arm and checkpoint; dynamics_comparisons.csv a line a pair of
    arms that differ in one factor; records/ARM.csv a line a record;
    figures/dynamics_*.svg and *.png those of `draw`. ARM is of `file_names`. Page, figures and JSON
    are made in memory first, then each file appears whole or not at all; at last what an earlier study
    left is removed: figures/dynamics_*, arms/*.json and records/*.csv. Raises `StoreError` where the
    disk refuses, ValueError for arms of one name.
    """
    from mia_jax.dynamics_study import page
    from mia_jax.report import figures

    names = file_names(rows)
    drawn = draw(rows)
    svgs = {name: figures.to_svg(figure, name) for name, figure in drawn.items()}
    pngs = {name: figures.to_png(figure) for name, figure in drawn.items()}
    texts = {PAGE: page.render(rows, svgs), "dynamics.json": study_json(rows)}
    texts |= {f"arms/{names[arm.name]}.json": arm_json(rows, arm) for arm in rows.arms}
    texts |= {f"figures/{name}.svg": svg for name, svg in svgs.items()}
    found = {
        ARMS: tables.arm_rows(rows),
        CURVES: tables.curve_rows(rows),
        COMPARISONS: [dict(row) for row in rows.compared],
    }
    for folder in ("figures", "arms", "records"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        if file != PAGE:
            atomic.write_text(directory / file, text)
    for name, png in pngs.items():
        atomic.write_bytes(directory / "figures" / f"{name}.png", png)
    for name, some in found.items():
        if some:
            report_tables.write_csv(some, directory / f"{name}.csv")
    for arm in rows.arms:  # one after the other: those of all arms may not fit into memory
        records = tables.record_rows(arm, rows.cuts)
        report_tables.write_csv(records, directory / "records" / f"{names[arm.name]}.csv", digits=DIGITS)
    atomic.write_text(directory / PAGE, texts[PAGE])
    _remove_stale(
        directory, list(names.values()), list(drawn), [name for name, some in found.items() if not some]
    )
    return directory / PAGE


def draw(rows: DynamicsRows) -> dict[str, Figure]:
    """The figures of a study by name, in the order of the page; those without data are left out.

    Where arms are many, those of single arms are of `figures.shown_arms` only. What a page has no room for
    should be the last: what its explorer shows as well.
    """
    from mia_jax.dynamics_study import figures, marks

    if not rows.arms:
        return {}
    names, shown = file_names(rows), figures.shown_arms(rows)
    drawn: dict[str, Figure | None] = {ARMS: figures.arms(rows), CURVES: figures.curves(rows)}
    drawn[PLANES] = figures.planes(rows, shown)
    early = marks.early_share(rows)
    for arm in shown:
        drawn[TRANSITIONS + names[arm.name]] = figures.transitions(arm, rows.cuts, early)
    for arm in shown:
        drawn[DIFFICULTY + names[arm.name]] = figures.difficulty(arm)
    for arm in shown:
        drawn[TRAJECTORIES + names[arm.name]] = figures.trajectories(arm, cuts=rows.cuts)
    for colour in [name for name in COLOURINGS if all(_colours(arm, name) for arm in shown)][:1]:
        drawn[DIFFICULT_PLANES] = figures.planes(rows, shown, colour)
    return {name: figure for name, figure in drawn.items() if figure is not None}


def file_names(rows: DynamicsRows) -> dict[str, str]:
    """A file's name without its ending for each arm, by the arm's own: letters, digits, ".", "_" and "-" only.

    No two are the same, also where capitals do not count. Raises ValueError for arms of one name.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for arm in rows.arms:
        if arm.name in found:
            raise ValueError(f"arms has two arms of the name {arm.name!r}: their factors must differ.")
        safe = re.sub(r"[^A-Za-z0-9._-]+", "_", arm.name).strip("._")[:LONGEST] or "arm"
        name, count = safe, 1
        while name.lower() in taken:
            count += 1
            name = f"{safe}_{count}"
        taken.add(name.lower())
        found[arm.name] = name
    return found


def study_json(rows: DynamicsRows) -> str:
    """All of a study but its records as strict JSON; NaN is null, an infinite number "inf" or "-inf"."""
    names = file_names(rows)
    return _text(
        {
            **_head(rows),
            "claims": [claim._asdict() for claim in rows.claims],
            "factors": rows.factors,
            "compared": rows.compared,
            "arms": [{**_content(arm), "file": names[arm.name]} for arm in rows.arms],
            "facts": rows.facts,
            "config": rows.config,
        }
    )


def arm_json(rows: DynamicsRows, arm: Arm) -> str:
    """One arm of a study but its records as strict JSON, as in `study_json`."""
    return _text({**_head(rows), **_content(arm), "facts": rows.facts, "config": rows.config})


def _head(rows: DynamicsRows) -> dict[str, Any]:
    """What holds for all arms."""
    return {"title": rows.title, "confidence": rows.confidence, "cuts": rows.cuts}


def _content(arm: Arm) -> dict[str, Any]:
    """One arm without its records."""
    return {
        "name": arm.name,
        "factors": arm.factors,
        "pool": arm.pool,
        "records": int(arm.fpr.shape[1]),
        "num_models": arm.num_models,
        "who": arm.who,
        "epochs": arm.epochs,
        "numbers": arm.numbers,
        "curves": arm.curves,
        "transitions": arm.transitions,
        "also": arm.also,
        "foretold": arm.foretold,
    }


def _text(content: Mapping[str, Any]) -> str:
    """Nested values as a JSON text."""
    return json.dumps(_plain(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """A value JSON knows; an infinite number as "inf" or "-inf", one that is not a number as None."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _colours(arm: Arm, name: str) -> bool:
    """Whether a difficulty of an arm is known of any record."""
    return name in arm.difficulty and bool(np.isfinite(arm.difficulty[name]).any())


def _remove_stale(
    directory: pathlib.Path, arms: Sequence[str], drawn: Sequence[str], empty: Sequence[str]
) -> None:
    """Removes what an earlier study wrote into this directory and this one has nothing for."""
    made = [file for kind in ("svg", "png") for file in directory.glob(f"figures/dynamics_*.{kind}")]
    stale = [directory / f"{name}.csv" for name in empty]
    stale += [file for file in made if file.stem not in drawn]
    found = [*directory.glob("arms/*.json"), *directory.glob("records/*.csv")]
    stale += [file for file in found if file.stem not in arms]
    for file in stale:
        atomic.remove(file)
    for folder in ("figures", "arms", "records"):
        atomic.remove_folder(directory / folder)
