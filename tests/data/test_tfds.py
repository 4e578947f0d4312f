"""Sets prepared by TensorFlow Datasets: a round trip, and a sentence for whatever can be wrong.

The sets are built here, as array_record files, without TensorFlow and without a network.
"""

import io
import json
import shutil
import socket
import sys

import numpy as np
import PIL.Image
import pytest

from mia_jax.config import ConfigError, DataConfig
from mia_jax.data import load

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record", reason="array_record is not installed: pip install array_record")

SIZES = {"pool_size": 40, "population_size": 30}
SHARD = "small_set-train.array_record-00000-of-00001"


def encoded(image):
    """A grey image as a PNG file: TFDS needs TensorFlow to encode arrays, not to pass files on."""
    file = io.BytesIO()
    PIL.Image.fromarray(image[..., 0]).save(file, "PNG")
    file.seek(0)
    return file


class SmallSet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Splits of examples, given as lists."""

    VERSION = tfds.core.Version("1.2.0")
    name = "small_set"

    def __init__(self, features, splits, keys=None, **kwargs):
        self.given = features, splits, keys
        super().__init__(**kwargs)

    def _info(self):
        features, _, keys = self.given
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=keys,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {name: enumerate(examples) for name, examples in self.given[1].items()}

    def _generate_examples(self):
        raise NotImplementedError


def prepared(directory, features, splits, keys=None):
    SmallSet(features, splits, keys, data_dir=directory, file_format="array_record").download_and_prepare()
    return DataConfig(source="tfds:small_set", directory=str(directory), standardize=False, **SIZES)


def vectors(count, offset=0):
    return [{"v": np.array([i + offset, 0.5], np.float32), "c": i % 3} for i in range(count)]


VECTOR = {
    "v": tfds.features.Tensor(shape=(2,), dtype=np.float32),
    "c": tfds.features.ClassLabel(num_classes=3),
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (150, 6, 6, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def kept(tmp_path_factory, images):
    """A prepared set of images with a train split of 120 and a test split of 30."""
    features = {
        "image": tfds.features.Image(shape=(6, 6, 1), encoding_format="png"),
        "label": tfds.features.ClassLabel(num_classes=5),
    }
    examples = [{"image": encoded(image), "label": row % 5} for row, image in enumerate(images)]
    directory = tmp_path_factory.mktemp("kept")
    prepared(directory, features, {"train": examples[:120], "test": examples[120:]})
    return directory


@pytest.fixture
def copy(kept, tmp_path):
    """A copy of it to damage: its folder and the configuration that reads it."""
    shutil.copytree(kept, tmp_path / "copy")
    return tmp_path / "copy/small_set/1.2.0", config_of(tmp_path / "copy")


def config_of(directory, source="tfds:small_set"):
    return DataConfig(source=source, directory=str(directory), standardize=False, **SIZES)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Every test of this file fails if anything reaches for the network, even if it is caught."""
    attempts = []

    def refuse(*arguments, **_):
        attempts.append(arguments[-1])
        raise OSError("no network in this test")

    for place, name in (
        (socket.socket, "connect"),
        (socket.socket, "connect_ex"),
        (socket, "create_connection"),
        (socket, "getaddrinfo"),
    ):
        monkeypatch.setattr(place, name, refuse)
    yield
    assert not attempts


def test_round_trip(kept, images):
    dataset = load(config_of(kept))
    assert dataset.pool.x.shape == (40, 6, 6)
    assert dataset.pool.x.dtype == np.float32
    assert dataset.num_classes == 5
    assert dataset.facts["dataset"] == "small_set/1.2.0"
    assert dataset.facts["records"] == 150
    label_of = {image.astype(np.float32).tobytes(): row % 5 for row, image in enumerate(images)}
    for part in (dataset.pool, dataset.population, dataset.test):
        assert [label_of[image.tobytes()] for image in part.x] == part.y.tolist()
    test = {image.astype(np.float32).tobytes() for image in images[120:]}
    assert {image.tobytes() for image in dataset.test.x} == test


@pytest.mark.parametrize("name", ["small_set:1.2.0", "small_set:1.*.*", "SmallSet"])
def test_names_that_tfds_accepts(kept, name):
    fingerprint = load(config_of(kept)).facts["fingerprint"]
    assert load(config_of(kept, f"tfds:{name}")).facts["fingerprint"] == fingerprint


def test_the_order_is_that_of_the_index(tmp_path, monkeypatch):
    monkeypatch.setattr("mia_jax.data.tfds._BATCH", 7)
    config = prepared(tmp_path, VECTOR, {"train": vectors(100)}, ("v", "c"))
    seen = []
    monkeypatch.setattr("mia_jax.data.parts.dataset", lambda source, *_: seen.append(source))
    load(config)
    np.testing.assert_array_equal(seen[0].train.values[:, 0], np.arange(100))
    np.testing.assert_array_equal(seen[0].train.y, np.arange(100) % 3)
    assert seen[0].test is None


def test_supervised_keys_and_no_test_split(tmp_path):
    dataset = load(prepared(tmp_path, VECTOR, {"train": vectors(100), "extra": vectors(5)}, ("v", "c")))
    assert (dataset.pool.x.shape, dataset.test.size) == ((40, 2), 30)


