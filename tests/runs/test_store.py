"""Entries are whole or absent, arrays grow, and what is wrong is one sentence."""

import errno
import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mia_jax.runs import locking
from mia_jax.runs.store import Store, StoreError, address, below, checksum, has_locks, unwritten


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
    store.write("a/one.json", b"4")
    store.delete("a/one")
    store.delete("a/one")
    assert store.names() == ["a/one.json", "a/two", "b/three"]  # what is only named like it stays
    store.delete_under("a/")
    assert store.names() == ["b/three"]


def test_addresses_may_be_of_other_stores():
    store = Store("memory://somewhere")
    store.write_json("x.json", {"a": [1, None]})
    assert store.read_json("x.json") == {"a": [1, None]}


def test_stores_of_one_address_hold_the_same():
    array = Store("memory://shared/run").array("x", (2, 1, 3), np.float32, models_per_chunk=2)
    Store("memory://shared/run").write_blocks([(array, 0, 2, 0, np.ones((2, 3), np.float32))])
    assert (Store("memory://shared/run/").read_block("x", 0, 2, 0) == 1).all()


def test_local_paths_are_paths_and_others_stay_urls(tmp_path):
    assert address("runs/digits") == Path("runs/digits")
    assert address(tmp_path) == tmp_path
    assert address("file:///data/my%20run") == Path("/data/my run")
    assert address("gs://bucket/runs/") == "gs://bucket/runs"
    assert below(tmp_path, "report.html") == tmp_path / "report.html"
    assert below("gs://bucket/runs", "report.html") == "gs://bucket/runs/report.html"
    with pytest.raises(StoreError, match="file://host/data names no local path"):
        address("file://host/data")
    with pytest.raises(StoreError, match="could not open nothing://x"):
        Store("nothing://x")


def test_a_store_that_speaks_s3_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    monkeypatch.setenv("AWS_REGION", "here")
    spec = Store("s3://the-bucket/runs/digits")._entries.spec().to_json()
    spec.pop("aws_credentials", None)
    assert spec == {
        "driver": "s3",
        "bucket": "the-bucket",
        "path": "runs/digits/",
        "endpoint": "http://localhost:1",
        "aws_region": "here",
    }


def test_any_name_of_a_folder_is_taken_as_it_is(tmp_path):
    for name in ("with space", "50%20", "a#b", "was?", "ü"):
        store = Store(tmp_path / name)
        store.write("x", b"1")
        array = store.array("a", (1, 1, 2), np.float32, models_per_chunk=1)
        store.write_blocks([(array, 0, 1, 0, np.ones((1, 2), np.float32))])
        assert (tmp_path / name / "x").read_bytes() == b"1"
        assert (tmp_path / name / "a" / "zarr.json").exists()


@pytest.mark.parametrize("place", ["local", "memory"])
def test_an_entry_is_written_over_a_known_version_only(place, tmp_path):
    store = Store(tmp_path if place == "local" else f"memory://{tmp_path.name}")
    content, missing = store.read_version("x")
    assert content is None
    first = store.write_version("x", b"1", missing)
    assert store.write_version("x", b"2", missing) is None
    assert store.read_version("x") == (b"1", first)
    second = store.write_version("x", b"2", first)
    assert store.write_version("x", None, first) is None
    assert store.read("x") == b"2"
    assert store.write_version("x", None, second) is not None
    assert not store.exists("x")


def test_many_entries_are_read_at_once_and_all_must_be_there(store):
    for number in range(5):
        store.write_json(f"{number}.json", {"n": number})
    assert store.require_jsons([f"{n}.json" for n in (3, 1)]) == [{"n": 3}, {"n": 1}]
    assert store.require_jsons([]) == []
    with pytest.raises(StoreError, match=r"9\.json is missing"):
        store.require_jsons(["1.json", "9.json"])


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


def test_whole_arrays_of_another_checksum_are_none(store):
    old = store.write_arrays("x.npz", {"a": np.arange(3)})
    new = store.write_arrays("x.npz", {"a": np.arange(4)})
    assert store.read_arrays("x.npz", old) is None
    np.testing.assert_array_equal(store.read_arrays("x.npz", new)["a"], np.arange(4))


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


