"""Generators against their known answers."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from mia_jax.config import ConfigError, DataConfig
from mia_jax.data import load
from mia_jax.data.synthetic import Gaussian, Markov, gaussian, gaussian_answers, markov, markov_answers


def drawn(source, **settings):
    sizes = {"pool_size": 9000, "population_size": 2000, "standardize": False}
    return load(DataConfig(source=source, **(sizes | settings)))


def everything(dataset):
    parts = (dataset.pool, dataset.population, dataset.test)
    return np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts])


def assert_accuracy(correct, expected):
    """Within four standard errors."""
    assert abs(correct.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / len(correct))


@pytest.mark.parametrize("parameters", ["", ",classes=2,distance=1.5", ",classes=5,features=5,distance=3"])
def test_the_best_gaussian_classifier_reaches_its_accuracy(parameters):
    dataset = drawn(f"synthetic:gaussian{parameters}")
    x, y = everything(dataset)
    assert_accuracy(x[:, : dataset.num_classes].argmax(1) == y, dataset.facts["bayes_accuracy"])
    assert dataset.facts["duplicates_dropped"] == 0


@pytest.mark.parametrize("distance", [0.0, 0.5, 2.0, 6.0, 50.0])
def test_two_gaussians_have_a_closed_form(distance):
    answers = gaussian_answers(Gaussian(2, 8, distance))
    assert answers["bayes_accuracy"] == pytest.approx(scipy.stats.norm.cdf(distance / 2), abs=1e-9)
    chance = gaussian_answers(Gaussian(7, 8, 0.0))["bayes_accuracy"]
    assert chance == pytest.approx(1 / 7, abs=1e-9)


def test_gaussian_means_are_at_their_distance(rng):
    law = Gaussian(classes=3, features=4, distance=2.5)
    x, y = gaussian(law, 30_000, rng)
    means = np.stack([x[y == label].mean(0) for label in range(3)])
    for one, two in itertools.combinations(means, 2):
        assert np.linalg.norm(one - two) == pytest.approx(2.5, abs=0.1)
    np.testing.assert_allclose((x - means[y]).std(0), 1, atol=0.02)


def move_counts(x, law):
    """How often each class's move occurs: [N, C]."""
    moves = np.diff(x, axis=1) % law.symbols
    return (moves[:, :, None] == np.arange(law.classes)).sum(1)


@pytest.mark.parametrize("law", [Markov(), Markov(4, 6, 12, 0.4)])
def test_the_best_markov_classifier_reaches_its_accuracy(law, rng):
    parameters = ",".join(f"{name}={value}" for name, value in law._asdict().items())
    dataset = drawn(f"synthetic:markov,{parameters}")
    x, y = everything(dataset)
    guess = (move_counts(x, law) + 0.5 * rng.random((len(y), law.classes))).argmax(1)
    assert_accuracy(guess == y, dataset.facts["bayes_accuracy"])
    assert dataset.facts["duplicates_dropped"] <= 5
    assert dataset.pool.x.dtype == np.int32
    assert dataset.vocabulary_size == law.symbols


def transition(law, label):
    """The transition matrix of a class: [V, V]."""
    other = (1 - law.favour) / (law.symbols - 1)
    matrix = np.full((law.symbols, law.symbols), other)
    for symbol in range(law.symbols):
        matrix[symbol, (symbol + label) % law.symbols] = law.favour
    return matrix


@pytest.mark.parametrize(
    "law", [Markov(2, 3, 4, 0.5), Markov(3, 3, 5, 0.6), Markov(3, 4, 4, 0.3), Markov(2, 2, 3, 0.9)]
)
def test_markov_answers_by_enumeration(law):
    matrices = [transition(law, label) for label in range(law.classes)]
    best = 0.0
    for sequence in itertools.product(range(law.symbols), repeat=law.steps):
        steps = list(itertools.pairwise(sequence))
        best += max(math.prod(matrix[step] for step in steps) for matrix in matrices)
    answers = markov_answers(law)
    assert answers["bayes_accuracy"] == pytest.approx(best / law.symbols / law.classes, abs=1e-12)
    one, two = matrices[:2]
    assert answers["entropy_rate"] == pytest.approx(-(one * np.log(one)).sum() / law.symbols)
    assert answers["log_likelihood_ratio"] == pytest.approx((one * np.log(one / two)).sum() / law.symbols)


