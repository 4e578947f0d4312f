"""What every Defence keeps: at strength zero it is the plain training, and it says what happened."""

import dataclasses
from typing import Any, NamedTuple

import dp_accounting
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax import keys
from mia_jax.config import TrainingConfig
from mia_jax.defences import (
    PLAIN,
    Defence,
    DefenceError,
    Happened,
    batches_of,
    chain,
    dp_sgd,
    fast_gradient_sign,
    l1,
    l2,
    l2_norm,
    label_smoothing,
    parameter_noise,
    randomised_labels,
)
from mia_jax.membership import padded_indices
from mia_jax.models import Model
from mia_jax.training import Plan, hyper_of, train_shadow_models
from mia_jax.types import Dataset, Membership, Records

MODELS, TRAIN_SIZE, BATCH, CLASSES, EPOCHS = 3, 8, 4, 3, 3
NEARLY_EVEN = 0.25 + 0.25 * np.eye(CLASSES)


def _init(key, x):
    first, second = jax.random.split(key)
    return {
        "in": jax.random.uniform(first, (x.size, 5), minval=-0.7, maxval=0.7),
        "bias": jnp.zeros(5),
        "out": jax.random.uniform(second, (5, CLASSES), minval=-0.7, maxval=0.7),
    }


def _apply(params, x, *, key=None, train=False):
    return jnp.tanh(x @ params["in"] + params["bias"]) @ params["out"]


MODEL = Model(_init, _apply)


class Case(NamedTuple):
    """A defence with strengths at which it is nothing, others at which it is something, and what it promises."""

    defence: Defence
    nothing: dict[str, Any]
    something: dict[str, Any]
    event: Any = None
    exact: bool = True


GAUSSIAN = dp_accounting.GaussianDpEvent(0.7)
DRAWN = dp_accounting.PoissonSampledDpEvent(BATCH / TRAIN_SIZE, GAUSSIAN)
CUT = dp_accounting.dp_event.TruncatedSubsampledGaussianDpEvent(TRAIN_SIZE, BATCH / TRAIN_SIZE, 6, 0.7)


def _dp_sgd(sampling, event, max_batch=0):
    batches = batches_of(sampling, num_examples=TRAIN_SIZE, batch_size=BATCH, steps=6, max_batch=max_batch)
    nothing = {"clip_norm": np.inf, "noise_multiplier": 0.0}
    return Case(dp_sgd(batches), nothing, {"clip_norm": 0.5, "noise_multiplier": 0.7}, event, exact=False)


CASES = {
    "l2": Case(l2(), {"l2": 0.0}, {"l2": 0.3}),
    "l2_of_some": Case(l2("bias|out"), {"l2": 0.0}, {"l2": 0.3}),
    "l2_norm": Case(l2_norm(), {"l2_norm": 0.0}, {"l2_norm": 0.3}),
    "l1": Case(l1(), {"l1": 0.0}, {"l1": 0.3}),
    "label_smoothing": Case(
        label_smoothing(), {"label_smoothing": 0.0}, {"label_smoothing": 0.3}, exact=False
    ),
    "adversarial": Case(fast_gradient_sign(), {"radius": 0.0}, {"radius": 0.3}, exact=False),
    "label_privacy": Case(
        randomised_labels(),
        {"label_rows": np.eye(CLASSES), "label_epsilon": np.inf},
        {"label_rows": NEARLY_EVEN, "label_epsilon": np.log(2.0)},
        dp_accounting.dp_event.RandomizedResponseDpEvent(0.75, CLASSES),
    ),
    "parameter_noise": Case(
        parameter_noise(), {"sigma": 0.0}, {"sigma": 0.5}, dp_accounting.NonPrivateDpEvent()
    ),
    "dp_sgd_shuffle": _dp_sgd("shuffle", dp_accounting.SelfComposedDpEvent(GAUSSIAN, 3)),
    "dp_sgd_poisson": _dp_sgd("poisson", dp_accounting.SelfComposedDpEvent(DRAWN, 6)),
    "dp_sgd_truncated_poisson": _dp_sgd(
        "truncated_poisson", dp_accounting.SelfComposedDpEvent(CUT, 6), max_batch=6
    ),
}
PLAIN_BATCHES = [name for name in CASES if "poisson" not in name]


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(3)

    def part(size):
        return Records(
            rng.normal(size=(size, 4)).astype(np.float32), rng.integers(0, CLASSES, size).astype(np.int32)
        )

    member = np.stack([np.isin(np.arange(16), rng.permutation(16)[:TRAIN_SIZE]) for _ in range(MODELS)])
    drawn = Membership(member, *padded_indices(member, TRAIN_SIZE), np.full(MODELS, -1))
    return Dataset(part(16), part(5), part(4), CLASSES, 0, {}), drawn


