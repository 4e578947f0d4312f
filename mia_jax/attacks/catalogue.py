"""The attacks a study can name, each with the words a reader needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mia_jax.attacks.base import Attack, Observations, Side
from mia_jax.attacks.likelihood_ratio import Mode, Variance, lira
from mia_jax.attacks.metric_threshold import score_loss
from mia_jax.attacks.relative import rmia
from mia_jax.config import AttackName, AttacksConfig

_BOTH: frozenset[Side] = frozenset({"in", "out"})
_ONLY_OUT: frozenset[Side] = frozenset({"out"})

_QUERY = "The attacker holds the record with its label and sees the target's logits for it"
_IN_AND_OUT = "and trains reference models on data like the target's, some with the record and some without"
_OUT = "and holds reference models that were not trained on the record, made before the record was known"
_LIRA = "Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022"
_RMIA = "Zarifzadeh, Liu & Shokri, Low-Cost High-Power Membership Inference Attacks, ICML 2024"


def catalogue(config: AttacksConfig) -> dict[str, Attack]:
    """Every attack there is, by name, with the config's constants."""
    attacks = (
        Attack(
            "loss",
            "Loss threshold",
            f"{_QUERY}, and nothing else: one threshold for all records.",
            "Yeom et al., Privacy Risk in Machine Learning, CSF 2018",
            frozenset(),
            score_loss,
        ),
        _lira_attack("lira_online", "LiRA, online, a variance per record", "online", "per_example"),
        _lira_attack("lira_online_global", "LiRA, online, one variance", "online", "global"),
        _lira_attack("lira_offline", "LiRA, offline, a variance per record", "offline", "per_example"),
        _lira_attack("lira_offline_global", "LiRA, offline, one variance", "offline", "global"),
        Attack(
            "rmia_online",
            "RMIA, online",
            f"{_QUERY}, {_IN_AND_OUT}, and holds population records that no model was trained on.",
            _RMIA,
            _BOTH,
            _rmia_score(config.rmia_gamma, None),
        ),
        Attack(
            "rmia_offline",
            "RMIA, offline",
            f"{_QUERY}, {_OUT}, and holds population records that no model was trained on.",
            _RMIA,
            _ONLY_OUT,
            _rmia_score(config.rmia_gamma, config.rmia_offline_scale),
        ),
    )
    return {attack.name: attack for attack in attacks}


def chosen(config: AttacksConfig) -> list[Attack]:
    """The attacks that the config names, in its order."""
    everything = catalogue(config)
    return [everything[name] for name in config.names]


def _lira_attack(name: AttackName, title: str, mode: Mode, variance: Variance) -> Attack:
    """One of LiRA's four variants."""

    def score(seen: Observations) -> np.ndarray:
        return lira(
            seen.scaled_logit,
            seen.member,
            mode=mode,
            variance=variance,
            exclude=seen.exclude,
            valid=seen.valid,
            missing="nan",
        )

    holds, sides = (_IN_AND_OUT, _BOTH) if mode == "online" else (_OUT, _ONLY_OUT)
    return Attack(name, title, f"{_QUERY}, {holds}.", _LIRA, sides, score)


def _rmia_score(gamma: float, offline_scale: float | None) -> Callable[[Observations], np.ndarray]:
    """RMIA with its constants."""

    def score(seen: Observations) -> np.ndarray:
        return rmia(
            seen.log_prob,
            seen.member,
            seen.population_log_prob,
            gamma=gamma,
            offline_scale=offline_scale,
            exclude=seen.exclude,
            valid=seen.valid,
        )

    return score
