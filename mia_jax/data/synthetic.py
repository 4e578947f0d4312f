"""Records drawn from laws with known answers: `synthetic:gaussian` and `synthetic:markov`.

Parameters follow the name, as in `synthetic:gaussian,classes=10,features=32,distance=2.0`. Labels are
uniform and independent of all else; the answers stand in `Dataset.facts`. Records are made distinct
afterwards, as those of any source: the answers hold while `facts["duplicates_dropped"]` is 0, which
only very short sequences break. Standardising is affine and changes none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.integrate
import scipy.stats

from mia_jax.config import DataConfig
from mia_jax.data.source import Source, holds_tokens, source_error, table

Requirements = Sequence[tuple[str, bool, str]]  # parameter, whether it will do, what is allowed
Draw = tuple[np.ndarray, np.ndarray]


class Gaussian(NamedTuple):
    """C classes, D features, and the distance between any two class means; noise of deviation 1."""

    classes: int = 10
    features: int = 32
    distance: float = 2.0


class Markov(NamedTuple):
    """C classes, V symbols, L steps, and the probability of the move that a class favours."""

    classes: int = 2
    symbols: int = 8
    steps: int = 32
    favour: float = 0.3


class _Law(NamedTuple):
    """What belongs to one name: default parameters, their limits, how to draw, what is known."""

    defaults: Any
    requirements: Callable[[Any], Requirements]
    draw: Callable[[Any, int, np.random.Generator], Draw]
    answers: Callable[[Any], dict[str, float]]


def generate(config: DataConfig, rest: str) -> Source:
    """The source that `rest` names, with pool_size + population_size + test_size records.

    A test_size of 0 stands for as many as the pool. x is float32 [N, D] (gaussian) or token ids
    [N, L] (markov). Raises `ConfigError` for an unknown name, and for a parameter that is unknown,
    given twice, or out of range.
    """
    name, *settings = rest.split(",")
    if name not in _LAWS:
        raise source_error(
            config,
            f'there is no generator {name!r}; it must be one of {", ".join(_LAWS)}, after "synthetic:"',
        )
    law = _LAWS[name]
    parameters = law.defaults._replace(**_parsed(config, settings, law.defaults))
    for field, fits, allowed in law.requirements(parameters):
        if not fits:
            value = getattr(parameters, field)
            raise source_error(config, f"the parameter {field} is {value}; it must be {allowed}")
    # The pools before this one are passed over by whoever parts the records; here every pool is drawn anew.
    passed = config.pool_number * config.pool_size
    count = passed + config.pool_size + config.population_size + (config.test_size or config.pool_size)
    another = (config.pool_number,) if config.pool_number else ()
    rng = np.random.default_rng((config.seed, 1, *another))  # not the stream that parts the records
    x, y = law.draw(parameters, count, rng)
    tokens = holds_tokens(config, natural=name == "markov")
    facts = {"parameters": parameters._asdict(), **law.answers(parameters)}
    return Source(table(config, x, y, tokens=tokens), None, tokens, getattr(parameters, "symbols", 0), facts)


def gaussian(law: Gaussian, count: int, rng: np.random.Generator) -> Draw:
    """Class c is N(distance / sqrt(2) e_c, I), e_c the c-th unit vector: x float32 [N, D] and y [N]."""
    y = rng.integers(law.classes, size=count)
    x = rng.standard_normal((count, law.features))
    x[np.arange(count), y] += law.distance / math.sqrt(2)
    return x.astype(np.float32), y


def gaussian_answers(law: Gaussian) -> dict[str, float]:
    """bayes_accuracy: of the best classifier, which names the largest of the first C features.

    It is right where the class's own feature, N(distance / sqrt(2), 1), exceeds C - 1 standard normal
    ones: the integral of phi(t - distance / sqrt(2)) Phi(t)**(C - 1), Phi(distance / 2) for C = 2.
    """
    shift = law.distance / math.sqrt(2)

    def density(t: float) -> float:
        return float(scipy.stats.norm.pdf(t - shift) * scipy.stats.norm.cdf(t) ** (law.classes - 1))

    accuracy, _ = scipy.integrate.quad(density, shift - 10, shift + 10, epsabs=1e-10, limit=200)
    return {"bayes_accuracy": float(accuracy)}


def markov(law: Markov, count: int, rng: np.random.Generator) -> Draw:
    """Walks on V symbols in a ring, from a uniform first symbol: x int64 [N, L] and y [N].

    Each step moves on by d = 0 ... V - 1 places: by d = y with probability `favour`, by any other d
    with equal shares of the rest. Every transition matrix is circulant, so the chains are stationary,
    each symbol alone is uniform in every class, and only the order of symbols tells classes apart.
    """
    y = rng.integers(law.classes, size=count)
    first = rng.integers(law.symbols, size=(count, 1))
    other = rng.integers(1, law.symbols, size=(count, law.steps - 1))
    favoured = rng.random((count, law.steps - 1)) < law.favour
    moves = y[:, None] + np.where(favoured, 0, other)
    return np.cumsum(np.concatenate([first, moves], axis=1), axis=1) % law.symbols, y


def markov_answers(law: Markov) -> dict[str, float]:
    """What is known of the walks, in nats where it is information.

    entropy_rate: of a step, given the one before. log_likelihood_ratio: expected, a step, of the true
    class over any other. bayes_accuracy: of the best classifier, which names the favoured move that
    occurs most often (any of them, at a tie).
    """
    p, r = law.favour, (1 - law.favour) / (law.symbols - 1)
    return {
        "entropy_rate": -p * math.log(p) - (1 - p) * math.log(r),
        "log_likelihood_ratio": (p - r) * math.log(p / r),
        "bayes_accuracy": _most_frequent_move(law, p, r),
    }


def _most_frequent_move(law: Markov, p: float, r: float) -> float:
    """The probability that the true class's move is the most frequent of the C candidates.

    Counts of M moves are multinomial: independent Poisson counts, given that their sum is M. With k
    of the true move, m of the C - 1 rivals reach k too and share the guess, the others stay below.
    """
    moves, rivals = law.steps - 1, law.classes - 1
    counts = np.arange(moves + 1)
    own, rival = scipy.stats.poisson.pmf(counts, moves * p), scipy.stats.poisson.pmf(counts, moves * r)
    rest = scipy.stats.poisson.pmf(counts, moves * r * (law.symbols - law.classes))
    total = 0.0
    for k in range(moves + 1):
        below = rest  # the law of the sum of all counts that are neither the true move's nor tied with it
        for m in range(rivals, -1, -1):
            if (left := moves - k - m * k) >= 0:
                total += own[k] * math.comb(rivals, m) * rival[k] ** m / (m + 1) * below[left]
            below = np.convolve(below, rival[:k])[: moves + 1] if k else np.zeros(moves + 1)
    return float(total / scipy.stats.poisson.pmf(moves, moves))


def _parsed(config: DataConfig, settings: Sequence[str], defaults: Any) -> dict[str, Any]:
    """The values of `name=value` settings, in the types of `defaults`."""
    types = {name: type(value) for name, value in defaults._asdict().items()}
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in types or name in values:
            raise source_error(
                config,
                f"the parameter {setting!r} is {'given twice' if name in values else 'not known'}; it must "
                f"be one of {', '.join(types)}, each once, as in {name if name in types else 'classes'}=2",
            )
        try:
            values[name] = types[name](text)
        except ValueError:
            kind = "an integer" if types[name] is int else "a number"
            raise source_error(config, f"the parameter {name} is {text!r}; it must be {kind}") from None
    return values


def _gaussian_requirements(law: Gaussian) -> Requirements:
    return (
        ("classes", law.classes >= 2, "at least 2"),
        ("features", law.features >= law.classes, f"at least the number of classes, {law.classes}"),
        ("distance", 0 <= law.distance < math.inf, "finite and not negative"),
    )


def _markov_requirements(law: Markov) -> Requirements:
    return (
        ("symbols", law.symbols >= 2, "at least 2"),
        ("classes", 2 <= law.classes <= law.symbols, f"from 2 to the number of symbols, {law.symbols}"),
        ("steps", law.steps >= 2, "at least 2"),
        (
            "favour",
            1 / law.symbols < law.favour < 1,
            f"above 1 / symbols, {1 / law.symbols:.4g}, and below 1",
        ),
    )


_LAWS: Mapping[str, _Law] = {
    "gaussian": _Law(Gaussian(), _gaussian_requirements, gaussian, gaussian_answers),
    "markov": _Law(Markov(), _markov_requirements, markov, markov_answers),
}
