"""What happened in a training with DP-SGD, for any accountant, and in words for a report.

Per step the clipped gradients of a batch are summed and noise of standard deviation noise_multiplier *
clip norm is added to the sum. Three ways to draw the batches are known:

"poisson"            each record is in each batch with probability batch_size/num_examples, by itself.
"truncated_poisson"  the same, and of a larger batch than max_batch a random max_batch are kept.
"shuffle"            each epoch shows each record in one batch, in an order that does not look at the data.

And two relations between neighbouring data sets:

"add_or_remove"  one record is there or not. When shuffling, where the number of records fixes the
                 batches: one record is as it is, or replaced by one whose gradient is zero ("zero-out").
"replace"        one record is replaced by any other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

from mia_jax.validation import check_number, check_whole

if TYPE_CHECKING:
    import dp_accounting

Accountant = Literal["pld", "rdp"]
Sampling = Literal["poisson", "truncated_poisson", "shuffle"]
Relation = Literal["add_or_remove", "replace"]


def dp_sgd_event(
    *,
    num_examples: int,
    batch_size: int,
    steps: int,
    noise_multiplier: float,
    sampling: Sampling,
    max_batch: int | None = None,
    relation: Relation = "add_or_remove",
) -> dp_accounting.DpEvent:
    """The event of `steps` steps of DP-SGD, to be accounted for under `neighbouring_relation` of the same names.

    An epoch of "shuffle" is one Gaussian mechanism that samples nothing: each record enters one sum, every
    sum has noise of its own, and which sum it is does not depend on the data, so one record moves the
    epoch's sums together by one clipped gradient, however later steps use earlier sums. No amplification
    is claimed; a begun epoch counts whole. Under "replace" it moves them by two clipped gradients, and
    the event has half the noise multiplier. A step without noise is a non-private event.

    Raises ValueError for sizes that are not as `check_training` has them.
    """
    from dp_accounting import dp_event

    check_training(num_examples, batch_size, steps, noise_multiplier, sampling, max_batch, relation)
    if steps == 0:
        return dp_event.NoOpDpEvent()
    if noise_multiplier == 0:
        return dp_event.NonPrivateDpEvent()
    if sampling == "shuffle":
        moved = 2.0 if relation == "replace" else 1.0
        epochs = epochs_begun(num_examples, batch_size, steps)
        return dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(noise_multiplier / moved), epochs)
    rate = batch_size / num_examples
    if max_batch is None:
        step = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise_multiplier))
    else:
        step = dp_event.TruncatedSubsampledGaussianDpEvent(num_examples, rate, max_batch, noise_multiplier)
    return dp_event.SelfComposedDpEvent(step, steps)


def neighbouring_relation(sampling: Sampling, relation: Relation) -> dp_accounting.NeighboringRelation:
    """dp_accounting's name for a relation, to which `dp_sgd_event` of the same names belongs.

    Of "shuffle" always REPLACE_SPECIAL: the event itself says how far one record moves the sum, as
    dp_accounting's accountants disagree on what REPLACE_ONE does to a plain Gaussian event. Raises
    ValueError for a name that is none.
    """
    from dp_accounting import NeighboringRelation

    _check_name("sampling", sampling, get_args(Sampling))
    _check_name("relation", relation, get_args(Relation))
    if sampling == "shuffle":
        return NeighboringRelation.REPLACE_SPECIAL
    replace = relation == "replace"
    return NeighboringRelation.REPLACE_ONE if replace else NeighboringRelation.ADD_OR_REMOVE_ONE


def describe(
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
) -> str:
    """One sentence for reports: how batches were drawn, how much noise, and what an epsilon of it means.

    Raises ValueError as `dp_sgd_event` does, and for a delta outside (0, 1).
    """
    check_training(num_examples, batch_size, steps, noise_multiplier, sampling, max_batch, relation)
    check_accountant(accountant, delta)
    if sampling == "shuffle":
        epochs = epochs_begun(num_examples, batch_size, steps)
        drawn = f"Shuffled batches of {batch_size}, {_counted(epochs, 'epoch')} of {_counted(num_examples, 'record')}"
        between = "replace-one" if relation == "replace" else "zero-out (a record or none in its place)"
    else:
        drawn = (
            f"Poisson sampling of {_counted(num_examples, 'record')} at rate {batch_size / num_examples:.4g}"
        )
        drawn += f", at most {max_batch} in a batch" if max_batch is not None else ""
        drawn += f", {_counted(steps, 'step')}"
        between = "replace-one" if relation == "replace" else "add-or-remove"
    accounted = f"delta {delta:g}, {accountant.upper()} accountant"
    return f"{drawn}, noise multiplier {noise_multiplier:.4g}; {between}, {accounted}"


def epochs_begun(num_examples: int, batch_size: int, steps: int) -> int:
    """Epochs of "shuffle" that so many steps begin, the last batch of each being what is left over."""
    return -(-steps // -(-num_examples // batch_size))


def check_training(
    num_examples: int,
    batch_size: int,
    steps: int,
    noise_multiplier: float,
    sampling: Sampling,
    max_batch: int | None,
    relation: Relation,
) -> None:
    """Refuse with ValueError what no training can have been; each sentence names the argument and its value."""
    check_whole("num_examples", num_examples, 1)
    check_whole("batch_size", batch_size, 1)
    if batch_size > num_examples:
        raise ValueError(f"batch_size is {batch_size}: it must be at most num_examples, {num_examples}.")
    check_whole("steps", steps, 0)
    finite = "be finite and at least 0"
    check_number("noise_multiplier", noise_multiplier, lambda noise: 0 <= noise < math.inf, finite)
    _check_name("sampling", sampling, get_args(Sampling))
    _check_name("relation", relation, get_args(Relation))
    if (sampling == "truncated_poisson") != (max_batch is not None):
        raise ValueError(
            f"max_batch is {max_batch} and sampling {sampling!r}: 'truncated_poisson' needs the size that "
            "batches are cut to, and nothing else may have one."
        )
    if max_batch is not None:
        check_whole("max_batch", max_batch, 1)


def check_accountant(accountant: Accountant, delta: float) -> None:
    """Refuse with ValueError another accountant and a delta outside (0, 1)."""
    _check_name("accountant", accountant, get_args(Accountant))
    check_number("delta", delta, lambda delta: 0 < delta < 1, "lie in (0, 1)")


def _counted(number: int, noun: str) -> str:
    """1 step, 2 steps."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _check_name(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse what is not one of the names."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}: it must be one of {', '.join(map(repr, allowed))}.")
