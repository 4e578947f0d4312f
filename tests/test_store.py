"""Entries are whole or absent, arrays grow, and what is wrong is one sentence."""

import numpy as np
import pytest

from mia_jax.store import Store, StoreError, checksum


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_entries_are_written_read_listed_and_deleted(store):
    store.write("a/one", b"1")
    store.write("a/two", b"2")
    store.write("b/three", b"3")
    assert store.read("a/one") == b"1"
    assert store.read("a/none") is None
    assert store.names("a/") == ["a/one", "a/two"]
    store.delete("a/one")
    store.delete("a/one")
    assert store.names() == ["a/two", "b/three"]
    store.delete_under("a/")
    assert store.names() == ["b/three"]


def test_addresses_may_be_of_other_stores():
    store = Store("memory://somewhere")
    store.write_json("x.json", {"a": [1, None]})
    assert store.read_json("x.json") == {"a": [1, None]}


def test_json_holds_no_nan(store):
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write_json("x.json", {"auc": float("nan")})


def test_broken_json_is_named(store):
    store.write("x.json", b"{")
    with pytest.raises(StoreError, match=r"x\.json is not readable JSON"):
        store.read_json("x.json")
    with pytest.raises(StoreError, match=r"y\.json is missing"):
        store.require_json("y.json")


@pytest.mark.parametrize("damage", [lambda b: b[:40], lambda b: b"", lambda b: b[:-30] + bytes(30)])
def test_damaged_arrays_are_none(store, damage):
    written = store.write_arrays("s.npz", {"a": np.arange(5.0), "b": np.ones((2, 3), bool)})
    np.testing.assert_array_equal(store.read_arrays("s.npz", written)["a"], np.arange(5.0))
    store.write("s.npz", damage(store.read("s.npz")))
    assert store.read_arrays("s.npz", written) is None
    assert store.read_arrays("missing.npz") is None


def test_unwritten_numbers_are_nan_and_never_zero(store):
    array = store.array("x", (4, 2, 3), np.float32, models_per_chunk=2)
    store.write_blocks([(array, 0, 2, 0, np.zeros((2, 3), np.float32))])
    assert np.isnan(store.read_block("x", 2, 4, 0)).all()
    assert np.isnan(store.read_block("x", 0, 2, 1)).all()
    assert (store.read_block("x", 0, 2, 0) == 0).all()
    whole = store.array("seen", (2, 1, 3), np.int32, models_per_chunk=2)
    assert (whole.read().result() == -2).all()


def test_arrays_grow_along_models_and_keep_what_they_hold(store):
    small = store.array("x", (3, 1, 5), np.float32, models_per_chunk=3)
    values = np.arange(15, dtype=np.float32).reshape(3, 5)
    store.write_blocks([(small, 0, 3, 0, values)])
    large = store.array("x", (7, 1, 5), np.float32, models_per_chunk=3)
    assert large.shape == (7, 1, 5)
    np.testing.assert_array_equal(store.read_block("x", 0, 3, 0), values)


def test_array_of_another_shape_is_refused(store):
    store.array("x", (3, 1, 5), np.float32, models_per_chunk=3)
    with pytest.raises(StoreError, match=r"x has shape \[3, 1, 5\], this run writes \[3, 1, 6\]"):
        store.array("x", (3, 1, 6), np.float32, models_per_chunk=3)


def test_missing_array_is_named(store):
    with pytest.raises(StoreError, match="nothing is missing"):
        store.read_block("nothing", 0, 1, 0)


def test_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="could not write") as refused:
        Store(tmp_path / "file").write("x", b"1")
    assert "\n" not in str(refused.value)


def test_checksum_sees_every_byte():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    other = values.copy()
    other[1, 2] = np.nextafter(other[1, 2], 9, dtype=np.float32)
    assert checksum(values) == checksum(values.copy())
    assert checksum(values) != checksum(other)
    assert checksum(values[:, ::2]) == checksum(values[:, ::2].copy())
