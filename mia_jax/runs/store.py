"""Bytes and arrays under one address, each write whole or not at all.

TensorStore does the work: an address is a local path, or whatever else it can open (a bucket,
memory). What goes wrong becomes a `StoreError` that says what, where and what remains usable.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import io
import json
import math
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import tensorstore as ts

RECORDS_OF_A_PIECE, MODELS_OF_A_PIECE = 8_192, 16
"""Records and models at most of what is read and checked alone: half a megabyte of a signal."""

ENTRIES_OF_A_PIECE = 2**18
"""Entries up to which all that is written at once is one piece: small studies have small files, and few."""

ENTRIES_OF_A_FILE = 2**22
"""Entries of one file, about: a larger one is written by one processor, smaller ones are too many."""


class StoreError(OSError):
    """Something could not be read or written; the message is one sentence with the remedy."""


Address = str | Path
"""A local path, or the URL of a place that TensorStore opens: `gs://…`, `s3://…`, `memory://…`."""


def address(text: Address) -> Address:
    """The address that a text names: a `Path` where it is local, as `file://…` is too, else the URL."""
    if isinstance(text, Path) or "://" not in text:
        return Path(text)
    if not text.startswith("file://"):
        return text.rstrip("/")
    parts = urlsplit(text)
    if parts.netloc or not parts.path:
        raise StoreError(f"{text} names no local path: write file:///FOLDER, or the path alone.")
    return Path(unquote(parts.path))


def below(place: Address, name: str) -> Address:
    """The address of an entry or a folder below another."""
    return place / name if isinstance(place, Path) else f"{place}/{name}"


WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a network file system without locks answers to one who asks for them."""


LOCKED = ".__lock"
"""How the names of files end that hold others."""


def has_locks(folder: Path) -> bool:
    """Whether the file system of a folder, or of the nearest one above it that is there, has locks.

    A file of its own is asked: of folders, network file systems keep locks that nobody else sees, and a file that
    others lock would look locked to them.
    """
    there = next((place for place in (folder, *folder.absolute().parents) if place.is_dir()), folder)
    try:
        with tempfile.TemporaryFile(dir=there, suffix=LOCKED) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # whoever writes where this cannot will hear of it
        return error.errno not in WITHOUT_LOCKS
    return True


