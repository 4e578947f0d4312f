"""The four claims of Yang, Gohari and Topcu (2023), each a number on every set, decided together.

The claims are theirs; what number stands for a claim, and the rule of what counts as supported, are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from scipy import stats

from mia_jax.comparison.rows import OTHERS
from mia_jax.statistics import contrasts
from mia_jax.statistics.clustering import Spread
from mia_jax.statistics.multiple_testing import holm
from mia_jax.tradeoff.contrasts import MEAN

ATTACK = "shadow_classifier"
"""The paper's attack decides; others stand beside it on the page."""

AUC = 0.6
"""The success that attacks are held to where accuracies are compared."""

ALPHA = 0.05

HEADLINE = ("digits", "location30", "mnist")
"""Sets that claims are decided on: those that are run on several pools."""

SETS: Mapping[int, tuple[str, ...]] = {
    0: HEADLINE,
    **{place: tuple(f"defences_{name}" for name in HEADLINE) for place in (1, 2, 3)},
}
"""The results that each claim is decided on, by its place."""

Row = Mapping[str, Any]


class Claim(NamedTuple):
    """A claim. what: the number, in words. sign: that of the number if the claim holds. found: its row of a result."""

    text: str
    what: str
    sign: int
    found: Callable[[Mapping[str, Any]], Row | None]


class Finding(NamedTuple):
    """A claim's number on one set: the row it was found in, and its p-value after Holm over all claims and sets."""

    claim: int
    name: str
    row: Row
    p: float


def _first(rows: Iterator[Row]) -> Row | None:
    return next(rows, None)


def at_equal_accuracy(result: Mapping[str, Any], attack: str = ATTACK) -> Row | None:
    """The recurrent families' mean AUC less the reference's where they are equally good."""
    asked = {"variant": "", "family": OTHERS, "matched": "test_accuracy", "what": "auc", "attack": attack}
    return _first(row for row in result.get("at_levels", ()) if asked.items() <= row.items())


def contrast(result: Mapping[str, Any], **asked: Any) -> Row | None:
    """A row of a trade-off's contrasts, LSTM less MLP."""
    asked |= {"family_a": "lstm", "family_b": "mlp"}
    return _first(row for row in result.get("contrasts", ()) if asked.items() <= row.items())


CLAIMS = (
    Claim(
        "Recurrent networks are more exposed than feed-forward ones of equal performance.",
        "AUC at equal test accuracy, mean of RNN, LSTM and GRU less MLP",
        1,
        at_equal_accuracy,
    ),
    Claim(
        "Weight regularisation protects feed-forward networks, recurrent ones only marginally.",
        "fall of AUC by L2, mean over its strengths, LSTM less MLP",
        -1,
        lambda result: contrast(result, what="auc_gain", defence="l2", strength=MEAN, attack=ATTACK),
    ),
    Claim(
        "DP-SGD costs recurrent networks more than feed-forward ones.",
        "loss of accuracy at equal epsilon, mean over epsilons, LSTM less MLP",
        1,
        lambda result: contrast(result, what="accuracy_loss", defence="dp_sgd", strength=MEAN),
    ),
    Claim(
        "Noise added to trained parameters costs recurrent networks more, too.",
        f"accuracy kept where the attack's AUC is held to {AUC}, LSTM less MLP",
        -1,
        lambda result: contrast(
            result, what="accuracy_at_auc", defence="parameter_noise", auc=AUC, attack=ATTACK
        ),
    ),
)


def findings(results: Mapping[str, Mapping[str, Any]], sets: Mapping[int, tuple[str, ...]]) -> list[Finding]:
    """Every claim on every one of its sets that has a result. sets: the names of results by the claim's place."""
    found = [
        (place, name, row)
        for place, names in sets.items()
        for name in names
        if name in results and (row := CLAIMS[place].found(results[name])) is not None
    ]
    adjusted = holm([row["p"] for _, _, row in found])
    return [Finding(*one, float(p)) for one, p in zip(found, adjusted, strict=True)]


def mean(rows: Sequence[Row], confidence: float = 0.95) -> Row:
    """The mean of a claim's numbers over these sets, which are independent, with its interval."""
    parts = [
        contrasts.Whole(row["value"], Spread(row["error"], row["degrees"]), row["fewest"]) for row in rows
    ]
    found = contrasts.interval(contrasts.averaged(parts), confidence)
    return {"value": found.value, "low": found.low, "high": found.high, "p": found.p}


def models_needed(row: Row, power: float = 0.8) -> float:
    """How many times as many models and pools an interval needs to leave 0 out with this power.

    By the normal approximation, two-sided at `ALPHA`, if the true value is the estimate and errors fall as
    one over the root of the number. Infinite for an estimate of 0.
    """
    reach = stats.norm.isf(ALPHA / 2) + stats.norm.ppf(power)
    return float((reach * row["error"] / row["value"]) ** 2) if row["value"] else math.inf


def as_claimed(one: Finding) -> bool:
    """Whether a number has the sign that the claim says."""
    return (one.row["value"] > 0) == (CLAIMS[one.claim].sign > 0)


def contradictory(own: Sequence[Finding]) -> bool:
    """Whether some sets surely say so and others surely the contrary."""
    return len({as_claimed(one) for one in own if one.p <= ALPHA}) > 1


def verdict(place: int, found: Sequence[Finding], wanted: int = 2) -> str:
    """Of claim `place`: supported (surely so on every set), not supported (surely the contrary on each), or undecided.

    wanted: on how many sets at least; on fewer a claim is undecided.
    """
    own = [one for one in found if one.claim == place]
    if len(own) < wanted or contradictory(own) or any(one.p > ALPHA for one in own):
        return "undecided"
    return "supported" if as_claimed(own[0]) else "not supported"
