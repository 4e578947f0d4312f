"""Calls: thresholds by a loop, ties, who has a say, and the FPR that is reached where nothing is to be found."""

import numpy as np
import pytest

from mia_jax import dynamics
from mia_jax.attacks import lira
from mia_jax.attacks.base import folds
from mia_jax.dynamics import calls as calls_module

PAIRS = np.arange(8) ^ 1


def by_hand(scores, member, fpr, fold, valid):
    """Every call by itself: the smallest of all candidate thresholds that few enough others exceed."""
    called, known = np.zeros(scores.shape, bool), np.zeros(scores.shape, bool)
    for k, n in np.ndindex(*scores.shape):
        others = [
            scores[j, i]
            for j, i in np.ndindex(*scores.shape)
            if fold[j] != fold[k] and valid[j] and not member[j, i] and not np.isnan(scores[j, i])
        ]
        known[k, n] = bool(others) and valid[k] and not np.isnan(scores[k, n])
        room = round(fpr * len(others), 9)
        if not known[k, n] or room < 1:
            continue
        fits = [t for t in (-np.inf, *others) if sum(other > t for other in others) <= room]
        called[k, n] = scores[k, n] > min(fits)
    return called, known


def test_at_zero_a_call_is_at_least_zero_and_missing_is_unknown():
    called, known = dynamics.calls_at_zero([[0.0, -1e-300, np.nan], [np.inf, -np.inf, 2.0]])
    np.testing.assert_array_equal(called, [[True, False, False], [True, False, True]])
    np.testing.assert_array_equal(known, [[True, True, False], [True, True, True]])
    assert called.dtype == known.dtype == bool


@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("twins", [False, True])
def test_every_call_by_a_loop(fpr, twins):
    rng = np.random.default_rng(0)
    scores = rng.integers(-4, 5, (8, 11)) * 0.5  # many ties
    scores[rng.random(scores.shape) < 0.1] = np.nan
    member = rng.random(scores.shape) < 0.5
    valid = np.arange(8) != 5
    exclude = (PAIRS[:, None] == np.arange(8)[None, :]) if twins else None
    fold = folds(8, 3, exclude)
    expected = by_hand(scores, member, fpr, fold, valid)
    found = dynamics.calls_at_fpr(scores, member, fpr, valid=valid, exclude=exclude, count=3)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found[0].any() == (fpr >= 0.1)


def test_a_target_and_its_twin_have_no_say_in_their_threshold():
    rng = np.random.default_rng(1)
    scores, member = rng.normal(size=(8, 50)), rng.random((8, 50)) < 0.5
    exclude = PAIRS[:, None] == np.arange(8)[None, :]
    called, _ = dynamics.calls_at_fpr(scores, member, 0.2, exclude=exclude)
    changed = scores.copy()
    changed[2:4, 1:] = 100.0
    again, _ = dynamics.calls_at_fpr(changed, member, 0.2, exclude=exclude)
    np.testing.assert_array_equal(called[2:4, 0], again[2:4, 0])
    assert (called[:2] & ~again[:2]).any()  # the others' threshold has moved


def test_ties_are_never_split_and_an_fpr_out_of_reach_calls_nobody():
    member = np.tile([True, False], (4, 10))
    called, known = dynamics.calls_at_fpr(np.zeros((4, 20)), member, 0.5)
    assert not called.any()
    assert known.all()
    scores = np.arange(80.0).reshape(4, 20)  # 30 others: .02 of them is none
    assert not dynamics.calls_at_fpr(scores, member, 0.02)[0].any()
    assert dynamics.calls_at_fpr(scores, member, 0.04)[0].any()


def test_a_round_share_of_a_round_number_is_reached_despite_rounding():
    # .07 * 100 is 7.000000000000001, and .29 * 100 is 28.999999999999996: 29 of 100 may lie above.
    scores = np.tile(np.arange(100.0), (2, 1))
    called, _ = dynamics.calls_at_fpr(scores, np.zeros((2, 100), bool), 0.29, count=2)
    np.testing.assert_array_equal(called.sum(axis=1), [29, 29])


