"""Data sources: where records come from, and how they are parted.

`load` reads a source, drops exact duplicates, parts what is left into pool, population and test, and
standardises with the pool's statistics. What a source is worth saying is in `Dataset.facts`.

=============  ==========================================================================
digits         scikit-learn's bundled 8x8 images, needs no file and no network
npz:PATH       arrays of a NumPy archive
tfds:NAME      a set that TensorFlow Datasets has prepared on this machine
synthetic:...  generators with known answers: `gaussian` and `markov`
=============  ==========================================================================
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mia_jax.config import CanariesConfig, ConfigError, DataConfig
from mia_jax.data import embedded, images, npz, parts, synthetic, tfds
from mia_jax.data.source import Source
from mia_jax.types import Dataset

__all__ = [
    "load",
]


class Loader(NamedTuple):
    """A kind of source. read: of the configuration, and what stands after the colon. forms: how it is asked for."""

    read: Callable[[DataConfig, str], Source]
    forms: tuple[str, ...]


_LOADERS: Mapping[str, Loader] = {
    "digits": Loader(embedded.digits, ("digits",)),
    "npz": Loader(npz.read, ("npz:PATH",)),
    "tfds": Loader(tfds.read, ("tfds:NAME",)),
    "synthetic": Loader(synthetic.generate, ("synthetic:gaussian", "synthetic:markov")),
}


def load(config: DataConfig, canaries: CanariesConfig | None = None) -> Dataset:
    """The pool, population and test records of `config.source`, as NumPy arrays.

    canaries: records planted behind the pool's own N, the last M = `num_canaries` of its N + M; how
    they were made is in `facts["canaries"]`. None, or a count of 0: none, and all is as without.

    Records are float32 features [N, ...], int32 token ids [N, L], or `Ragged` of either where the
    source has lengths. The same config gives the same bytes; `facts["fingerprint"]` tells when the
    source, or what fell into which part, has changed.

    Raises `ConfigError`, one sentence, for an unknown source, arrays that cannot be used, and sizes
    or numbers of canaries that do not fit.
    """
    if not isinstance(config, DataConfig):
        raise ConfigError(f'config is {config!r}: it must be a DataConfig, as DataConfig(source="digits").')
    prefix, _, rest = config.source.partition(":")
    loader = _LOADERS.get(prefix)
    if loader is None:
        *forms, last = (f'"{form}"' for one in _LOADERS.values() for form in one.forms)
        raise ConfigError(
            f"config.data.source is {config.source!r}: it must be {', '.join(forms)} or {last}."
        )
    if prefix == "npz":
        return _of_archive(config, canaries, npz.stamp(config, rest))
    return _parted(config, canaries)


def _parted(config: DataConfig, canaries: CanariesConfig | None) -> Dataset:
    """The parts of a source that is known."""
    prefix, _, rest = config.source.partition(":")
    return parts.dataset(images.resized(_LOADERS[prefix].read(config, rest), config), config, canaries)


@functools.lru_cache(maxsize=1)  # the runs of a study read the same records again and again
def _of_archive(config: DataConfig, canaries: CanariesConfig | None, stamp: tuple[int, ...]) -> Dataset:
    """The parts of an archive that has not changed since. stamp: tells its states apart."""
    return _parted(config, canaries)
