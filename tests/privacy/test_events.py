"""What happened: the event of each way to draw batches, and its sentence."""

import re

import dp_accounting
import numpy as np
import pytest
from dp_accounting import NeighboringRelation, pld

from mia_jax.privacy import describe, dp_sgd_event, neighbouring_relation

SIZES = {"num_examples": 1000, "batch_size": 64, "steps": 470, "noise_multiplier": 1.1}


def test_poisson_is_the_textbook_event():
    event = dp_sgd_event(**SIZES, sampling="poisson")
    step = dp_accounting.PoissonSampledDpEvent(0.064, dp_accounting.GaussianDpEvent(1.1))
    assert event == dp_accounting.SelfComposedDpEvent(step, 470)
    assert dp_sgd_event(**SIZES, sampling="poisson", relation="replace") == event


def test_truncated_poisson_names_the_cap():
    event = dp_sgd_event(**SIZES, sampling="truncated_poisson", max_batch=90)
    step = dp_accounting.TruncatedSubsampledGaussianDpEvent(1000, 0.064, 90, 1.1)
    assert event == dp_accounting.SelfComposedDpEvent(step, 470)


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (16, 1), (17, 2), (470, 30), (480, 30), (481, 31)])
@pytest.mark.parametrize(("relation", "sigma"), [("add_or_remove", 1.1), ("replace", 0.55)])
def test_shuffled_epoch_is_one_unsampled_gaussian(steps, epochs, relation, sigma):
    event = dp_sgd_event(**(SIZES | {"steps": steps}), sampling="shuffle", relation=relation)
    assert event == dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(sigma), epochs)


def test_shuffled_epoch_is_never_cheaper_than_the_sums_that_two_neighbours_give():
    """The joint likelihood ratio of an epoch's sums, by simulation: delta at one epsilon."""
    rng = np.random.default_rng(0)
    order = rng.permutation(12).reshape(3, 4)  # 3 batches of 4 records
    gradients = rng.normal(size=(12, 5))
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    other = gradients.copy()
    other[7] = -other[7]
    means, moved = gradients[order].sum(axis=1), other[order].sum(axis=1)  # [batches, D]
    released = means + rng.normal(size=(200_000, *means.shape))
    loss = 0.5 * (np.sum((released - moved) ** 2, (1, 2)) - np.sum((released - means) ** 2, (1, 2)))
    delta = np.mean(np.maximum(0.0, 1.0 - np.exp(1.0 - loss)))
    sizes = {"num_examples": 12, "batch_size": 4, "steps": 3, "noise_multiplier": 1.0}
    event = dp_sgd_event(**sizes, sampling="shuffle", relation="replace")
    accountant = pld.PLDAccountant(neighbouring_relation("shuffle", "replace")).compose(event)
    assert accountant.get_delta(1.0) == pytest.approx(delta, abs=5 * np.sqrt(0.25 / 200_000))


def test_no_step_and_no_noise():
    assert dp_sgd_event(**(SIZES | {"steps": 0}), sampling="poisson") == dp_accounting.NoOpDpEvent()
    silent = SIZES | {"noise_multiplier": 0.0}
    assert dp_sgd_event(**silent, sampling="shuffle") == dp_accounting.NonPrivateDpEvent()


def test_relations_are_those_of_dp_accounting():
    assert neighbouring_relation("poisson", "add_or_remove") == NeighboringRelation.ADD_OR_REMOVE_ONE
    assert neighbouring_relation("truncated_poisson", "replace") == NeighboringRelation.REPLACE_ONE
    for relation in ("add_or_remove", "replace"):
        assert neighbouring_relation("shuffle", relation) == NeighboringRelation.REPLACE_SPECIAL


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {},
            "Poisson sampling of 1000 records at rate 0.064, 470 steps, noise multiplier 1.1; "
            "add-or-remove, delta 1e-05, PLD accountant",
        ),
        (
            {"sampling": "truncated_poisson", "max_batch": 90, "relation": "replace", "steps": 1},
            "Poisson sampling of 1000 records at rate 0.064, at most 90 in a batch, 1 step, "
            "noise multiplier 1.1; replace-one, delta 1e-05, PLD accountant",
        ),
        (
            {"sampling": "shuffle", "accountant": "rdp"},
            "Shuffled batches of 64, 30 epochs of 1000 records, noise multiplier 1.1; zero-out (a record or none "
            "in its place), delta 1e-05, RDP accountant",
        ),
    ],
)
def test_description(options, sentence):
    assert describe(**(SIZES | {"delta": 1e-5} | options)) == sentence


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"num_examples": 0}, "num_examples is 0: it must be at least 1."),
        ({"num_examples": 10.5}, "num_examples is 10.5: it must be a whole number"),
        ({"batch_size": 1001}, "batch_size is 1001: it must be at most num_examples, 1000."),
        ({"batch_size": True}, "batch_size is True: it must be a whole number"),
        ({"steps": -1}, "steps is -1: it must be at least 0."),
        ({"noise_multiplier": float("nan")}, "noise_multiplier is nan: it must be finite and at least 0."),
        (
            {"sampling": "fixed"},
            "sampling is 'fixed': it must be one of 'poisson', 'truncated_poisson', 'shuffle'.",
        ),
        ({"relation": "swap"}, "relation is 'swap': it must be one of 'add_or_remove', 'replace'."),
        ({"sampling": "truncated_poisson"}, "max_batch is None and sampling 'truncated_poisson'"),
        ({"max_batch": 80}, "max_batch is 80 and sampling 'poisson'"),
        (
            {"sampling": "truncated_poisson", "max_batch": 0},
            "max_batch is 0: it must be at least 1.",
        ),
    ],
)
def test_what_is_wrong_is_named(wrong, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        dp_sgd_event(**({"sampling": "poisson"} | SIZES | wrong))
    with pytest.raises(ValueError, match=re.escape(words)):
        describe(**({"delta": 1e-5} | SIZES | wrong))


def test_another_relation_of_no_sampling_is_refused():
    with pytest.raises(ValueError, match="sampling is 'none'"):
        neighbouring_relation("none", "replace")
    with pytest.raises(ValueError, match="relation is 'none'"):
        neighbouring_relation("poisson", "none")
