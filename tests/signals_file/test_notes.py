"""What is allowed and still said."""

import numpy as np
import pytest

from mia_jax.signals_file import observations_of


def notes_of(arrays):
    return observations_of(arrays).facts["notes"]


def test_an_absent_class(world):
    (note,) = notes_of(world.only("logits", labels=np.minimum(world.arrays["labels"], 1)))
    assert note.startswith(
        "labels name 2 of the 3 classes of the logits, class 2 is the first of which there is no"
    )
    (note,) = notes_of(world.only("logits", labels=1 + np.arange(7) % 2))
    assert "class 0 is the first" in note
    assert note.endswith("; if labels count from 1, pass labels - 1.")


@pytest.mark.parametrize("side", ["member", "non-member"])
def test_a_class_of_one_side(world, side):
    (note,) = notes_of(
        world.but(member=np.where(np.arange(7) % 3 == 1, side == "non-member", world.arrays["member"]))
    )
    assert note.startswith(
        f"labels[1] is 1, a class of which no model has a {side}: attacks by class have no"
    )
    assert note.endswith("(1 of 3 classes are so); add records of that class.")


@pytest.mark.parametrize(("value", "what"), [(True, "every record"), (False, "no record")])
def test_a_model_of_one_side(world, value, what):
    (note,) = notes_of(world.but(member=np.where(np.arange(5)[:, None] == 2, value, world.arrays["member"])))
    assert note.startswith(f"member[2] holds {what}: this model counts in what is pooled over models")


def designed(member, **more):
    """The notes on a membership beside scores of nobody."""
    log_prob = -np.random.default_rng(0).exponential(size=member.shape)
    return notes_of({"member": member, "log_prob": log_prob, **more})


def test_designs_that_give_membership_away():
    rng = np.random.default_rng(5)
    independent = rng.random((6, 41)) < 0.5
    assert designed(independent) == []
    balanced = np.stack([rng.permutation(6) < 3 for _ in range(41)], axis=1)
    (note,) = designed(balanced)
    assert note.startswith(
        "member gives every record to exactly 3 of 6 models: what all other models hold then"
    )
    assert designed(balanced[:, :31]) == []  # so few may be so by chance
    paired = np.concatenate([independent[:3], ~independent[:3]])
    (note,) = designed(paired)
    assert note.startswith(
        "member[0] and member[3] hold complementary records, and each is a reference of the other"
    )
    assert designed(paired, twin=np.array([3, 4, 5, 0, 1, 2])) == []
    (note,) = designed(paired, twin=np.array([3, -1, -1, 0, -1, -1]))
    assert note.startswith("member[1] and member[4] hold complementary records")
    copied = independent[[0, 1, 2, 3, 4, 1]]
    (note,) = designed(copied)
    assert note.startswith("member[1] and member[5] hold the same records")
    assert "twin[1] = 5 and twin[5] = 1" in note
    assert designed(copied, valid=np.arange(6) != 5) == []


def test_records_in_rows():
    notes = designed(np.random.default_rng(1).random((9, 4)) < 0.5)
    assert notes[0].startswith(
        "member was read as 9 models and 4 records: if its rows are the records, transpose it"
    )


def test_a_floor_far_below_all_other_probabilities():
    rng = np.random.default_rng(3)
    p = rng.integers(0, 30, size=(8, 60)) / 30  # as a forest of 30 trees says them
    member, lifted = rng.random(p.shape) < 0.5, p[p > 0].min() / 2
    assert notes_of({"member": member, "log_prob": np.log(np.maximum(p, lifted))}) == []
    (note,) = notes_of({"member": member, "log_prob": np.log(np.maximum(p, 1e-30))})
    assert note.startswith(f"{(p == 0).mean():.1%} of log_prob are -69.08, nothing lies within 65.7 above")
    one = np.log(np.maximum(p, lifted))
    one[0, 0] = -69.0  # a single outlier is no floor
    assert notes_of({"member": member, "log_prob": one}) == []


def test_population_labels_without_logits(world):
    (note,) = notes_of(world.but(population_logits=None))
    assert note.startswith("population_labels is there without population_logits")


def test_all_models_alike_is_said_once_and_pairs_are_all_named():
    from mia_jax.signals_file import notes

    rng = np.random.default_rng(0)
    usable = np.ones(6, bool)
    alike = notes.design(np.tile(rng.random(40) < 0.5, (6, 1)), usable, None)
    assert len(alike) == 1
    assert "member says the same of all 6 models" in alike[0]
    half = rng.random((3, 40)) < 0.5
    paired = notes.design(np.concatenate([half, ~half]), usable, None)
    assert len(paired) == 1
    assert "member[0] and member[3] hold complementary records" in paired[0]
    assert "(so do 1 and 4; 2 and 5)" in paired[0]
