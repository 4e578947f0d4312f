"""Images of another size, so that convolutions over many of them are quick enough for the machine at hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from mia_jax.config import DataConfig
from mia_jax.data.source import Source, Table, source_error

_AT_ONCE = 1024
"""Images resized side by side; bounds the memory."""


def resized(source: Source, config: DataConfig) -> Source:
    """The source with images of config.image_size pixels a side; 0 gives it back as it is.

    Linear interpolation, antialiased where an image shrinks, to float32 (`jax.image.resize`). Records
    must be [H, W] or [H, W, channels]; raises `ConfigError` for others.
    """
    size = config.image_size
    if not size:
        return source
    shape = source.train.values.shape[1:]
    if source.tokens or source.train.length is not None or len(shape) not in (2, 3):
        raise source_error(
            config,
            f"its records are {_kind(source)}, and config.data.image_size is {size}; only images, [H, W] or "
            "[H, W, channels], can be resized: leave it at 0",
        )
    train, test = source.train, source.test
    return source._replace(train=_resized(train, size), test=None if test is None else _resized(test, size))


def _kind(source: Source) -> str:
    """What the records of a source are, other than images."""
    if source.tokens:
        return "token ids"
    if source.train.length is not None:
        return "sequences of different lengths"
    return f"of shape {list(source.train.values.shape[1:])}"


def _resized(table: Table, size: int) -> Table:
    """The same records, [M, size, size, …]."""
    import jax

    cpu = _cpu()
    values = np.empty((len(table.y), size, size, *table.values.shape[3:]), np.float32)
    for start in range(0, len(values), _AT_ONCE):
        block = jax.device_put(table.values[start : start + _AT_ONCE].astype(np.float32), cpu)
        values[start : start + _AT_ONCE] = jax.image.resize(block, (len(block), *values.shape[1:]), "linear")
    return table._replace(values=values)


def _cpu() -> Any:
    """The device that images are resized on wherever it runs, so that the same file gives the same records."""
    import jax

    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS names an accelerator alone
        return jax.local_devices()[0]