def test_without_other_non_members_calls_are_unknown():
    scores, member = np.ones((4, 6)), np.zeros((4, 6), bool)
    member[1:] = True  # model 0 alone has non-members, and is no judge of itself
    called, known = dynamics.calls_at_fpr(scores, member, 0.5)
    np.testing.assert_array_equal(known, np.arange(4)[:, None] * np.ones((1, 6)) > 0)
    assert not called.any()
    assert not dynamics.calls_at_fpr(scores, member, 0.5, exclude=np.ones((4, 4), bool))[1].any()


@pytest.mark.parametrize("attack", ["hardness", "lira"])
@pytest.mark.parametrize("fpr", [0.01, 0.1])
def test_the_fpr_is_reached_on_null_worlds_and_the_tpr_is_no_larger(attack, fpr):
    rng = np.random.default_rng(2)
    rates = []
    for _ in range(60):
        member = rng.random((16, 120)) < 0.5
        logit = rng.normal(size=120) + 0.5 * rng.normal(size=(16, 1)) + rng.normal(size=(16, 120))
        scores = logit if attack == "hardness" else lira(logit, member, missing="nan")
        called, known = dynamics.calls_at_fpr(scores, member, fpr)
        rates.append([called[known & side].mean() for side in (~member, member)])
    mean, error = np.mean(rates, axis=0), np.std(rates, axis=0) / np.sqrt(len(rates))
    np.testing.assert_array_less(np.abs(mean - fpr), 4 * error + 1 / 720)
    assert (error < 0.1 * fpr).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fpr": 1.5}, r"fpr is 1.5: it must lie in \[0, 1\]"),
        ({"scores": np.zeros(4)}, "scores have shape"),
        ({"member": np.zeros((2, 3), bool)}, "member has shape"),
        ({"valid": np.ones(3, bool)}, "valid has shape"),
        ({"exclude": np.ones((3, 3), bool)}, "exclude has shape"),
        ({"count": 1}, "folds is 1"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"scores": np.zeros((4, 3)), "member": np.zeros((4, 3), bool), "fpr": 0.1} | change
    with pytest.raises(ValueError, match=message):
        dynamics.calls_at_fpr(**given)
    with pytest.raises(ValueError, match="scores have shape"):
        dynamics.calls_at_zero(np.zeros(3))


@pytest.mark.parametrize("most", [1, 30, 2**21])
@pytest.mark.parametrize("fpr", [0.0, 0.003, 0.1, 0.5, 0.97, 1.0])
def test_thresholds_from_blocks_are_the_scores_at_their_place(monkeypatch, most, fpr):
    """However few scores may be kept: ties, zeros of both signs and infinities among them."""
    monkeypatch.setattr(calls_module, "MOST_KEPT", most)
    rng = np.random.default_rng(3)
    for scale in (1.0, 1e-300, 1e6):
        scores = np.round(rng.normal(size=(8, 60)), 1) * scale
        scores[:, :4] = [np.inf, -np.inf, -0.0, 0.0]
        scores[2, 7] = np.nan
        member = rng.random(scores.shape) < 0.5

        def blocks(scores=scores, member=member):
            return ((scores[:, part], member[:, part]) for part in (slice(0, 7), slice(7, 59), slice(59, 60)))

        found = dynamics.thresholds(blocks, 8, fpr).calls(scores)
        for own in range(4):
            judges = np.sort([s for k in range(8) if k % 4 != own for s in scores[k, ~member[k]] if s == s])
            allowed = int(np.floor(fpr * judges.size + 1e-9))
            for k in (own, own + 4):
                above = (
                    scores[k] > judges[judges.size - 1 - allowed]
                    if 0 < allowed < judges.size
                    else allowed > 0
                )
                np.testing.assert_array_equal(found[0][k], ~np.isnan(scores[k]) & above)
                np.testing.assert_array_equal(found[1][k], ~np.isnan(scores[k]))
