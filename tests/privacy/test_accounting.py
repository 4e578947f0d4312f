"""Epsilon of a noise multiplier and back: against dp-accounting, closed forms, published figures and limits."""

import logging
import math
import re

import dp_accounting
import numpy as np
import pytest
from dp_accounting import NeighboringRelation, pld, rdp

from mia_jax.privacy import accounting, analytic_gaussian_epsilon, epsilon, noise_multiplier

PUBLISHED = {
    "num_examples": 100_000,
    "batch_size": 1024,
    "steps": 2000,
    "noise_multiplier": 1.0,
    "delta": 1e-5,
}
SMALL = {"num_examples": 1000, "batch_size": 64, "steps": 480, "delta": 1e-5}


def with_cap(deviations, num_examples=1000, batch_size=64):
    """A cap so many deviations above the mean batch."""
    return math.ceil(batch_size + deviations * math.sqrt(batch_size * (1 - batch_size / num_examples)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 2.65), ({"accountant": "rdp"}, 2.94), ({"relation": "replace"}, 4.31)],
)
def test_published_figures(options, expected):
    assert epsilon(**PUBLISHED, **options) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("relation", "neighbours"),
    [("add_or_remove", NeighboringRelation.ADD_OR_REMOVE_ONE), ("replace", NeighboringRelation.REPLACE_ONE)],
)
@pytest.mark.parametrize("sigma", [5.0, 1.0, 0.55])
def test_within_a_percent_of_dp_accounting(relation, neighbours, sigma):
    accountant = pld.PLDAccountant(neighbours)
    step = dp_accounting.PoissonSampledDpEvent(0.064, dp_accounting.GaussianDpEvent(sigma))
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, 480))
    ours = epsilon(**SMALL, noise_multiplier=sigma, relation=relation)
    assert ours == pytest.approx(accountant.get_epsilon(1e-5), rel=0.01)
    assert ours >= accountant.get_epsilon(1e-5) * (1 - 1e-9)  # wider bins only add


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_rdp_is_above_pld_and_is_dp_accountings_own(sampling):
    bound = epsilon(**SMALL, noise_multiplier=1.0, accountant="rdp", sampling=sampling)
    tight = epsilon(**SMALL, noise_multiplier=1.0, sampling=sampling)
    assert tight < bound < 1.2 * tight
    if sampling == "poisson":
        accountant = rdp.RdpAccountant()
        step = dp_accounting.PoissonSampledDpEvent(0.064, dp_accounting.GaussianDpEvent(1.0))
        assert accountant.compose(step, 480).get_epsilon(1e-5) == bound


@pytest.mark.parametrize(("relation", "moved"), [("add_or_remove", 1.0), ("replace", 2.0)])
@pytest.mark.parametrize(("sigma", "close"), [(20.0, 1e-5), (2.0, 1e-5), (0.3, 2e-3), (0.05, 1e-2)])
def test_shuffling_costs_an_unsampled_gaussian_an_epoch(relation, moved, sigma, close):
    exact = analytic_gaussian_epsilon(moved * math.sqrt(30), sigma, 1e-5)
    sizes = SMALL | {"noise_multiplier": sigma, "sampling": "shuffle", "relation": relation}
    assert epsilon(**sizes) == pytest.approx(exact, rel=close)
    assert epsilon(**sizes) >= exact * (1 - 1e-9)
    assert epsilon(**sizes, accountant="rdp") > exact


@pytest.mark.parametrize("relation", ["add_or_remove", "replace"])
def test_batches_of_everything_are_unsampled(relation):
    sizes = {"num_examples": 50, "batch_size": 50, "steps": 10, "noise_multiplier": 3.0, "delta": 1e-5}
    sampled, shuffled = (
        epsilon(**sizes, relation=relation, sampling=name) for name in ("poisson", "shuffle")
    )
    assert sampled == pytest.approx(shuffled, rel=1e-3)


def test_cap_that_no_batch_reaches_costs_nothing():
    sizes = PUBLISHED | {"num_examples": 300, "batch_size": 20, "steps": 100}
    assert epsilon(**sizes, sampling="truncated_poisson", max_batch=300) == epsilon(**sizes)


@pytest.mark.slow
@pytest.mark.parametrize("relation", ["add_or_remove", "replace"])
def test_cap_costs_more_the_lower_it_is_and_nothing_at_seven_deviations(relation):
    sizes = SMALL | {"noise_multiplier": 1.0, "relation": relation}
    costs = [epsilon(**sizes, sampling="truncated_poisson", max_batch=with_cap(far)) for far in (7, 4, 2, 1)]
    assert costs[0] == pytest.approx(epsilon(**sizes), rel=1e-7)
    assert all(np.diff(costs) > 0)
    assert costs[-1] > 1.5 * costs[0]


@pytest.mark.slow
@pytest.mark.parametrize("far", [2, 7])
def test_noise_for_truncated_batches(far):
    sizes = SMALL | {"sampling": "truncated_poisson", "max_batch": with_cap(far)}
    sigma = noise_multiplier(target_epsilon=4.0, **sizes)
    assert epsilon(**sizes, noise_multiplier=sigma) <= 4.0 < epsilon(**sizes, noise_multiplier=sigma / 1.0011)


