"""Keys are told apart by seed, place and number alone: an old run's random numbers stay what they were."""

import jax
import numpy as np

from mia_jax.keys import Roots, per_model, roots

DATA = jax.random.key_data


def test_a_root_is_known_by_its_place():
    """What stands here may be added to, and never moved: every old run would be another."""
    names = ["membership", "init", "order", "dropout", "attack", "noise", "label", "release"]
    assert list(Roots._fields[: len(names)]) == names
    found = roots(7)
    for place, name in enumerate(names):
        own = jax.random.fold_in(jax.random.key(7), place)
        np.testing.assert_array_equal(DATA(getattr(found, name)), DATA(own), name)


def test_a_models_key_is_its_numbers():
    root = roots(3).init
    found = DATA(per_model(root, np.array([5, 0, 2**20])))
    for key, number in zip(found, (5, 0, 2**20), strict=True):
        np.testing.assert_array_equal(key, DATA(jax.random.fold_in(root, number)))


def test_no_two_keys_of_a_few_studies_are_the_same():
    every = [DATA(per_model(root, np.arange(4))) for seed in (0, 1, 2) for root in roots(seed)]
    assert len(np.unique(np.concatenate(every), axis=0)) == 3 * len(Roots._fields) * 4
