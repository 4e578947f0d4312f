"""One world of arrays, all in agreement, from which every test of a person's file departs."""

from typing import NamedTuple

import numpy as np
import pytest

K, N, C, Z, Q, L, T, E = 5, 7, 3, 4, 2, 6, 3, 8


class World(NamedTuple):
    """arrays: every array that a file can hold."""

    arrays: dict

    def but(self, **changes):
        """All arrays with some changed, None: left out."""
        return {name: value for name, value in (self.arrays | changes).items() if value is not None}

    def only(self, *names, **more):
        """member, the arrays named, and more."""
        return {name: self.arrays[name] for name in ("member", *names)} | more

    def entry(self, name, where, value):
        """All arrays with one number changed."""
        array = np.array(self.arrays[name])
        array[where] = value
        return self.but(**{name: array})


def by_hand(logits, y):
    """The five signals by softmax, for logits of ordinary size."""
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    own = np.take_along_axis(p, np.broadcast_to(y, p.shape[:-1])[..., None], -1)[..., 0]
    others = np.where(np.arange(p.shape[-1]) == np.asarray(y)[..., None], 0.0, p * np.log(1 - p))
    return {
        "log_prob": np.log(own),
        "scaled_logit": np.log(own / (1 - own)),
        "entropy": -(p * np.log(p)).sum(-1),
        "modified_entropy": -(1 - own) * np.log(own) - others.sum(-1),
        "correct": (p.argmax(-1) == y).astype(float),
    }


def pair_by_hand(prefix, logits, y):
    said = by_hand(logits, y)
    return {prefix + name: said[name] for name in ("log_prob", "scaled_logit")}


def make_world():
    rng = np.random.default_rng(0)
    member, labels, logits = rng.random((K, N)) < 0.5, np.arange(N) % C, rng.normal(size=(K, N, C)) * 3
    said = by_hand(logits, labels)
    queries = np.stack([logits, logits + rng.normal(size=logits.shape)], 2)
    population, population_labels = rng.normal(size=(K, Z, C)), np.arange(Z) % C
    embedding = rng.normal(size=(K, N, E))
    arrays = {"member": member, "labels": labels, "logits": logits, **said}
    arrays |= {"query_logits": queries, **pair_by_hand("query_", queries, labels[:, None])}
    arrays |= {"population_logits": population, "population_labels": population_labels}
    arrays |= pair_by_hand("population_", population, population_labels)
    arrays |= {"step_logits": rng.normal(size=(K, N, L, C))}
    arrays |= {"trajectory": np.stack([said["log_prob"] * t for t in (3, 2, 1)], 1)}
    arrays |= {name: rng.random((K, N)) for name in ("gradient_norm", "adversarial_distance")}
    arrays |= {"embedding": embedding, "embedding_norm": np.sqrt((embedding**2).sum(-1))}
    arrays |= {"features": rng.normal(size=(N, 4, 4)), "population_features": rng.normal(size=(Z, 4, 4))}
    arrays |= {
        "valid": np.ones(K, bool),
        "twin": np.array([1, 0, -1, -1, -1]),
        "exclude": np.eye(K, dtype=bool),
    }
    return World(arrays | {"slice_age": np.arange(N) % 2, "slice_right": said["correct"] > 0})


@pytest.fixture
def world():
    """5 models, 7 records of 3 classes, 4 of the population, 2 queries, 6 steps, 3 checkpoints."""
    return make_world()
