"""Families of a config: built for the data, matched in size, or refused with what would fit."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mia_jax.config import ConfigError, FamilyConfig
from mia_jax.models import (
    Model,
    build,
    build_families,
    cnn,
    count_parameters,
    match_parameters,
    mlp,
    one_record,
    recurrent,
    renet,
)
from mia_jax.types import Dataset, Ragged, Records


def dataset_of(x, *, num_classes=10, vocabulary_size=0):
    records = Records(x, np.zeros(2, np.int32))
    return Dataset(records, records, records, num_classes, vocabulary_size, {})


IMAGES = dataset_of(np.zeros((2, 8, 8), np.float32))
VECTORS = dataset_of(np.zeros((2, 20), np.float32))
TOKENS = dataset_of(np.zeros((2, 5), np.int32), vocabulary_size=30)
RAGGED = dataset_of(Ragged(np.zeros((2, 5, 3), np.float32), np.ones(2, np.int32)))


def sizes(models, dataset):
    return {name: count_parameters(model, one_record(dataset)) for name, model in models.items()}


@pytest.mark.parametrize("kind", ["mlp", "rnn", "gru"])
@pytest.mark.parametrize(("reference", "dataset"), [("lstm", IMAGES), ("lstm", TOKENS), ("lstm", RAGGED)])
def test_matched_families_are_within_one_per_cent(kind, reference, dataset):
    families = {
        "first": FamilyConfig(kind=kind, match="second", hidden=1),
        "second": FamilyConfig(kind=reference, hidden=64),
    }
    sized, models = build_families(families, dataset)
    counts = sizes(models, dataset)
    assert abs(counts["first"] - counts["second"]) <= 0.01 * counts["second"]
    assert sized == {
        **families,
        "first": dataclasses.replace(families["first"], hidden=sized["first"].hidden),
    }


def test_families_without_match_stay_as_they_are():
    families = {"a": FamilyConfig(kind="mlp", hidden=3), "b": FamilyConfig(kind="rnn", hidden=5)}
    sized, models = build_families(families, IMAGES)
    assert sized == families
    assert sizes(models, IMAGES) == {"a": 64 * 3 + 3 + 3 * 10 + 10, "b": 8 * 5 + 5 * 5 + 5 + 5 * 10 + 10}


def test_a_match_that_is_too_coarse_says_by_how_much_and_what_would_fit():
    families = {"wide": FamilyConfig(kind="mlp", match="small"), "small": FamilyConfig(kind="rnn", hidden=4)}
    with pytest.raises(ConfigError) as caught:
        build_families(families, IMAGES)
    said = re.fullmatch(
        r"config\.families\.wide\.match is 'small': the closest width, (\d+), misses its parameter count by "
        r"(\d+\.\d)%, allowed is 1%; small\.hidden=(\d+) would fit \(with wide\.hidden=(\d+), (\d\.\d)% off\)\.",
        str(caught.value),
    )
    assert said, str(caught.value)
    width, gap, hidden, fitting, off = said.groups()
    target = count_parameters(build(families["small"], IMAGES), one_record(IMAGES))
    closest = count_parameters(build(FamilyConfig(kind="mlp", hidden=int(width)), IMAGES), one_record(IMAGES))
    assert float(gap) == pytest.approx(100 * abs(closest - target) / target, abs=0.06)
    # The advice is sound: taken, it fits.
    families["small"] = FamilyConfig(kind="rnn", hidden=int(hidden))
    sized, models = build_families(families, IMAGES)
    assert sized["wide"].hidden == int(fitting)
    counts = sizes(models, IMAGES)
    assert 100 * abs(counts["wide"] / counts["small"] - 1) == pytest.approx(float(off), abs=0.06)


def test_a_match_that_nothing_near_would_fit_says_so():
    families = {"wide": FamilyConfig(kind="mlp", match="tiny"), "tiny": FamilyConfig(kind="rnn", hidden=1)}
    with pytest.raises(
        ConfigError, match=r"config\.families\.wide\.match is 'tiny'.*no other tiny\.hidden below 2"
    ):
        build_families(families, IMAGES)


@pytest.mark.parametrize("target", [1, 4, 7, 9, 10, 11, 18, 19, 27, 28, 29, 54, 100, 1000])
def test_the_width_found_is_the_closest_of_all(target):
    def make(width):
        return Model(lambda key, x: jnp.zeros((width, width + 3)), lambda params, x: x)

    found = match_parameters(make, np.zeros(1), target)
    gaps = {width: abs(width * (width + 3) - target) for width in range(1, 60)}
    assert gaps[found] == min(gaps.values())


def test_a_width_that_changes_nothing_is_said_and_not_searched_for_ever():
    def make(width):
        return Model(lambda key, x: jnp.zeros(7), lambda params, x: x)

    with pytest.raises(ValueError, match="make gives 7 parameters at the widths 1 and 2: they must rise"):
        match_parameters(make, np.zeros(1), 10)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_vectors_need_steps(kind):
    with pytest.raises(ConfigError, match=f'"{kind}" has steps 0.*vectors of 20 features: set steps'):
        build(FamilyConfig(kind=kind), VECTORS)
    build(FamilyConfig(kind=kind, steps=4), VECTORS)


@pytest.mark.parametrize("dataset", [TOKENS, RAGGED], ids=["tokens", "ragged"])
def test_sequences_are_not_cut_again(dataset):
    with pytest.raises(ConfigError, match=r'"lstm" has steps 4.*sequences already: leave steps at 0'):
        build(FamilyConfig(kind="lstm", steps=4), dataset)
    build(FamilyConfig(kind="lstm"), dataset)


@pytest.mark.parametrize(
    ("dataset", "found"),
    [
        (VECTORS, r"arrays of shape \[20\]"),
        (TOKENS, "sequences of token ids"),
        (RAGGED, "sequences of different lengths"),
        (dataset_of(np.zeros((2, 4, 4, 4, 1), np.float32)), r"arrays of shape \[4, 4, 4, 1\]"),
    ],
    ids=["vectors", "tokens", "ragged", "volumes"],
)
@pytest.mark.parametrize("kind", ["cnn", "renet"])
def test_models_of_images_need_images(kind, dataset, found):
    with pytest.raises(
        ConfigError, match=f'"{kind}" needs records .H, W. or .H, W, channels.*{found}: choose data'
    ):
        build(FamilyConfig(kind=kind), dataset)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_a_cnn_is_built_for_images_and_is_the_same_model_again(shape):
    dataset = dataset_of(np.zeros((2, *shape), np.float32))
    family = FamilyConfig(kind="cnn", hidden=5, layers=3, dropout=0.5)
    model = build(family, dataset)
    assert build(FamilyConfig(kind="cnn", hidden=5, layers=3, dropout=0.5), dataset) is model
    convolutions = 9 * (shape[2] if len(shape) == 3 else 1) * 5 + 9 * 5 * 5 + 9 * 5 * 10
    norms, head = 2 * (5 + 5 + 10), 2 * 2 * 10 * 10 + 10
    assert count_parameters(model, one_record(dataset)) == convolutions + norms + head


@pytest.mark.parametrize(("first", "second"), [("cnn", "mlp"), ("mlp", "cnn"), ("cnn", "lstm")])
def test_a_cnn_is_matched_in_size_like_any_other(first, second):
    families = {
        "first": FamilyConfig(kind=first, match="second", layers=2, hidden=1),
        "second": FamilyConfig(kind=second, hidden=61, layers=2),
    }
    counts = sizes(build_families(families, IMAGES)[1], IMAGES)
    assert abs(counts["first"] - counts["second"]) <= 0.01 * counts["second"]


def test_a_cnn_has_more_parameters_the_wider_it_is():
    counts = [
        count_parameters(build(FamilyConfig(kind="cnn", hidden=width, layers=4), IMAGES), one_record(IMAGES))
        for width in range(1, 13)
    ]
    assert all(np.diff(counts) > 0)


def test_one_record_is_the_first_of_the_pool():
    record = one_record(RAGGED)
    assert isinstance(record, Ragged)
    assert (record.values.shape, record.length.shape) == ((5, 3), ())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mlp(num_classes=0), "num_classes is 0: it must be at least 1"),
        (lambda: mlp(num_classes="a"), "num_classes is 'a': it must be a whole number of at least 1"),
        (lambda: mlp(num_classes=3, hidden=-1), "hidden is -1: it must be at least 1"),
        (lambda: mlp(num_classes=3, dropout=2.0), r"dropout is 2\.0: it must lie in \[0, 1\)"),
        (lambda: recurrent("x", num_classes=3), "cell is 'x': it must be one of 'rnn', 'lstm', 'gru'"),
        (lambda: recurrent("lstm", num_classes=3, layers=0), "layers is 0: it must be at least 1"),
        (lambda: cnn(num_classes=3, head="x"), "head is 'x': it must be one of 'flat', 'pooled', 'dense'"),
        (
            lambda: cnn(num_classes=3, head="dense"),
            'head_width is 0: it must be at least 1 with head "dense"',
        ),
        (lambda: renet(num_classes=3, hidden=2.5), "hidden is 2.5: it must be a whole number of at least 1"),
        (
            lambda: cnn(num_classes=3).init(jax.random.key(0), jnp.ones(6)),
            r"x has shape \(6,\): it must be one image",
        ),
        (
            lambda: renet(num_classes=3).init(jax.random.key(0), jnp.ones(6)),
            r"x has shape \(6,\): it must be one image",
        ),
    ],
)
def test_models_that_cannot_be_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_match_must_name_a_family():
    families = {"mine": FamilyConfig(kind="mlp", match="other")}
    with pytest.raises(
        ConfigError, match=r"config\.families\.mine\.match is 'other': it must name another family"
    ):
        build_families(families, VECTORS)
