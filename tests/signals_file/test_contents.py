"""What comes out of good arrays: every signal that follows, and nothing of the person's changed."""

import json

import numpy as np
import pytest

from mia_jax import signals_file
from mia_jax.attacks import lira, rmia
from mia_jax.signals_file import layout, observations_of
from mia_jax.types import Signals

FIELDS = Signals._fields
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def seen_of(arrays, **options):
    return observations_of(arrays, **options).observations


def test_all_five_signals_of_logits(world):
    brought = observations_of(world.only("logits", "labels"))
    for name in FIELDS:
        value = getattr(brought.observations, name)
        assert value.dtype == np.float64
        np.testing.assert_allclose(value, world.arrays[name], **CLOSE, err_msg=name)
    assert brought.num_classes == 3
    assert brought.facts["derived"] == dict.fromkeys(FIELDS, "logits with labels")
    assert brought.observations.logits is world.arrays["logits"]
    assert brought.observations.key is None
    assert brought.population_correct is None


def test_everything_at_once(world):
    brought = observations_of(world.arrays)
    seen = brought.observations
    assert {name for name, value in seen._asdict().items() if value is None} == {"key"}
    assert set(brought.groups) == {"age", "right"}
    assert seen.features.shape == (7, 16)
    assert seen.population_features.shape == (4, 16)
    right = world.arrays["population_logits"].argmax(-1) == world.arrays["population_labels"]
    np.testing.assert_array_equal(brought.population_correct, right)
    assert brought.facts["notes"] == []
    assert json.loads(json.dumps(brought.facts)) == brought.facts
    assert [brought.facts[name] for name in ("models", "records", "population", "num_classes")] == [
        5,
        7,
        4,
        3,
    ]


def test_what_is_not_given_is_not_there(world):
    brought = observations_of(world.only("gradient_norm"))
    there = {name for name, value in brought.observations._asdict().items() if value is not None}
    assert there == {"member", "gradient_norm"}
    assert brought.num_classes is None
    assert not {"population", "num_classes"} & set(brought.facts)


@pytest.mark.parametrize("prefix", ["", "population_", "query_"])
def test_one_of_two_signals_gives_the_other(world, prefix):
    own = ("scaled_logit",) if prefix else ()
    names = (f"{prefix}log_prob", f"{prefix}scaled_logit")
    for given, derived in (names, names[::-1]):
        value = getattr(seen_of(world.only(*own, given)), derived)
        np.testing.assert_allclose(value, world.arrays[derived], **CLOSE)


def test_the_first_query_speaks_for_the_record(world):
    brought = observations_of(world.only("query_logits", "labels"))
    for name in (*FIELDS, "logits"):
        np.testing.assert_allclose(getattr(brought.observations, name), world.arrays[name], **CLOSE)
    assert brought.facts["derived"]["logits"] == "query_logits, the first query"
    seen = seen_of(world.only("query_log_prob"))
    np.testing.assert_array_equal(seen.log_prob, world.arrays["log_prob"])
    np.testing.assert_allclose(seen.scaled_logit, world.arrays["scaled_logit"], **CLOSE)
    np.testing.assert_array_equal(seen.query_log_prob, world.arrays["query_log_prob"])


@pytest.mark.parametrize("p", [1.0, 3.0, np.inf])
def test_embeddings_become_norms(world, p):
    norm = seen_of(world.only("embedding"), embedding_p=p).embedding_norm
    np.testing.assert_allclose(norm, np.linalg.norm(world.arrays["embedding"], ord=p, axis=-1))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_integers_are_the_same_mask(world, dtype):
    masks = {name: world.arrays[name].astype(dtype) for name in ("member", "valid", "exclude")}
    one, other = seen_of(world.arrays), seen_of(world.but(**masks))
    assert other.member.dtype == bool
    for name, value in one._asdict().items():
        if value is not None:
            np.testing.assert_array_equal(getattr(other, name), value, err_msg=name)


