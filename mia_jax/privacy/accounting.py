"""What a training with DP-SGD costs: epsilon of a noise multiplier, and the noise multiplier of an epsilon.

Both accountants are dp-accounting's and give upper bounds. "pld" composes discretised privacy loss
distributions, rounded pessimistically (Doroshenko et al. 2022; tight), "rdp" Renyi divergences (Mironov
2017; some 10 % above, and cheap).

                     add_or_remove   replace
poisson              pld, rdp        pld
truncated_poisson    pld             pld
shuffle              pld, rdp        pld, rdp      the record zeroed out; an unsampled Gaussian
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from mia_jax.privacy.events import (
    Accountant,
    Relation,
    Sampling,
    check_accountant,
    check_training,
    dp_sgd_event,
    epochs_begun,
    neighbouring_relation,
)
from mia_jax.privacy.gaussian import analytic_gaussian_epsilon
from mia_jax.validation import check_number

if TYPE_CHECKING:
    import dp_accounting

TOLERANCE = 1e-3
"""A noise multiplier found is larger than the smallest that does by this share at most."""

NEXT = 1.0 + 0.9 * TOLERANCE
"""A step that closes a bracket, were the root between."""

FINEST = 1e-4
"""Width of the bins of privacy loss, dp-accounting's own; wider in proportion where epsilon is large."""

PER_EPSILON = 3e-6
"""Width of the bins relative to epsilon: some 300,000 bins at most, where 1e-4 would need gigabytes."""

ORDERS = (2, 3, 4, 6, 8, 16, 32, 64, 256)
"""Renyi orders that tell roughly how large epsilon is."""

LARGEST = 1e6
"""Noise multipliers above this are not searched."""

SMALLEST, HOPELESS = 1e-4, 1e8
"""Below this noise multiplier, and above about this epsilon, epsilon is called infinite, before numbers overflow."""


class _Training(NamedTuple):
    """What is accounted for, but for the noise; once it is checked, a key of the caches."""

    num_examples: int
    batch_size: int
    steps: int
    delta: float
    accountant: Accountant
    sampling: Sampling
    max_batch: int | None
    relation: Relation

    def event(self, noise_multiplier: float) -> dp_accounting.DpEvent:
        """What happened."""
        return dp_sgd_event(
            num_examples=self.num_examples,
            batch_size=self.batch_size,
            steps=self.steps,
            noise_multiplier=noise_multiplier,
            sampling=self.sampling,
            max_batch=self.max_batch,
            relation=self.relation,
        )

    def untruncated(self) -> _Training:
        """The same without a cap on batches."""
        return self._replace(sampling="poisson", max_batch=None) if self.max_batch is not None else self


def epsilon(
    *,
    num_examples: int,
    batch_size: int,
    steps: int,
    noise_multiplier: float,
    delta: float,
    accountant: Accountant = "pld",
    sampling: Sampling = "poisson",
    max_batch: int | None = None,
    relation: Relation = "add_or_remove",
) -> float:
    """An upper bound on epsilon at `delta` in (0, 1), of all steps together; 0 for no step, infinite without noise.

    num_examples: records trained on. batch_size: expected size of a batch ("shuffle": size). noise_multiplier:
    standard deviation of the noise on a batch's sum over the clip norm. max_batch: of "truncated_poisson" only,
    which takes seconds. relation: what makes two data sets neighbours; `mia_jax.privacy.events` says
    which there are, and the module's table which accountant has them.

    "shuffle" is charged as one unsampled Gaussian mechanism an epoch (half the noise multiplier under
    "replace"). That is valid for every order that does not look at the data: given the order, a record enters
    one batch of an epoch, so its two neighbours give sums that differ in that batch alone and by at most one
    clipped gradient (two under "replace"), and what other batches add to the release is noise around the same
    values, or around values computed from what was already released. No amplification is claimed. Kept in
    memory for the process. Raises ValueError for what `events.check_training` refuses, for another
    accountant or delta, and for a pair of accountant and sampling, or relation, that is not in the table.
    """
    asked = _Training(num_examples, batch_size, steps, delta, accountant, sampling, max_batch, relation)
    return _epsilon(_checked(asked, noise_multiplier), float(noise_multiplier))


