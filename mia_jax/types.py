"""The glossary of axes and the arrays that travel between the stages.

Axes, in this order everywhere:

====  =========================================================
K     shadow models (each in turn the target of an attack)
T     checkpoints of one training
N     records of the pool (member of some models, not of others)
Z     population records (never trained on)
R     releases (noise draws)
Q     queries (augmentations) of a record
C     classes
B     batch
L     steps of a sequence
D     features
====  =========================================================
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray
Key = jax.Array
Params = Any  # a pytree of arrays
Side = Literal["in", "out"]  # of reference models: trained on the record, or not
Inputs = Any  # one array, or Ragged; of one record or with leading axes


class Ragged(NamedTuple):
    """Sequences of different lengths, padded to one length.

    values: [..., L] token ids or [..., L, D] features; what stands after `length` is padding.
    length: int [...], the number of valid steps, at least 1.
    """

    values: Array
    length: Array


class Records(NamedTuple):
    """Labelled records. x: inputs with leading axis N; y: int32 [N], labels in [0, C)."""

    x: Inputs
    y: Array

    @property
    def size(self) -> int:
        """The number of records N."""
        return int(self.y.shape[0])


class Dataset(NamedTuple):
    """Three disjoint parts of one source, and what is known about it.

    pool: the N records that may be members; population: the Z records never trained on, known to
    the attacker; test: records that measure utility only.
    num_classes: C. vocabulary_size: number of token ids, 0 where records are features.
    facts: JSON-able account of the source (counts, duplicates dropped, fingerprint, ...).
    num_canaries: how many of the pool's records, its last, were planted for an audit.
    vocabulary: the word of every token id, where the source has them.
    """

    pool: Records
    population: Records
    test: Records
    num_classes: int
    vocabulary_size: int
    facts: dict[str, Any]
    num_canaries: int = 0
    vocabulary: tuple[str, ...] = ()


class Membership(NamedTuple):
    """Which model was trained on which record.

    member: bool [K, N]. indices: int32 [K, n], the rows of the pool that each model trains on.
    mask: bool [K, n], False where `indices` is padding. twin: int32 [K], the model that holds the
    complementary half (-1 where there is none): twin and target are both left out as references.
    """

    member: Array
    indices: Array
    mask: Array
    twin: Array


class Signals(NamedTuple):
    """What models say of records; every field [..., N] over the same leading axes.

    log_prob: log-probability of the label (nats). scaled_logit: z_y - logsumexp of the other
    logits. entropy, modified_entropy: nats. correct: 1.0 where the label is the argmax, else 0.0.
    """

    log_prob: Array
    scaled_logit: Array
    entropy: Array
    modified_entropy: Array
    correct: Array
