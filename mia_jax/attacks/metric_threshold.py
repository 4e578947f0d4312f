"""Attacks that threshold one number the target says of a record: no reference models."""

from __future__ import annotations

import numpy as np

from mia_jax.attacks.base import Observations
from mia_jax.types import Array


def loss_scores(log_prob: Array) -> np.ndarray:
    """The negative loss of the label, float64; larger = more likely a member. Yeom et al. 2018."""
    return np.asarray(log_prob, np.float64)


def score_loss(observations: Observations) -> np.ndarray:
    """The loss attack on every target: [K, N], NaN for models that are not valid.

    Read from the scaled logit, which orders records as the loss does and does not saturate.
    """
    usable = np.asarray(observations.valid, bool)[:, None]
    return np.where(usable, loss_scores(observations.scaled_logit), np.nan)
