"""Arms that differ in one factor: who is compared with whom, what they share, and over which records."""

import numpy as np
import pytest

from mia_jax import dynamics
from mia_jax.dynamics_study.comparing import comparisons
from mia_jax.dynamics_study.rows import Ends

LEVELS = {"family": "mlp", "optimizer": "sgd"}


@pytest.fixture
def arm_of(make_arm):
    """Function that makes an arm of real calls: members are called more often at the end by `gain`."""

    def made(gain, *, seed=0, membership=1, models=32, pool="digits", unknown=(), twin=None, **levels):
        member = np.random.default_rng(membership).random((models, 80)) < 0.5
        rng = np.random.default_rng(seed)
        first = rng.random(member.shape) < 0.5
        last = rng.random(member.shape) < np.where(member, 0.5 + gain, 0.5 - gain)
        known = np.ones(member.shape, bool)
        known[:, list(unknown)] = False
        fpr, tpr = dynamics.plane(np.stack([first, last], axis=1), member, np.stack([known, known], axis=1))
        twin = np.full(models, -1) if twin is None else twin
        tables = [dynamics.as_bits("made", one, member.shape) for one in (first, last, known, known, member)]
        arm = make_arm({**LEVELS, **levels}, pool=pool, records=80, checkpoints=2)
        return arm._replace(fpr=fpr, tpr=tpr, ends=Ends(*tables, twin))

    return made


def figure(arm, measure, records=slice(None)):
    """Mean vulnerability or displacement of an arm over some records, from its plane."""
    if measure == "vulnerability":
        return np.mean((arm.tpr - arm.fpr)[-1, records])
    center = np.stack([arm.fpr[:, records].mean(axis=1), arm.tpr[:, records].mean(axis=1)])
    return np.linalg.norm(center[:, -1] - center[:, 0])


def test_arms_that_differ_in_one_factor_are_compared_and_no_others(arm_of):
    arms = [arm_of(0.1, family=f, optimizer=o) for f in ("mlp", "lstm") for o in ("sgd", "sam", "adam")]
    found = comparisons(arms, 0.95)
    pairs = {(row["factor"], row["at"], row["first"], row["second"]) for row in found}
    optimizers = [("sgd", "sam"), ("sgd", "adam"), ("sam", "adam")]
    assert pairs == {
        *(("optimizer", family, *pair) for family in ("mlp", "lstm") for pair in optimizers),
        *(("family", optimizer, "mlp", "lstm") for optimizer in ("sgd", "sam", "adam")),
    }
    assert [row["measure"] for row in found] == ["vulnerability", "displacement"] * len(pairs)


def test_an_arm_and_its_copy_differ_by_nothing(arm_of):
    found = comparisons([arm_of(0.2), arm_of(0.2, optimizer="sam")], 0.95)
    for row in found:
        assert row["shared"] == "records and members"
        assert (row["difference"], row["difference_low"], row["difference_high"], row["p"]) == (0, 0, 0, 1)


SHARED = {
    "records and members": {},
    "records": {"membership": 2},
    "nothing": {"membership": 2, "pool": "walks"},
}


@pytest.mark.parametrize("shared", SHARED)
def test_a_difference_is_the_second_less_the_first(arm_of, shared):
    first = arm_of(0.05)
    second = arm_of(0.25, seed=1, optimizer="sam", **SHARED[shared])
    for row in comparisons([first, second], 0.95):
        assert row["shared"] == shared
        assert row["difference"] == pytest.approx(
            figure(second, row["measure"]) - figure(first, row["measure"])
        )
        assert 0 < row["difference_low"] < row["difference"] < row["difference_high"]
        assert row["p"] < 0.01
        assert (row["first"], row["second"], row["factor"], row["at"]) == ("sgd", "sam", "optimizer", "mlp")


def test_paired_intervals_are_those_of_differences_call_by_call(arm_of):
    first, second = arm_of(0.1), arm_of(0.2, seed=1, optimizer="sam")
    ends = [dynamics.Ends(arm.ends.first, arm.ends.last) for arm in (second, first)]
    direct = dynamics.paired_difference(*ends, first.ends.member, confidence=0.9)
    for row in comparisons([first, second], 0.9):
        wanted = getattr(direct, row["measure"])
        assert (row["difference"], row["difference_low"], row["difference_high"], row["p"]) == pytest.approx(
            tuple(wanted)
        )


@pytest.mark.parametrize("other", [{"membership": 2}, {"models": 24}], ids=["membership", "number"])
def test_other_models_of_the_same_records_share_these_alone(arm_of, other):
    first, second = arm_of(0.1), arm_of(0.2, seed=1, optimizer="sam", **other)
    sides = [(dynamics.Ends(arm.ends.first, arm.ends.last), arm.ends.member) for arm in (second, first)]
    direct = dynamics.same_records_difference(*sides[0], *sides[1], confidence=0.9)
    for row in comparisons([first, second], 0.9):
        assert row["shared"] == "records"
        wanted = getattr(direct, row["measure"])
        assert (row["difference"], row["difference_low"], row["difference_high"], row["p"]) == pytest.approx(
            tuple(wanted)
        )


@pytest.mark.parametrize("membership", [1, 2])
def test_other_records_have_nothing_in_common(arm_of, membership):
    first, second = arm_of(0.1), arm_of(0.2, seed=1, optimizer="sam", pool="walks", membership=membership)
    own = [
        dynamics.center_interval(arm.ends.first, arm.ends.last, arm.ends.member, confidence=0.9)
        for arm in (second, first)
    ]
    for row in comparisons([first, second], 0.9):
        assert row["shared"] == "nothing"
        wanted = dynamics.unpaired_difference(*(getattr(one, row["measure"]) for one in own), 0.9)
        assert (row["difference"], row["difference_low"], row["difference_high"], row["p"]) == pytest.approx(
            tuple(wanted)
        )


@pytest.mark.parametrize("shared", ["records and members", "records"])
def test_records_that_one_arm_does_not_know_count_in_neither(arm_of, shared):
    """As they are left out of trainings when others are spared for being the most exposed."""
    first = arm_of(0.1, unknown=range(10))
    second = arm_of(0.2, seed=1, unknown=range(5, 20), optimizer="sam", **SHARED[shared])
    both = slice(20, None)
    for row in comparisons([first, second], 0.95):
        assert row["shared"] == shared
        wanted = figure(second, row["measure"], both) - figure(first, row["measure"], both)
        assert row["difference"] == pytest.approx(wanted)


def test_other_pools_have_each_their_own_records(arm_of):
    first = arm_of(0.1, unknown=range(10))
    second = arm_of(0.2, seed=1, pool="walks", unknown=range(70, 80), optimizer="sam")
    (row, _) = comparisons([first, second], 0.95)
    wanted = figure(second, "vulnerability", slice(0, 70)) - figure(first, "vulnerability", slice(10, None))
    assert row["difference"] == pytest.approx(wanted)


def test_pairs_of_twins_are_one_model(arm_of):
    alone, tied = (
        comparisons([arm_of(0.1, twin=twin), arm_of(0.2, seed=1, optimizer="sam", twin=twin)], 0.95)[0]
        for twin in (None, np.arange(32) ^ 1)
    )
    assert alone["difference"] == tied["difference"]
    assert (alone["difference_low"], alone["difference_high"]) != (
        tied["difference_low"],
        tied["difference_high"],
    )


def test_arms_without_calls_and_single_arms_are_not_compared(arm_of):
    assert comparisons([arm_of(0.1)], 0.95) == []
    assert comparisons([arm_of(0.1), arm_of(0.2, optimizer="sam")._replace(ends=None)], 0.95) == []
