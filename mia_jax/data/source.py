"""Arrays as a source hands them over, checked and brought to the few types that follow.

Checking happens here, once, for every source: whatever comes out can be parted, standardised and
trained on without another look.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mia_jax.config import ConfigError, DataConfig

_INT32_MAX = np.iinfo(np.int32).max


class Table(NamedTuple):
    """M labelled records of one shape.

    values: [M, ...], float32 or small integers (features) or int32 (token ids). length: int32 [M]
    where records are sequences of different lengths (then values are [M, L] ids or [M, L, D]
    features, zero after `length`), else None. y: int32 [M].
    """

    values: np.ndarray
    length: np.ndarray | None
    y: np.ndarray


class Source(NamedTuple):
    """What a loader hands over: all records of a source, before anything is dropped or parted.

    test: the source's own test split, None where it has none. tokens: whether values are token ids.
    vocabulary_size: the number of ids the source declares, 0 where it declares none. vocabulary: the word of
    every id, where the source has them.
    """

    train: Table
    test: Table | None
    tokens: bool
    vocabulary_size: int
    facts: dict[str, Any]
    vocabulary: tuple[str, ...] = ()


def source_error(config: DataConfig, problem: str) -> ConfigError:
    """The error that says `problem` of config.data.source."""
    return ConfigError(f"config.data.source is {config.source!r}: {problem}.")


def holds_tokens(config: DataConfig, natural: bool) -> bool:
    """Whether integers are token ids: as the configuration says, or the source's own reading."""
    return natural if config.kind == "auto" else config.kind == "tokens"


def table(
    config: DataConfig,
    x: np.ndarray,
    y: np.ndarray,
    length: np.ndarray | None = None,
    *,
    tokens: bool = False,
    suffix: str = "",
) -> Table:
    """The checked table of `x` [M, ...], `y` [M] and, for ragged sequences, `length` [M].

    Features keep integers of up to 16 bits and become float32 otherwise, so that equal means equal
    to the model; negative zero becomes zero. What stands after `length` becomes zero, and ragged
    scalars [M, L] become [M, L, 1]. `suffix` ("_train") completes the names in error sentences.

    Raises `ConfigError` that names the array, what is wrong, and what is allowed.
    """
    _check_shapes(config, x, y, suffix)
    labels = _labels(config, y, suffix)
    if length is not None:
        length = _lengths(config, x, length, suffix)
        x = x.copy()
        x[~valid_steps(x.shape[1], length)] = 0
    values = _token_ids(config, x, suffix) if tokens else _features(config, x, suffix)
    if length is not None and values.ndim == 2 and not tokens:
        values = values[..., None]
    return Table(values, length, labels)


def matched(config: DataConfig, train: Table, test: Table) -> tuple[Table, Table]:
    """Both tables with one record shape and one dtype; ragged ones are padded to the longer.

    Raises `ConfigError` where records of the two cannot be the same kind of thing.
    """
    if (train.length is None) != (test.length is None):
        have, lack = ("train", "test") if test.length is None else ("test", "train")
        raise source_error(
            config, f"length_{have} is there but length_{lack} is not; give both arrays or neither"
        )
    ragged = train.length is not None
    steps = max(train.values.shape[1], test.values.shape[1])
    if ragged:
        train, test = _padded(train, steps), _padded(test, steps)
    if train.values.shape[1:] != test.values.shape[1:]:
        raise source_error(
            config,
            f"x_train has records of shape {train.values.shape[1:]} and x_test of shape "
            f"{test.values.shape[1:]}; both must have one shape",
        )
    if train.values.dtype != test.values.dtype:
        train = train._replace(values=train.values.astype(np.float32))
        test = test._replace(values=test.values.astype(np.float32))
    return train, test


def valid_steps(steps: int, length: np.ndarray) -> np.ndarray:
    """Bool [M, steps], True up to each record's length [M]."""
    return np.arange(steps) < length[:, None]


