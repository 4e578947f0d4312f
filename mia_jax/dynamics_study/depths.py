"""Prediction depth of a run's records: from the parameters it kept to what every hidden layer says of the pool."""

from __future__ import annotations

import jax
import numpy as np

from mia_jax import dynamics, models
from mia_jax.dynamics_study.calling import Followed
from mia_jax.models import Model
from mia_jax.study import observing
from mia_jax.types import Dataset, Params

FEWEST_LAYERS = 2
"""Hidden layers below which a depth says nothing."""


def prediction_depths(
    followed: Followed, dataset: Dataset, model: Model, neighbours: int
) -> np.ndarray | None:
    """The depth of every record in every final model: [K, N], of the smallest whole numbers; 0 where it is not fit.

    None where it is not asked for (neighbours 0), the model has fewer than two hidden layers to show, or its
    final parameters were not kept. `RunError` where they are damaged.
    """
    if not neighbours or followed.run.config.recording.parameters == "none" or model.layers is None:
        return None
    ours = observing.columns(followed.run.config, "pool")
    pool = jax.tree.map(lambda leaf: np.asarray(leaf)[ours], dataset.pool)
    one = models.one_record(dataset)
    like = jax.eval_shape(model.init, jax.random.key(0), one)
    num_layers = len(jax.eval_shape(model.layers, like, one))
    if num_layers < FEWEST_LAYERS:
        return None
    params = followed.run.segments(followed.family).parameters(len(followed.run.epochs) - 1, like)
    said = jax.jit(
        jax.vmap(lambda params, x: (model.layers(params, x), model.apply(params, x).argmax()), (None, 0))
    )
    depths = np.zeros(followed.member.shape, np.min_scalar_type(num_layers + 1))
    for number in np.flatnonzero(followed.valid & (followed.member.sum(axis=1) > 1)):
        own: Params = jax.tree.map(lambda leaf, number=number: leaf[number], params)
        layers, predicted = said(own, pool.x)
        depths[number] = dynamics.prediction_depth(
            [np.asarray(layer) for layer in layers],
            pool.y,
            np.asarray(predicted),
            followed.member[number],
            neighbours=min(neighbours, int(followed.member[number].sum()) - 1),
        )
    return depths
