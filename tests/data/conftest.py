"""What the tests of the data sources share."""

import numpy as np
import pytest

from mia_jax.config import DataConfig


@pytest.fixture
def saved(tmp_path):
    """Writes arrays as an archive and returns the configuration that reads them."""

    def save(settings=None, **arrays):
        np.savez(tmp_path / "records.npz", **arrays)
        defaults = {"pool_size": 10, "population_size": 5}
        return DataConfig(source="npz:records.npz", directory=str(tmp_path), **(defaults | (settings or {})))

    return save


@pytest.fixture
def rng():
    return np.random.default_rng(0)