def _padded(part: Table, steps: int) -> Table:
    """`part` with its step axis lengthened to `steps` by zeros."""
    extra = [(0, 0)] * part.values.ndim
    extra[1] = (0, steps - part.values.shape[1])
    return part._replace(values=np.pad(part.values, extra))


def _check_shapes(config: DataConfig, x: np.ndarray, y: np.ndarray, suffix: str) -> None:
    if x.dtype.kind not in "biuf":
        raise source_error(
            config, f"x{suffix} has dtype {x.dtype}; it must hold real numbers or integer token ids"
        )
    if x.ndim < 2 or 0 in x.shape:
        raise source_error(
            config,
            f"x{suffix} has shape {x.shape}; it must have records along its first axis, at least one "
            "further axis, and no empty one",
        )
    if y.shape != (len(x),):
        raise source_error(
            config,
            f"y{suffix} has shape {y.shape} and x{suffix} has {len(x)} records; y{suffix} must have "
            f"shape ({len(x)},)",
        )


def _labels(config: DataConfig, y: np.ndarray, suffix: str) -> np.ndarray:
    """Labels as int32 [M]."""
    if y.dtype.kind not in "biu":
        raise source_error(
            config, f"y{suffix} has dtype {y.dtype}; labels must be integers from 0: encode them so"
        )
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= _INT32_MAX:
        raise source_error(
            config,
            f"y{suffix} has the label {low if low < 0 else high}; labels must run from 0 to the number "
            "of classes less one: renumber them",
        )
    return y.astype(np.int32)


def _lengths(config: DataConfig, x: np.ndarray, length: np.ndarray, suffix: str) -> np.ndarray:
    """Lengths as int32 [M]."""
    if x.ndim not in (2, 3):
        raise source_error(
            config,
            f"x{suffix} has shape {x.shape} and comes with length{suffix}; sequences must have shape "
            "[N, L] or [N, L, D]: flatten what a step holds",
        )
    if length.dtype.kind not in "iu" or length.shape != (len(x),):
        raise source_error(
            config,
            f"length{suffix} has dtype {length.dtype} and shape {length.shape}; it must hold one integer "
            f"for each of the {len(x)} records",
        )
    low, high = int(length.min()), int(length.max())
    if low < 1 or high > x.shape[1]:
        raise source_error(
            config,
            f"length{suffix} has the value {low if low < 1 else high}; lengths must lie in "
            f"[1, {x.shape[1]}], the steps of x{suffix}: leave out empty sequences",
        )
    return length.astype(np.int32)


def _token_ids(config: DataConfig, x: np.ndarray, suffix: str) -> np.ndarray:
    """Token ids as int32 [M, L]."""
    if x.dtype.kind not in "iu" or x.ndim != 2:
        raise source_error(
            config,
            f"x{suffix} has dtype {x.dtype} and shape {x.shape}; token ids must be integers of shape "
            '[N, L]: set config.data.kind to "features" if these are features',
        )
    low, high = int(x.min()), int(x.max())
    if low < 0 or high >= _INT32_MAX:
        raise source_error(
            config,
            f"x{suffix} has the token id {low if low < 0 else high}; ids must run from 0 to the size of "
            "the vocabulary less one: renumber them",
        )
    return x.astype(np.int32)


def _features(config: DataConfig, x: np.ndarray, suffix: str) -> np.ndarray:
    """Features as small integers or finite float32, in their shape."""
    if x.dtype.kind == "b":
        return x.astype(np.uint8)
    if x.dtype.kind in "iu" and x.dtype.itemsize <= 2:
        return x
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        place = np.unravel_index(int(np.argmin(finite)), x.shape)
        raise source_error(
            config,
            f"x{suffix}[{', '.join(map(str, place))}] is {x[place]}; features must be finite float32 "
            "numbers: leave out or fill in such values",
        )
    values += 0.0  # turns -0.0 into 0.0: equal numbers must have equal bytes to be found as duplicates
    return values
