"""Parts of recorded signals are those of the whole, checked piece by piece."""

import json
import math

import numpy as np
import pytest

from mia_jax.runs import store
from mia_jax.runs.identity import RunError
from mia_jax.runs.segments import Segments
from mia_jax.runs.store import Store, StoreError, checksum, piece_of
from mia_jax.training import Observed, Segment
from mia_jax.types import Signals

K, N, Z, C, CHUNK = 10, 37, 5, 3, 4


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of 2 models and 4 records, files of 3 pieces or so along the records."""
    monkeypatch.setattr(store, "ENTRIES_OF_A_PIECE", 8)
    monkeypatch.setattr(store, "RECORDS_OF_A_PIECE", 4)
    monkeypatch.setattr(store, "MODELS_OF_A_PIECE", 2)
    monkeypatch.setattr(store, "ENTRIES_OF_A_FILE", 48)


def opened(place, **changes):
    given = {"hash": "h", "num_models": K, "num_checkpoints": 2, "parameters": "none"} | changes
    return Segments(Store(place), "f", **given)


def signals(rng, *shape):
    return Signals(*(rng.normal(size=shape).astype(np.float32) for _ in Signals._fields))


def recorded(place, chunks=((0, 4), (4, 8), (8, 10)), models_per_chunk=CHUNK, checkpoints=(0, 1)):
    """Everything that is written of made-up models: {name: [K, T, …]}, and the segments."""
    rng, kept, told = np.random.default_rng(0), opened(place), {}
    for start, stop in chunks:
        for t in checkpoints:
            count = stop - start
            pool, population, test = (signals(rng, count, size) for size in (N, Z, Z))
            seen = rng.integers(-1, 9, (count, N)).astype(np.int32)
            logits = {"pool": rng.normal(size=(count, N, C)).astype(np.float32)}
            observed = Observed(pool, population, test, seen, logits, {})
            kept.write(Segment(start, stop, t, t, observed, ()), models_per_chunk=models_per_chunk, session=0)
            for name, values in {
                "pool/log_prob": pool.log_prob,
                "population/entropy": population.entropy,
                "pool/last_seen": seen,
                "pool/logits": logits["pool"],
            }.items():
                told.setdefault(name, {}).setdefault(t, []).append(values)
    return {name: np.stack([np.concatenate(one) for one in of.values()], axis=1) for name, of in told.items()}


PARTS = [slice(None), slice(0, 1), slice(3, 5), slice(9, 10), slice(2, 9), slice(-3, None)]


@pytest.mark.parametrize("name", ["pool/log_prob", "population/entropy", "pool/last_seen", "pool/logits"])
@pytest.mark.parametrize("pieces", ["whole", "small"])
def test_parts_are_those_of_the_whole(tmp_path, request, name, pieces):
    if pieces == "small":
        request.getfixturevalue("small_pieces")
    told = recorded(tmp_path)[name]
    kept = opened(tmp_path)
    for models in PARTS:
        for records in PARTS:
            got = kept.signal(name, 1, models=models, records=records)
            np.testing.assert_array_equal(got, told[models, 1][:, records])
            assert got.dtype == told.dtype
    assert kept.signal(name, 0, records=slice(2, 2)).shape == (K, 0, *told.shape[3:])


def test_no_models_and_steps_are_refused(tmp_path):
    recorded(tmp_path)
    kept = opened(tmp_path)
    with pytest.raises(ValueError, match="it must name one of the 10 models at least"):
        kept.signal("pool/log_prob", 0, models=slice(4, 4))
    with pytest.raises(ValueError, match="blocks are of neighbours"):
        kept.signal("pool/log_prob", 0, records=slice(0, 9, 2))


def test_what_was_not_recorded_is_refused(tmp_path):
    recorded(tmp_path)
    with pytest.raises(StoreError, match="pool/gradient_norm is missing"):
        opened(tmp_path).signal("pool/gradient_norm", 0)


@pytest.mark.parametrize("models_per_chunk", [4, 8, 10])
def test_segments_that_share_a_file_do_not_lose_each_others_numbers(tmp_path, small_pieces, models_per_chunk):
    told = recorded(tmp_path, ((0, 3), (3, 8), (8, 10)), models_per_chunk)["pool/log_prob"]
    np.testing.assert_array_equal(opened(tmp_path).signal("pool/log_prob", 1), told[:, 1])


def test_models_of_chunks_that_overlap_are_counted_once(tmp_path):
    """A begun chunk is kept whatever is cut now, so that a later one may reach into it."""
    recorded(tmp_path, chunks=((0, 4), (2, 7)), models_per_chunk=1)
    assert opened(tmp_path).models_finished() == 7
    recorded(tmp_path, chunks=((7, 10),), models_per_chunk=1)
    assert opened(tmp_path).models_finished() == 10


def test_of_chunks_that_overlap_the_one_that_is_further_stays(tmp_path):
    recorded(tmp_path, chunks=((0, 4),), models_per_chunk=1, checkpoints=(0,))
    recorded(tmp_path, chunks=((2, 6),), models_per_chunk=1)
    assert opened(tmp_path).chunks(4) == [(0, 2), (2, 6), (6, 10)]


def test_models_of_an_unfinished_chunk_are_not_read(tmp_path):
    recorded(tmp_path, chunks=((0, 4), (4, 8)))
    recorded(tmp_path, chunks=((8, 10),), checkpoints=(0,))
    kept = opened(tmp_path)
    assert (kept.models_finished(), kept.segments_left(8, 10), kept.segments_left(0, 4)) == (8, 1, 0)
    with pytest.raises(RunError, match="holds 8 of 10 finished models of family f"):
        kept.signal("pool/log_prob", 0, models=slice(0, 4))


def test_a_state_is_kept_until_the_next_one_is(tmp_path):
    recorded(tmp_path, chunks=((0, 4),), checkpoints=(0,))
    states = tmp_path / "states" / "f"
    assert [path.name for path in states.rglob("*.npz")] == ["0000.npz"]
    assert opened(tmp_path).resume(0, 4) == (0, [])
    Store(tmp_path).write_arrays("states/f/000000-000004/0000.npz", {"00000": np.ones(3)})
    assert opened(tmp_path).resume(0, 4) is None  # whole, and not the one that was recorded
    recorded(tmp_path, chunks=((0, 4),), checkpoints=(1,))
    assert not list(states.rglob("*.npz"))
    assert opened(tmp_path).resume(4, 8) is None


def test_segments_of_another_making_and_models_too_many_are_refused(tmp_path):
    recorded(tmp_path)
    with pytest.raises(RunError, match="records models 0 to 3 of another run"):
        opened(tmp_path, hash="other")
    with pytest.raises(RunError, match=r"num_models is 7 here, and 8 models of family f .* may only grow"):
        opened(tmp_path, num_models=7)
    assert opened(tmp_path, num_models=12).models_finished() == 10


def damage(place, name, change):
    """Change one number of a signal behind the record's back."""
    array = Store(place).open_array(f"signals/f/{name}")
    array[change].write(np.float32(9.0)).result()


