"""The embedded set and the way from a source's name to its loader."""

import json

import numpy as np
import pytest

from mia_jax.config import ConfigError, DataConfig
from mia_jax.data import load


def test_digits_are_the_default():
    dataset = load(DataConfig(standardize=False))
    assert dataset.pool.x.shape == (400, 8, 8)
    assert dataset.population.x.shape == (400, 8, 8)
    assert dataset.test.size == 1797 - 800
    assert dataset.num_classes == 10
    assert dataset.vocabulary_size == 0
    for part in (dataset.pool, dataset.population, dataset.test):
        assert isinstance(part.x, np.ndarray)
        assert part.x.dtype == np.float32
        assert part.y.dtype == np.int32
        assert part.x.min() == 0
        assert part.x.max() == 1


def test_digits_are_standardised_by_default():
    x = load(DataConfig()).pool.x
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-5)


def test_facts_are_json_and_say_what_was_read():
    facts = load(DataConfig()).facts
    assert json.loads(json.dumps(facts)) == facts
    assert facts["records"] == 1797
    assert facts["duplicates_dropped"] == 0
    assert facts["record_shape"] == [8, 8]
    assert "Alpaydin" in facts["credit"]
    assert len(facts["fingerprint"]) == 64


def test_the_same_config_gives_the_same_bytes():
    one, two = load(DataConfig(seed=3)), load(DataConfig(seed=3))
    assert one.facts == two.facts
    assert one.pool.x.tobytes() == two.pool.x.tobytes()
    assert load(DataConfig(seed=4)).facts["fingerprint"] != one.facts["fingerprint"]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("mnist", 'it must be "digits", "npz:PATH", "tfds:NAME"'),
        ("", "it must be"),
        ("csv:x", "it must be"),
        ("digits:8x8", '"digits" takes nothing after its name'),
        ("npz:", 'a path must follow "npz:"'),
        ("tfds:", "is no name of a set"),
        ("synthetic:", "there is no generator ''"),
    ],
)
def test_unknown_sources_are_refused_by_name(source, sentence):
    with pytest.raises(ConfigError, match=r"^config\.data\.source is ") as error:
        load(DataConfig(source=source))
    assert repr(source) in str(error.value)
    assert sentence in str(error.value)


def test_images_cannot_be_tokens():
    with pytest.raises(ConfigError, match="token ids must be integers of shape"):
        load(DataConfig(kind="tokens"))


def test_the_name_of_a_source_is_no_config():
    with pytest.raises(
        ConfigError, match=r"^config is 'digits': it must be a DataConfig, as DataConfig\(source="
    ):
        load("digits")
