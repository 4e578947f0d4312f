"""Archives: read once, whole or not at all, and known again by what they hold."""

import re
import tracemalloc

import numpy as np
import pytest

from mia_jax.config import ConfigError
from mia_jax.signals_file import load, observations_of


@pytest.fixture
def reads(monkeypatch):
    """The entries whose numbers are read, in their order."""
    names, read = [], np.lib.format.read_array

    def read_array(stream, **options):
        names.append(stream.name)
        return read(stream, **options)

    monkeypatch.setattr(np.lib.format, "read_array", read_array)
    return names


def test_round_trip(tmp_path, world):
    memory = observations_of(world.arrays)
    np.savez(tmp_path / "plain.npz", **world.arrays)
    turned = {name: np.asfortranarray(array) for name, array in world.arrays.items()}
    np.savez_compressed(tmp_path / "packed.npz", **turned)
    for name in ("plain.npz", "packed.npz"):
        found = load(str(tmp_path / name))
        for field, value in memory.observations._asdict().items():
            np.testing.assert_array_equal(getattr(found.observations, field), value, err_msg=field)
        for group, value in memory.groups.items():
            np.testing.assert_array_equal(found.groups[group], value)
        assert found.facts == memory.facts | {"file": str(tmp_path / name)}


def test_the_fingerprint_is_of_the_contents(world):
    def fingerprint(arrays):
        return observations_of(arrays).facts["fingerprint"]

    arrays = world.only("logits", "labels", "slice_age", "slice_right")
    known = fingerprint(arrays)
    assert len(known) == 64
    assert fingerprint(dict(reversed(arrays.items()))) == known
    moved = np.array(arrays["logits"])
    moved[4, 6, 2] += 1e-9
    for other in (moved, arrays["logits"].astype(np.float32)):
        assert fingerprint(arrays | {"logits": other}) != known
    assert fingerprint(arrays | {"slice_age": arrays["slice_age"].astype(np.uint64)}) != known
    values = world.arrays["gradient_norm"]
    assert fingerprint(world.only(gradient_norm=values)) != fingerprint(world.only(embedding_norm=values))


def test_every_array_is_read_once_and_no_second_copy_is_held(tmp_path, reads):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 8000, 50)).astype(np.float32)
    member, labels = rng.random((6, 8000)) < 0.5, np.arange(8000) % 50
    np.savez(tmp_path / "large.npz", member=member, labels=labels, logits=logits)
    tracemalloc.start()
    load(tmp_path / "large.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(reads) == ["labels.npy", "logits.npy", "member.npy"]
    # Beside the logits: the five signals, and what a block of records needs.
    assert peak < logits.nbytes + 5 * member.size * 8 + 4e6


def test_shapes_are_refused_before_numbers_are_read(tmp_path, world, reads):
    np.savez(tmp_path / "wrong.npz", **world.but(labels=np.arange(6) % 3))
    with pytest.raises(ConfigError, match=r"wrong\.npz: labels has shape \(6,\): it must be \[N\] = \[7\]"):
        load(tmp_path / "wrong.npz")
    assert reads == ["member.npy"]


def test_files_that_are_none(tmp_path, world):
    good, broken = tmp_path / "good.npz", tmp_path / "broken.npz"
    np.savez(good, **world.only("logits", "labels"))
    content = good.read_bytes()
    np.save(tmp_path / "single.npy", world.arrays["logits"])

    def refused(written, sentence):
        broken.write_bytes(written)
        with pytest.raises(ConfigError, match=rf"^{re.escape(str(broken))}: {sentence}.*\.$"):
            load(broken)

    for written in (b"", b"some text", content[: len(content) // 2], content[:-30] + bytes(30)):
        refused(written, r"it is no NumPy archive \(\.npz\), or a damaged one; write it with numpy\.savez")
    single = (tmp_path / "single.npy").read_bytes()
    refused(single, r"it holds a single array \(\.npy\); save several by name with numpy\.savez")
    where = content.index(world.arrays["logits"].tobytes()) + 11
    damaged = content[:where] + b"!" + content[where + 1 :]
    refused(damaged, r"logits cannot be read \(Bad CRC-32.*\); the file is damaged: write it anew")
    header = content.replace(b"'descr'", b"'scrde'")
    refused(header, r"member cannot be read \(.*\); the file is damaged: write it anew")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(
        ConfigError, match=r"none\.npz: it is no file \(a relative path starts at .*\); name the"
    ):
        load(tmp_path / "none.npz")
    with pytest.raises(ConfigError, match=r": it is a directory; name the \.npz file that holds member"):
        load(tmp_path)


def test_empty_archives(tmp_path):
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(ConfigError, match=r"empty\.npz: member is missing \(there is no array at all\): add"):
        load(tmp_path / "empty.npz")


def test_pickles_are_never_loaded(tmp_path, world):
    ragged = np.empty((5, 7), object)
    ragged[:] = [[[1.0]] * 7] * 5
    np.savez(tmp_path / "objects.npz", **world.only(step_logits=ragged))
    with pytest.raises(
        ConfigError, match=r"step_logits has dtype object: Python objects \(pickles\) are never"
    ):
        load(tmp_path / "objects.npz")
