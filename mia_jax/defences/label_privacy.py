"""Randomised labels: what is learned of a record's label is differentially private, its features are not."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mia_jax.defences.base import Defence, Event, Happened, Strengths, strength
from mia_jax.types import Array, Key


@functools.lru_cache
def randomised_labels() -> Defence:
    """Each label drawn once from the row of strengths["label_rows"] [C, C] that belongs to the true one.

    Rows hold the probabilities of a mechanism of `mia_jax.privacy`; strengths["label_epsilon"] is its
    epsilon. Draws are those of float32, probabilities 2^-23 apart, hence for an epsilon of at most 10.
    Attacks and signals go on to read the true labels, which the attacker is taken to know.
    """

    def label(key: Key, y: Array, strengths: Strengths) -> Array:
        steps = jnp.cumsum(strength(strengths, "label_rows")[y])
        # The draw lies below the last step, whatever the steps add up to in float32.
        drawn = jax.random.uniform(key) * steps[-1]
        return jnp.searchsorted(steps, drawn, side="right").astype(y.dtype)

    return Defence(("label_privacy",), label=label, events=(_event,))


def _event(happened: Happened, strengths: Mapping[str, Any]) -> Event:
    """Randomised response over the labels that can come out: of all pairs of true labels the easiest to tell."""
    from mia_jax.privacy.label_privacy import label_event

    possible = int(np.sum(np.asarray(strength(strengths, "label_rows")).max(axis=0) > 0))
    return Event("label", label_event(possible, float(strength(strengths, "label_epsilon"))))
