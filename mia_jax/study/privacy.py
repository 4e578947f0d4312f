"""What a study's defences promise: epsilons, each with its relation, delta and how it was accounted for."""

from __future__ import annotations

from typing import Any, Literal

from mia_jax import config as configs
from mia_jax import membership
from mia_jax.config import Config, DpSgdConfig
from mia_jax.defences import Defended, Happened

RELATIONS: dict[Literal["add_or_remove", "replace"], str] = {
    "add_or_remove": "add-or-remove",
    "replace": "replace-one",
}


def happened(config: Config) -> Happened:
    """What an accountant needs to know of the training of a config's models."""
    size = membership.longest(config.membership, config.data.pool_size, config.canaries.count)
    return Happened(size, -(-size // config.training.batch_size) * config.training.epochs)


def question(config: Config) -> str:
    """A hash of all that the noise of DP-SGD is solved for."""
    return configs.digest([configs.to_mapping(config.dp_sgd), config.training.batch_size, *happened(config)])


def is_private(config: Config) -> bool:
    """Whether the config trains with DP-SGD."""
    return bool(config.dp_sgd.epsilon or config.dp_sgd.noise_multiplier)


def rows(config: Config, noise_multiplier: float | None) -> list[dict[str, Any]]:
    """One plain dict for each promise: unit, relation, epsilon (None where it cannot be had), delta, meaning.

    noise_multiplier: of the DP-SGD of the run.
    """
    found = []
    if is_private(config) and noise_multiplier is not None:
        found += [_dp_sgd_row(config, relation, noise_multiplier) for relation in RELATIONS]
    if config.label_privacy.epsilon:
        found.append(
            {
                "defence": "label_privacy",
                "unit": "label",
                "relation": "another label",
                "epsilon": config.label_privacy.epsilon,
                "delta": 0.0,
                "meaning": f"labels randomised once by {config.label_privacy.mechanism}; features are not protected",
            }
        )
    return found


def sentences(config: Config, defended: Defended) -> list[str]:
    """What is said before a training begins: its defences, and what they promise."""
    if not is_private(config) and config.dp_sgd != DpSgdConfig():
        off = "note: config.dp_sgd is set, but DP-SGD is off: its epsilon and noise_multiplier are both 0"
        return [off, *_named(config, defended)]
    return _named(config, defended)


def _named(config: Config, defended: Defended) -> list[str]:
    """The defences by name, and how DP-SGD is accounted for."""
    if not defended.defence.names:
        return []
    said = [f"defences: {', '.join(defended.defence.names)}"]
    if is_private(config):
        noise = float(defended.strengths["noise_multiplier"])
        target = f"epsilon {config.dp_sgd.epsilon:g}: " if config.dp_sgd.epsilon else ""
        said.append(f"dp_sgd: {target}{_described(config, noise, config.dp_sgd.relation)}")
        if config.dp_sgd.delta * happened(config).num_examples >= 1:
            said.append(
                f"note: config.dp_sgd.delta is {config.dp_sgd.delta:g}, not below 1/n: such a promise may give whole "
                "records away"
            )
    return said


def _dp_sgd_row(
    config: Config, relation: Literal["add_or_remove", "replace"], noise: float
) -> dict[str, Any]:
    """What DP-SGD promises under one relation."""
    from mia_jax.privacy.accounting import epsilon

    try:
        found = epsilon(**_accounted(config, noise, relation))
        meaning = _described(config, noise, relation)
        if config.data.standardize:
            meaning += "; the mean and deviation that features are standardised with are taken for public"
    except ValueError as error:
        found, meaning = None, str(error)
    return {
        "defence": "dp_sgd",
        "unit": "record",
        "relation": RELATIONS[relation],
        "epsilon": found,
        "delta": config.dp_sgd.delta,
        "meaning": meaning,
    }


def _described(config: Config, noise: float, relation: Literal["add_or_remove", "replace"]) -> str:
    """One sentence on how it was accounted for."""
    from mia_jax.privacy.events import describe

    return describe(**_accounted(config, noise, relation))


def _accounted(config: Config, noise: float, relation: str) -> dict[str, Any]:
    """The training as an accountant is told of it."""
    asked, facts = config.dp_sgd, happened(config)
    return {
        "num_examples": facts.num_examples,
        "batch_size": config.training.batch_size,
        "steps": facts.steps,
        "noise_multiplier": noise,
        "delta": asked.delta,
        "accountant": asked.accountant,
        "sampling": asked.sampling,
        "max_batch": asked.max_batch or None,
        "relation": relation,
    }
