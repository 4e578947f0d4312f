"""DP-SGD: per-example clipping, Gaussian noise, and batches drawn as the accounting has it.

Abadi et al. 2016, algorithm 1. The noise is added once, to the sum over the batch; the sum is divided by
the public expected batch size, whatever was drawn: an empty batch is a step of noise alone. What comes
after (any optimizer, schedule or penalty) reads the private gradient only.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from mia_jax.defences.base import (
    Batch,
    Batches,
    Defence,
    Event,
    Happened,
    PrivateGradient,
    Sampling,
    Strengths,
    strength,
)
from mia_jax.losses import Loss
from mia_jax.models.base import Model
from mia_jax.privacy.clipping import check_method, clipped_gradient_sum
from mia_jax.privacy.events import check_training
from mia_jax.privacy.noise import gaussian_noise
from mia_jax.types import Key, Params
from mia_jax.validation import check_whole

OVERFLOW = 1e-24
"""Probability that any batch of a training is larger than what "poisson" provides for. The training is that close,
in total variation, to one without a cap, which adds at most (1 + e^epsilon) times as much to delta: below 1e-9
up to an epsilon of 34."""


@functools.lru_cache
def dp_sgd(
    batches: Batches, *, microbatch: int = 0, method: Literal["auto", "vmap", "bookkeeping"] = "auto"
) -> Defence:
    """DP-SGD with clip norm strengths["clip_norm"] and noise of deviation clip_norm * strengths["noise_multiplier"].

    The sum of clipped gradients changes by at most clip_norm where one record is left out (or replaced by
    one without a gradient), and by twice that where it is replaced by another. microbatch: records
    clipped side by side; 0: as suits model and machine. method: of `mia_jax.privacy.clipped_gradient_sum`.
    Raises ValueError for arguments that cannot be meant.
    """
    if not isinstance(batches, Batches):
        raise ValueError(f"batches is {batches!r}: it must be what defences.batches_of makes.")
    check_method(method)
    check_whole("microbatch", microbatch, 0)

    def gradient(
        model: Model, loss: Loss, params: Params, batch: Batch, key: Key, strengths: Strengths
    ) -> Params:
        clip_norm = strength(strengths, "clip_norm")
        total, _ = clipped_gradient_sum(
            model,
            params,
            batch.x,
            batch.y,
            batch.valid,
            clip_norm,
            loss=loss,
            method=method,
            keys=batch.keys,
            microbatch=microbatch or side_by_side(model, batches),
        )
        multiplier = strength(strengths, "noise_multiplier")
        # Without a clip norm (infinite) there can be no noise, but there may be none.
        noise = gaussian_noise(key, total, jnp.where(multiplier > 0, clip_norm * multiplier, 0.0))
        return jax.tree.map(lambda one, other: (one + other) / batches.expected, total, noise)

    def event(happened: Happened, strengths: Mapping[str, Any]) -> Event:
        from mia_jax.privacy.events import dp_sgd_event

        made = dp_sgd_event(
            num_examples=happened.num_examples,
            batch_size=batches.expected,
            steps=happened.steps,
            noise_multiplier=float(strength(strengths, "noise_multiplier")),
            sampling=batches.sampling,
            max_batch=batches.physical if batches.sampling == "truncated_poisson" else None,
        )
        return Event("record", made)

    return Defence(("dp_sgd",), gradient=PrivateGradient(batches, gradient), events=(event,))


def side_by_side(model: Model, batches: Batches) -> int:
    """Records that are clipped side by side where nobody says how many; 0: the whole batch.

    A Poisson batch varies, and blocks that hold none of it cost nothing. On a CPU small blocks keep what a
    recurrent model writes down for its steps in the cache (an LSTM's batch of 256: 1.4 times faster).
    """
    on_cpu = jax.default_backend() == "cpu"
    quarter = max(1, batches.expected // 4)
    if on_cpu and model.steps is not None:
        return min(32, quarter)
    if batches.physical == batches.expected:
        return 0
    return min(64, quarter) if on_cpu else max(1, batches.expected // 2)


def batches_of(
    sampling: Sampling, *, num_examples: int, batch_size: int, steps: int, max_batch: int = 0
) -> Batches:
    """Batches of expected size batch_size from num_examples records, and how many a step must hold.

    max_batch: of "truncated_poisson". With "poisson" a step holds so many that in all `steps` together more
    come with probability 1e-24 at most. Raises ValueError as `mia_jax.privacy.dp_sgd_event` does.
    """
    cut = (max_batch or None) if sampling == "truncated_poisson" else None
    check_training(num_examples, batch_size, steps, 1.0, sampling, cut, "add_or_remove")
    if sampling == "shuffle":
        return Batches(sampling, num_examples, batch_size, batch_size, batch_size)
    room = _enough(num_examples, batch_size, OVERFLOW / max(steps, 1))
    most = min(max_batch, room) if sampling == "truncated_poisson" else room
    return Batches(sampling, num_examples, batch_size, most, room)


def _enough(num_examples: int, batch_size: int, risk: float) -> int:
    """The smallest size that a Poisson batch exceeds with a probability of at most `risk`."""
    from scipy import stats

    law = stats.binom(num_examples, batch_size / num_examples)
    sizes = range(batch_size, num_examples + 1)  # not law.isf: it gives up in so thin a tail
    return sizes[bisect.bisect_left(sizes, True, key=lambda size: law.sf(size) <= risk)]