def test_markov_transitions_are_those_of_the_class(rng):
    law = Markov(classes=3, symbols=4, steps=40, favour=0.55)
    x, y = markov(law, 3000, rng)
    for label in range(3):
        pairs = np.stack([x[y == label, :-1].ravel(), x[y == label, 1:].ravel()])
        counts = np.zeros((4, 4))
        np.add.at(counts, tuple(pairs), 1)
        np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), transition(law, label), atol=0.02)
    frequencies = np.stack([np.bincount(x[y == label].ravel(), minlength=4) for label in range(3)])
    np.testing.assert_allclose(frequencies / frequencies.sum(1, keepdims=True), 0.25, atol=0.01)


def test_sizes_and_determinism():
    dataset = load(DataConfig(source="synthetic:gaussian", pool_size=30, population_size=20))
    assert (dataset.pool.size, dataset.population.size, dataset.test.size) == (30, 20, 30)
    again = load(DataConfig(source="synthetic:gaussian", pool_size=30, population_size=20))
    assert again.pool.x.tobytes() == dataset.pool.x.tobytes()
    other = load(DataConfig(source="synthetic:gaussian", pool_size=30, population_size=20, seed=1))
    assert other.facts["fingerprint"] != dataset.facts["fingerprint"]
    assert dataset.facts["parameters"] == {"classes": 10, "features": 32, "distance": 2.0}


def test_walks_can_be_read_as_features():
    dataset = drawn("synthetic:markov,steps=20", kind="features")
    assert dataset.pool.x.dtype == np.float32
    assert dataset.vocabulary_size == 0


@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        ("uniform", "there is no generator 'uniform'; it must be one of gaussian, markov"),
        ("gaussian,clases=3", "the parameter 'clases=3' is not known; it must be one of classes, features"),
        ("gaussian,symbols=3", "is not known"),
        ("gaussian,", "the parameter '' is not known"),
        ("gaussian,classes=3,classes=4", "the parameter 'classes=4' is given twice"),
        ("gaussian,classes", "the parameter classes is ''; it must be an integer"),
        ("gaussian,classes=2.5", "the parameter classes is '2.5'; it must be an integer"),
        ("gaussian,distance=far", "the parameter distance is 'far'; it must be a number"),
        ("gaussian,classes=1", "the parameter classes is 1; it must be at least 2"),
        ("gaussian,features=9", "the parameter features is 9; it must be at least the number of classes, 10"),
        ("gaussian,distance=-1", "the parameter distance is -1.0; it must be finite and not negative"),
        ("gaussian,distance=nan", "the parameter distance is nan"),
        ("gaussian,distance=inf", "the parameter distance is inf"),
        ("markov,symbols=1", "the parameter symbols is 1"),
        ("markov,classes=9", "the parameter classes is 9; it must be from 2 to the number of symbols, 8"),
        ("markov,steps=1", "the parameter steps is 1"),
        ("markov,favour=0.125", "the parameter favour is 0.125; it must be above 1 / symbols, 0.125"),
        ("markov,favour=1", "the parameter favour is 1.0"),
    ],
)
def test_wrong_parameters(rest, sentence):
    with pytest.raises(ConfigError, match=r"^config\.data\.source is ") as error:
        load(DataConfig(source=f"synthetic:{rest}"))
    assert sentence in str(error.value)


def test_sequences_too_short_to_be_distinct():
    with pytest.raises(ConfigError, match="distinct records"):
        load(DataConfig(source="synthetic:markov,symbols=2,steps=4,favour=0.6"))
