"""From an archive, or from arrays in memory, to checked contents: every array is read once."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from mia_jax.config import ConfigError
from mia_jax.signals_file.arrays import Arrays
from mia_jax.signals_file.contents import SignalsFile, completed
from mia_jax.signals_file.layout import Header, check_names, refuse
from mia_jax.types import Array

Part = TypeVar("Part")

HASHED_AT_ONCE = 2**20
"""How many bytes are copied at once to be hashed."""


def load(path: str | Path, *, embedding_p: float = 2.0) -> SignalsFile:
    """The signals in the archive at `path`.

    embedding_p: the p of the embedding's norm, from 1 to infinity. Names, dtypes and shapes are
    checked before any numbers are read. Raises `ConfigError`, which begins with the path.
    """
    file = Path(path).expanduser()
    try:
        if not file.is_file():
            what = "a directory" if file.is_dir() else f"no file (a relative path starts at {Path.cwd()})"
            refuse(f"it is {what}; name the .npz file that holds member and the signals.")
        with file.open("rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                refuse("it holds a single array (.npy); save several by name with numpy.savez.")
            with _archive(stream) as archive:
                brought = _of_archive(archive, embedding_p)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    return brought._replace(facts={"file": str(file), **brought.facts})


def observations_of(arrays: Mapping[str, Array], *, embedding_p: float = 2.0) -> SignalsFile:
    """The same from arrays in memory, by the names a file gives them; none is changed.

    Raises `ConfigError`.
    """
    if not isinstance(arrays, Mapping):
        refuse(f"arrays is a {type(arrays).__name__}: it must be a mapping from names to arrays.")
    check_names(arrays)
    held = {name: _in_memory(name, values) for name, values in arrays.items()}
    headers = {name: Header(array.shape, array.dtype) for name, array in held.items()}
    return _hashed(headers, held.__getitem__, embedding_p)


def _archive(stream: IO[bytes]) -> zipfile.ZipFile:
    """The opened archive."""
    try:
        return zipfile.ZipFile(stream)
    except zipfile.BadZipFile:
        refuse("it is no NumPy archive (.npz), or a damaged one; write it with numpy.savez.")


def _of_archive(archive: zipfile.ZipFile, embedding_p: float) -> SignalsFile:
    """The contents of an open archive."""
    entries = {entry.removesuffix(".npy"): entry for entry in archive.namelist()}
    check_names(entries)
    headers = {name: _entry(archive, name, entry, _header) for name, entry in entries.items()}
    return _hashed(headers, lambda name: _entry(archive, name, entries[name], _array), embedding_p)


def _hashed(
    headers: Mapping[str, Header], read: Callable[[str], np.ndarray], embedding_p: float
) -> SignalsFile:
    """The contents, and the hash of all that was read for them."""
    digests: dict[str, str] = {}

    def read_and_hash(name: str) -> np.ndarray:
        array = read(name)
        digests[name] = _digest(array)
        return array

    brought = completed(Arrays(headers, read_and_hash), embedding_p)
    fingerprint = hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()
    return brought._replace(facts={"fingerprint": fingerprint, **brought.facts})


def _entry(archive: zipfile.ZipFile, name: str, entry: str, take: Callable[[IO[bytes]], Part]) -> Part:
    """What `take` makes of an entry, or the sentence on why it cannot be read."""
    try:
        with archive.open(entry) as stream:
            return take(stream)
    except MemoryError as error:
        refuse(f"{name} does not fit into memory ({error}); save it as float32, or fewer records.")
    except Exception as error:  # damaged archives raise a dozen unrelated types
        refuse(f"{name} cannot be read ({error}); the file is damaged: write it anew with numpy.savez.")


def _header(stream: IO[bytes]) -> Header:
    """Shape and dtype of an entry."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format is {version}")
    shape, _, dtype = readers[version](stream)
    return Header(shape, dtype)


def _array(stream: IO[bytes]) -> np.ndarray:
    """The array of an entry."""
    return np.lib.format.read_array(stream, allow_pickle=False)


def _in_memory(name: str, values: Array) -> np.ndarray:
    """An array, of lists too where they are not ragged."""
    try:
        return np.asarray(values)
    except ValueError as error:
        refuse(f"{name} is no array ({error}); pad lists of unequal lengths to one length.")


def _digest(array: np.ndarray) -> str:
    """A hash of dtype, shape and numbers of an array [M, ...], the same for every layout in memory."""
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    rows = max(1, HASHED_AT_ONCE * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), rows):
        found.update(array[start : start + rows].tobytes())
    return found.hexdigest()
