"""Quantile regression: what a record like this one would get from the target if it were no member.

No reference models: for each target a small network learns, on population records that nothing was
trained on, the distribution of the target's signal given a record's features.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from mia_jax.attacks.base import NO_SIDE, QUERY, Attack, Observations, check_choice, check_signal, references
from mia_jax.attacks.learner import Lessons, ask, fit, key_of, parts
from mia_jax.config import AttacksConfig, TrainingConfig
from mia_jax.models.attack_networks import regression_mlp
from mia_jax.training.segment import Recipe
from mia_jax.types import Array, Key

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
    usable = references(len(np.asarray(signal)), None, valid)[1]
    own = check_signal("signal", signal, usable)
    population = check_signal("population_signal", population_signal, usable)
    if population.shape[1] < FEWEST_ROWS:
        raise ValueError(
            f"population_signal is of {population.shape[1]} records: at least {FEWEST_ROWS} are needed to fit anything."
        )
    x, z = _features(features, own.shape[1], population_features, population.shape[1])
    centre, scale = population.mean(axis=1, keepdims=True), population.std(axis=1, keepdims=True)
    scale[scale == 0] = 1.0
    scores = _scores(kind, (own - centre) / scale, x, (population - centre) / scale, z, key)
    scores[~usable] = np.nan
    return scores


def attacks(config: AttacksConfig) -> tuple[Attack, ...]:
    """Quantile regression's choice of `--attacks`."""

    def score(seen: Observations) -> np.ndarray:
        assert seen.scaled_logit is not None
        assert seen.features is not None
        assert seen.population_scaled_logit is not None
        assert seen.population_features is not None
        return quantile_regression(
            seen.scaled_logit,
            seen.features,
            seen.population_scaled_logit,
            seen.population_features,
            key=key_of(seen),
            kind=config.quantile,
            valid=seen.valid,
        )

    return (
        Attack(
            "quantile_regression",
            "Quantile regression",
            f"{QUERY}, and holds population records that no model was trained on: no reference models.",
            "Bertran et al., Scalable Membership Inference Attacks via Quantile Regression, NeurIPS 2023",
            NO_SIDE,
            frozenset({"scaled_logit", "features", "population_scaled_logit", "population_features"}),
            score,
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


def _scores(
    kind: Kind, own: np.ndarray, x: np.ndarray, population: np.ndarray, z: np.ndarray, key: Key
) -> np.ndarray:
    """Fit on the population [K, Z] with features [Z, D], and score own signals [K, N] with features [N, D]."""
    drawing, learning = jax.random.split(key)
    drawn = np.asarray(jax.random.permutation(drawing, len(z)))[:MOST_ROWS]
    held_out, rows = np.split(drawn, [drawn.size // HELD_OUT])
    recipe = _recipe(kind, rows.size)
    each = (len(own), 1)
    lessons = Lessons(
        z,
        population.astype(np.float32),
        np.tile(rows, each),
        np.ones((len(own), rows.size), bool),
        np.tile(held_out, each),
        own_y=True,
    )
    params = fit(recipe, lessons, learning)
    scores = np.empty(own.shape)
    for part in parts(len(own), len(x) * len(LEVELS)):
        targets = np.arange(len(own))[part]
        scores[part] = _score(kind, ask(recipe.model, params, targets, x), own[part])
        if kind == "pinball":
            known = _score(
                kind, ask(recipe.model, params, targets, z[held_out]), population[part][:, held_out]
            )
            spread = known.std(axis=1, keepdims=True)
            scores[part] -= known.mean(axis=1, keepdims=True)
            scores[part] /= np.where(spread > 0, spread, 1.0)
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


def _features(
    features: Array, num_records: int, population_features: Array, num_population: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both parts' features on the population's scale, float32 [N, D] and [Z, D]."""
    z = _as_features("population_features", population_features, (num_population, None))
    x = _as_features("features", features, (num_records, z.shape[1]))
    varies = np.ptp(z, axis=0) > 0
    spread = np.where(varies, z.std(axis=0), 1.0)
    mean = z.mean(axis=0)

    def scaled(part: np.ndarray) -> np.ndarray:
        away = np.clip((part - mean) / spread, -FARTHEST, FARTHEST)
        return np.where(varies, away, 0.0).astype(np.float32)

    return scaled(x), scaled(z)


def _as_features(name: str, values: Array, shape: tuple[int, int | None]) -> np.ndarray:
    """Finite features [rows, D] in float64. Raises ValueError naming the array."""
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[0] != shape[0] or shape[1] not in (None, array.shape[1]):
        expected = ", ".join("…" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} has shape {array.shape}: it must have shape [{expected}].")
    odd = np.argwhere(~np.isfinite(array))
    if odd.size:
        where = tuple(int(i) for i in odd[0])
        raise ValueError(f"{name}{list(where)} is {array[where]}: features must be finite.")
    return array
