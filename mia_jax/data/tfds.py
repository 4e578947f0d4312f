"""Sets prepared by TensorFlow Datasets: `tfds:NAME`, read without TensorFlow and without a network.

NAME is `name`, `name/config`, `name:1.2.3` or `name/config:1.2.3`. Only what lies prepared on this
machine is read: nothing is downloaded, and no remote index is asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from mia_jax.config import ConfigError, DataConfig
from mia_jax.data.source import Source, holds_tokens, matched, source_error, table

# No namespace ("huggingface:glue") and no builder arguments: both make TFDS reach for the network.
_NAME = re.compile(r"[A-Za-z_]\w*(/[\w\-.+]+)?(:(\d+|\*)\.(\d+|\*)\.(\d+|\*))?")
_BATCH = 4096


def read(config: DataConfig, name: str) -> Source:
    """The train split of `name`, and its test split where it has one, in their fixed order.

    Inputs and labels are the set's supervised keys, or "image" and "label" where it names none. A last
    axis of one channel is dropped, so that grey images are [N, H, W] as from any source.

    config.directory is TFDS's data_dir; where it is empty TFDS_DATA_DIR counts, and then
    ~/tensorflow_datasets, as for TFDS itself. Raises `ConfigError` where the set is not prepared there
    (and says how to prepare it), is damaged, or does not hold labelled arrays of one shape.
    """
    builder = _prepared(config, name)
    x_key, y_key = _keys(config, builder.info)
    if "train" not in builder.info.splits:
        splits = ", ".join(builder.info.splits)
        raise source_error(config, f"it has no split 'train' but {splits or 'none'}; choose another set")
    names = [split for split in ("train", "test") if split in builder.info.splits]
    found = [_arrays(config, _records(config, builder, split), x_key, y_key, split) for split in names]
    tokens = holds_tokens(config, natural=False)
    tables = [
        table(config, x, y, tokens=tokens, suffix=f"_{split}")
        for split, (x, y) in zip(names, found, strict=True)
    ]
    train, test = matched(config, tables[0], tables[1]) if len(tables) == 2 else (tables[0], None)
    return Source(train, test, tokens, 0, _facts(builder))


def _prepared(config: DataConfig, name: str) -> Any:
    """The builder of a set that lies prepared on this machine."""
    if not _NAME.fullmatch(name):
        raise source_error(
            config,
            f"{name!r} is no name of a set; it must be NAME, NAME/CONFIG or either with :1.2.3 after it "
            "(sets of other namespaces need a network and are not read)",
        )
    directory = _directory(config)
    import tensorflow_datasets as tfds

    try:
        # Files only. tfds.builder would first import the code of the set and could ask a bucket.
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=directory)
    except tfds.core.DatasetNotFoundError:
        raise source_error(
            config, f"no prepared set of that name lies in {directory!r}; {_remedy(name, directory)}"
        ) from None
    except Exception as error:  # whatever is wrong with the files, the person has to prepare them anew
        raise source_error(config, f"its files cannot be used ({_line(error)}); prepare it anew") from error


def _directory(config: DataConfig) -> str:
    """TFDS's data_dir. Always given to TFDS, which would search every directory it knows, remote ones too."""
    directory = config.directory or os.environ.get("TFDS_DATA_DIR", "") or "~/tensorflow_datasets"
    if "://" in directory:
        raise ConfigError(f"config.data.directory (or TFDS_DATA_DIR) is {directory!r}: it must be local.")
    return os.path.expanduser(directory)


def _remedy(name: str, directory: str) -> str:
    """What to run, and where (`tfds build` does the same but needs TensorFlow for every set)."""
    code = (
        "import tensorflow_datasets as tfds; "
        f"tfds.builder('{name}', data_dir='{directory}').download_and_prepare(file_format='array_record')"
    )
    return (
        f'nothing is downloaded here: on a machine with a network run `python -c "{code}"` (sets that encode '
        "images need TensorFlow there, not here), copy that directory to this machine and name it in "
        "config.data.directory"
    )


