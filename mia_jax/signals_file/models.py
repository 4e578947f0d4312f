"""How models of a file are related: who is fit to be attacked, and who is nobody's reference."""

from __future__ import annotations

import numpy as np

from mia_jax.signals_file.layout import FEWEST, refuse
from mia_jax.validation import at, first, wrong_twin


def check_sides(member: np.ndarray, usable: np.ndarray) -> None:
    """Refuse too few usable models, and a membership without members or without non-members.

    member: bool [K, N]. usable: bool [K]. A single model with only one side is allowed: targets are
    pooled. Raises `ConfigError`.
    """
    if usable.sum() < FEWEST["K"]:
        refuse(
            f"valid marks {usable.sum()} of {usable.size} models as fit to be attacked: at least {FEWEST['K']} are "
            "needed; train those that diverged anew."
        )
    held = member[usable]
    if held.all() or not held.any():
        every, other = ("True", "non-member") if held.any() else ("False", "member")
        refuse(
            f"member is {every} everywhere, from member[{int(np.argmax(usable))}, 0] on: there must be members and "
            f"non-members, and no model has a {other}; set member[k, n] to True where model k was trained on record "
            "n, and to False elsewhere."
        )


def check_twin(twin: np.ndarray) -> None:
    """Refuse a twin int [K] that is no other model, or whose own twin is another (`ConfigError`)."""
    more = "; of more than two related models say who is whose with exclude, bool [K, K]"
    wrong = wrong_twin(twin, more)
    if wrong is not None:
        refuse(wrong)


def check_exclude(exclude: np.ndarray) -> None:
    """Refuse an exclusion bool [K, K] that holds one way only (`ConfigError`)."""
    where = first(exclude & ~exclude.T)
    if where is not None:
        back = where[::-1]
        refuse(
            f"{at('exclude', where)} is True, but {at('exclude', back)} is False: of two models both "
            "are left out or neither is; pass exclude | exclude.T."
        )


def check_references(exclude: np.ndarray, usable: np.ndarray) -> None:
    """Refuse exclusions bool [K, K] that leave a usable model without a reference (`ConfigError`)."""
    left = ~exclude & usable & ~np.eye(usable.size, dtype=bool)
    where = first(usable & ~left.any(axis=1))
    if where is not None:
        refuse(
            f"exclude leaves model {where[0]} without any reference: leave out only models whose records tell "
            "each other's."
        )
