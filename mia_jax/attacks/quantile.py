"""Quantile regression: what a record like this one would get from the target if it were no member.

No reference models: for each target a small network learns, on population records that nothing was
trained on, the distribution of the target's signal given a record's features.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from mia_jax.attacks.base import (
    NO_SIDE,
    QUERY,
    Attack,
    Blocks,
    Observations,
    check_choice,
    check_signal,
    key_of,
    one_block,
    references,
)
from mia_jax.attacks.learner import Lessons, ask, fit, parts
from mia_jax.config import AttacksConfig, TrainingConfig
from mia_jax.models.attack_networks import regression_mlp
from mia_jax.training.segment import Recipe
from mia_jax.types import Array, Key, Params
from mia_jax.validation import as_numbers

Kind = Literal["gaussian", "pinball"]

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""The quantiles that "pinball" fits."""

WIDEST = 4.0
"""The Gaussian's log sigma lies in (-4, 4), relative to that of the population's signal."""

FARTHEST = 5.0
"""Features count as at most so many standard deviations away from the population's mean."""

NARROWEST = 1e-3
"""The outer quantiles lie at least this far apart, in standard deviations of the population's signal."""

NO_GAP = 1e-12
"""What stands for the distance of two quantiles that are the same."""

MOST_ROWS = 20_000
"""Population records that are used at most."""

FEWEST_ROWS = 10
"""Population records below which there is nothing to fit and nothing to hold out."""

HELD_OUT = 5
"""One population record in so many chooses the epoch that training stops at."""

BATCH, STEPS, MOST_EPOCHS, LEARNING_RATE = 64, 2_000, 100, 1e-3
"""Of a training by Adam: about so many steps, in no more than so many epochs."""


def quantile_regression(
    signal: Array,
    features: Array,
    population_signal: Array,
    population_features: Array,
    *,
    key: Key,
    kind: Kind = "gaussian",
    valid: Array | None = None,
) -> np.ndarray:
    """How far a record's signal lies above what its features predict, float64 [K, N]; larger = member.

    signal: float [K, N], here the scaled logit. features: float [N, D]. population_signal: [K, Z],
    of records that no model was trained on, and population_features: [Z, D]. For each target a
    network (64-64, ReLU) is trained by Adam on four fifths of at most 20,000 population records, and
    stopped at the epoch that is best on the rest. key: draws these parts, first weights and orders.

    gaussian: the network gives mean and log sigma, and the score is (signal - mean) / sigma. pinball:
    it gives 13 quantiles from .02 to .98, sorted where they cross; the score is the standard normal's
    quantile function read at the signal's level, linear between the quantiles and going on beyond
    the outer ones with the slope from the first to the last; as pinball quantiles lie too close when
    there are few records, it is shifted and scaled to mean 0 and deviation 1 on the records held out.
    Of a non-member the score is then about standard normal. Features are standardised by the
    population's moments and cut at 5 deviations; those that do not vary there are left out.

    Models that are not `valid` [K] get NaN. Raises ValueError naming an array or option that does not
    fit. Bertran et al. 2023, section 3.
    """
    check_choice("kind", kind, ("gaussian", "pinball"))
    member = np.zeros(np.shape(signal)[:2], bool)  # nobody looks at it
    seen = Observations(
        member,
        valid,
        key=key,
        scaled_logit=signal,
        features=features,
        population_scaled_logit=population_signal,
        population_features=population_features,
    )
    return _judge(kind, seen, _fit(kind, one_block(seen)))


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """Quantile regression's choice of `--attacks`."""
    return (
        Attack(
            "quantile_regression",
            "Quantile regression",
            f"{QUERY}, and holds population records that no model was trained on: no reference models.",
            "Bertran et al., Scalable Membership Inference Attacks via Quantile Regression, NeurIPS 2023",
            NO_SIDE,
            frozenset({"scaled_logit", "features", "population_scaled_logit", "population_features"}),
            functools.partial(_judge, config.quantile),
            functools.partial(_fit, config.quantile),
        ),
    )


def gaussian_loss(said: Array, y: Array) -> Array:
    """The negative log-likelihood of y under N(mean, sigma), less log(2 pi) / 2. said: [2]; y: a number."""
    log_sigma = bounded(said[1])
    return 0.5 * ((y - said[0]) * jnp.exp(-log_sigma)) ** 2 + log_sigma


def pinball_loss(said: Array, y: Array) -> Array:
    """The pinball loss of y, summed over the quantiles of `LEVELS`. said: [J]; y: a number."""
    error, levels = y - said, jnp.asarray(LEVELS)
    return jnp.sum(jnp.maximum(levels * error, (levels - 1.0) * error))


def bounded(log_sigma: Array) -> Array:
    """The network's second output as a log sigma in (-4, 4); near 0 it stays what it is."""
    return WIDEST * jnp.tanh(log_sigma / WIDEST)