def noise_multiplier(
    *,
    target_epsilon: float,
    num_examples: int,
    batch_size: int,
    steps: int,
    delta: float,
    accountant: Accountant = "pld",
    sampling: Sampling = "poisson",
    max_batch: int | None = None,
    relation: Relation = "add_or_remove",
) -> float:
    """A noise multiplier whose `epsilon` is at most target_epsilon > 0, within 0.1 % of the smallest.

    0 for an infinite target and for no step. Other arguments, and what is kept and raised, as of `epsilon`;
    ValueError too where no noise multiplier up to a million is enough.
    """
    asked = _Training(num_examples, batch_size, steps, delta, accountant, sampling, max_batch, relation)
    training = _checked(asked)
    above = "be above 0; infinite for no noise"
    check_number("target_epsilon", target_epsilon, lambda target: target > 0, above)
    return _noise_multiplier(training, float(target_epsilon))


@functools.cache
def _epsilon(training: _Training, noise_multiplier: float) -> float:
    """`epsilon` of what is checked."""
    if training.steps == 0:
        return 0.0
    rough = _rough_epsilon(training, noise_multiplier) if noise_multiplier >= SMALLEST else math.inf
    if rough > HOPELESS:
        return math.inf
    neighbours = neighbouring_relation(training.sampling, training.relation)
    event = training.event(noise_multiplier)
    if training.accountant == "rdp":
        return _rdp_epsilon(event, neighbours, training.delta)
    return _pld_epsilon(event, neighbours, training.delta, rough)


@functools.cache
def _noise_multiplier(training: _Training, target: float) -> float:
    """`noise_multiplier` of what is checked."""
    if training.steps == 0 or math.isinf(target):
        return 0.0

    def rough(noise_multiplier: float) -> float:
        return analytic_gaussian_epsilon(_gaussian_mu(training, noise_multiplier), 1.0, training.delta)

    plain = training.untruncated()
    guess = _smallest(rough, target, 1.0) if plain == training else _noise_multiplier(plain, target)
    return _smallest(lambda sigma: _epsilon(training, sigma), target, guess)


def _smallest(cost: Callable[[float], float], target: float, guess: float) -> float:
    """The smallest argument of a decreasing function with cost <= target, or above it by TOLERANCE at most.

    ValueError where it is beyond LARGEST.
    """
    lower: tuple[float, float] | None = None  # the largest argument that costs too much, and its cost
    upper: tuple[float, float] | None = None  # the smallest that does not
    widths: list[float] = []
    at = guess
    while True:
        point = (at, cost(at))
        if point[1] <= target:
            upper = point
        else:
            lower = point
        if lower and lower[0] >= LARGEST:
            raise ValueError(
                f"target_epsilon is {target:g}: at noise multiplier {LARGEST:g} epsilon is still {lower[1]:g}; "
                "allow more epsilon, a larger delta or fewer steps."
            )
        if lower is None or upper is None:
            at = _outside(point, target)
            continue
        widths.append(math.log(upper[0] / lower[0]))
        if upper[0] <= lower[0] * (1.0 + TOLERANCE):
            return upper[0]
        slow = len(widths) > 2 and widths[-1] > widths[-3] / 2
        at = _between(lower, upper, target, interpolate=not slow)


def _outside(point: tuple[float, float], target: float) -> float:
    """Beyond the root, as seen from a point with its cost: a cost that falls as 1/x or faster is met or passed."""
    at, cost = point
    if cost > target:
        return min(at * min(max(cost / target, 1.0) * NEXT, 8.0), LARGEST)
    return at * max(cost / target / NEXT, 1 / 8)


