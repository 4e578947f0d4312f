"""Bytes and arrays under one address, each write whole or not at all.

TensorStore does the work: an address is a local path, or whatever else it can open (a bucket,
memory). What goes wrong becomes a `StoreError` that says what, where and what remains usable.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

RECORDS_PER_CHUNK = 65_536
"""Records of one stored chunk of a signal: a quarter of a megabyte for one model."""


class StoreError(OSError):
    """Something could not be read or written; the message is one sentence with the remedy."""


class Store:
    """A folder of named entries. address: a local path or a TensorStore URL (`gs://…`, `memory://…`)."""

    def __init__(self, address: str | Path) -> None:
        text = str(address)
        self.address = text
        self._url = text if "://" in text else f"file://{Path(text).absolute()}"
        if not self._url.endswith("/"):
            self._url += "/"
        try:
            self._entries = ts.KvStore.open(self._url).result()
        except ValueError as error:
            raise _sentence("open", self.address, error) from None

    def read(self, name: str) -> bytes | None:
        """The bytes of an entry, None where it does not exist."""
        try:
            found = self._entries.read(name).result()
        except ValueError as error:
            raise _sentence("read", f"{self.address}/{name}", error) from None
        return found.value if found.state == "value" else None

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
        if content is None:
            return None
        try:
            return json.loads(content)
        except ValueError:
            raise StoreError(
                f"{self.address}/{name} is not readable JSON: restore it, or begin a new workdir."
            ) from None

    def require_json(self, name: str) -> Any:
        """The value of a JSON entry that must exist (`StoreError`)."""
        value = self.read_json(name)
        if value is None:
            raise StoreError(f"{self.address}/{name} is missing: restore it, or begin a new workdir.")
        return value

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

    def read_arrays(self, name: str, checksum: int | None = None) -> dict[str, np.ndarray] | None:
        """Named arrays of an .npz entry; None where it is missing, damaged or of another checksum."""
        content = self.read(name)
        if content is None or (checksum is not None and zlib.crc32(content) != checksum):
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except (ValueError, OSError, zlib.error, KeyError, EOFError):
            return None

    def array(
        self, name: str, shape: tuple[int, ...], dtype: Any, *, models_per_chunk: int
    ) -> ts.TensorStore:
        """The Zarr array `name` [K, T, N, …], made where it is missing and grown along K where shorter.

        Unwritten entries are NaN, or -2 in an integer array.
        """
        fill: Any = "NaN" if np.issubdtype(dtype, np.floating) else -2
        chunk = (min(models_per_chunk, shape[0]), 1, *(min(size, RECORDS_PER_CHUNK) for size in shape[2:]))
        metadata = {
            "shape": shape,
            "data_type": np.dtype(dtype).name,
            "fill_value": fill,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            # Any block of records can be checked when it is read alone.
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        }
        try:
            opened = self._open_array(name)
            if opened is None:
                spec = {"driver": "zarr3", "kvstore": f"{self._url}{name}/", "metadata": metadata}
                return ts.open(spec, create=True).result()
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

    def read_block(self, name: str, start: int, stop: int, checkpoint: int) -> np.ndarray:
        """Models start…stop-1 of an array at one checkpoint: [M, …]."""
        try:
            array = self._open_array(name)
            if array is None:
                raise StoreError(f"{self.address}/{name} is missing: run the training again to restore it.")
            return array[start:stop, checkpoint].read().result()
        except ValueError as error:
            raise _sentence("read", f"{self.address}/{name}", error) from None

    def _open_array(self, name: str) -> ts.TensorStore | None:
        """An array that exists, or None."""
        if self.read(f"{name}/zarr.json") is None:
            return None
        return ts.open({"driver": "zarr3", "kvstore": f"{self._url}{name}/"}).result()


def checksum(values: np.ndarray) -> int:
    """CRC-32 of an array's bytes in C order."""
    return zlib.crc32(np.ascontiguousarray(values).view(np.uint8).data)


_CAUSES = (
    (re.compile(r"crc32c|checksum", re.I), "it is damaged; restore it"),
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
