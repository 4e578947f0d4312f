"""How far one record moves the parameters: against trainings by hand, one at a time, and in closed form."""

import dataclasses
import json
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mia_jax import keys, sensitivity
from mia_jax.config import TrainingConfig
from mia_jax.defences import batches_of, dp_sgd, l2
from mia_jax.models import Model
from mia_jax.parallel import model_mesh
from mia_jax.privacy import random_dp_gamma
from mia_jax.sensitivity import Sensitivity, from_mapping, release_epsilons, sample_sensitivity, to_mapping
from mia_jax.training import Plan, hyper_of, train_shadow_models
from mia_jax.types import Dataset, Membership, Ragged, Records

FEATURES, CLASSES, POOL = 4, 3, 20
BY_DESCENT = TrainingConfig(epochs=6, batch_size=8, optimizer="sgd", learning_rate=0.3, models_per_chunk=4)
BY_ADAM = TrainingConfig(
    epochs=3, batch_size=3, learning_rate=0.05, schedule="cosine", warmup_epochs=1, models_per_chunk=4
)


def _init(key, x):
    first, second = jax.random.split(key)
    w = jax.random.normal(first, (FEATURES, CLASSES))
    return {"w": w, "b": jax.random.normal(second, (CLASSES,))}


def _apply(params, x, *, key=None, train=False):
    return x @ params["w"] + params["b"]


def _apply_with_dropout(params, x, *, key=None, train=False):
    kept = jax.random.bernoulli(key, 0.7, x.shape) if train else True
    return jnp.where(kept, x, 0.0) @ params["w"] + params["b"]


SOFTMAX = Model(_init, _apply)
DROPOUT = Model(_init, _apply_with_dropout)


def records(size, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, FEATURES)).astype(np.float32)
    return Records(x, rng.integers(0, CLASSES, size).astype(np.int32))


@pytest.fixture(scope="module")
def dataset():
    return Dataset(records(POOL, 1), records(3, 2), records(4, 3), CLASSES, 0, {})


@pytest.fixture
def trained(monkeypatch):
    """What the pairs were trained with: the arguments of every call, by name."""
    calls = []

    def spy(model, dataset, membership, training, epochs, roots, **rest):
        calls.append({"dataset": dataset, "membership": membership, "roots": roots, "epochs": epochs, **rest})
        return train_shadow_models(model, dataset, membership, training, epochs, roots, **rest)

    monkeypatch.setattr(sensitivity, "train_shadow_models", spy)
    return calls


@pytest.fixture
def planned(monkeypatch):
    """What the pairs would be trained with; they are not."""
    calls = []

    def plan_only(model, dataset, membership, training, epochs, roots, **rest):
        calls.append({"dataset": dataset, "membership": membership, "roots": roots, "epochs": epochs, **rest})
        yield SimpleNamespace(state=SimpleNamespace(params={"w": np.zeros((len(membership.member), 1))}))

    def planned(*args, **options):
        sample_sensitivity(*args, **options)
        return calls[-1]

    monkeypatch.setattr(sensitivity, "train_shadow_models", plan_only)
    return planned


def sets(membership, model):
    """The rows of the pool that a model has, place by place; -1 where there is none."""
    return np.where(membership.mask[model], membership.indices[model], -1)


def gradient(params, x, y):
    """The mean cross-entropy's gradient in float64."""
    z = x @ params["w"] + params["b"]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    residual = p / p.sum(axis=1, keepdims=True) - np.eye(CLASSES)[y]
    return {"w": x.T @ residual / len(y), "b": residual.mean(axis=0)}


def by_hand(params, pool, rows, training):
    """Full-batch gradient descent from `params` in float64."""
    params = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    x, y = np.asarray(pool.x, np.float64)[rows], pool.y[rows]
    for _ in range(training.epochs):
        slope = gradient(params, x, y)
        params = {name: params[name] - training.learning_rate * slope[name] for name in params}
    return params


def distance(one, other):
    return math.sqrt(sum(np.sum((one[name] - other[name]) ** 2) for name in one))


@pytest.mark.parametrize(("relation", "epochs"), [("remove", 1), ("remove", 6), ("replace", 6)])
def test_distances_are_those_of_full_batch_descent_by_hand(dataset, trained, relation, epochs):
    """After one epoch they are the learning rate times the difference of two mean gradients."""
    training = dataclasses.replace(BY_DESCENT, epochs=epochs)
    found = sample_sensitivity(SOFTMAX, dataset, training, 8, num_draws=5, relation=relation, seed=4)
    drawn, roots = trained[0]["membership"], trained[0]["roots"]
    expected = []
    for draw in range(5):
        params = _init(keys.per_model(roots.init, np.array([draw]))[0], None)
        rows = [sets(drawn, 2 * draw + side) for side in (0, 1)]
        expected.append(distance(*(by_hand(params, dataset.pool, own[own >= 0], training) for own in rows)))
    np.testing.assert_allclose(found.distances, expected, rtol=2e-5)
    assert found.distances.dtype == np.float64
    assert found.maximum == pytest.approx(max(expected), rel=2e-5)


