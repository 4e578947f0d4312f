"""Which probes a config asks for, and whether data and families can give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax

from mia_jax import signals
from mia_jax.config import Config, ConfigError, Query, RecordingConfig
from mia_jax.models import Model, count_parameters, one_record
from mia_jax.probes.adversarial import adversarial_distance
from mia_jax.probes.norms import embedding_norm, gradient_norm
from mia_jax.probes.queries import check_features, values_of, versions
from mia_jax.training import Probe
from mia_jax.training.observe import RECORDS_AT_ONCE
from mia_jax.types import Array, Dataset, Key, Params, Records

NUMBERS_AT_ONCE = 1 << 20
"""Numbers of gradients that one model holds side by side: 4 MB, whatever the size of model and records."""


def query_signals(
    model: Model, params: Params, record: Records, key: Key, *, queries: Sequence[Query], noise: float
) -> dict[str, Array]:
    """log_prob and scaled_logit of the record and of its changed versions: query_… [Q], itself first.

    key: of the record. noise: standard deviation, in units of the features.
    """
    changed = versions(record.x, queries, key, noise=noise)
    said = jax.vmap(lambda x: signals.from_logits(model.apply(params, x), record.y))(changed)
    return {"query_log_prob": said.log_prob, "query_scaled_logit": said.scaled_logit}


def chosen(config: RecordingConfig, family: str, model: Model, dataset: Dataset) -> tuple[Probe, ...]:
    """The probes that a config asks for, of one family's model on this data.

    A model without `steps` records no step_logits. Raises `ConfigError` for what this data or this
    family cannot give.
    """
    made = {
        "gradient_norm": _gradient_probe,
        "adversarial_distance": _distance_probe,
        "embedding_norm": _embedding_probe,
        "step_logits": _steps_probe,
    }
    probes = [made[name](config, family, model, dataset) for name in config.signals]
    if config.queries:
        probes.append(_query_probe(config, model, dataset))
    return tuple(one for one in probes if one is not None)


def of_families(
    config: Config, models: Mapping[str, Model], dataset: Dataset
) -> dict[str, tuple[Probe, ...]]:
    """The probes of every family of a study. Raises `ConfigError` also for a signal no family would record."""
    if "step_logits" in config.recording.signals:
        if config.recording.logits == "none":
            raise ConfigError(
                'config.recording.signals has "step_logits", but config.recording.logits is "none": they are kept '
                'where logits are; set it to "final" or "all".'
            )
        if all(model.steps is None for model in models.values()):
            raise ConfigError(
                'config.recording.signals has "step_logits", but no family reads a sequence step by step: add one of '
                'kind "rnn", "lstm" or "gru", or leave it out.'
            )
    return {name: chosen(config.recording, name, model, dataset) for name, model in models.items()}


def _gradient_probe(config: RecordingConfig, family: str, model: Model, dataset: Dataset) -> Probe:
    """The probe of the gradient norm."""

    def measure(params: Params, record: Records, key: Key) -> dict[str, Array]:
        return {"gradient_norm": gradient_norm(model, params, record)}

    return Probe(measure, records_at_once=_at_once(count_parameters(model, one_record(dataset))))


def _distance_probe(config: RecordingConfig, family: str, model: Model, dataset: Dataset) -> Probe:
    """The probe of the adversarial distance, for records of features."""
    reason = 'of which no small perturbation exists: leave "adversarial_distance" out'
    check_features(dataset.pool.x, "config.recording.signals", config.signals, reason)

    def measure(params: Params, record: Records, key: Key) -> dict[str, Array]:
        found = adversarial_distance(model, params, record, steps=config.distance_steps)
        return {"adversarial_distance": found}

    return Probe(measure, records_at_once=_at_once(dataset.num_classes * values_of(one_record(dataset)).size))


def _embedding_probe(config: RecordingConfig, family: str, model: Model, dataset: Dataset) -> Probe:
    """The probe of the embedding's norm, for models that have an embedding."""
    if model.embed is None:
        raise ConfigError(
            f'config.recording.signals has "embedding_norm", but the model of family {family} has no `embed`: leave '
            "it out, or give the model one."
        )

    def measure(params: Params, record: Records, key: Key) -> dict[str, Array]:
        return {"embedding_norm": embedding_norm(model, params, record, p=config.embedding_p)}

    return Probe(measure)


def _steps_probe(config: RecordingConfig, family: str, model: Model, dataset: Dataset) -> Probe | None:
    """The probe of the logits after every step, None for a model that has none."""
    steps = model.steps
    if steps is None:
        return None

    def measure(params: Params, record: Records, key: Key) -> dict[str, Array]:
        return {"step_logits": steps(params, record.x)}

    return Probe(measure, with_logits=True)


def _query_probe(config: RecordingConfig, model: Model, dataset: Dataset) -> Probe:
    """The probe of changed versions, for records of features."""
    # Zeros that are shifted in would be a word like any other, and so would a mirrored text's order be.
    reason = "which can be neither mirrored, shifted nor made noisy: leave it empty"
    check_features(dataset.pool.x, "config.recording.queries", config.queries, reason)

    def measure(params: Params, record: Records, key: Key) -> dict[str, Array]:
        return query_signals(model, params, record, key, queries=config.queries, noise=config.query_noise)

    return Probe(measure)


def _at_once(numbers: int) -> int:
    """How many records to measure side by side where each takes so many numbers."""
    return max(1, min(RECORDS_AT_ONCE, NUMBERS_AT_ONCE // numbers))