def test_a_damaged_piece_is_refused_by_whoever_reads_it_and_by_nobody_else(tmp_path, small_pieces):
    told = recorded(tmp_path)["pool/log_prob"]
    damage(tmp_path, "pool/log_prob", (5, 1, 9))  # of models 4 and 5, records 8 to 11
    kept = opened(tmp_path)
    for models, records in (
        (slice(4, 5), slice(11, 12)),
        (slice(5, 9), slice(0, 9)),
        (slice(None), slice(None)),
    ):
        with pytest.raises(RunError, match="pool/log_prob is damaged for models 4 to 7: delete"):
            kept.signal("pool/log_prob", 1, models=models, records=records)
    for models, records in (
        (slice(6, 8), slice(None)),
        (slice(4, 6), slice(12, None)),
        (slice(0, 4), slice(8, 12)),
    ):
        got = kept.signal("pool/log_prob", 1, models=models, records=records)
        np.testing.assert_array_equal(got, told[models, 1][:, records])


def test_checksums_of_a_record_are_those_of_its_pieces(tmp_path, small_pieces):
    told = recorded(tmp_path)["pool/log_prob"]
    record = json.loads((tmp_path / "commits/f/000004-000008/0001.json").read_text())["checksums"][
        "pool/log_prob"
    ]
    assert record["piece"] == [2, 4]
    for row, sums in enumerate(record["crc32"]):
        for column, one in enumerate(sums):
            piece = told[4 + 2 * row : 6 + 2 * row, 1, 4 * column : 4 * column + 4]
            assert one == checksum(piece)
    assert np.shape(record["crc32"]) == (2, math.ceil(N / 4))


@pytest.mark.parametrize(
    ("models", "records", "width", "piece"),
    [
        (16, 1000, 1, (16, 1000)),  # a small study: one piece
        (16, 2**14, 1, (16, 2**14)),
        (16, 10**6, 1, (16, 8192)),
        (24, 10**6, 1, (12, 8192)),
        (17, 10**6, 1, (1, 8192)),
        (256, 10**6, 1, (16, 8192)),
        (16, 10**6, 10, (16, 1024)),
        (16, 10**6, 2**20, (16, 1)),
    ],
)
def test_pieces_are_small_and_divide_the_models(models, records, width, piece):
    assert piece_of(models, records, width) == piece
    assert models % piece[0] == 0


def test_large_blocks_are_few_files(tmp_path):
    array = Store(tmp_path).array("x", (32, 2, 100_000), np.float32, models_per_chunk=16)
    assert array.chunk_layout.write_chunk.shape == (16, 1, 106_496)  # 13 pieces: all records
    assert array.chunk_layout.read_chunk.shape == (16, 1, 8192)
    huge = Store(tmp_path).array("y", (64, 1, 10**6), np.float32, models_per_chunk=64)
    assert huge.chunk_layout.write_chunk.shape == (64, 1, 65_536)
    assert huge.chunk_layout.read_chunk.shape == (16, 1, 8192)
