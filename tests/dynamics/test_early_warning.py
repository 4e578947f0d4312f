"""Early warning: lists by hand, ties by every order of the records, halves by loops, chance and ceiling."""

from itertools import permutations

import numpy as np
import pytest

from mia_jax import dynamics
from mia_jax.attacks import lira

FIELDS = dynamics.Foretold._fields


def test_the_largest_are_listed_ties_by_row_and_nan_never():
    v = [0.1, np.nan, 0.7 - 0.2, 0.9, 0.5, 0.5, 0.0]
    np.testing.assert_array_equal(dynamics.foretell(v, 0.5), [3, 2, 4])
    np.testing.assert_array_equal(dynamics.foretell(v, 0.58), [3, 2, 4])
    np.testing.assert_array_equal(dynamics.foretell(v, 1.0), [3, 2, 4, 5, 0, 6])
    np.testing.assert_array_equal(dynamics.foretell(v, 0.001), [3])
    assert dynamics.foretell([np.nan, np.nan], 0.5).shape == (0,)


def by_hand(list_v, last_v, share, cut):
    """Both lists in every order of the records that have a value, ties by that order, and the mean of all."""
    known = [n for n in range(len(list_v)) if not np.isnan(list_v[n] + last_v[n])]
    size = max(1, round(share * len(known)))
    orders = list(permutations(known))
    rows = {name: [] for name in FIELDS}
    top = [set(sorted(order, key=lambda n: -round(last_v[n], 6))[:size]) for order in orders]
    in_top = {n: np.mean([n in some for some in top]) for n in known}
    high = {n for n in known if last_v[n] >= cut - 1e-9}
    for order in orders:
        listed = set(sorted(order, key=lambda n: -round(list_v[n], 6))[:size])
        rows["overlap"].append(sum(in_top[n] for n in listed) / size)
        rows["precision"].append(len(listed & high) / size)
        rows["recall"].append(len(listed & high) / len(high) if high else np.nan)
        rows["listed"].append(np.mean([last_v[n] for n in listed]))
        rest = [last_v[n] for n in known if n not in listed]
        rows["others"].append(np.mean(rest) if rest else np.nan)
    return [np.mean(rows[name]) for name in FIELDS]


def drawn(seed, models=7, records=7):
    rng = np.random.default_rng(seed)
    member = rng.random((models, records)) < 0.5
    early, final = (rng.random((models, records)) < np.where(member, 0.8, 0.4) for _ in range(2))
    known = rng.random((2, models, records)) < 0.9
    halves = dynamics.model_halves(models, 3, rng)
    return early, final, member, halves, known


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("missing", [False, True])
def test_splits_by_a_loop_over_every_order(share, missing):
    early, final, member, halves, known = drawn(0)
    masks = known if missing else (None, None)
    found = dynamics.foretelling(early, final, member, halves, share, *masks, cut=0.4)
    everywhere = known if missing else np.ones_like(known)
    expected, ceiling = [], []
    for way in (*halves, *~halves):
        v = {}
        for name, calls, present in (("early", early, everywhere[0]), ("final", final, everywhere[1])):
            for side, part in (("own", way), ("other", ~way)):
                plane = dynamics.plane(calls[part][:, None], member[part], present[part][:, None])
                v[name, side] = dynamics.vulnerability(*plane)[0]
        expected.append(by_hand(v["early", "own"], v["final", "other"], share, 0.4))
        ceiling.append(by_hand(v["final", "own"], v["final", "other"], share, 0.4))
    for i, name in enumerate(FIELDS):
        for mean, by_split, rows in (
            (found.early, found.early_by_split, expected),
            (found.ceiling, found.ceiling_by_split, ceiling),
        ):
            column = [row[i] for row in rows]
            np.testing.assert_allclose(getattr(by_split, name), column, atol=1e-12, err_msg=name)
            expected_mean = np.mean([x for x in column if not np.isnan(x)]) if share < 1 or i < 4 else np.nan
            np.testing.assert_allclose(getattr(mean, name), expected_mean, atol=1e-12, err_msg=name)


def test_a_vulnerability_that_is_the_cut_but_for_rounding_is_high():
    """Seven of ten calls less two of ten are one half, and 0.49999999999999994 in float64."""
    v = np.tile([0.7 - 0.2, 0.7 - 0.2, 0.4, 0.1], (2, 1))
    assert v.max() < 0.5
    found = dynamics.foretelling_of_halves(v, v, 0.25, cut=0.5)
    assert (found.early.precision, found.early.recall) == (1.0, 0.5)


def world(rng, truth_early, truth_final, models=64):
    """Calls whose true vulnerabilities are given, at two checkpoints."""
    member = rng.random((models, truth_final.size)) < 0.5
    return [
        rng.random(member.shape) < 0.5 + np.where(member, 0.5, -0.5) * truth
        for truth in (truth_early, truth_final)
    ] + [member, dynamics.model_halves(models, 5, rng)]


def test_what_was_true_early_is_foretold_as_well_as_the_ceiling_allows():
    rng = np.random.default_rng(1)
    truth = rng.beta(1, 3, 1000)
    found = dynamics.foretelling(*world(rng, truth, truth), 0.1)
    assert 0.3 < found.ceiling.overlap < 0.9
    for name in FIELDS:
        assert getattr(found.early, name) == pytest.approx(getattr(found.ceiling, name), abs=0.05)
    assert found.early.overlap > found.chance.overlap + 0.2
    assert found.early.listed > found.early.others + 0.2