def test_a_damaged_file_of_an_array_is_not_read_as_numbers(store, tmp_path):
    array = store.array("x", (2, 1, 5), np.float64, models_per_chunk=2)
    store.write_blocks([(array, 0, 2, 0, np.arange(10.0).reshape(2, 5))])
    (file,) = (path for path in (tmp_path / "x" / "c").rglob("*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"could not read .*/x: it is damaged; restore it"):
        Store(tmp_path).read_block("x", 0, 2, 0)


def test_checksum_sees_every_byte():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    other = values.copy()
    other[1, 2] = np.nextafter(other[1, 2], 9, dtype=np.float32)
    assert checksum(values) == checksum(values.copy())
    assert checksum(values) != checksum(other)
    assert checksum(values[:, ::2]) == checksum(values[:, ::2].copy())


def test_some_arrays_of_an_entry_are_read_alone(store):
    for one in (store, Store("memory://some")):
        one.write_arrays("s.npz", {"a": np.arange(5.0), "b": np.ones((2, 3), bool)})
        found = one.read_some("s.npz", ("b",))
        assert set(found) == {"b"}
        np.testing.assert_array_equal(found["b"], np.ones((2, 3), bool))
        assert one.read_some("s.npz", ("a", "none")) is None
        assert one.read_some("missing.npz", ("a",)) is None
        one.write("s.npz", b"PK no longer")
        assert one.read_some("s.npz", ("a",)) is None


def test_some_records_of_a_block(store):
    array = store.array("x", (4, 2, 9), np.float32, models_per_chunk=4, records_per_file=3)
    values = np.arange(36, dtype=np.float32).reshape(4, 9)
    for start in range(0, 9, 3):
        store.write_blocks([(array[:, :, start : start + 3], 0, 4, 1, values[:, start : start + 3])])
    np.testing.assert_array_equal(store.read_block("x", 1, 3, 1, records=slice(2, 8)), values[1:3, 2:8])
    assert store.read_block("x", 1, 3, 1, records=slice(4, 4)).shape == (2, 0)


@pytest.fixture
def without_locks(monkeypatch):
    """A file system that has no locks to give, as far as this process asks for them."""

    def refused(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)


def test_where_there_are_no_locks_files_beside_hold_what_is_written(without_locks, tmp_path):
    assert not has_locks(tmp_path / "not" / "there" / "yet")
    store = Store(tmp_path)
    store.write("a/b", b"1")
    held = tmp_path / "a" / "b.__lock"
    held.touch()
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(store.write, "a/b", b"2")
        with pytest.raises(TimeoutError):
            writing.result(timeout=0.5)
        assert store.read("a/b") == b"1"
        store.release("a/")
        writing.result(timeout=60)
    assert store.read("a/b") == b"2"
    assert not list(tmp_path.rglob("*.__lock"))


def test_where_there_are_locks_nothing_is_released(tmp_path):
    (tmp_path / "b.__lock").touch()
    Store(tmp_path).release()
    assert (tmp_path / "b.__lock").exists()


def test_a_store_without_locks_is_held_by_an_entry_and_what_the_dead_hold_is_free(without_locks, tmp_path):
    (tmp_path / "commits").mkdir()
    left = tmp_path / "commits" / "0001.json.__lock"
    left.touch()
    with locking.locked(tmp_path):
        assert (tmp_path / "lock.json").exists()
        assert not left.exists()
    assert not (tmp_path / "lock.json").exists()


def test_other_errors_of_locking_are_not_taken_for_their_lack(monkeypatch, tmp_path):
    assert has_locks(tmp_path)

    def busy(handle, operation):
        raise BlockingIOError(errno.EAGAIN, "busy")

    monkeypatch.setattr(fcntl, "flock", busy)
    assert has_locks(tmp_path)


def test_what_was_never_written_is_known_from_nan(tmp_path):
    array = Store(tmp_path).array("x", (1, 1, 6), np.float64, models_per_chunk=1, records_per_file=2)
    values = np.array([[np.nan, -np.nan, np.inf - np.inf, 1.0]])
    Store(tmp_path).write_blocks([(array[:, :, :4], 0, 1, 0, values)])
    assert not unwritten(Store(tmp_path).read_block("x", 0, 1, 0, records=slice(0, 4)))
    assert unwritten(Store(tmp_path).read_block("x", 0, 1, 0))