def _between(
    lower: tuple[float, float], upper: tuple[float, float], target: float, *, interpolate: bool
) -> float:
    """Just beside the root by interpolation on logarithmic axes, so that two steps close the bracket; or its middle."""
    aimed = math.sqrt(lower[0] * upper[0])
    if interpolate and upper[1] > 0 and lower[1] < math.inf:
        share = math.log(lower[1] / target) / math.log(lower[1] / upper[1])
        aimed = lower[0] * (upper[0] / lower[0]) ** share * (1.0 + TOLERANCE / 3)
    if upper[0] <= aimed * (1.0 + TOLERANCE / 2):
        return upper[0] / NEXT
    return max(aimed, lower[0] * NEXT)


def _gaussian_mu(training: _Training, noise_multiplier: float) -> float:
    """About which mu-GDP: the central limit of Poisson sampling (Bu et al. 2020, corollary 5.4), or no sampling."""
    sigma = noise_multiplier / (2.0 if training.relation == "replace" else 1.0)
    if training.sampling == "shuffle":
        return math.sqrt(epochs_begun(training.num_examples, training.batch_size, training.steps)) / sigma
    rate = training.batch_size / training.num_examples
    sampled = rate * math.sqrt(math.expm1(min(sigma**-2, 700.0)))
    return math.sqrt(training.steps) * min(sampled, 1.0 / sigma)


def _rough_epsilon(training: _Training, noise_multiplier: float) -> float:
    """About how large epsilon is, by few orders; which is all that the width of bins needs."""
    moved = 2.0 if training.relation == "replace" else 1.0
    plain = training.untruncated()._replace(relation="add_or_remove")
    neighbours = neighbouring_relation(plain.sampling, plain.relation)
    return _rdp_epsilon(plain.event(noise_multiplier / moved), neighbours, training.delta, ORDERS)


def _pld_epsilon(
    event: dp_accounting.DpEvent, neighbours: dp_accounting.NeighboringRelation, delta: float, rough: float
) -> float:
    """By privacy loss distributions, in bins as fine as an epsilon of about `rough` needs."""
    from dp_accounting import pld

    width = max(FINEST, PER_EPSILON * rough)
    made = pld.PLDAccountant(neighbours, value_discretization_interval=width)
    return float(made.compose(event).get_epsilon(delta))


def _rdp_epsilon(
    event: dp_accounting.DpEvent,
    neighbours: dp_accounting.NeighboringRelation,
    delta: float,
    orders: tuple[int, ...] | None = None,
) -> float:
    """By Renyi divergences."""
    from dp_accounting import rdp

    with _unconverged_orders_in_silence():
        return float(rdp.RdpAccountant(orders, neighbours).compose(event).get_epsilon(delta))


@contextlib.contextmanager
def _unconverged_orders_in_silence() -> Iterator[None]:
    """dp-accounting warns of every order that it leaves out; the bound holds by the others."""

    def other(record: logging.LogRecord) -> bool:
        return "failed to converge" not in record.getMessage()

    logger = logging.getLogger("absl")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def _checked(asked: _Training, noise_multiplier: float = 1.0) -> _Training:
    """The training in plain numbers; ValueError where it cannot be, or cannot be accounted for."""
    sampling, relation, cap = asked.sampling, asked.relation, asked.max_batch
    sizes = asked.num_examples, asked.batch_size, asked.steps
    check_training(*sizes, noise_multiplier, sampling, cap, relation)
    check_accountant(asked.accountant, asked.delta)
    if asked.accountant == "rdp" and sampling == "truncated_poisson":
        raise ValueError(
            "accountant is 'rdp' and sampling 'truncated_poisson': of these two 'pld' alone has a bound; take that, or "
            "sampling 'poisson' and batches that are never cut."
        )
    if asked.accountant == "rdp" and sampling == "poisson" and relation == "replace":
        raise ValueError(
            "accountant is 'rdp', sampling 'poisson' and relation 'replace': for these 'pld' alone has a bound; take "
            "that, or relation 'add_or_remove'."
        )
    return asked._replace(
        num_examples=int(asked.num_examples),
        batch_size=int(asked.batch_size),
        steps=int(asked.steps),
        delta=float(asked.delta),
        max_batch=None if cap is None else int(cap),
    )
