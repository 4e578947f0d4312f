"""From the sections of a config to what protects its models, and how strongly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mia_jax.config import Config, ConfigError
from mia_jax.defences.adversarial import fast_gradient_sign
from mia_jax.defences.base import PLAIN, Defence, Happened, chain
from mia_jax.defences.dp_sgd import batches_of, dp_sgd
from mia_jax.defences.label_privacy import randomised_labels
from mia_jax.defences.parameter_noise import parameter_noise
from mia_jax.defences.parameters import selected
from mia_jax.defences.regularization import l1, l2, l2_norm, label_smoothing
from mia_jax.types import Dataset, Params


class Defended(NamedTuple):
    """A defence, its strengths by name (floats, or arrays), and what of the training its events need."""

    defence: Defence = PLAIN
    strengths: Mapping[str, Any] = {}
    happened: Happened = Happened(0, 0)


def chosen(
    config: Config, dataset: Dataset, train_size: int, *, noise_multiplier: float | None = None
) -> Defended:
    """What the config asks for, of models with train_size places for records.

    Solves for the noise where a target epsilon is given, unless its noise_multiplier is known already.
    Raises `ConfigError` for what this data or the accountant cannot give.
    """
    steps = -(-train_size // config.training.batch_size) * config.training.epochs
    happened = Happened(train_size, steps)
    parts = [
        *_regularization(config),
        *_labels(config, dataset),
        *_adversarial(config, dataset),
        *_dp_sgd(config, happened, noise_multiplier),
        *_parameter_noise(config),
    ]
    strengths = {name: value for _, named in parts for name, value in named.items()}
    return Defended(chain(*(defence for defence, _ in parts)), strengths, happened)


def check_parameters(config: Config, family: str, params: Params) -> None:
    """Refuse a pattern that finds no parameter of a family (`ConfigError`). params: arrays or their shapes."""
    for name in ("regularization", "parameter_noise"):
        pattern = getattr(config, name).parameters
        try:
            selected(params, pattern)
        except ValueError as error:
            raise ConfigError(f"config.{name}.{str(error).rstrip('.')} in family {family}.") from None


Part = tuple[Defence, dict[str, Any]]


def _regularization(config: Config) -> list[Part]:
    """Penalties and softer labels."""
    asked, pattern = config.regularization, config.regularization.parameters
    made = {
        "l2": lambda: l2(pattern),
        "l2_norm": lambda: l2_norm(pattern),
        "l1": lambda: l1(pattern),
        "label_smoothing": label_smoothing,
    }
    return [(make(), {name: getattr(asked, name)}) for name, make in made.items() if getattr(asked, name)]


def _labels(config: Config, dataset: Dataset) -> list[Part]:
    """Randomised labels."""
    asked = config.label_privacy
    if not asked.epsilon:
        return []
    from mia_jax.privacy import label_privacy

    if asked.mechanism == "randomized_response":
        rows = label_privacy.randomized_response_probabilities(dataset.num_classes, asked.epsilon)
    else:
        # Known to everybody: the population is never trained on.
        counts = np.bincount(np.asarray(dataset.population.y), minlength=dataset.num_classes)
        rows = label_privacy.rr_with_prior_probabilities(counts / counts.sum(), asked.epsilon)
    return [(randomised_labels(), {"label_rows": rows, "label_epsilon": asked.epsilon})]


def _adversarial(config: Config, dataset: Dataset) -> list[Part]:
    """Adversarial training, of features."""
    radius = config.adversarial.radius
    if not radius:
        return []
    if dataset.vocabulary_size:
        raise ConfigError(
            f"config.adversarial.radius is {radius}: the records of this data are token ids, which cannot be moved a "
            "little; leave it at 0."
        )
    return [(fast_gradient_sign(), {"radius": radius})]


def _dp_sgd(config: Config, happened: Happened, known: float | None) -> list[Part]:
    """DP-SGD, its noise as given or solved for."""
    asked, batch_size = config.dp_sgd, config.training.batch_size
    if not asked.epsilon and not asked.noise_multiplier:
        return []
    batches = batches_of(
        asked.sampling,
        num_examples=happened.num_examples,
        batch_size=batch_size,
        steps=happened.steps,
        max_batch=asked.max_batch,
    )
    defence = dp_sgd(batches, microbatch=asked.microbatch, method=asked.method)
    noise = asked.noise_multiplier or known or _solved(config, happened)
    return [(defence, {"clip_norm": asked.clip_norm, "noise_multiplier": noise})]


def _solved(config: Config, happened: Happened) -> float:
    """The noise multiplier of the target epsilon (`ConfigError` where there is none)."""
    from mia_jax.privacy.accounting import noise_multiplier

    asked = config.dp_sgd
    try:
        return noise_multiplier(
            target_epsilon=asked.epsilon,
            num_examples=happened.num_examples,
            batch_size=config.training.batch_size,
            steps=happened.steps,
            delta=asked.delta,
            accountant=asked.accountant,
            sampling=asked.sampling,
            max_batch=asked.max_batch or None,
            relation=asked.relation,
        )
    except ValueError as error:
        raise ConfigError(f"config.dp_sgd cannot be accounted for: {error}") from None


def _parameter_noise(config: Config) -> list[Part]:
    """Noise on what is released."""
    asked = config.parameter_noise
    return [(parameter_noise(asked.parameters), {"sigma": asked.sigma})] if asked.sigma else []
