"""What was run and on what, as names and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mia_jax.report.inputs import ReportInputs, Row, last_rows


def of_run(inputs: ReportInputs) -> list[tuple[str, str]]:
    """The design of the study in a few lines; whatever the configuration does not hold is left out."""
    config = inputs.config
    membership, data = config.get("membership", {}), config.get("data", {})
    facts = [
        ("Data", data.get("source")),
        ("Families", _families(inputs)),
        ("Models of each family", membership.get("num_models")),
        ("Records in the pool", data.get("pool_size")),
        ("Records each model is trained on", membership.get("train_size")),
        ("Membership design", membership.get("design")),
        ("Canaries", _canaries(config.get("canaries", {}))),
        ("Training", _training(config.get("training", {}))),
        ("Checkpoints", "" if inputs.own else _epochs(inputs)),
        ("Seed", str(config.get("seed", ""))),
    ]
    return [(name, _counted(value)) for name, value in facts if value not in (None, "")]


def of_data(inputs: ReportInputs) -> list[tuple[str, str]]:
    """What is known of the data."""
    return list(_flat(inputs.data_facts))


def _epochs(inputs: ReportInputs) -> str:
    """The epochs of the checkpoints."""
    return ", ".join(str(epoch) for epoch in sorted({row["epoch"] for row in inputs.utility}))


def _families(inputs: ReportInputs) -> str:
    """The families with their sizes; nothing where the arrays are somebody's own and of one kind."""
    size = {row["family"]: f" ({row['num_parameters']:,} parameters)" for row in _sized(inputs)}
    if inputs.own and len(inputs.families) < 2:
        return ""
    return ", ".join(f"{name}{size.get(name, '')}" for name in inputs.families)


def _sized(inputs: ReportInputs) -> list[Row]:
    """The utility of the families whose size is known."""
    return [row for row in last_rows(inputs.utility) if row.get("num_parameters")]


def _canaries(canaries: Mapping[str, Any]) -> str:
    """How many records were planted, and of which kind; nothing where there are none."""
    if not canaries.get("count"):
        return ""
    return f"{canaries['count']:,}, {canaries.get('kind', 'of unknown kind')}".replace("_", " ")


def _training(training: Mapping[str, Any]) -> str:
    """Epochs, optimizer, learning rate and batch size in one line."""
    words = {"epochs": "{} epochs", "optimizer": "{}", "learning_rate": "learning rate {}"}
    words |= {"batch_size": "batches of {}"}
    return ", ".join(text.format(training[key]) for key, text in words.items() if key in training)


def _counted(value: Any) -> str:
    """A value as text, counts with separators."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as (name, text), the outer names before the inner."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}: ")
        else:
            parts = value if isinstance(value, list | tuple) else [value]
            yield f"{prefix}{key}".replace("_", " "), ", ".join(map(_counted, parts)) or "none"
