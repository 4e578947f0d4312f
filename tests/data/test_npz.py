"""Archives: layouts, kinds of records, and a sentence for whatever can be wrong with one."""

import numpy as np
import pytest

from mia_jax.config import ConfigError, DataConfig
from mia_jax.data import load
from mia_jax.types import Ragged

N = 40
Y = np.arange(N) % 3


def ids(rng, shape=(N, 6), high=50):
    return rng.integers(0, high, shape)


def test_features(saved, rng):
    dataset = load(saved(x=rng.normal(size=(N, 4)), y=Y.astype(np.uint8), names=np.array(["a"])))
    assert dataset.pool.x.shape == (10, 4)
    assert dataset.pool.x.dtype == np.float32
    assert dataset.pool.y.dtype == np.int32
    assert (dataset.num_classes, dataset.vocabulary_size) == (3, 0)
    assert dataset.facts["kind"] == "features"
    assert dataset.facts["arrays_ignored"] == ["names"]


def test_integers_alone_are_features(saved, rng):
    assert load(saved(x=ids(rng), y=Y)).facts["kind"] == "features"
    assert load(saved(x=ids(rng, (N, 4, 4)).astype(np.uint8), y=Y)).pool.x.shape == (10, 4, 4)
    assert load(saved(x=ids(rng, high=2).astype(bool), y=np.arange(N) % 2)).pool.x.dtype == np.float32


def test_integers_with_a_vocabulary_are_tokens(saved, rng):
    dataset = load(saved(x=ids(rng), y=Y, vocab=np.array([f"w{i}" for i in range(70)])))
    assert dataset.pool.x.dtype == np.int32
    assert dataset.vocabulary_size == 70
    assert load(saved(x=ids(rng), y=Y, vocab=np.array(["short"]))).vocabulary_size == 50


def test_kind_overrules(saved, rng):
    dataset = load(saved({"kind": "tokens"}, x=ids(rng), y=Y))
    assert (dataset.pool.x.dtype, dataset.vocabulary_size) == (np.int32, 50)
    length = np.full(N, 6)
    dataset = load(saved({"kind": "features"}, x=ids(rng), y=Y, length=length))
    assert dataset.pool.x.values.shape == (10, 6, 1)
    assert dataset.vocabulary_size == 0


@pytest.mark.parametrize("name", ["length", "lengths"])
def test_integers_with_lengths_are_ragged_tokens(saved, rng, name):
    x, length = ids(rng, high=9), rng.integers(1, 7, N)
    x[np.arange(6) >= length[:, None]] = -1  # padding is no token
    dataset = load(saved(x=x, y=Y, **{name: length}))
    for part in (dataset.pool, dataset.population, dataset.test):
        assert isinstance(part.x, Ragged)
        assert part.x.values.dtype == part.x.length.dtype == np.int32
        assert (part.x.values[np.arange(6) >= part.x.length[:, None]] == 0).all()
    assert dataset.vocabulary_size == 9


def test_a_test_split_stays_one(saved, rng):
    x, x_test = np.arange(N)[:, None] + [[0.0, 0.5]], 100 + np.arange(20)[:, None] + [[0.0, 0.5]]
    arrays = {"x_train": x, "y_train": Y, "x_test": x_test, "y_test": Y[:20]}
    dataset = load(saved({"standardize": False}, **arrays, x_val=x))
    assert dataset.test.size == 20
    assert dataset.test.x.min() == 100
    assert max(dataset.pool.x.max(), dataset.population.x.max()) < 100
    assert dataset.facts["arrays_ignored"] == ["x_val"]
    assert load(saved({"test_size": 7}, **arrays)).test.size == 7


def test_splits_padded_apart_are_brought_together(saved, rng):
    arrays = {"x_train": ids(rng), "y_train": Y, "length_train": np.full(N, 6)}
    arrays |= {"x_test": ids(rng, (N, 4)), "y_test": Y, "lengths_test": np.full(N, 4)}
    dataset = load(saved(**arrays))
    assert dataset.pool.x.values.shape == (10, 6)
    assert dataset.test.x.values.shape == (N, 6)
    assert (dataset.test.x.values[:, 4:] == 0).all()


def test_splits_of_different_dtypes_are_brought_together(saved, rng):
    arrays = {
        "x_train": ids(rng).astype(np.uint8),
        "y_train": Y,
        "x_test": rng.normal(size=(N, 6)),
        "y_test": Y,
    }
    dataset = load(saved({"standardize": False}, **arrays))
    assert dataset.pool.x.dtype == dataset.test.x.dtype == np.float32


