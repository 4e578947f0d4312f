"""Lower bounds on epsilon from attacks: what has been shown to leak, at a stated confidence.

Two kinds of evidence, never to be mixed. `epsilon_lower_bound` and `gaussian_mu_lower_bound` need
independent trials: one score from each of M independently trained models, not the N records of one
model. `one_run_epsilon` needs one model whose canaries were each included by a fair coin of their
own. Every bound is at most what that number of trials could prove (`epsilon_ceiling`), and speaks of
the neighbouring relation by which the trials were made: a canary put in or left out is
add-or-remove; one put in another's place (`fixed_size` membership) is replace-one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats

from mia_jax.privacy.gaussian import analytic_gaussian_epsilon
from mia_jax.statistics.roc import refuse_one_side
from mia_jax.types import Array
from mia_jax.validation import as_mask, as_numbers, check_number, check_whole

RANK_STEP = 4
"""Thresholds are tried at ranks 1, 4, 16, …: each one more is paid for by all."""

LARGEST = 100.0
"""Where searches for epsilon end."""


class Rates(NamedTuple):
    """What one threshold shows: at least `hit` of one side is called, at most `miss` of the other."""

    hit: float
    miss: float


def epsilon_lower_bound(
    scores: Array,
    member: Array,
    *,
    delta: float,
    confidence: float = 0.95,
    thresholds: Sequence[float] | None = None,
) -> float:
    """A lower bound on epsilon >= 0 that holds with probability `confidence`.

    scores: [M], larger = more likely a member. member: bool [M]. The M trials are independent.
    thresholds: fixed before the scores were seen, score >= threshold calls a member; None tries the
    1st, 4th, 16th, … largest score of non-members and smallest of members. A threshold at a rank of
    one side says nothing of the other, and its own side's rate has the Clopper-Pearson bound of
    rank - 1; all thresholds are paid for by Bonferroni, both rates of each. Scores of type bool are
    decisions. With (epsilon, delta)-DP, TPR <= e^epsilon FPR + delta and 1 - FPR <= e^epsilon (1 -
    TPR) + delta (Kairouz, Oh & Viswanath 2015), so epsilon >= log((hit - delta) / miss).

    Raises ValueError for scores that are NaN or of another shape, for a side without trials, and for
    no threshold at all.
    """
    found = _rates(scores, member, confidence, thresholds)
    return max((_epsilon(rates, delta) for rates in found), default=0.0)


def epsilon_ceiling(num_members: int, num_others: int, *, delta: float, confidence: float = 0.95) -> float:
    """The bound that a perfect attack would give: the most that so many trials can prove.

    num_members, num_others: trials on each side. Raises ValueError for fewer than one.
    """
    check_whole("num_members", num_members, 1)
    check_whole("num_others", num_others, 1)
    scores = np.arange(num_others + num_members, dtype=np.float64)
    member = scores >= num_others
    return epsilon_lower_bound(scores, member, delta=delta, confidence=confidence)


def gaussian_mu_lower_bound(
    scores: Array, member: Array, *, confidence: float = 0.95, thresholds: Sequence[float] | None = None
) -> float:
    """A lower bound on mu >= 0 of a mechanism that is Gaussian-DP, from independent trials.

    Arguments as for `epsilon_lower_bound`. A mu-GDP mechanism allows no TPR above
    Phi(mu + Phi^-1(FPR)) (Dong, Roth & Su 2022); that the mechanism is Gaussian is assumed, not shown.
    """
    found = _rates(scores, member, confidence, thresholds)
    mus = (stats.norm.ppf(rates.hit) - stats.norm.ppf(rates.miss) for rates in found)
    return max(0.0, *(float(mu) for mu in mus))


def gaussian_epsilon(mu: float, *, delta: float) -> float:
    """The epsilon of mu-GDP at `delta` > 0: the inverse of delta(epsilon), Dong, Roth & Su 2022, corollary 1."""
    _check_between("delta", delta, 0.0, 1.0, low_open=True)
    check_number("mu", mu, lambda mu: 0 <= mu < np.inf, "be finite and at least 0")
    return analytic_gaussian_epsilon(mu, 1.0, delta)


def one_run_epsilon(
    num_correct: int, num_guesses: int, *, num_canaries: int, delta: float, confidence: float = 0.95
) -> float:
    """A lower bound on epsilon >= 0 from one run, for add-or-remove of one canary.

    Each of `num_canaries` was included by its own fair coin; of `num_guesses` of them the attacker
    said whether, and `num_correct` guesses are right. Were the training (epsilon, delta)-DP, this
    many would be right with probability at most 1 - `confidence` for every smaller epsilon. Steinke,
    Nasr & Jagielski 2023, theorem 5.2.
    """
    for name, count in {"num_correct": num_correct, "num_guesses": num_guesses}.items():
        check_whole(name, count, 0)
    check_whole("num_canaries", num_canaries, 1)
    if not num_correct <= num_guesses <= num_canaries:
        raise ValueError(
            f"num_correct, num_guesses, num_canaries are {num_correct}, {num_guesses}, {num_canaries}: "
            "none must be larger than the next."
        )
    _check_between("delta", delta, 0.0, 1.0)
    _check_between("confidence", confidence, 0.0, 1.0, low_open=True)

    def surprise(epsilon: float) -> float:
        return _one_run_probability(num_correct, num_guesses, num_canaries, epsilon, delta) - (
            1.0 - confidence
        )

    if surprise(0.0) >= 0:
        return 0.0
    if surprise(LARGEST) < 0:
        return LARGEST
    root: Any = optimize.bisect(surprise, 0.0, LARGEST, xtol=1e-9)
    return float(root)


def _one_run_probability(correct: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """The largest probability of at least so many right guesses under (epsilon, delta)-DP."""
    right = 1.0 / (1.0 + np.exp(-epsilon))
    steps = np.arange(1, correct + 1)
    just_below = np.cumsum(stats.binom.pmf(correct - steps, guesses, right))  # P[correct > X >= correct - i]
    steepest = float(np.max(just_below / steps, initial=0.0))
    return min(1.0, float(stats.binom.sf(correct - 1, guesses, right)) + 2.0 * canaries * delta * steepest)


def _rates(
    scores: Array, member: Array, confidence: float, thresholds: Sequence[float] | None
) -> Iterator[Rates]:
    """What every threshold shows, all together at the given confidence."""
    _check_between("confidence", confidence, 0.0, 1.0, low_open=True)
    inside, outside = _sides(scores, member)
    if thresholds is None and np.asarray(scores).dtype == bool:
        thresholds = (1.0,)
    if thresholds is not None:
        if np.ndim(thresholds) != 1 or not len(thresholds):
            raise ValueError(
                f"thresholds is {thresholds}: it must hold at least one, or be None to try ranks of the scores."
            )
        # Two ends of two rates: read the other way round, 1 - TPR and 1 - FPR have the same ends.
        risk = (1.0 - confidence) / (2 * len(thresholds))
        for threshold in thresholds:
            called_in, called_out = int(np.sum(inside >= threshold)), int(np.sum(outside >= threshold))
            yield Rates(_at_least(called_in, inside.size, risk), _at_most(called_out, outside.size, risk))
            spared_in, spared_out = inside.size - called_in, outside.size - called_out
            yield Rates(_at_least(spared_out, outside.size, risk), _at_most(spared_in, inside.size, risk))
        return
    ways = [(inside, outside), (-outside, -inside)]
    ranks = [_ranks(other.size) for _, other in ways]
    risk = (1.0 - confidence) / (2 * sum(map(len, ranks)))
    for (own, other), tried in zip(ways, ranks, strict=True):
        falling = -np.sort(-other)
        for rank in tried:
            called = int(np.sum(own > falling[rank - 1]))
            yield Rates(_at_least(called, own.size, risk), _at_most(rank - 1, other.size, risk))


def _ranks(size: int) -> list[int]:
    """1, 4, 16, … up to `size`."""
    return [RANK_STEP**power for power in range(size.bit_length()) if RANK_STEP**power <= size]


def _at_least(count: int, trials: int, risk: float) -> float:
    """The lower end of Clopper-Pearson for a share, wrong with probability `risk`."""
    return float(stats.beta.ppf(risk, count, trials - count + 1)) if count else 0.0


def _at_most(count: int, trials: int, risk: float) -> float:
    """The upper end of Clopper-Pearson for a share, wrong with probability `risk`."""
    return float(stats.beta.isf(risk, count + 1, trials - count)) if count < trials else 1.0


def _epsilon(rates: Rates, delta: float) -> float:
    """What two rates prove."""
    _check_between("delta", delta, 0.0, 1.0)
    return max(0.0, float(np.log((rates.hit - delta) / rates.miss))) if rates.hit > delta else 0.0


def _sides(scores: Array, member: Array) -> tuple[np.ndarray, np.ndarray]:
    """Scores of members and of non-members, float64. Raises ValueError."""
    values = as_numbers("scores", scores)
    if values.ndim != 1:
        raise ValueError(
            f"scores have shape {values.shape}: they must be [M], one of each independent trial."
        )
    held = as_mask("member", member, values.shape)
    if np.isnan(values).any():
        raise ValueError(
            f"scores[{int(np.argmax(np.isnan(values)))}] is NaN: leave trials without a score out."
        )
    refuse_one_side(held)
    return values[held], values[~held]


def _check_between(name: str, value: float, low: float, high: float, *, low_open: bool = False) -> None:
    """Refuse a value outside [low, high), or (low, high)."""
    ends = f"{'(' if low_open else '['}{low:g}, {high:g})"
    check_number(
        name, value, lambda it: (low < it if low_open else low <= it) and it < high, f"lie in {ends}"
    )