@pytest.mark.parametrize(("models", "records"), [(4, 2), (5, 7), (9, 31)])
def test_any_number_of_models_and_records(models, records):
    rng = np.random.default_rng(3)
    member = rng.random((models, records)) < 0.5
    member[0, 0], member[1, 0] = True, False
    log_prob, population = -rng.exponential(size=(models, records)), -rng.exponential(size=(models, 3))
    seen = seen_of({"member": member, "log_prob": log_prob, "population_log_prob": population})
    margin = np.log(np.exp(log_prob) / (1 - np.exp(log_prob)))
    for ours, expected in (
        (lira(seen.scaled_logit, seen.member, missing="nan"), lira(margin, member, missing="nan")),
        (rmia(seen.log_prob, seen.member, seen.population_log_prob), rmia(log_prob, member, population)),
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_models_that_diverged_may_say_anything(world):
    keep, before = np.arange(5) != 3, seen_of(world.arrays)
    broken = {"valid": keep}
    for name in (
        "logits",
        "log_prob",
        "correct",
        "embedding",
        "trajectory",
        "population_logits",
        "query_logits",
    ):
        broken[name] = np.array(world.arrays[name])
        broken[name][3] = np.nan
    seen = seen_of(world.but(**broken))
    for name in (*FIELDS, "embedding_norm", "population_log_prob", "query_scaled_logit"):
        np.testing.assert_array_equal(getattr(seen, name)[keep], getattr(before, name)[keep], err_msg=name)
    assert np.isnan(seen.log_prob[3]).all()
    alone = seen_of(world.only(valid=keep, log_prob=broken["log_prob"]))
    assert np.isnan(alone.scaled_logit[3]).all()


def test_twins_and_exclusions_are_one_matrix(world):
    exclude = np.eye(5, dtype=bool)
    exclude[2, 4] = exclude[4, 2] = True
    found = np.argwhere(seen_of(world.but(exclude=exclude)).exclude).tolist()
    assert found == [[0, 1], [1, 0], [2, 4], [4, 2]]
    assert seen_of(world.but(exclude=None, twin=None)).exclude is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f8", np.longdouble])
def test_every_precision_is_taken(world, dtype):
    arrays = world.only("logits", "labels")
    exact, said = seen_of(arrays), seen_of(arrays | {"logits": arrays["logits"].astype(dtype)})
    tolerance = {"rtol": 0.03, "atol": 0.03} if dtype is np.float16 else {"rtol": 1e-4, "atol": 1e-5}
    for name in FIELDS:
        np.testing.assert_allclose(getattr(said, name), getattr(exact, name), **tolerance)
    assert said.logits.dtype == (np.float32 if dtype in (np.float16, np.float32) else np.float64)
    assert said.logits.dtype.isnative


def test_whole_numbers_are_numbers(world):
    logits = (world.arrays["logits"] * 10).astype(np.int32)
    np.testing.assert_array_equal(seen_of(world.only("labels", logits=logits)).logits, logits)
    assert seen_of(world.only(correct=np.ones((5, 7), bool))).correct.dtype == np.float32


def test_log_probabilities_are_logits(world):
    logits = world.arrays["logits"]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    said = seen_of(world.only("labels", logits=log_p))
    np.testing.assert_allclose(said.scaled_logit, world.arrays["scaled_logit"], **CLOSE)


def test_saturated_log_probs_do_not_matter_beside_logits(world):
    arrays = world.only("labels", logits=world.arrays["logits"] * 10)
    exact = seen_of(arrays)
    given = np.where(exact.log_prob > -1e-4, 0.0, exact.log_prob)
    assert (given == 0).any()
    np.testing.assert_array_equal(seen_of(arrays | {"log_prob": given}).scaled_logit, exact.scaled_logit)


def test_correct_may_differ_where_two_classes_tie(world):
    logits, correct = np.array(world.arrays["logits"]), np.array(world.arrays["correct"])
    logits[0, 0], correct[0, 0] = [1.0, 1.0, 0.0], 0.0  # of equals argmax takes the first: the label
    assert seen_of(world.only("labels", logits=logits, correct=correct)).correct[0, 0] == 1.0


def test_logits_of_few_digits_may_differ_by_their_rounding(world):
    logits = world.arrays["logits"] - world.arrays["logits"].max(-1, keepdims=True) - 1.0
    logits[0, 0] = [100.03, 99.97, 0.0]  # both are 100 in float16
    exact = seen_of(world.only("labels", logits=logits))
    given = {"scaled_logit": exact.scaled_logit, "log_prob": exact.log_prob, "entropy": exact.entropy}
    said = seen_of(world.only("labels", logits=logits.astype(np.float16), **given))
    assert (exact.scaled_logit[0, 0] > 0.05, said.scaled_logit[0, 0]) == (True, 0.0)


def test_a_trajectory_may_end_before_the_models_do(world):
    earlier = world.arrays["trajectory"][:, :2]
    np.testing.assert_array_equal(seen_of(world.but(trajectory=earlier)).trajectory, earlier)
    now = world.arrays["trajectory"][:, 2:]
    np.testing.assert_array_equal(seen_of(world.but(trajectory=now)).trajectory, now)


def test_nothing_of_the_persons_is_changed(world):
    arrays = world.but(valid=np.arange(5) != 1)
    before = {name: array.copy() for name, array in arrays.items()}
    for array in arrays.values():
        array.setflags(write=False)
    observations_of(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_groups_come_as_they_are(world):
    groups = {"slice_city": np.array(["Ulm", "Bonn"] * 3 + ["Ulm"]), "slice_easy": world.arrays["member"]}
    found = observations_of(world.only("log_prob", **groups)).groups
    assert found["city"].tolist() == groups["slice_city"].tolist()
    assert found["easy"].shape == (5, 7)


def test_the_docstring_names_every_array():
    for name in layout.AXES:
        assert name in signals_file.__doc__