@pytest.mark.slow
def test_distances_are_those_of_models_trained_one_at_a_time(dataset, trained):
    """With dropout, short batches, a schedule and a penalty: all that a training draws is the pair's own."""
    options = {"defence": l2(), "strengths": {"l2": 0.01}}
    found = sample_sensitivity(DROPOUT, dataset, BY_ADAM, 7, num_draws=3, **options)
    drawn, roots = trained[0]["membership"], trained[0]["roots"]

    def alone(model):
        own = Membership(*(np.asarray(leaf)[model : model + 1] for leaf in drawn))
        segments = train_shadow_models(
            DROPOUT,
            dataset,
            own,
            BY_ADAM,
            (BY_ADAM.epochs,),
            roots,
            hyper=hyper_of(BY_ADAM, 1, options["strengths"]),
            defence=options["defence"],
            in_place=True,
            numbers=[model // 2],
            mesh=model_mesh(jax.devices()[:1]),
        )
        (segment,) = segments
        return {name: leaf[0].astype(np.float64) for name, leaf in segment.state.params.items()}

    expected = [distance(alone(2 * draw), alone(2 * draw + 1)) for draw in range(3)]
    np.testing.assert_allclose(found.distances, expected, rtol=1e-6)
    assert (found.distances > 0).all()


@pytest.mark.parametrize("relation", ["remove", "replace"])
def test_neighbours_differ_in_one_place_and_in_nothing_else(dataset, planned, relation):
    asked = planned(SOFTMAX, dataset, BY_DESCENT, 8, num_draws=40, relation=relation)
    drawn = asked["membership"]
    for draw in range(40):
        own, other = (sets(drawn, 2 * draw + side) for side in (0, 1))
        (place,) = np.flatnonzero(own != other)
        assert len(set(own)) == 8
        assert own.min() >= 0
        assert other[place] == -1 if relation == "remove" else other[place] not in own
        for side, rows in enumerate((own, other)):
            held = np.flatnonzero(drawn.member[2 * draw + side])
            assert held.tolist() == sorted(row for row in rows if row >= 0)
    assert asked["numbers"] == [draw for draw in range(40) for _ in (0, 1)]
    assert asked["in_place"]
    assert asked["epochs"] == (6,)


def test_every_record_leaves_and_comes_in_equally_often(dataset, planned):
    drawn = planned(SOFTMAX, dataset, BY_DESCENT, 8, num_draws=600, relation="replace")["membership"]
    own, other = (np.array([sets(drawn, k) for k in range(side, 1200, 2)]) for side in (0, 1))
    left, came = own[own != other], other[own != other]
    places = np.nonzero(own != other)[1]
    for values, count in ((left, POOL), (came, POOL), (places, 8)):
        assert stats.chisquare(np.bincount(values, minlength=count)).pvalue > 1e-4
    assert abs(drawn.member[::2].mean(axis=0) - 8 / POOL).max() < 4 * math.sqrt(0.4 * 0.6 / 600)


@pytest.mark.slow
def test_a_record_without_a_gradient_moves_nothing(trained):
    """Each record is a batch of its own, so that its absence changes no other step."""
    zeros = records(POOL, 5)
    zeros.x[::2] = 0.0
    dataset = Dataset(zeros, records(3, 2), records(4, 3), CLASSES, 0, {})
    model = Model(
        lambda key, x: {"w": _init(key, x)["w"]}, lambda params, x, *, key=None, train=False: x @ params["w"]
    )
    training = TrainingConfig(epochs=2, batch_size=1, optimizer="sgd", learning_rate=0.3)
    found = sample_sensitivity(model, dataset, training, 8, num_draws=30)
    drawn = trained[0]["membership"]
    left = np.array([drawn.indices[2 * d + 1][~drawn.mask[2 * d + 1]][0] for d in range(30)])
    without = left % 2 == 0
    assert 0 < without.sum() < 30
    np.testing.assert_array_equal(found.distances[without], 0.0)
    assert (found.distances[~without] > 0).all()


@pytest.mark.slow
def test_a_record_replaced_by_its_equal_moves_nothing(dataset):
    same = Records(np.tile(dataset.pool.x[:1], (POOL, 1)), np.tile(dataset.pool.y[:1], POOL))
    found = sample_sensitivity(
        DROPOUT, dataset._replace(pool=same), BY_ADAM, 7, num_draws=4, relation="replace"
    )
    np.testing.assert_array_equal(found.distances, 0.0)


@pytest.mark.slow
def test_clipped_and_noised_steps_move_no_further_than_was_proved(dataset):
    """One DP-SGD step from the same noise: at most rate * clip / batch, however large the noise."""
    training = TrainingConfig(epochs=1, batch_size=8, optimizer="sgd", learning_rate=0.5, models_per_chunk=4)
    batches = batches_of("shuffle", num_examples=8, batch_size=8, steps=1, max_batch=0)
    options = {"defence": dp_sgd(batches), "strengths": {"clip_norm": 0.01, "noise_multiplier": 50.0}}
    found = sample_sensitivity(SOFTMAX, dataset, training, 8, num_draws=4, **options)
    # Every gradient is longer than this clip norm, so the bound is met up to float32 parameters about 1.
    np.testing.assert_allclose(found.distances, 0.5 * 0.01 / 8, atol=2e-6)


@pytest.mark.slow
def test_more_draws_keep_the_first_whatever_the_chunks_and_devices(dataset):
    few = sample_sensitivity(DROPOUT, dataset, BY_ADAM, 7, num_draws=3, seed=2)
    other_chunks = dataclasses.replace(BY_ADAM, models_per_chunk=6)
    one_device = model_mesh(jax.devices()[:1])
    more = sample_sensitivity(DROPOUT, dataset, other_chunks, 7, num_draws=5, seed=2, mesh=one_device)
    np.testing.assert_array_equal(more.distances[:3], few.distances)
    other = sample_sensitivity(DROPOUT, dataset, BY_ADAM, 7, num_draws=3, seed=3)
    assert (other.distances != few.distances).all()
    assert len(set(more.distances)) == 5


def test_pairs_share_no_key_with_a_study(dataset, planned):
    roots = planned(SOFTMAX, dataset, BY_DESCENT, 8, num_draws=1, seed=6)["roots"]
    own, study = (np.stack([jax.random.key_data(root) for root in each]) for each in (roots, keys.roots(6)))
    assert not (own[:, None] == study[None]).all(axis=2).any()


def test_a_pattern_takes_part_of_the_parameters(dataset):
    parts = {
        pattern: sample_sensitivity(
            SOFTMAX, dataset, BY_DESCENT, 8, num_draws=4, parameters=pattern
        ).distances
        for pattern in ("", "^w$", "^b$")
    }
    np.testing.assert_allclose(parts[""] ** 2, parts["^w$"] ** 2 + parts["^b$"] ** 2, rtol=1e-12)
    assert (parts["^b$"] > 0).all()
    with pytest.raises(ValueError, match="parameters is 'bias'"):
        sample_sensitivity(SOFTMAX, dataset, BY_DESCENT, 8, parameters="bias")


@pytest.mark.parametrize("pattern", ["", "^b$"])
def test_a_pair_that_diverged_is_infinitely_far_apart(dataset, trained, pattern):
    """A record of NaN, where only one of a pair has it included; whichever parameters are asked for."""
    poisoned = Records(dataset.pool.x.copy(), dataset.pool.y)
    poisoned.x[3] = np.nan
    found = sample_sensitivity(
        SOFTMAX, dataset._replace(pool=poisoned), BY_DESCENT, 8, num_draws=30, parameters=pattern
    )
    diverged = trained[0]["membership"].member[:, 3].reshape(30, 2).any(axis=1)
    assert 0 < diverged.sum() < 30
    np.testing.assert_array_equal(np.isinf(found.distances), diverged)
    assert not np.isnan(found.distances).any()
    assert found.maximum == math.inf


def test_canaries_are_in_no_pair_and_only_one_record_is_looked_at(dataset, planned):
    with_canaries = dataset._replace(num_canaries=6)
    seen = planned(SOFTMAX, with_canaries, BY_DESCENT, 14, num_draws=6)
    assert seen["membership"].indices.max() < 14
    assert seen["membership"].member.shape == (12, 14)
    assert [seen["dataset"].pool.size, seen["dataset"].population.size, seen["dataset"].test.size] == [
        14,
        1,
        1,
    ]
    with pytest.raises(ValueError, match=r"train_size is 15: it must lie in \[1, 14\]"):
        sample_sensitivity(SOFTMAX, with_canaries, BY_DESCENT, 15)


@pytest.mark.slow
def test_ragged_records_and_a_training_of_one_record(dataset, trained):
    """The neighbour of a set of one record is trained on nothing."""

    def ragged(part):
        return Records(Ragged(part.x, np.full(part.size, FEATURES, np.int32)), part.y)

    whole = Dataset(*(ragged(part) for part in dataset[:3]), CLASSES, 0, {})
    model = Model(lambda key, x: _init(key, x), lambda params, x, **rest: _apply(params, x.values))
    training = dataclasses.replace(BY_DESCENT, epochs=1)
    found = sample_sensitivity(model, whole, training, 1, num_draws=3)
    for draw in range(3):
        params = _init(keys.per_model(trained[0]["roots"].init, np.array([draw]))[0], None)
        params = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
        own = sets(trained[0]["membership"], 2 * draw)
        slope = gradient(params, np.asarray(dataset.pool.x, np.float64)[own], dataset.pool.y[own])
        expected = 0.3 * math.sqrt(sum(np.sum(leaf**2) for leaf in slope.values()))
        assert found.distances[draw] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_draws": 0}, "num_draws is 0: it must be at least 1"),
        ({"relation": "add"}, "relation is 'add': it must be one of 'remove', 'replace'"),
        ({"train_size": 0}, r"train_size is 0: it must lie in \[1, 20\]"),
        ({"train_size": 21}, r"train_size is 21: it must lie in \[1, 20\]"),
        (
            {"train_size": 20, "relation": "replace"},
            r"must lie in \[1, 19\] for this pool and relation 'replace'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(dataset, change, message):
    with pytest.raises(ValueError, match=message):
        sample_sensitivity(SOFTMAX, dataset, BY_DESCENT, **{"train_size": 8, **change})


def test_epsilons_are_those_of_the_largest_distance():
    sampled = Sensitivity(np.array([0.2, 0.5, 0.1] + [0.0] * 17), "remove")
    assert (sampled.num_draws, sampled.maximum) == (20, 0.5)
    assert sampled.gamma == random_dp_gamma(20) == pytest.approx(0.323, abs=5e-4)
    nominal, analytic = release_epsilons(sampled, 0.25, 1e-5)
    assert nominal["epsilon"] == pytest.approx(2.0 * math.sqrt(2 * math.log(1.25e5)))
    mu, epsilon = 2.0, analytic["epsilon"]
    tail = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
    assert tail == pytest.approx(1e-5, rel=1e-6)
    for row, kind in ((nominal, "nominal"), (analytic, "analytic")):
        shared = {
            name: row[name] for name in ("kind", "relation", "delta", "gamma", "sensitivity", "samples")
        }
        assert shared == {
            "kind": kind,
            "relation": "add-or-remove",
            "delta": 1e-5,
            "gamma": sampled.gamma,
            "sensitivity": 0.5,
            "samples": 20,
        }
    assert "only up to epsilon 1" in nominal["meaning"]
    assert "only up to" not in analytic["meaning"]
    assert all("all but a share 0.32 of the pairs" in row["meaning"] for row in (nominal, analytic))


@pytest.mark.parametrize(("distances", "sigma"), [([0.5, math.inf], 1.0), ([0.5, 0.1], 0.0)])
def test_without_noise_or_with_a_diverged_pair_nothing_is_promised(distances, sigma):
    rows = release_epsilons(Sensitivity(np.array(distances), "replace"), sigma, 1e-5)
    assert [row["epsilon"] for row in rows] == [math.inf, math.inf]
    assert {row["relation"] for row in rows} == {"replace-one"}


@pytest.mark.parametrize("largest", [0.5, math.inf])
def test_a_bad_sigma_or_delta_is_refused(largest):
    sampled = Sensitivity(np.array([0.5, largest]), "remove")
    with pytest.raises(ValueError, match="sigma is -1"):
        release_epsilons(sampled, -1.0, 1e-5)
    with pytest.raises(ValueError, match="delta is 0"):
        release_epsilons(sampled, 1.0, 0)


def test_a_sensitivity_outlives_json():
    sampled = Sensitivity(np.array([0.1, math.inf, 1 / 3]), "replace")
    again = from_mapping(json.loads(json.dumps(to_mapping(sampled), allow_nan=False)))
    np.testing.assert_array_equal(again.distances, sampled.distances)
    assert (again.relation, again.distances.dtype) == ("replace", np.float64)


def test_no_chunk_cuts_a_pair(dataset, planned):
    for size, expected in ((1, 2), (3, 4), (4, 4)):
        training = dataclasses.replace(BY_DESCENT, models_per_chunk=size)
        assert planned(SOFTMAX, dataset, training, 8, num_draws=3)["sizes"] == Plan(expected, 1)
