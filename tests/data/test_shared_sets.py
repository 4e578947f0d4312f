"""The real sets that lie beside the repository, where they do."""

import pathlib

import numpy as np
import pytest

from mia_jax.config import ConfigError, DataConfig
from mia_jax.data import load
from mia_jax.types import Ragged

FOLDER = pathlib.Path(__file__).parents[3] / "shared" / "data"


def read(name, **settings):
    if not (FOLDER / f"{name}.npz").is_file():
        pytest.skip(f"{name}.npz is not there: the real sets lie beside the repository, in ../shared/data")
    sizes = {"pool_size": 1000, "population_size": 500, "directory": str(FOLDER)}
    return load(DataConfig(source=f"npz:{name}.npz", **(sizes | settings)))


@pytest.mark.parametrize(
    ("name", "kind", "shape", "classes", "vocabulary", "dropped", "test_size"),
    [
        ("location30", "features", [446], 30, 0, 0, 3510),
        ("adult", "features", [108], 2, 0, 57, 16249),
        ("mnist", "features", [28, 28], 10, 0, 0, 10000),
        ("spoken_digit", "features", [64, 32], 10, 0, 0, 300),
        ("names_nationality", "tokens", [19], 18, 123, 2629, 15921),
        ("glue_sst2", "tokens", [48], 2, 8000, 12, 1819),
        ("ag_news_subset", "tokens", [64], 4, 12000, 1, 6099),
    ],
)
def test_real_sets(name, kind, shape, classes, vocabulary, dropped, test_size):
    dataset = read(name)
    facts = dataset.facts
    assert facts["kind"] == kind
    assert facts["record_shape"] == shape
    assert (dataset.num_classes, dataset.vocabulary_size) == (classes, vocabulary)
    assert facts["duplicates_dropped"] == dropped
    assert (dataset.pool.size, dataset.population.size, dataset.test.size) == (1000, 500, test_size)
    assert isinstance(dataset.pool.x, Ragged) == (
        name in {"spoken_digit", "names_nationality"} or kind == "tokens"
    )


def test_pictures_are_standardised_together():
    x = read("mnist").pool.x
    np.testing.assert_allclose([x.mean(dtype=float), x.std(dtype=float)], [0, 1], atol=1e-4)


@pytest.mark.parametrize("name", ["cifar10_jpeg", "location30_predictions", "multi30k_en_fr"])
def test_sets_of_other_kinds_are_refused(name):
    with pytest.raises(ConfigError, match="it must hold x and y, or x_train, y_train, x_test and y_test"):
        read(name)
