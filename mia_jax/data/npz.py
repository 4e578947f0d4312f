"""NumPy archives: `npz:PATH`.

=====================================  ====================================================
x, y                                   one table, parted by config.data
x_train, y_train, x_test, y_test       the source's own test split is the test part
length; length_train and length_test   valid steps of ragged sequences ("lengths" will do)
vocab                                  says that a 2-D integer x holds token ids; strings: the ids' words
=====================================  ====================================================

Other arrays are left unread and listed in `facts["arrays_ignored"]`. Python objects (pickles) are
never loaded.
"""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from mia_jax.config import DataConfig
from mia_jax.data.source import Source, holds_tokens, matched, source_error, table

_LAYOUT = "it must hold x and y, or x_train, y_train, x_test and y_test"


def read(config: DataConfig, path: str) -> Source:
    """The records of the archive at `path`, relative to config.directory where that is given.

    Integers [N, L] are token ids where lengths or a `vocab` array come with them, features otherwise;
    config.kind overrules. Raises `ConfigError` for a file that is missing, unreadable or incomplete,
    and for arrays that cannot be used.
    """
    if not path:
        raise source_error(config, 'a path must follow "npz:", as in "npz:records.npz"')
    file = _file(config, path)
    if not file.is_file():
        raise source_error(
            config,
            f"there is no file {str(file)!r}; a relative path starts at config.data.directory, or where "
            "that is empty at the working directory",
        )
    return _source(config, _arrays(config, file))


def _arrays(config: DataConfig, file: pathlib.Path) -> dict[str, np.ndarray | None]:
    """Every array of the archive by its name; None for those that are left unread."""
    if not zipfile.is_zipfile(file):
        raise source_error(
            config, f"{str(file)!r} is no NumPy archive, or a damaged one; write it with numpy.savez"
        )
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] if _is_known(name) else None for name in archive.files}
    except Exception as error:  # damaged archives raise a dozen unrelated types
        if "pickle" in str(error):
            problem = "it holds Python objects (pickles), which are never loaded; save numbers and strings"
        else:
            problem = f"an array cannot be read ({error}); the file is damaged: write it anew"
        raise source_error(config, problem) from error


def _is_known(name: str) -> bool:
    stem, _, split = name.partition("_")
    return name == "vocab" or (stem in ("x", "y", "length", "lengths") and split in ("", "train", "test"))


def stamp(config: DataConfig, path: str) -> tuple[int, ...]:
    """What tells states of the archive apart without reading it: size and time of the last change."""
    file = _file(config, path)
    state = file.stat() if file.is_file() else None
    return () if state is None else (state.st_size, state.st_mtime_ns)


def _file(config: DataConfig, path: str) -> pathlib.Path:
    """Where the archive is."""
    return pathlib.Path(config.directory).expanduser() / pathlib.Path(path).expanduser()


def _source(config: DataConfig, arrays: Mapping[str, np.ndarray | None]) -> Source:
    """The checked source made of the arrays of an archive."""
    suffixes = _suffixes(config, list(arrays))
    found = [_of_split(config, arrays, suffix) for suffix in suffixes]
    x, _, length = found[0]
    vocab = arrays.get("vocab")
    natural = x.ndim == 2 and x.dtype.kind in "iu" and (length is not None or vocab is not None)
    tokens = holds_tokens(config, natural)
    tables = [
        table(config, *split, tokens=tokens, suffix=suffix)
        for split, suffix in zip(found, suffixes, strict=True)
    ]
    facts = {"arrays_ignored": sorted(name for name, array in arrays.items() if array is None)}
    size = 0 if vocab is None else vocab.size
    words = () if vocab is None or vocab.dtype.kind != "U" else tuple(map(str, vocab.ravel()))
    if len(tables) == 1:
        return Source(tables[0], None, tokens, size, facts, words)
    return Source(*matched(config, tables[0], tables[1]), tokens, size, facts, words)


def _suffixes(config: DataConfig, names: Sequence[str]) -> tuple[str, ...]:
    """What completes the names of the archive's layout."""
    split = any(name in names for name in ("x_train", "y_train", "x_test", "y_test"))
    if split and ("x" in names or "y" in names):
        raise source_error(config, f"it holds both x or y and x_train or the like; {_LAYOUT}, not both")
    suffixes = ("_train", "_test") if split else ("",)
    missing = [stem + suffix for suffix in suffixes for stem in "xy" if stem + suffix not in names]
    if missing:
        raise source_error(config, f"it has no {', '.join(missing)}; {_LAYOUT}, and has {', '.join(names)}")
    return suffixes


def _of_split(
    config: DataConfig, arrays: Mapping[str, np.ndarray | None], suffix: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The x, y and length (None where there is none) of one split."""
    one, other = arrays.get("length" + suffix), arrays.get("lengths" + suffix)
    if one is not None and other is not None:
        raise source_error(
            config, f"it holds both length{suffix} and lengths{suffix}; which counts is unclear: keep one"
        )
    x, y = arrays["x" + suffix], arrays["y" + suffix]
    assert x is not None
    assert y is not None
    return x, y, one if one is not None else other