def trained(world, defence, strengths, **changes):
    """What a training yields at its end: what is said of the pool, and the parameters."""
    dataset, drawn = world
    config = dataclasses.replace(
        TrainingConfig(epochs=EPOCHS, batch_size=BATCH, optimizer="momentum", learning_rate=0.1), **changes
    )
    segments = train_shadow_models(
        MODEL,
        dataset,
        drawn,
        config,
        (EPOCHS,),
        keys.roots(1),
        hyper=hyper_of(config, MODELS, strengths),
        defence=defence,
        sizes=Plan(MODELS, 1),
    )
    (segment,) = segments
    return segment.observed.pool, segment.state.params


@pytest.fixture(scope="module")
def plain(world):
    return trained(world, PLAIN, {})


@pytest.mark.parametrize("name", PLAIN_BATCHES)
def test_at_strength_zero_it_is_the_plain_training(world, plain, name):
    case = CASES[name]
    found = trained(world, case.defence, case.nothing)
    # What is computed otherwise (a mean of sums, a mixture of losses) may round otherwise.
    tolerance = 0.0 if case.exact else 2e-5
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), found, plain)


@pytest.mark.parametrize("name", CASES)
def test_above_it_something_else_is_said(world, plain, name):
    case = CASES[name]
    said = trained(world, case.defence, case.something)[0].log_prob
    assert np.isfinite(said).all()
    assert (np.abs(said - plain[0].log_prob).max(axis=1) > 1e-3).all()


OWN = [
    pytest.param(name, marks=[] if name in ("l2", "dp_sgd_poisson") else pytest.mark.slow)
    for name in CASES
    if name != "label_privacy"
]


@pytest.mark.parametrize("name", OWN)
def test_strengths_are_each_models_own(world, name):
    case, (dataset, drawn) = CASES[name], world
    config = TrainingConfig(epochs=EPOCHS, batch_size=BATCH, learning_rate=0.1)
    mixed = hyper_of(config, MODELS, case.something)
    first = {name: values.at[1:].set(values[0] / 2) for name, values in mixed.strengths.items()}
    (segment,) = train_shadow_models(
        MODEL,
        dataset,
        drawn,
        config,
        (EPOCHS,),
        keys.roots(1),
        hyper=mixed._replace(strengths=first),
        defence=case.defence,
        sizes=Plan(MODELS, 1),
    )
    alone = trained(world, case.defence, case.something, optimizer="adam")[0].log_prob
    halved = {name: value / 2 for name, value in case.something.items()}
    others = trained(world, case.defence, halved, optimizer="adam")[0].log_prob
    np.testing.assert_array_equal(segment.observed.pool.log_prob, np.r_[alone[:1], others[1:]])


@pytest.mark.parametrize("name", CASES)
def test_its_event_is_what_happened(name):
    case = CASES[name]
    events = [event(Happened(TRAIN_SIZE, 6), case.something).event for event in case.defence.events]
    assert events == ([] if case.event is None else [case.event])


