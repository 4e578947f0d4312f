"""How far a record is from being taken for another class: the smallest perturbation that is found.

Members tend to be farther (Del Grosso et al. 2022, arXiv:2203.09566, section 3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mia_jax.models.base import Model
from mia_jax.probes.queries import inside, values_of, with_values
from mia_jax.types import Array, Params, Records
from mia_jax.validation import check_whole

OVERSHOOT = 0.02
"""How far a step goes beyond the boundary it aims at, relatively: DeepFool's own constant."""

HALVINGS = 16
"""Of the way from the record to a flipping point: leaves 2e-5 of it."""

TURNS = 3
"""Of the direction towards the boundary that was found: they take most of what a long way round costs."""

SHORTEST, LONGEST = 1e-6, 1e6
"""Of a step: the shortest relative to the point it starts from, the longest in units of the features.
The first makes a step show in float32, the second keeps everything finite.
"""


class _Search(NamedTuple):
    """Where a search stands: the steps it has taken, the perturbation [...], and whether that flips."""

    taken: Array
    change: Array
    flips: Array


def adversarial_distance(model: Model, params: Params, record: Records, *, steps: int) -> Array:
    """The L2 norm of the smallest perturbation found that moves the prediction off the label; float32 scalar.

    record: one record of features, of any shape; of a ragged one only the valid steps are perturbed.
    steps: of the search, at most. 0 where the prediction is wrong as it is, as `Signals.correct` says.

    Multi-class DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 2) steps from the record, each time
    to the nearest boundary of the model's linearisation and a little beyond, until the prediction
    flips. The way back to the record is then halved again and again for the smallest multiple of the
    perturbation that still flips; this is done anew for the perturbation that stands upright on the
    boundary found there, and the shorter is kept. The result is thus the norm of a perturbation that
    flips, hence not below the true distance (but for the rounding of float32), and is the true
    distance where the model is linear. Where nothing flips within `steps`, it is the norm of the
    perturbation then reached, which does not flip: it bounds the true distance from neither side. No
    step is longer than 1 plus the norm of the point it starts from; a gradient of zero gives no
    direction, and the step then goes along all features alike. The result is finite for every record
    on which the model's logits are. Raises ValueError for fewer than 1 step.
    """
    check_whole("steps", steps, 1)
    x, here = values_of(record.x), inside(record.x)

    def logits(values: Array) -> Array:
        return jnp.asarray(model.apply(params, with_values(record.x, values)))

    def flips(change: Array) -> Array:
        said = logits(x + change)
        return (jnp.argmax(said) != record.y) & jnp.all(jnp.isfinite(said))

    def advance(search: _Search) -> _Search:
        change = search.change + _step(logits, x + search.change, here, record.y)
        return _Search(search.taken + 1, change, flips(change))

    nothing = jnp.zeros(x.shape, x.dtype)
    start = _Search(jnp.int32(0), nothing, flips(nothing))
    end = jax.lax.while_loop(lambda search: (search.taken < steps) & ~search.flips, advance, start)

    def shorten(turn: Array, change: Array) -> Array:
        upright = _upright(logits, x + change, change, here, record.y)
        tried = _shortened(flips, jnp.where(turn > 0, upright, change))
        # Where nothing on the way flips, an upright one has kept its length and is longer than before.
        return jnp.where(_norm(tried) < _norm(change), tried, change)

    return _norm(jax.lax.fori_loop(0, 1 + TURNS, shorten, end.change))


def _step(logits: Callable[[Array], Array], values: Array, here: Array, y: Array) -> Array:
    """From `values` [...] to just beyond the nearest boundary of the linearised model."""
    said, pull_back = jax.vjp(logits, values)
    is_label = jax.nn.one_hot(y, said.size, dtype=said.dtype)
    towards = jax.vmap(lambda weights: pull_back(weights)[0])(jnp.eye(said.size) - is_label[None, :])
    towards = jnp.where(here[None], towards, 0.0)
    slopes = jax.vmap(_norm)(towards)
    usable = (slopes > 0) & jnp.isfinite(slopes) & jnp.isfinite(said)
    gaps = jnp.where(usable, said[y] - said, 0.0)
    distances = jnp.where(usable, gaps / jnp.where(usable, slopes, 1.0), jnp.inf)
    nearest = jnp.argmin(distances)
    everywhere = here / jnp.sqrt(jnp.sum(here, dtype=values.dtype))
    direction = jnp.where(usable[nearest], towards[nearest] / slopes[nearest], everywhere)
    size = 1.0 + _norm(jnp.where(here, values, 0.0))
    longest = jnp.minimum(size, LONGEST)
    return jnp.clip((1.0 + OVERSHOOT) * distances[nearest], SHORTEST * size, longest) * direction


def _shortened(flips: Callable[[Array], Array], change: Array) -> Array:
    """The smallest multiple of `change` found that flips, by bisection; `change` itself where none is."""

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        hit = flips(middle * change)
        return jnp.where(hit, low, middle), jnp.where(hit, middle, high)

    bounds = (jnp.float32(0.0), jnp.float32(1.0))
    return jax.lax.fori_loop(0, HALVINGS, halve, bounds)[1] * change


def _upright(logits: Callable[[Array], Array], values: Array, change: Array, here: Array, y: Array) -> Array:
    """A perturbation a little longer than `change`, upright on the boundary near `values` = x + change."""
    said, pull_back = jax.vjp(logits, values)
    weights = jax.nn.one_hot(jnp.argmax(said), said.size) - jax.nn.one_hot(y, said.size)
    normal = jnp.where(here, pull_back(weights)[0], 0.0)
    slope, along = _norm(normal), jnp.sign(jnp.sum(normal * change))
    usable = (slope > 0) & jnp.isfinite(slope)
    size = along * (1.0 + OVERSHOOT) * _norm(change)
    return jnp.where(usable, size / jnp.where(usable, slope, 1.0) * normal, change)


def _norm(values: Array) -> Array:
    """The L2 norm over all axes."""
    return jnp.sqrt(jnp.sum(values**2))