@pytest.mark.parametrize(
    "options",
    [
        {"target_epsilon": 0.1},
        {"target_epsilon": 1.0},
        {"target_epsilon": 16.0, "relation": "replace"},
        {"target_epsilon": 500.0},
        {"target_epsilon": 1.0, "accountant": "rdp"},
        {"target_epsilon": 0.004, "accountant": "rdp"},
        {"target_epsilon": 2.0, "sampling": "shuffle"},
        {"target_epsilon": 8.0, "sampling": "shuffle", "relation": "replace", "accountant": "rdp"},
        {"target_epsilon": 1.0, "steps": 1, "batch_size": 1000},
        {"target_epsilon": 3.0, "num_examples": 50_000, "steps": 20_000, "accountant": "rdp"},
    ],
)
def test_noise_multiplier_is_the_smallest_that_keeps_to_the_target(options):
    asked = SMALL | options
    before = accounting._epsilon.cache_info().misses
    sigma = noise_multiplier(**asked)
    assert accounting._epsilon.cache_info().misses - before <= (
        30 if options.get("accountant") == "rdp" else 8
    )
    target = asked.pop("target_epsilon")
    assert epsilon(**asked, noise_multiplier=sigma) <= target
    assert epsilon(**asked, noise_multiplier=sigma / (1 + accounting.TOLERANCE)) > target


def test_search_finds_steps_and_flats_too():
    def cliff(sigma):
        return math.inf if sigma < 3 else (7.0 if sigma < 5 else 0.0)

    for target, root in ((1.0, 5.0), (7.0, 3.0), (100.0, 3.0)):
        for guess in (1e-3, 4.0, 1e3):
            found = accounting._smallest(cliff, target, guess)
            assert root <= found <= root * (1 + accounting.TOLERANCE)


def test_limits():
    assert epsilon(**SMALL, noise_multiplier=0.0) == math.inf
    assert epsilon(**SMALL, noise_multiplier=1e-300) == math.inf
    assert epsilon(**(SMALL | {"steps": 0}), noise_multiplier=0.0) == 0.0
    assert noise_multiplier(**SMALL, target_epsilon=math.inf) == 0.0
    assert noise_multiplier(**(SMALL | {"steps": 0}), target_epsilon=1.0) == 0.0


@pytest.mark.parametrize(
    ("sampling", "relation"), [("poisson", "add_or_remove"), ("poisson", "replace"), ("shuffle", "replace")]
)
def test_epsilon_falls_with_noise_down_to_the_least(sampling, relation):
    sigmas = np.geomspace(0.02, 300.0, 8)
    costs = [epsilon(**SMALL, noise_multiplier=s, sampling=sampling, relation=relation) for s in sigmas]
    assert np.all(np.isfinite(costs))
    assert np.all(np.diff(costs) < 0)


def test_same_question_is_answered_once():
    asked = SMALL | {"noise_multiplier": 2.5}
    first = epsilon(**asked)
    before = accounting._epsilon.cache_info()
    assert epsilon(**(asked | {"num_examples": np.int64(1000), "noise_multiplier": np.float64(2.5)})) == first
    after = accounting._epsilon.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)


def test_orders_left_out_are_not_talked_about_and_the_logger_is_left_as_it_was(caplog):
    filters = list(logging.getLogger("absl").filters)
    with caplog.at_level(logging.WARNING, logger="absl"):
        epsilon(**SMALL, noise_multiplier=0.987, accountant="rdp")
    assert not caplog.records
    assert logging.getLogger("absl").filters == filters


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"batch_size": 2000}, "batch_size is 2000: it must be at most num_examples, 1000."),
        ({"delta": 0.0}, "delta is 0.0: it must lie in (0, 1)."),
        ({"delta": math.nan}, "delta is nan"),
        ({"accountant": "moments"}, "accountant is 'moments': it must be one of 'pld', 'rdp'."),
        ({"max_batch": 70}, "max_batch is 70 and sampling 'poisson'"),
        ({"sampling": "truncated_poisson"}, "max_batch is None and sampling 'truncated_poisson'"),
        (
            {"accountant": "rdp", "sampling": "truncated_poisson", "max_batch": 70},
            "accountant is 'rdp' and sampling 'truncated_poisson': of these two 'pld' alone has a bound",
        ),
        (
            {"accountant": "rdp", "relation": "replace"},
            "accountant is 'rdp', sampling 'poisson' and relation 'replace': for these 'pld' alone has a bound",
        ),
    ],
)
def test_what_is_wrong_is_named(wrong, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        epsilon(**({"noise_multiplier": 1.0} | SMALL | wrong))
    with pytest.raises(ValueError, match=re.escape(words)):
        noise_multiplier(**({"target_epsilon": 1.0} | SMALL | wrong))


def test_targets_that_cannot_be_met_are_refused():
    for target in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"target_epsilon is {target}: it must be above 0"):
            noise_multiplier(**SMALL, target_epsilon=target)
    with pytest.raises(
        ValueError, match=r"target_epsilon is 1e-06: at noise multiplier 1e\+06 epsilon is still"
    ):
        noise_multiplier(**SMALL, target_epsilon=1e-6)