def test_a_chain_adds_penalties_and_keeps_every_slot(world):
    both = chain(l2(), l1(), label_smoothing())
    assert both.names == ("l2", "l1", "label_smoothing")
    params = _init(jax.random.key(0), np.zeros(4))
    found = both.penalty(params, {"l2": 0.5, "l1": 2.0})
    leaves = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]).astype(np.float64)
    np.testing.assert_allclose(found, 0.5 * (leaves**2).sum() + 2.0 * np.abs(leaves).sum(), rtol=1e-5)
    assert both.loss is label_smoothing().loss
    assert chain() == PLAIN


def test_a_chain_of_equal_parts_is_the_same_chain():
    batches = batches_of("shuffle", num_examples=8, batch_size=4, steps=6)
    assert chain(l2(), dp_sgd(batches)) is chain(l2(), dp_sgd(batches))


def test_a_chain_refuses_what_cannot_be_joined():
    shuffled, drawn = (
        dp_sgd(batches_of(kind, num_examples=8, batch_size=4, steps=6)) for kind in ("shuffle", "poisson")
    )
    with pytest.raises(DefenceError, match="dp_sgd and dp_sgd cannot be joined: gradient would be changed"):
        chain(shuffled, drawn)
    with pytest.raises(DefenceError, match=r"parameter_noise and parameter_noise .* release"):
        chain(parameter_noise(), parameter_noise("bias"))
    with pytest.raises(DefenceError, match="l2 is given twice"):
        chain(l2(), l2("bias"))


def test_a_pattern_that_finds_nothing_names_what_there_is(world):
    with pytest.raises(ValueError, match=r"parameters is 'recurrent': .*bias, in, out"):
        trained(world, l2("recurrent"), {"l2": 1.0})


def _uses(defence):
    """Every use of a strength that can be made without a training, by its slot."""
    params, key = _init(jax.random.key(0), np.zeros(4)), jax.random.key(1)
    uses = {
        f"event {number}": lambda s, e=event: e(Happened(8, 6), s)
        for number, event in enumerate(defence.events)
    }
    if defence.label is not None:
        uses["label"] = lambda s: defence.label(key, jnp.int32(0), s)
    if defence.inputs is not None:
        uses["inputs"] = lambda s: defence.inputs(jnp.sum, jnp.ones(4), s)
    if defence.loss is not None:
        uses["loss"] = lambda s: defence.loss(lambda logits, y: jnp.sum(logits), s)(jnp.ones(3), 0)
    if defence.penalty is not None:
        uses["penalty"] = lambda s: defence.penalty(params, s)
    if defence.release is not None:
        uses["release"] = lambda s: defence.release(key, params, s)
    return uses


@pytest.mark.parametrize("name", CASES)
def test_a_strength_that_is_missing_is_named(name):
    case = CASES[name]
    for slot, use in _uses(case.defence).items():
        if name == "parameter_noise" and slot.startswith("event"):
            continue  # it promises nothing without a sensitivity, and needs no strength to say so
        use(case.something)
        with pytest.raises(
            ValueError, match=r"^strengths has no '(\w+)', which the defence reads: there are 'other'"
        ):
            use({"other": 1.0})


def test_noise_with_a_sensitivity_needs_its_sigma():
    (event,) = parameter_noise().events
    with pytest.raises(
        ValueError, match=r"strengths has no 'sigma', which the defence reads: there are 'sensitivity'"
    ):
        event(Happened(8, 6), {"sensitivity": 1.0})


def test_what_is_no_defence_and_no_pattern_is_refused():
    with pytest.raises(DefenceError, match=r"^'l2' is no Defence: make it first, as with defences\.l2"):
        chain("l2")
    with pytest.raises(ValueError, match=r"^parameters is '\(': it must be a regular expression \(missing"):
        l2("(").penalty(_init(jax.random.key(0), np.zeros(4)), {"l2": 1.0})
