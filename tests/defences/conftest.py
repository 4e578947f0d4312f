"""What tests of defences share."""

import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def assert_same_bits():
    """Two pytrees hold the same arrays, bit for bit."""

    def assert_same_bits(actual, expected):
        for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()

    return assert_same_bits