class Store:
    """A folder of named entries. place: a local path or a TensorStore URL (`gs://…`, `memory://…`)."""

    def __init__(self, place: Address) -> None:
        self.place = address(place)
        self.address = str(self.place)
        self._context = _context(isinstance(self.place, Path) and not has_locks(self.place))
        try:
            self._entries = ts.KvStore.open(_spec(self.place), context=self._context).result()
        except ValueError as error:
            raise _sentence("open", self.address, error) from None

    def read(self, name: str) -> bytes | None:
        """The bytes of an entry, None where it does not exist."""
        try:
            found = self._entries.read(name).result()
        except ValueError as error:
            raise _sentence("read", f"{self.address}/{name}", error) from None
        return found.value if found.state == "value" else None

    def read_version(self, name: str) -> tuple[bytes | None, bytes]:
        """The bytes of an entry, None where it does not exist, and the version that `write_version` asks for."""
        try:
            found = self._entries.read(name).result()
        except ValueError as error:
            raise _sentence("read", f"{self.address}/{name}", error) from None
        return found.value if found.state == "value" else None, found.stamp.generation

    def write_version(self, name: str, content: bytes | None, version: bytes) -> bytes | None:
        """Write an entry, or remove it (None), if it is still of a version; the new version, or None where not."""
        try:
            stamp = self._entries.write(name, content, if_equal=version).result()
        except ValueError as error:
            raise _sentence("write", f"{self.address}/{name}", error) from None
        return stamp.generation or None

    def exists(self, name: str) -> bool:
        """Whether there is an entry of this name."""
        return self.read(name) is not None

    def write(self, name: str, content: bytes) -> None:
        """Write an entry, replacing what was there in one step."""
        try:
            self._entries.write(name, content).result()
        except ValueError as error:
            raise _sentence("write", f"{self.address}/{name}", error) from None

    def delete(self, name: str) -> None:
        """Remove an entry, if it is there."""
        try:
            self._entries.delete_range(ts.KvStore.KeyRange(name, name + "\0")).result()
        except ValueError as error:
            raise _sentence("delete", f"{self.address}/{name}", error) from None

    def delete_under(self, prefix: str) -> None:
        """Remove every entry whose name begins with `prefix`."""
        try:
            self._entries.delete_range(ts.KvStore.KeyRange(prefix, prefix + "\U0010ffff")).result()
        except ValueError as error:
            raise _sentence("delete", f"{self.address}/{prefix}", error) from None

    def release(self, under: str = "", *, but: str = "") -> None:
        """Remove what holds files, other than the one of an entry, below a folder whose other writers are all dead.

        Only where there are no locks; the system's own end with their process.
        """
        if isinstance(self.place, Path) and not has_locks(self.place):
            for left in list((self.place / under).rglob(f"*{LOCKED}")):
                if left != self.place / f"{but}{LOCKED}":
                    left.unlink(missing_ok=True)

    def names(self, prefix: str = "") -> list[str]:
        """The names of all entries that begin with `prefix`, sorted."""
        try:
            found = self._entries.list(ts.KvStore.KeyRange(prefix, prefix + "\U0010ffff")).result()
        except ValueError as error:
            raise _sentence("list", f"{self.address}/{prefix}", error) from None
        return sorted(name.decode() for name in found)

    def read_json(self, name: str) -> Any | None:
        """The value of a JSON entry, None where it does not exist."""
        content = self.read(name)
        return None if content is None else self._parsed(name, content)

    def require_jsons(self, names: Sequence[str]) -> list[Any]:
        """The values of JSON entries that must exist, read side by side (`StoreError`)."""
        reading = [self._entries.read(name) for name in names]
        values = []
        for name, read in zip(names, reading, strict=True):
            try:
                found = read.result()
            except ValueError as error:
                raise _sentence("read", f"{self.address}/{name}", error) from None
            if found.state != "value":
                raise StoreError(f"{self.address}/{name} is missing: restore it, or begin a new workdir.")
            values.append(self._parsed(name, found.value))
        return values

    def require_json(self, name: str) -> Any:
        """The value of a JSON entry that must exist (`StoreError`)."""
        return self.require_jsons([name])[0]

    def _parsed(self, name: str, content: bytes) -> Any:
        """The value of a JSON entry's content (`StoreError`)."""
        try:
            return json.loads(content)
        except ValueError:
            raise StoreError(
                f"{self.address}/{name} is not readable JSON: restore it, or begin a new workdir."
            ) from None

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON; NaN is refused."""
        self.write(name, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> int:
        """Write named arrays as one .npz entry and return its checksum."""
        return self.begin_arrays(name, arrays)()

    def begin_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> Callable[[], int]:
        """Begin what `write_arrays` does; the function that is returned waits for it and gives the checksum."""
        buffer = io.BytesIO()
        named: dict[str, Any] = dict(arrays)
        np.savez(buffer, **named)
        content = buffer.getvalue()
        try:
            write = self._entries.write(name, content)
        except ValueError as error:
            raise _sentence("write", f"{self.address}/{name}", error) from None

        def finish() -> int:
            # The disk is busy by now, and needs no processor.
            checksum = zlib.crc32(content)
            try:
                write.result()
            except ValueError as error:
                raise _sentence("write", f"{self.address}/{name}", error) from None
            return checksum

        return finish

    def read_some(self, name: str, names: Collection[str]) -> dict[str, np.ndarray] | None:
        """These arrays of an .npz entry, read alone from a local file; None where it or one is missing or damaged."""
        source: Any = (
            self.place / name if isinstance(self.place, Path) else io.BytesIO(self.read(name) or b"")
        )
        try:
            with np.load(source, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in names}
        except (ValueError, OSError, zipfile.BadZipFile, zlib.error, KeyError, EOFError):
            return None

    def read_arrays(self, name: str, checksum: int | None = None) -> dict[str, np.ndarray] | None:
        """Named arrays of an .npz entry; None where it is missing, damaged or of another checksum."""
        content = self.read(name)
        if content is None or (checksum is not None and zlib.crc32(content) != checksum):
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except (ValueError, OSError, zipfile.BadZipFile, zlib.error, KeyError, EOFError):
            return None

    def array(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: Any,
        *,
        models_per_chunk: int,
        records_per_file: int | None = None,
    ) -> ts.TensorStore:
        """The Zarr array `name` [K, T, N, …], made where it is missing and grown along K where shorter.

        models_per_chunk, records_per_file: of what is written at once (None: all N records), so that no two
        writers share a file. Unwritten entries are NaN (in float64 one that `unwritten` knows), or -2 in an
        integer array.
        """
        try:
            opened = self._open_array(name)
            if opened is None:
                metadata = _metadata(shape, dtype, models_per_chunk, records_per_file or shape[2])
                spec = {"driver": "zarr3", "kvstore": self._folder(name), "metadata": metadata}
                # Where another process has made it meanwhile, that one is opened.
                return ts.open(spec, create=True, open=True, context=self._context).result()
            if opened.shape[1:] != shape[1:]:
                raise StoreError(
                    f"{self.address}/{name} has shape {list(opened.shape)}, this run writes {list(shape)}: "
                    "it is of another run; use another workdir, or --overwrite."
                )
            if opened.shape[0] < shape[0]:
                opened = opened.resize(exclusive_max=[shape[0], *[None] * (len(shape) - 1)]).result()
            return opened
        except ValueError as error:
            raise _sentence("open", f"{self.address}/{name}", error) from None

    def write_blocks(self, blocks: Iterable[tuple[ts.TensorStore, int, int, int, np.ndarray]]) -> None:
        """Write blocks (array, start, stop, checkpoint, values [M, …]) side by side and wait for all."""
        self.begin_blocks(blocks)()

    def begin_blocks(
        self, blocks: Iterable[tuple[ts.TensorStore, int, int, int, np.ndarray]]
    ) -> Callable[[], None]:
        """Begin what `write_blocks` does; the function that is returned waits for all."""
        try:
            writes = [array[start:stop, t].write(values) for array, start, stop, t, values in blocks]
            for write in writes:
                write.commit.force()
        except ValueError as error:
            raise _sentence("write", self.address, error) from None

        def finish() -> None:
            try:
                for write in writes:
                    write.result()
            except ValueError as error:
                raise _sentence("write", self.address, error) from None

        return finish

    def open_array(self, name: str) -> ts.TensorStore:
        """An array that must exist (`StoreError`)."""
        try:
            array = self._open_array(name)
        except ValueError as error:
            raise _sentence("read", f"{self.address}/{name}", error) from None
        if array is None:
            raise StoreError(f"{self.address}/{name} is missing: run the training again to restore it.")
        return array

    def read_block(
        self,
        name: str,
        start: int,
        stop: int,
        checkpoint: int,
        *,
        records: slice = slice(None),
        array: ts.TensorStore | None = None,
    ) -> np.ndarray:
        """Models start…stop-1 and some records of an array at one checkpoint: [M, …].

        array: `open_array` of the name, where it was opened before.
        """
        array = self.open_array(name) if array is None else array
        try:
            return array[start:stop, checkpoint, records].read().result()
        except ValueError as error:
            raise _sentence("read", f"{self.address}/{name}", error) from None

    def _open_array(self, name: str) -> ts.TensorStore | None:
        """An array that exists, or None."""
        if self.read(f"{name}/zarr.json") is None:
            return None
        return ts.open({"driver": "zarr3", "kvstore": self._folder(name)}, context=self._context).result()

    def _folder(self, name: str) -> Any:
        """What TensorStore calls a folder of this store."""
        return (self._entries / f"{name}/").spec().to_json()


def unwritten(values: np.ndarray) -> bool:
    """Whether any of what was read of a float64 array was never written, or its file is gone."""
    return bool(np.any(values.view(np.uint64) == _UNWRITTEN))


def checksum(values: np.ndarray) -> int:
    """CRC-32 of an array's bytes in C order."""
    return zlib.crc32(np.ascontiguousarray(values).view(np.uint8).data)


