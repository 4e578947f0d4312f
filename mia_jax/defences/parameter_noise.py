"""Gaussian noise on trained parameters: what is released in their stead."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from mia_jax.defences.base import Defence, Event, Happened, Strengths, strength
from mia_jax.defences.parameters import map_selected
from mia_jax.privacy.noise import gaussian_noise
from mia_jax.types import Key, Params


@functools.lru_cache
def parameter_noise(parameters: str = "") -> Defence:
    """Release theta + N(0, sigma^2 I), sigma = strengths["sigma"], on the parameters whose path matches.

    Training goes on from theta itself; only what a model says of records is said by the noisy one. What
    that promises depends on how far one record can move theta, which training does not bound
    (`mia_jax.sensitivity` samples it).
    """

    def release(key: Key, params: Params, strengths: Strengths) -> Params:
        noise = gaussian_noise(key, params, strength(strengths, "sigma"))
        return map_selected(lambda leaf, more: leaf + more, parameters, params, noise)

    def event(happened: Happened, strengths: Mapping[str, Any]) -> Event:
        return _nothing_promised() if parameters else _event(strengths)

    return Defence(("parameter_noise",), release=release, events=(event,))


def _nothing_promised() -> Event:
    """Parameters without noise are released as they are."""
    from dp_accounting import dp_event

    return Event("record", dp_event.NonPrivateDpEvent())


def _event(strengths: Mapping[str, Any]) -> Event:
    """One Gaussian mechanism, if a bound above 0 on the sensitivity is given; otherwise nothing is promised."""
    from dp_accounting import dp_event

    if not strengths.get("sensitivity"):
        return _nothing_promised()
    return Event(
        "record",
        dp_event.GaussianDpEvent(float(strength(strengths, "sigma")) / float(strengths["sensitivity"])),
    )