def normal_scores(y: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """The standard normal's quantile function at the level of y [...] among quantiles [..., J] of `LEVELS`.

    Linear between quantiles, which are sorted first; beyond the outer ones with the slope from the
    first to the last. Rising in y without end.
    """
    q = np.sort(quantiles, axis=-1)
    z = stats.norm.ppf(LEVELS)
    gap = np.maximum(np.diff(q, axis=-1), NO_GAP)
    inside = np.clip((y[..., None] - q[..., :-1]) / gap, 0.0, 1.0) @ np.diff(z)
    slope = (z[-1] - z[0]) / np.maximum(q[..., -1] - q[..., 0], NARROWEST)
    beyond = np.minimum(y - q[..., 0], 0.0) + np.maximum(y - q[..., -1], 0.0)
    return z[0] + inside + slope * beyond


class Scale(NamedTuple):
    """Moments of the population's features, [D] each; varies: bool [D], False for those that are left out."""

    mean: np.ndarray
    spread: np.ndarray
    varies: np.ndarray


class Fitted(NamedTuple):
    """Networks of K targets, and what signals and features enter by.

    centre, scale: of the population's signal; known_mean, known_spread: of the scores held out (0 and 1
    where they are not looked at); [K, 1] each.
    """

    params: Params
    recipe: Recipe
    features: Scale
    centre: np.ndarray
    scale: np.ndarray
    known_mean: np.ndarray
    known_spread: np.ndarray


def _fit(kind: Kind, blocks: Blocks) -> Fitted:
    """Train every target's network on the population."""
    seen = blocks.first("population_scaled_logit", "population_features")
    assert seen.population_scaled_logit is not None
    assert seen.population_features is not None
    usable = references(np.shape(seen.member)[0], None, seen.valid)[1]
    population = check_signal("population_signal", seen.population_scaled_logit, usable)
    if population.shape[1] < FEWEST_ROWS:
        raise ValueError(
            f"population_signal has {population.shape[1]} records: it must have at least {FEWEST_ROWS} to fit anything."
        )
    z = _as_features("population_features", seen.population_features, (population.shape[1], None))
    by = _scale_of(z)
    z = _scaled(z, by)
    centre, scale = population.mean(axis=1, keepdims=True), population.std(axis=1, keepdims=True)
    scale[scale == 0] = 1.0
    population = (population - centre) / scale
    drawing, learning = jax.random.split(key_of(seen))
    drawn = np.asarray(jax.random.permutation(drawing, len(z)))[:MOST_ROWS]
    held_out, rows = np.split(drawn, [drawn.size // HELD_OUT])
    recipe, each = _recipe(kind, rows.size), (len(population), 1)
    lessons = Lessons(
        z,
        population.astype(np.float32),
        np.tile(rows, each),
        np.ones((len(population), rows.size), bool),
        np.tile(held_out, each),
        own_y=True,
    )
    params = fit(recipe, lessons, learning)
    fitted = Fitted(params, recipe, by, centre, scale, np.zeros(each), np.ones(each))
    if kind == "gaussian":
        return fitted
    known = _asked(kind, fitted, population[:, held_out], z[held_out])
    spread = known.std(axis=1, keepdims=True)
    return fitted._replace(
        known_mean=known.mean(axis=1, keepdims=True), known_spread=np.where(spread > 0, spread, 1.0)
    )


def _judge(kind: Kind, seen: Observations, fitted: Fitted) -> np.ndarray:
    """The scores [K, N] of a block's records."""
    assert seen.scaled_logit is not None
    assert seen.features is not None
    usable = references(len(np.asarray(seen.scaled_logit)), None, seen.valid)[1]
    own = check_signal("signal", seen.scaled_logit, usable)
    x = _as_features("features", seen.features, (own.shape[1], fitted.features.mean.size))
    scores = _asked(kind, fitted, (own - fitted.centre) / fitted.scale, _scaled(x, fitted.features))
    scores -= fitted.known_mean
    scores /= fitted.known_spread
    scores[~usable] = np.nan
    return scores


def _asked(kind: Kind, fitted: Fitted, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The scores [K, N] of signals y [K, N] of records with features x [N, D]."""
    scores = np.empty(y.shape)
    for part in parts(len(y), len(x) * len(LEVELS)):
        targets = np.arange(len(y))[part]
        scores[part] = _score(kind, ask(fitted.recipe.model, fitted.params, targets, x), y[part])
    return scores


def _recipe(kind: Kind, num_rows: int) -> Recipe:
    """The network and its training on so many rows."""
    steps_per_epoch = -(-num_rows // BATCH)
    config = TrainingConfig(
        epochs=min(MOST_EPOCHS, -(-STEPS // steps_per_epoch)), batch_size=BATCH, learning_rate=LEARNING_RATE
    )
    outputs, loss = (2, gaussian_loss) if kind == "gaussian" else (len(LEVELS), pinball_loss)
    return Recipe(regression_mlp(outputs), config, num_rows, loss=loss)


def _score(kind: Kind, said: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The scores of signals y [K, N] where the networks said [K, N, outputs]."""
    said = said.astype(np.float64)
    if kind == "pinball":
        return normal_scores(y, said)
    return (y - said[..., 0]) * np.exp(-np.asarray(bounded(said[..., 1]), np.float64))


def _scale_of(features: np.ndarray) -> Scale:
    """The moments of features [Z, D]."""
    varies = np.ptp(features, axis=0) > 0
    return Scale(features.mean(axis=0), np.where(varies, features.std(axis=0), 1.0), varies)


def _scaled(features: np.ndarray, by: Scale) -> np.ndarray:
    """Features on the population's scale, cut where they are far away: float32 [rows, D]."""
    away = np.clip((features - by.mean) / by.spread, -FARTHEST, FARTHEST)
    return np.where(by.varies, away, 0.0).astype(np.float32)


def _as_features(name: str, values: Array, shape: tuple[int, int | None]) -> np.ndarray:
    """Finite features [rows, D] in float64. Raises ValueError naming the array."""
    array = as_numbers(name, values)
    if array.ndim != 2 or array.shape[0] != shape[0] or shape[1] not in (None, array.shape[1]):
        expected = ", ".join("…" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} has shape {array.shape}: it must have shape [{expected}].")
    odd = np.argwhere(~np.isfinite(array))
    if odd.size:
        where = tuple(int(i) for i in odd[0])
        raise ValueError(f"{name}{list(where)} is {array[where]}: features must be finite.")
    return array
