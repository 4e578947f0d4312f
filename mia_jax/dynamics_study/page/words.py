"""Sentences of the page: what was done, captions, how to read it and what it cannot say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mia_jax import blocks
from mia_jax.dynamics_study.page import payload
from mia_jax.dynamics_study.rows import CURVES, Arm, DynamicsRows
from mia_jax.report.formatting import counted, interval_name, listed


def caption(rows: DynamicsRows, name: str) -> str:
    """What a figure shows; its name where it is not a known one."""
    within = f"{interval_name(rows.confidence)}s"
    captions = {
        "dynamics_planes_difficulty": "The same clouds, coloured by how hard a record is to learn for models that "
        "did not train on it. Where hard records lie farthest from the diagonal, difficulty goes with exposure.",
        "dynamics_planes": "Every record on the FPR-TPR plane at first, early and at the end. The diagonal gives "
        "nothing away; it is dotted, the cuts of vulnerability are dashed, and the line is the way of the center.",
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
        return spoken(name) + "."
    rest = name[len(known) :].strip("_")
    return f"{captions[known]} Arm: {rest.replace('_', ' ')}." if rest else captions[known]


def done(rows: DynamicsRows) -> list[str]:
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


def precision(sent: Mapping[str, Any]) -> list[str]:
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


def reading(rows: DynamicsRows) -> list[str]:
    """How to read the page."""
    cuts = listed([f"{cut:g}" for cut in rows.cuts])
    have = {name for arm in rows.arms for name in arm.curves}
    shown = [f"{CURVES[name].title}: {CURVES[name].says}." for name in CURVES if name in have]
    return [
        "A record on the diagonal is called a member as often by models that never saw it as by those that did. The "
        "farther up and to the left, the more its membership shows.",
        f"Vulnerability: TPR - FPR of one record, from -1 to 1. Its states are parted at {cuts}.",
        f"Numbers stand with {interval_name(rows.confidence)}s below them, where they have any.",
        "Speed by chance is what the same calls would show if membership were permuted and the attack fitted anew. "
        "Where nothing is given away, both are alike. It is no lower bound: certain calls move less than random ones.",
        "Early recall and precision are taken between disjoint halves of the models; even a cloud that stands still "
        "reaches no more than the ceiling.",
        *shown,
    ]


def limits(rows: DynamicsRows) -> list[str]:
    """What the page cannot say."""
    fewest = min((_fewest(arm) for arm in rows.arms), default=0.0)
    error = f", about {0.5 / fewest**0.5:.2f} near one half" if fewest else ""
    return [
        f"A rate of one record is a share of few models and has a standard error{error}. Models that share references "
        "err together, so that single records are less certain still.",
        "The most exposed records are picked after the fact: their vulnerability is too high on average.",
        "Ways of single records hold sampling noise at every checkpoint, of the same models and thus correlated.",
        "An attack is a lower bound on what leaks: a stronger one would place records farther out.",
        "Intervals of vulnerability, displacement and of differences between arms are over other models and other "
        "records of the same kind; all others are over records alone, given these models, but that of speed by "
        "chance is over permutations.",
        "Intervals stand each by itself; among many some miss. Differences between arms have their own.",
        "Before anything is learned the cloud is not round: leave-one-out targets share noisy references, which "
        "spreads records farther than sampling does.",
        "Everything is of these pools of records. Another pool may behave otherwise.",
    ]


def _fewest(arm: Arm) -> float:
    """The models on a record's smaller side, on average over records; half of them where that is not known."""
    if arm.ends is None:
        return arm.num_models / 2
    member = arm.ends.member
    num_models, num_records = member.shape
    parts = blocks.blocks_of(num_records, blocks.records_at_once(num_models))
    inside = np.concatenate([member.columns(part).sum(axis=0) for part in parts])
    placed = (inside > 0) & (inside < num_models)
    if not placed.any():
        return 0.0
    return float(np.minimum(inside, num_models - inside)[placed].mean())


def spoken(name: str) -> str:
    """A name in snake case as words with a capital."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]