def piece_of(models: int, records: int, width: int) -> tuple[int, int]:
    """Models and records of the pieces of a block [models, records, …] that is written at once.

    Pieces are what is read and checked alone. width: numbers of one record and model, the product of the
    axes that follow.
    """
    if models * records * width <= ENTRIES_OF_A_PIECE:
        return models, records
    some = next(count for count in range(min(models, MODELS_OF_A_PIECE), 0, -1) if models % count == 0)
    most = max(1, ENTRIES_OF_A_PIECE // (some * width))
    return some, min(RECORDS_OF_A_PIECE, 1 << (most.bit_length() - 1))


_UNWRITTEN = np.uint64(0x7FF8_0000_6D69_6121)
"""A NaN that no computation gives."""

_FILL = {"float32": "NaN", "float64": hex(_UNWRITTEN)}


def _metadata(
    shape: tuple[int, ...], dtype: Any, models_per_chunk: int, records_per_file: int
) -> dict[str, Any]:
    """The Zarr metadata of an array [K, T, N, …] that is written in files of so many models and records."""
    models, records, rest = min(models_per_chunk, shape[0]), min(records_per_file, shape[2]), shape[3:]
    width = math.prod(rest)
    some, most = piece_of(models, records, width)
    # No piece, and so no file, reaches beyond what is written at once.
    piece = some, min(most, records)
    # Any piece can be checked when it is read alone.
    codecs: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "crc32c"},
    ]
    if piece != (models, records):
        some = max(1, ENTRIES_OF_A_FILE // (models * piece[1] * width))
        records = piece[1] * min(some, -(-records // piece[1]))
        inside = {"chunk_shape": (piece[0], 1, piece[1], *rest), "codecs": codecs}
        codecs = [{"name": "sharding_indexed", "configuration": inside}]
    return {
        "shape": shape,
        "data_type": np.dtype(dtype).name,
        "fill_value": _FILL.get(np.dtype(dtype).name, "NaN" if np.issubdtype(dtype, np.floating) else -2),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": (models, 1, records, *rest)}},
        "codecs": codecs,
    }


def _spec(place: Address) -> Any:
    """What TensorStore calls the folder at an address."""
    if isinstance(place, Path):
        # As it stands: in a URL, some characters of a path would mean something else.
        return {"driver": "file", "path": f"{place.absolute()}/"}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not (place.startswith("s3://") and endpoint):
        return f"{place}/"
    # TensorStore does not read where a store that only speaks S3 is; AWS's own tools do.
    bucket, _, path = place.removeprefix("s3://").partition("/")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return {"driver": "s3", "bucket": bucket, "path": f"{path}/", "endpoint": endpoint, "aws_region": region}


@functools.cache
def _context(lock_files: bool) -> ts.Context:
    """What all stores of this process share: connections, credentials, and what `memory://` holds.

    lock_files: a local file that is written is held by a second one beside it, rather than by the system's lock.
    """
    return ts.Context({"file_io_locking": {"mode": "lockfile"}} if lock_files else {})


_CAUSES = (
    (re.compile(r"crc32c|checksum|digest mismatch|DATA_LOSS", re.I), "it is damaged; restore it"),
    (re.compile(r"No space left|RESOURCE_EXHAUSTED|quota", re.I), "the disk is full; free some space"),
    (re.compile(r"Read-only file system", re.I), "the file system is read-only; make it writable"),
    (re.compile(r"PERMISSION_DENIED|Permission denied", re.I), "permission is denied; make it accessible"),
    (re.compile(r"File too large", re.I), "the file would pass the allowed size; raise the limit"),
)


def unusable(verb: str, place: str, reason: str) -> StoreError:
    """What could not be done, where and why, as one sentence."""
    return StoreError(f"could not {verb} {place}: {reason}; what is there stays as it was.")


def _sentence(verb: str, place: str, error: ValueError) -> StoreError:
    """TensorStore's error as one sentence."""
    text = str(error)
    for pattern, cause in _CAUSES:
        if pattern.search(text):
            return StoreError(
                f"could not {verb} {place}: {cause} and run the same command again; what is there stays usable."
            )
    return unusable(verb, place, text.split(" [", maxsplit=1)[0].replace("\0", "/"))