def test_what_is_not_yet_true_is_foretold_by_chance():
    rng = np.random.default_rng(2)
    truth = rng.beta(1, 3, 1000)
    given = world(rng, np.zeros(1000), truth)
    found = dynamics.foretelling(*given, 0.1)
    high = [
        dynamics.vulnerability(*dynamics.plane(given[1][way][:, None], given[2][way]))[0] for way in given[3]
    ]
    rest = [
        dynamics.vulnerability(*dynamics.plane(given[1][~way][:, None], given[2][~way]))[0]
        for way in given[3]
    ]
    base = np.mean([v >= 0.5 for v in (*high, *rest)])
    np.testing.assert_allclose(found.chance, [0.1, base, 0.1, *[np.mean([*high, *rest])] * 2])
    np.testing.assert_allclose(found.early, found.chance, atol=0.04)
    assert found.ceiling.overlap > found.chance.overlap + 0.2


def test_records_that_are_all_alike_are_listed_by_lot():
    """Nobody is called early, everybody at the end: by row both lists would be the same records."""
    member = np.random.default_rng(3).random((8, 40)) < 0.5
    member[::2], member[1::2] = member[:1], ~member[:1]
    nobody = np.zeros(member.shape, bool)
    halves = np.arange(8)[None, :] < 4
    found = dynamics.foretelling(nobody, ~nobody, member, halves, 0.25)
    np.testing.assert_allclose(found.early, [0.25, 0.0, np.nan, 0.0, 0.0])
    np.testing.assert_allclose(found.chance, [0.25, 0.0, np.nan, 0.0, 0.0])


def test_halves_scored_apart_foretell_nothing_where_there_is_nothing():
    """Leave-one-out LiRA on noise: with the other half among the references, lists agree by themselves."""
    rng = np.random.default_rng(4)
    overlap = {True: [], False: []}
    for _ in range(25):
        member = rng.random((64, 300)) < 0.5
        noise = rng.normal(size=(64, 300))
        half = dynamics.model_halves(64, 1, rng)
        for apart, kept in overlap.items():
            exclude = dynamics.apart(half[0]) if apart else None
            called, known = dynamics.calls_at_zero(lira(noise, member, exclude=exclude, missing="nan"))
            found = dynamics.foretelling(called, called, member, half, 0.5, known, known)
            kept.append(found.early.overlap)
            np.testing.assert_array_equal(found.early, found.ceiling)
    assert np.mean(overlap[True]) == pytest.approx(0.5, abs=0.025)
    assert np.mean(overlap[False]) > 0.53


def test_splits_one_at_a_time_are_all_of_them():
    early, final, member, halves, known = drawn(5)
    whole = dynamics.foretelling(early, final, member, halves, 0.3, *known)
    parts = [dynamics.foretelling(early, final, member, half[None], 0.3, *known) for half in halves]
    joined = dynamics.combined_foretelling(parts)
    for name in ("early", "ceiling", "chance"):
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name))
        by_split = np.array(getattr(whole, f"{name}_by_split"))
        np.testing.assert_allclose(getattr(joined, f"{name}_by_split"), by_split[:, [0, 3, 1, 4, 2, 5]])


def test_without_a_record_that_all_know_there_is_no_answer():
    early, final, member, halves, _ = drawn(6)
    found = dynamics.foretelling(early, final, member, halves, 0.3, member)
    assert np.isnan(np.array(found.early)).all()
    assert np.isnan(np.array(found.chance)).all()
    assert not np.isnan(found.ceiling.overlap)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 0.0}, r"share is 0.0: it must lie in \(0, 1\]"),
        ({"halves": np.ones((1, 7), bool)}, r"halves\[0\] has all models on one side"),
        ({"halves": np.ones(7, bool)}, "halves has shape"),
        ({"calls_early": np.ones((7, 6), bool)}, "calls_early has shape"),
        ({"known_final": np.ones((7, 6), bool)}, "known_final has shape"),
    ],
)
def test_bad_input_is_named(change, message):
    early, final, member, halves, _ = drawn(7)
    given = {"calls_early": early, "calls_final": final, "member": member, "halves": halves, "share": 0.1}
    with pytest.raises(ValueError, match=message):
        dynamics.foretelling(**(given | change))


def test_bad_lists_are_refused():
    with pytest.raises(ValueError, match="early_v has shape"):
        dynamics.foretell(np.zeros((2, 3)), 0.5)
    with pytest.raises(
        ValueError, match=r"early_v has shape \(2, 5\) and final_v \(4, 5\): both must be \[2P, N\]"
    ):
        dynamics.foretelling_of_halves(np.zeros((2, 5)), np.zeros((4, 5)), 0.1)
    with pytest.raises(ValueError, match=r"share is None: it must lie in \(0, 1\]"):
        dynamics.foretell(np.zeros(5), None)
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        dynamics.foretell(np.zeros(3), 1.5)
    with pytest.raises(ValueError, match="parts is empty"):
        dynamics.combined_foretelling([])
