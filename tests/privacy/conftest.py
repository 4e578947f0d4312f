"""Parameters to clip gradients of."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from mia_jax.models import Model


@pytest.fixture(scope="session")
def random_params() -> Callable[..., Any]:
    """random_params(model, record) -> parameters of the right shapes, none of them zero, in NumPy."""

    def random_params(model: Model, record: Any) -> Any:
        rng = np.random.default_rng(8)
        shapes = jax.eval_shape(model.init, jax.random.key(0), record)
        return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.6).astype(leaf.dtype), shapes)

    return random_params
