"""Prediction depth: after which layer a model's neighbours in embedding space already say what it says.

NumPy; distances in the embeddings' own precision, float32 at least.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mia_jax.dynamics.rates import mean_of_known, table_of_members
from mia_jax.types import Array
from mia_jax.validation import as_mask, as_numbers, at, first

AT_ONCE = 2**21
"""Distances held at once, the entries of a block of records by all of the support."""


def prediction_depth(
    layers: Sequence[Array], labels: Array, predicted: Array, support: Array, *, neighbours: int = 30
) -> np.ndarray:
    """The first layer from which on every layer's nearest neighbours vote for what the model predicts: float64 [N].

    Of one model. layers: the embeddings of all records after each of its L layers, first to last, [N, E]
    each with an E of its own. labels: int [N]. predicted: int [N], the model's own prediction. support:
    bool [N], the records it was trained on, whose labels vote; a record is never its own neighbour.

    Depths are places in `layers`, 1 to L, and L + 1 where even the last layer's vote is another: with
    the inputs as the first of them, subtract 1 for Baldock et al.'s depth, which is 0 at the input. The
    `neighbours` nearest by Euclidean distance vote alike; a tie goes to the class, of those tied, of the
    nearest. Distances that agree to the precision (about 1e-6 of the embeddings' spread in float32) are
    in no certain order. Raises ValueError for arrays that do not fit, embeddings that are not finite and
    a support of no more than `neighbours`. Baldock et al. 2021 (arXiv 2106.09647), section 2.1.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    voting = _support(support, labels, predicted, neighbours)
    if not len(layers):
        raise ValueError("layers is empty: give the embeddings of at least one layer.")
    depth = np.ones(len(labels))
    for number, layer in enumerate(layers):
        embedded = _centred(f"layers[{number}]", layer, voting, len(labels))
        # A vote for another class here: the next layer is the first that can count.
        depth[_votes(embedded, labels, voting, neighbours) != predicted] = number + 2
    return depth


def mean_depth(depths: Array, member: Array, known: Array | None = None) -> np.ndarray:
    """The mean depth over the models without each record: float64 [N], NaN where there is none.

    depths: [K, N], one row a model; NaN entries are left out. member: bool [K, N]. known: bool [K, N],
    where a depth counts; None: everywhere. Raises ValueError for arrays that do not fit. Our definition.
    """
    held = table_of_members(member)
    values = as_numbers("depths", depths)
    if values.shape != held.shape:
        raise ValueError(f"depths has shape {values.shape}: it must have shape {held.shape}, member's.")
    counted = ~held if known is None else ~held & as_mask("known", known, held.shape)
    return mean_of_known(np.where(counted, values, np.nan), axis=0)


def _support(support: Array, labels: np.ndarray, predicted: np.ndarray, neighbours: int) -> np.ndarray:
    """The rows of the records that vote: int [M]. Raises ValueError."""
    for name, classes in (("labels", labels), ("predicted", predicted)):
        if classes.ndim != 1 or classes.shape != labels.shape or classes.dtype.kind not in "iu":
            raise ValueError(
                f"{name} has shape {classes.shape}, dtype {classes.dtype}: labels and predicted must be int [N]."
            )
    voting = np.flatnonzero(as_mask("support", support, labels.shape))
    if not 1 <= neighbours < voting.size:
        raise ValueError(
            f"neighbours is {neighbours}: it must be at least 1 and less than the {voting.size} records of support."
        )
    return voting


def _centred(name: str, layer: Array, voting: np.ndarray, num_records: int) -> np.ndarray:
    """Embeddings [N, E] about the mean of those that vote, so that little cancels. Raises ValueError."""
    embedded = np.asarray(layer)
    if embedded.ndim != 2 or len(embedded) != num_records:
        raise ValueError(
            f"{name} has shape {embedded.shape}: it must be [N, E] with the {num_records} records of labels."
        )
    embedded = embedded.astype(np.float64 if embedded.dtype == np.float64 else np.float32)
    where = first(~np.isfinite(embedded))
    if where is not None:
        raise ValueError(
            f"{at(name, where)} is {embedded[where]}: embeddings must be finite; leave diverged models out."
        )
    return embedded - embedded[voting].mean(axis=0)


def _votes(embedded: np.ndarray, labels: np.ndarray, voting: np.ndarray, neighbours: int) -> np.ndarray:
    """The label that each record's neighbours vote for: [N]."""
    classes, label = np.unique(labels[voting], return_inverse=True)
    won = [
        _winners(label[_nearest(distances, neighbours)], classes.size)
        for distances in _distances(embedded, voting)
    ]
    return classes[np.concatenate(won)]


def _distances(embedded: np.ndarray, voting: np.ndarray) -> Iterator[np.ndarray]:
    """Squared distances to those that vote, less the record's own square, block by block: [b, M]; inf to itself."""
    pool = np.ascontiguousarray(embedded[voting])
    squares = np.einsum("me,me->m", pool, pool)
    place = np.full(len(embedded), -1)
    place[voting] = np.arange(voting.size)
    size = max(1, AT_ONCE // voting.size)
    for start in range(0, len(embedded), size):
        found = embedded[start : start + size] @ pool.T
        found *= -2.0
        found += squares
        own = place[start : start + size]
        found[np.flatnonzero(own >= 0), own[own >= 0]] = np.inf
        yield found


def _nearest(distances: np.ndarray, neighbours: int) -> np.ndarray:
    """The places of the nearest, from near to far: int [b, k]."""
    near = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]
    order = np.argsort(np.take_along_axis(distances, near, axis=1), axis=1, kind="stable")
    return np.take_along_axis(near, order, axis=1)


def _winners(votes: np.ndarray, num_classes: int) -> np.ndarray:
    """The class with most votes, among equals that of the first vote: int [b]. votes: int [b, k], near to far."""
    rows = np.arange(len(votes))[:, None]
    counts = np.bincount((rows * num_classes + votes).ravel(), minlength=len(votes) * num_classes)
    support = counts.reshape(-1, num_classes)[rows, votes]
    return votes[rows[:, 0], np.argmax(support, axis=1)]