GOOD = {"x": np.arange(N * 6).reshape(N, 6), "y": Y}
SPLIT = {"x_train": GOOD["x"], "y_train": Y, "x_test": GOOD["x"] + 1000, "y_test": Y}
REAL = GOOD["x"].astype(float)
WRONG = {
    "no y": ({"x": GOOD["x"]}, "it has no y; it must hold x and y, or x_train"),
    "no x": ({"y_train": Y, "y_test": Y}, "it has no x_train, x_test;"),
    "no test": ({"x_train": GOOD["x"], "y_train": Y}, "it has no x_test, y_test;"),
    "both": (GOOD | SPLIT, "both x or y and x_train"),
    "nothing": ({"probs": REAL}, "and has probs"),
    "text": ({"x": GOOD["x"].astype(str), "y": Y}, "x has dtype <U21; it must hold real numbers"),
    "complex": ({"x": REAL + 1j, "y": Y}, "x has dtype complex128"),
    "scalars": ({"x": np.arange(N), "y": Y}, "x has shape (40,)"),
    "empty": ({"x": REAL[:0], "y": Y[:0]}, "x has shape (0, 6)"),
    "no features": ({"x": REAL[:, :0], "y": Y}, "x has shape (40, 0)"),
    "short y": ({"x": REAL, "y": Y[:-1]}, "y has shape (39,) and x has 40 records"),
    "column y": ({"x": REAL, "y": Y[:, None]}, "y has shape (40, 1)"),
    "short y_test": (SPLIT | {"y_test": Y[1:]}, "y_test has shape (39,)"),
    "real y": ({"x": REAL, "y": Y + 0.5}, "y has dtype float64; labels must be integers from 0"),
    "negative y": ({"x": REAL, "y": Y - 1}, "y has the label -1"),
    "far y": ({"x": REAL, "y": Y + 2**40}, f"y has the label {2**40 + 2}"),
    "one class": ({"x": REAL, "y": Y * 0}, "the largest label is 0 among 40 records"),
    "sparse y": ({"x": REAL, "y": Y * 1000}, "the largest label is 2000 among 40 records"),
    "nan": ({"x": np.where(REAL == 13, np.nan, REAL), "y": Y}, "x[2, 1] is nan; features must be finite"),
    "overflow": ({"x": np.where(REAL == 6, 1e300, REAL), "y": Y}, "x[1, 0] is 1e+300"),
    "length 0": (GOOD | {"length": np.zeros(N, int)}, "length has the value 0; lengths must lie in [1, 6]"),
    "length 7": (GOOD | {"length": np.full(N, 7)}, "length has the value 7"),
    "real length": (GOOD | {"length": np.ones(N)}, "length has dtype float64"),
    "short length": (
        GOOD | {"length": np.ones(3, int)},
        "shape (3,); it must hold one integer for each of the 40",
    ),
    "two lengths": (GOOD | {"length": Y + 1, "lengths": Y + 1}, "both length and lengths"),
    "ragged images": (
        {"x": np.ones((N, 4, 4, 3)), "y": Y, "length": Y + 1},
        "must have shape [N, L] or [N, L, D]",
    ),
    "negative token": ({"x": GOOD["x"] - 1, "y": Y, "vocab": np.array(["a"])}, "x has the token id -1"),
    "lonely length": (SPLIT | {"length_train": Y + 1}, "length_train is there but length_test is not"),
    "shapes": (SPLIT | {"x_test": REAL[:, :4]}, "x_train has records of shape (6,) and x_test of shape (4,)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_sentence_for_every_wrong_array(saved, case):
    arrays, sentence = WRONG[case]
    with pytest.raises(ConfigError, match=r"^config\.data\.source is 'npz:records\.npz': .*\.$") as error:
        load(saved(**arrays))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_real_tokens_are_refused(saved):
    with pytest.raises(ConfigError, match=r'set config\.data\.kind to "features"'):
        load(saved({"kind": "tokens"}, x=REAL, y=Y))


@pytest.mark.parametrize(
    "arrays", [{"x": GOOD["x"], "y": Y.astype(object)}, GOOD | {"vocab": np.array([{}])}]
)
def test_pickles_are_never_loaded(saved, arrays):
    with pytest.raises(ConfigError, match="Python objects"):
        load(saved(**arrays))


def test_broken_files(saved, tmp_path):
    config = saved(**GOOD)
    content = (tmp_path / "records.npz").read_bytes()
    np.save(tmp_path / "single.npy", GOOD["x"])
    for broken in (content[: len(content) // 2], b"", b"text", (tmp_path / "single.npy").read_bytes()):
        (tmp_path / "records.npz").write_bytes(broken)
        with pytest.raises(ConfigError, match="is no NumPy archive, or a damaged one; write it"):
            load(config)
    at = content.index(GOOD["x"].tobytes()) + 11
    (tmp_path / "records.npz").write_bytes(content[:at] + b"!" + content[at + 1 :])
    with pytest.raises(ConfigError, match=r"an array cannot be read .*CRC"):
        load(config)


def test_missing_files(saved, tmp_path):
    config = saved(**GOOD)
    (tmp_path / "records.npz").unlink()
    with pytest.raises(ConfigError, match=r"there is no file .* a relative path starts at"):
        load(config)


def test_a_path_of_its_own_needs_no_directory(saved, tmp_path):
    config = saved(**GOOD)
    absolute = DataConfig(source=f"npz:{tmp_path}/records.npz", pool_size=10, population_size=5)
    assert load(absolute).facts["fingerprint"] == load(config).facts["fingerprint"]


def test_a_changed_byte_changes_the_fingerprint(saved):
    before = load(saved(**GOOD)).facts["fingerprint"]
    for name, place in (("x", (39, 5)), ("y", 7)):
        changed = {key: array.copy() for key, array in GOOD.items()}
        changed[name][place] ^= 1
        assert load(saved(**changed)).facts["fingerprint"] != before
    assert load(saved(**GOOD)).facts["fingerprint"] == before
