"""Entropy and clustering: known clouds, a histogram of NumPy's, and rates on the edges of cells."""

import numpy as np
import pytest

from mia_jax import dynamics


def grid(side):
    """The centers of side x side equal cells: [1, side^2] each."""
    x, y = np.meshgrid((np.arange(side) + 0.5) / side, (np.arange(side) + 0.5) / side)
    return x.reshape(1, -1), y.reshape(1, -1)


@pytest.mark.parametrize("bins", [1, 7, 20, 50])
def test_uniform_grid_has_the_entropy_of_its_cells(bins):
    assert dynamics.spatial_entropy(*grid(bins), bins)[0] == pytest.approx(np.log2(bins**2))
    np.testing.assert_array_equal(dynamics.clustering_index(*grid(bins + 1), 1), 1.0)


@pytest.mark.parametrize("place", [(0.0, 1.0), (0.5, 0.5), (1.0, 1.0), (0.0, 0.0)])
def test_one_point_has_no_entropy_and_all_clustering(place):
    fpr, tpr = np.full((2, 30), place[0]), np.full((2, 30), place[1])
    np.testing.assert_array_equal(dynamics.spatial_entropy(fpr, tpr), 0.0)
    np.testing.assert_allclose(dynamics.clustering_index(fpr, tpr, 5), 25.0)


def test_entropy_and_clustering_are_those_of_numpys_histogram():
    rng = np.random.default_rng(0)
    fpr, tpr = rng.beta(2, 5, (3, 200)), rng.beta(5, 2, (3, 200))
    fpr[1, ::7] = np.nan
    tpr[1, ::5] = np.nan
    entropy, clustering = dynamics.spatial_entropy(fpr, tpr, 10), dynamics.clustering_index(fpr, tpr, 10)
    for t in range(3):
        known = ~np.isnan(fpr[t]) & ~np.isnan(tpr[t])
        counts = np.histogram2d(fpr[t, known], tpr[t, known], bins=10, range=[[0, 1], [0, 1]])[0].ravel()
        share = counts[counts > 0] / known.sum()
        assert entropy[t] == pytest.approx(-np.sum(share * np.log2(share)))
        together = sum(c * (c - 1) for c in counts) / (known.sum() * (known.sum() - 1))
        assert clustering[t] == pytest.approx(together * 100)


def test_clustering_of_uniform_records_is_1_however_many():
    rng = np.random.default_rng(1)
    for records in (20, 500):
        found = dynamics.clustering_index(rng.random((2000, records)), rng.random((2000, records)), 10)
        assert abs(found.mean() - 1) < 4 * found.std() / np.sqrt(2000)


@pytest.mark.parametrize("models", [10, 20, 40, 100])
def test_rates_on_an_edge_belong_to_the_upper_cell(models):
    rate = (np.arange(models) / models)[None]
    assert dynamics.spatial_entropy(rate, np.zeros_like(rate), models)[0] == pytest.approx(np.log2(models))
    # 1 - j / m is m - j cells up, although 1 - 0.9 < 0.1; 1 itself joins the last cell.
    mirrored = 1 - rate[:, 1:]
    found = dynamics.spatial_entropy(mirrored, np.zeros_like(mirrored), models)[0]
    assert found == pytest.approx(np.log2(models - 1))


def test_no_records_are_nan():
    missing = np.full((2, 3), np.nan)
    assert np.isnan(dynamics.spatial_entropy(missing, missing)).all()
    missing[:, 0] = 0.5
    assert np.isnan(dynamics.clustering_index(missing, missing)).all()
    np.testing.assert_array_equal(dynamics.spatial_entropy(missing, missing), 0.0)


def test_no_bins_are_refused():
    with pytest.raises(ValueError, match="bins is 0: it must be at least 1"):
        dynamics.spatial_entropy([[0.5]], [[0.5]], 0)
    with pytest.raises(ValueError, match=r"bins is 2\.5: it must be a whole number of at least 1"):
        dynamics.spatial_entropy([[0.5]], [[0.5]], 2.5)
