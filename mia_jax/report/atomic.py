"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import pathlib
import secrets
from collections.abc import Iterable

from mia_jax.runs.store import StoreError, unusable


def write_parts(path: pathlib.Path, parts: Iterable[bytes]) -> None:
    """Puts `parts`, one after another as they are made, at `path` in one step; see `write_bytes`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except StoreError:  # of what the parts are made from, and a sentence already
        raise
    except OSError as error:
        raise unusable("write", str(path), error.strerror or str(error)) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Puts `content` at `path` in one step; whatever goes wrong, an older file stays as it was.

    Raises `StoreError` where it cannot.
    """
    write_parts(path, [content])


def write_text(path: pathlib.Path, content: str) -> None:
    """`write_bytes` of UTF-8 text; line ends are kept as they are."""
    write_bytes(path, content.encode("utf-8"))


def remove(path: pathlib.Path) -> None:
    """Removes a file, if it is there. Raises `StoreError` where it cannot."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unusable("remove", str(path), error.strerror or str(error)) from None


def remove_folder(path: pathlib.Path) -> None:
    """Removes a folder, if it is there and empty."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