def _keys(config: DataConfig, info: Any) -> tuple[str, str]:
    """The names of the inputs and of the labels."""
    keys = info.supervised_keys or ("image", "label")
    if len(keys) != 2 or not all(isinstance(key, str) and key in info.features for key in keys):
        raise source_error(
            config,
            f"its supervised keys are {keys} and its features {', '.join(info.features)}; there must be one "
            "input and one label: choose another set or config",
        )
    return keys[0], keys[1]


def _records(config: DataConfig, builder: Any, split: str) -> Any:
    """TFDS's data source of `split`, as many records in its files as its metadata says."""
    import tensorflow_datasets as tfds

    variant = "" if builder.builder_config is None else f"/{builder.builder_config.name}"
    promised = builder.info.splits[split].num_examples
    try:
        records = tfds.data_source(
            f"{builder.info.name}{variant}:{builder.version}",
            split=split,
            data_dir=_directory(config),
            download=False,
        )
        stored = _stored(builder.info, split, records)
    except ImportError as error:
        raise source_error(
            config, f"a package is missing to read it ({_line(error)}); run `pip install array_record`"
        ) from error
    except NotImplementedError:
        raise source_error(
            config,
            f"it is prepared as {builder.info.file_format.value}, which cannot be read record by record "
            f"(use another directory for another format); {_remedy(builder.info.name, _directory(config))}",
        ) from None
    except Exception as error:
        raise source_error(
            config, f"split {split!r} cannot be read ({_line(error)}); prepare it anew"
        ) from error
    if not stored == len(records) == promised:
        raise source_error(
            config,
            f"split {split!r} has {stored} records in its files and {promised} by its metadata; the files "
            "are damaged or incomplete: prepare it anew, as array_record",
        )
    return records


def _stored(info: Any, split: str, records: Any) -> int:
    """How many records the files of `split` hold; of array_record files TFDS only asks the metadata."""
    if info.file_format.value != "array_record":
        return len(records)
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return len(ArrayRecordDataSource([str(path) for path in info.splits[split].filepaths]))


def _arrays(
    config: DataConfig, records: Any, x_key: str, y_key: str, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [M, ...] and labels [M] of all records, in the order of their index."""
    x: list[np.ndarray] = []
    y: list[np.ndarray] = []
    for start in range(0, len(records), _BATCH):
        batch = _batch(config, records, range(start, min(start + _BATCH, len(records))), split)
        x += [np.asarray(record[x_key]) for record in batch]
        y += [np.asarray(record[y_key]) for record in batch]
    for key, values in ((x_key, x), (y_key, y)):
        shapes = sorted({value.shape for value in values})
        if len(shapes) > 1 or values[0].dtype.kind not in "biuf":
            what = f"shapes {shapes[:3]}" if len(shapes) > 1 else f"dtype {values[0].dtype}"
            raise source_error(
                config,
                f"feature {key!r} of split {split!r} has {what}; it must hold numbers in one shape: encode "
                'text or ragged records yourself and load them through "npz:PATH"',
            )
    inputs = np.stack(x)
    return (inputs[..., 0] if inputs.ndim > 2 and inputs.shape[-1] == 1 else inputs), np.stack(y)


def _batch(config: DataConfig, records: Any, rows: Sequence[int], split: str) -> Sequence[Any]:
    try:
        return records.__getitems__(rows)
    except Exception as error:
        raise source_error(
            config, f"records of split {split!r} cannot be decoded ({_line(error)}); prepare it anew"
        ) from error


def _line(error: Exception) -> str:
    """The first line of an error, with its type: TFDS's own run over pages."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _facts(builder: Any) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    return {
        "dataset": builder.info.full_name,
        "homepage": builder.info.homepage,
        "tensorflow_datasets": tfds.__version__,
    }