def test_records_equal_to_training_records_leave_test(tmp_path):
    splits = {"train": vectors(100), "test": vectors(20, offset=90)}
    dataset = load(prepared(tmp_path, VECTOR, splits, ("v", "c")))
    assert dataset.test.size == 10
    assert dataset.facts["duplicates_dropped_from_test"] == 10


def test_fixed_length_tokens(tmp_path):
    features = VECTOR | {"v": tfds.features.Tensor(shape=(4,), dtype=np.int64)}
    examples = [{"v": np.array([i, 1, 2, 3]), "c": i % 3} for i in range(80)]
    config = prepared(tmp_path, features, {"train": examples}, ("v", "c"))
    tokens = DataConfig(source=config.source, directory=config.directory, kind="tokens", **SIZES)
    assert load(tokens).vocabulary_size == 80
    assert load(config).vocabulary_size == 0


@pytest.mark.parametrize("name", ["mnist", "mnist:3.0.1", "glue/sst2", "no_such_set", "small_set:9.9.9"])
def test_what_is_not_prepared_says_how_to_prepare_it(kept, name):
    with pytest.raises(ConfigError, match="no prepared set of that name lies in") as error:
        load(config_of(kept, f"tfds:{name}"))
    command = f"tfds.builder('{name}', data_dir='{kept}').download_and_prepare(file_format='array_record')"
    assert command in str(error.value)
    assert "config.data.directory" in str(error.value)


def test_the_default_directory_is_that_of_tfds(kept, tmp_path, monkeypatch):
    config = DataConfig(source="tfds:small_set", **SIZES)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="no prepared set"):
        load(config)
    monkeypatch.setenv("TFDS_DATA_DIR", str(kept))
    assert load(config).test.size == 30


@pytest.mark.parametrize("name", ["huggingface:glue", "../small_set", "mnist/data_dir=x", "mnist "])
def test_names_that_need_more_than_files_are_refused(kept, name):
    with pytest.raises(ConfigError, match="is no name of a set"):
        load(config_of(kept, f"tfds:{name}"))


def test_remote_directories_are_refused():
    with pytest.raises(ConfigError, match="'gs://bucket': it must be local"):
        load(config_of("gs://bucket", "tfds:mnist"))


@pytest.mark.parametrize("claimed", [119, 121])
def test_the_count_is_checked_against_the_metadata(copy, claimed):
    folder, config = copy
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = [str(claimed)]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(
        ConfigError, match=f"'train' has 120 records in its files and {claimed} by its metadata"
    ):
        load(config)


def damage_middle(path):
    content = bytearray(path.read_bytes())
    content[5000] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        (SHARD, lambda path: path.unlink(), "split 'train' cannot be read"),
        (SHARD, lambda path: path.write_bytes(path.read_bytes()[:70000]), "split 'train' cannot be read"),
        (SHARD, damage_middle, "records of split 'train' cannot be decoded"),
        ("dataset_info.json", lambda path: path.write_text("{"), "its files cannot be used"),
        ("dataset_info.json", lambda path: path.unlink(), "its files cannot be used"),
        ("features.json", lambda path: path.write_text("{}"), "its files cannot be used"),
        ("features.json", lambda path: path.unlink(), "no prepared set"),
    ],
)
def test_damaged_sets(copy, name, damage, sentence):
    folder, config = copy
    damage(folder / name)
    with pytest.raises(ConfigError, match=sentence) as error:
        load(config)
    assert "\n" not in str(error.value)


def test_formats_without_random_access(copy):
    folder, config = copy
    text = (folder / "dataset_info.json").read_text()
    (folder / "dataset_info.json").write_text(text.replace('"array_record"', '"tfrecord"'))
    with pytest.raises(
        ConfigError, match="it is prepared as tfrecord, which cannot be read record by record"
    ):
        load(config)


def test_a_set_without_a_train_split(tmp_path):
    config = prepared(tmp_path, VECTOR, {"everything": vectors(90)}, ("v", "c"))
    with pytest.raises(ConfigError, match="no split 'train' but everything"):
        load(config)


def test_a_set_without_labels(tmp_path):
    config = prepared(tmp_path, VECTOR, {"train": vectors(90)})
    with pytest.raises(ConfigError, match="there must be one input and one label"):
        load(config)


def test_text_and_ragged_records_are_refused(tmp_path):
    texts = [{"v": f"name {i}", "c": i % 3} for i in range(90)]
    config = prepared(tmp_path / "text", VECTOR | {"v": tfds.features.Text()}, {"train": texts}, ("v", "c"))
    with pytest.raises(
        ConfigError, match=r"feature 'v' of split 'train' has dtype .* must hold numbers in one"
    ):
        load(config)
    ragged = [{"v": np.arange(1 + i % 3), "c": i % 3} for i in range(90)]
    features = VECTOR | {"v": tfds.features.Tensor(shape=(None,), dtype=np.int64)}
    config = prepared(tmp_path / "ragged", features, {"train": ragged}, ("v", "c"))
    with pytest.raises(ConfigError, match=r"has shapes \[\(1,\), \(2,\), \(3,\)\]"):
        load(config)


def test_a_missing_package_is_named(kept, monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_data_source", None)
    with pytest.raises(
        ConfigError, match=r"a package is missing to read it .* run `pip install array_record`"
    ):
        load(config_of(kept))
