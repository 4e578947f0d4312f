"""Worlds with known rules, in which everything is drawn anew: memberships, records, models, noise.

A logit is the record's hardness + the model's effect + noise of the entry, and with signal more
where the model was trained on the record: by 1 on average, by a different amount for every record.
Two arms are two kinds of model trained on the same records, which they find hard alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special, stats

from mia_jax.attacks.likelihood_ratio import lira
from mia_jax.attacks.relative import rmia

HARDNESS, MODEL_EFFECT, NOISE = 1.0, 0.3, 1.0
"""Standard deviations over records, models, and entries."""

GAIN, GAIN_OF_RECORD = 1.0, 0.5
"""Mean and standard deviation over records of what membership adds, in a world with signal."""

SECOND_ARM = 0.7
"""How much of the first arm's hardness and gain the second has."""

POPULATION = 200
"""Records Z for RMIA: few, so that its scores have many ties."""

SCORES = ("raw", "lira_online", "lira_offline", "rmia_online")


class Cell(NamedTuple):
    """A kind of world. design: "fixed_size" (half of the records each) or "bernoulli" (one half)."""

    models: int
    records: int
    signal: bool
    design: str = "fixed_size"

    @property
    def name(self) -> str:
        """In a few words."""
        return f"K={self.models} N={self.records} {self.design} {'signal' if self.signal else 'null'}"


class Records(NamedTuple):
    """What belongs to the records: hardness and gain [2, N], hardness of the population [2, Z]; by arm."""

    hardness: np.ndarray
    gain: np.ndarray
    population: np.ndarray


class World(NamedTuple):
    """member bool [K, N]; logit [2, K, N] and population [2, K, Z], one of each arm."""

    member: np.ndarray
    logit: np.ndarray
    population: np.ndarray


def draw_records(rng: np.random.Generator, cell: Cell) -> Records:
    """A pool and a population."""
    hardness, gain, population = (_both_arms(rng, size) for size in (cell.records, cell.records, POPULATION))
    mean_gain = GAIN * np.array([[1.0], [SECOND_ARM]])
    gain = (mean_gain + GAIN_OF_RECORD * gain) if cell.signal else np.zeros_like(gain)
    return Records(HARDNESS * hardness, gain, HARDNESS * population)


def draw_world(rng: np.random.Generator, cell: Cell, records: Records | None = None) -> World:
    """Models trained on parts of a pool: a new one, or the one given."""
    records = records or draw_records(rng, cell)
    order = rng.random((cell.models, cell.records))
    half = 0.5
    if cell.design == "fixed_size":
        half = np.partition(order, cell.records // 2, axis=1)[:, [cell.records // 2]]
    member = order < half
    effect = MODEL_EFFECT * rng.normal(size=(2, cell.models, 1))
    logit, population = (
        hardness[:, None] + effect + NOISE * rng.normal(size=(2, cell.models, hardness.shape[1]))
        for hardness in (records.hardness, records.population)
    )
    return World(member, logit + member * records.gain[:, None], population)


def scored(world: World, arm: int, scores: str) -> np.ndarray:
    """Scores [K, N] of one arm's models, each in turn the target and all others its references."""
    logit, member = world.logit[arm], world.member
    if scores == "raw":
        return logit
    if scores == "rmia_online":
        return rmia(special.log_expit(logit), member, special.log_expit(world.population[arm]))
    mode = "online" if scores == "lira_online" else "offline"
    return lira(logit, member, mode=mode, missing="nan")


def closed_form(cell: Cell, fpr: float | None = None) -> float:
    """AUC, or TPR at `fpr`, of the first arm's logits: one Gaussian against another."""
    outside = float(np.sqrt(HARDNESS**2 + MODEL_EFFECT**2 + NOISE**2))
    gain = GAIN if cell.signal else 0.0
    inside = float(np.hypot(outside, GAIN_OF_RECORD if cell.signal else 0.0))
    if fpr is None:
        return float(stats.norm.cdf(gain / np.hypot(inside, outside)))
    return float(stats.norm.sf((outside * stats.norm.isf(fpr) - gain) / inside))


def _both_arms(rng: np.random.Generator, size: int) -> np.ndarray:
    """Standard normal values of both arms, correlated by SECOND_ARM: [2, size]."""
    first, own = rng.normal(size=(2, size))
    return np.stack([first, SECOND_ARM * first + np.sqrt(1.0 - SECOND_ARM**2) * own])
