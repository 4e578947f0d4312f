"""Families matched by hand-computed numbers; nothing beyond what was measured."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from mia_jax.tradeoff import matching
from mia_jax.tradeoff.rows import (
    TradeoffRows,
    in_order,
    pooled,
    pooled_audits,
    pooled_privacy,
    stronger_is_smaller,
    strongest_attack,
    weak_to_strong,
)

# family -> (defence, strength, AUC, accuracy)
ARMS = {
    "a": [("none", 0.0, 0.80, 0.90), ("dp_sgd", 8.0, 0.70, 0.84), ("dp_sgd", 2.0, 0.60, 0.70)],
    "b": [("none", 0.0, 0.70, 0.80), ("dp_sgd", 8.0, 0.66, 0.79), ("dp_sgd", 2.0, 0.56, 0.77)],
}


@pytest.fixture
def world(row):
    """A function from shifts per seed to a study of `ARMS`."""

    def build(seeds=(0,), shift=lambda family, seed: 0.0, epsilon=lambda family, strength: strength):
        found = {"utility": [], "results": [], "privacy": []}
        for seed in seeds:
            for family, arms in ARMS.items():
                for defence, strength, auc, accuracy in arms:
                    moved = shift(family, seed)
                    found["utility"].append(row.utility(family, defence, strength, accuracy + moved, seed))
                    found["results"].append(row.result(family, defence, strength, "lira", auc + moved, seed))
                    if defence == "dp_sgd":
                        promise = row.promise(family, defence, strength, epsilon(family, strength), seed)
                        found["privacy"].append(promise)
        return TradeoffRows(title="by hand", **found)

    return build


def only(rows, **where):
    found = [row for row in rows if all(row[key] == value for key, value in where.items())]
    assert len(found) == 1
    return found[0]


def test_strengths_go_from_weak_to_strong_and_the_baseline_is_first(row):
    assert weak_to_strong("l2", [0.1, 1, 0.1, 0.01]) == [0.01, 0.1, 1.0]
    assert weak_to_strong("dp_sgd", [1, 8, math.inf]) == [math.inf, 8.0, 1.0]
    assert stronger_is_smaller("early_stopping")
    assert not stronger_is_smaller("parameter_noise")
    arms = [("dp_sgd", 1.0), ("l2", 0.1), ("dp_sgd", 4.0), ("none", 0.0)]
    ordered = in_order([row.utility("f", defence, strength, 0.5) for defence, strength in arms])
    assert [(r["defence"], r["strength"]) for r in ordered] == [
        ("none", 0.0),
        ("dp_sgd", 4.0),
        ("dp_sgd", 1.0),
        ("l2", 0.1),
    ]


def test_strongest_attack_is_that_of_the_baseline(row):
    results = [row.result(f, "none", 0.0, "loss", 0.6) for f in "ab"]
    results += [row.result("a", "none", 0.0, "lira", 0.8), row.result("b", "none", 0.0, "lira", 0.5)]
    results += [row.result(f, "l2", 0.1, "loss", 0.9) for f in "ab"]
    results += [row.result("a", "none", 0.0, "odd", 0.99)]  # only one family was attacked with it
    rows = TradeoffRows(title="", utility=[], results=results)
    assert strongest_attack(rows) == "lira"
    assert strongest_attack(dataclasses.replace(rows, results=results[:2])) == "loss"
    nothing = [r | {"auc": None} for r in results]
    assert strongest_attack(dataclasses.replace(rows, results=nothing)) is None


def test_one_seed_is_left_as_it_is_and_several_are_averaged(row):
    alone = row.utility("f", "l2", 0.1, 0.7)
    assert pooled([alone]) == [alone | {"seeds": 1}]
    values = [0.6, 0.7, 0.74]
    found = only(pooled([row.utility("f", "l2", 0.1, v, seed) for seed, v in enumerate(values)]), seeds=3)
    reach = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / math.sqrt(3)
    assert found["test_accuracy"] == pytest.approx(0.68)
    assert found["test_accuracy_low"] == pytest.approx(0.68 - reach)
    assert found["test_accuracy_high"] == pytest.approx(0.68 + reach)
    assert found["num_parameters"] == 1000
    assert "seed" not in found


def test_a_value_that_one_seed_lacks_is_none_and_rates_stay_rates(row):
    results = [row.result("f", "l2", 0.1, "lira", auc, seed) for seed, auc in enumerate((0.51, 0.98))]
    results[1] |= {"records": 400}
    found = only(pooled(results), seeds=2)
    assert (found["auc_low"], found["auc_high"]) == (0.0, 1.0)  # t with one degree of freedom reaches far
    assert found["tpr_at_fpr_0.01"] is None
    assert found["records"] is None
    missing = only(pooled([results[0], results[1] | {"auc": float("nan")}]), seeds=2)
    assert missing["auc"] is missing["auc_low"] is missing["auc_high"] is None


def test_two_rows_of_one_seed_are_refused(row):
    with pytest.raises(ValueError, match=r"seed 0 has two rows of .*defence l2"):
        pooled([row.utility("f", "l2", 0.1, 0.7), row.utility("f", "l2", 0.1, 0.8)])


def test_epsilons_over_seeds_are_the_largest_of_promises_and_the_median_of_bounds(row):
    promises = [row.promise("f", "dp_sgd", 4.0, e, seed) for seed, e in enumerate((3.9, math.inf, 4.0))]
    assert only(pooled_privacy(promises), family="f")["epsilon"] == math.inf
    assert only(pooled_privacy([promises[0], promises[1] | {"epsilon": None}]), family="f")["epsilon"] is None
    bounds = [row.audit("f", "dp_sgd", 4.0, e, seed) for seed, e in enumerate((0.4, 2.0, 0.0, 1.0))]
    found = only(pooled_audits(bounds), family="f")
    assert (found["epsilon"], found["epsilon_low"], found["epsilon_high"]) == (0.4, 0.0, 2.0)
    assert "epsilon_low" not in only(pooled_audits(bounds[:1]), family="f")


def test_equal_strength_of_one_seed_shows_both_arms_and_no_interval_of_the_difference(world):
    found = only(matching.equal_strength(world()), defence="dp_sgd", strength=2.0)
    assert found["auc_difference"] == pytest.approx(0.60 - 0.56)
    assert found["test_accuracy_difference"] == pytest.approx(0.70 - 0.77)
    assert (found["auc_a_low"], found["auc_b_high"]) == (pytest.approx(0.59), pytest.approx(0.57))
    assert found["auc_difference_low"] is found["auc_difference_high"] is None
    assert found["auc_gain_a"] == pytest.approx(0.20)
    assert found["auc_gain_b"] == pytest.approx(0.14)
    assert found["auc_gain_difference"] == pytest.approx(0.06)
    assert found["accuracy_loss_a"] == pytest.approx(0.20)
    assert found["accuracy_loss_b"] == pytest.approx(0.03)
    assert found["accuracy_loss_difference"] == pytest.approx(0.17)
    assert (found["seeds"], found["attack"]) == (1, "lira")


def test_the_baseline_is_compared_too_and_gains_need_one(world):
    rows = world()
    assert "auc_gain_a" not in only(matching.equal_strength(rows), defence="none")
    without = [row for row in rows.results if (row["family"], row["defence"]) != ("a", "none")]
    found = only(matching.equal_strength(dataclasses.replace(rows, results=without)), strength=8.0)
    assert found["auc_gain_a"] is None
    assert found["auc_gain_b"] == pytest.approx(0.04)
    assert found["auc_gain_difference"] is None
    assert found["auc_difference"] == pytest.approx(0.04)


def test_differences_of_three_seeds_are_paired(world):
    """What a seed does to both families cancels: the interval is that of the differences."""
    shift = {("a", 0): 0.05, ("b", 0): 0.05, ("a", 1): -0.04, ("b", 1): -0.05, ("a", 2): 0.0, ("b", 2): -0.02}
    rows = world((0, 1, 2), lambda family, seed: shift[family, seed])
    found = only(matching.equal_strength(rows), defence="dp_sgd", strength=8.0)
    differences = np.array([0.04, 0.05, 0.06])
    reach = stats.t.ppf(0.975, 2) * differences.std(ddof=1) / math.sqrt(3)
    assert found["auc_difference"] == pytest.approx(0.05)
    assert found["auc_difference_low"] == pytest.approx(0.05 - reach)
    assert found["auc_difference_high"] == pytest.approx(0.05 + reach)
    assert found["auc_gain_difference_low"] == pytest.approx(0.06)  # shifts cancel against the baseline
    two = only(matching.equal_strength(world((0, 1))), defence="dp_sgd", strength=8.0)
    assert (two["seeds"], two["auc_difference_low"]) == (2, None)


def test_only_seeds_that_both_families_have_are_compared(world):
    rows = world((0, 1), lambda family, seed: 0.1 * seed)
    short = [row for row in rows.results if (row["family"], row["seed"]) != ("b", 1)]
    found = only(matching.equal_strength(dataclasses.replace(rows, results=short)), strength=8.0)
    assert found["seeds"] == 1
    assert found["auc_a"] == pytest.approx(0.70)
    assert found["auc_difference"] == pytest.approx(0.04)


def test_an_attack_may_be_named_and_must_exist(make):
    rows = make()
    found = only(matching.equal_strength(rows, "loss"), defence="none")
    assert found["auc_a"] == pytest.approx(0.64)
    with pytest.raises(ValueError, match=r"attack is odd: it must be one of lira_online, loss"):
        matching.equal_strength(rows, "odd")


def test_equal_epsilon_is_linear_in_log_epsilon_within_both_ranges(world):
    def epsilon(family, strength):
        return strength * (1 if family == "a" else 2)  # a: 2 to 8, b: 4 to 16

    found = matching.equal_epsilon(world(epsilon=epsilon))
    assert [row["epsilon"] for row in found] == [4.0, 8.0]
    low = found[0]
    assert (low["how_a"], low["how_b"]) == ("interpolated", "measured")
    assert low["auc_a"] == pytest.approx(0.65)  # half way from 2 to 8 on a log axis
    assert low["auc_a_low"] == pytest.approx(0.64)
    assert low["test_accuracy_a"] == pytest.approx(0.77)
    assert low["auc_b"] == pytest.approx(0.56)
    assert low["auc_difference"] == pytest.approx(0.09)
    assert (low["kind"], low["relation"], low["delta"]) == ("accounted", "add-or-remove", 1e-5)
    quarter = only(matching.equal_epsilon(world(epsilon=epsilon), grid=[5.0]), epsilon=5.0)
    weight = math.log(5 / 4) / math.log(4)
    assert quarter["test_accuracy_b"] == pytest.approx(0.77 + weight * 0.02)


@pytest.mark.parametrize("outside", [1.9, 8.1, 1e9])
def test_nothing_is_extrapolated_in_epsilon(world, outside):
    found = only(matching.equal_epsilon(world(), grid=[outside]), epsilon=outside)
    assert found["how_a"] == found["how_b"] == "outside"
    names = ("auc_a", "auc_b", "auc_difference", "test_accuracy_a", "test_accuracy_a_low", "seeds")
    assert [found[name] for name in names] == [None, None, None, None, None, 0]


def test_ranges_that_do_not_meet_give_no_rows(world):
    apart = world(epsilon=lambda family, strength: strength * (1 if family == "a" else 100))
    assert matching.equal_epsilon(apart) == []


@pytest.mark.parametrize("epsilon", [None, math.inf, float("nan"), 0.0])
def test_an_epsilon_that_is_none_infinite_or_0_is_no_point(world, epsilon):
    rows = world(epsilon=lambda family, strength: epsilon if (family, strength) == ("a", 8.0) else strength)
    found = matching.equal_epsilon(rows)
    assert [row["epsilon"] for row in found] == [2.0]
    assert found[0]["auc_a"] == pytest.approx(0.60)


@pytest.mark.parametrize("changed", [{"relation": "replace-one"}, {"delta": 1e-6}, {"gamma": 0.16}])
def test_promises_of_another_relation_delta_or_gamma_are_not_compared(world, changed):
    rows = world()
    assert matching.equal_epsilon(rows)
    other = [r | changed if r["family"] == "b" else r for r in rows.privacy]
    assert matching.equal_epsilon(dataclasses.replace(rows, privacy=other)) == []


@pytest.mark.parametrize("changed", [{"relation": "replace-one"}, {"kind": "nominal"}])
def test_only_the_promise_that_stands_for_a_defence_is_compared(world, changed):
    rows = world()
    other = [r | changed for r in rows.privacy]
    assert matching.equal_epsilon(dataclasses.replace(rows, privacy=other)) == []
    both = matching.equal_epsilon(dataclasses.replace(rows, privacy=[*rows.privacy, *other]))
    assert both == matching.equal_epsilon(rows) != []


def test_equal_epsilon_over_seeds_interpolates_each_seed(world):
    rows = world((0, 1, 2), lambda family, seed: 0.01 * seed * (family == "a"))
    found = only(matching.equal_epsilon(rows, grid=[4.0]), epsilon=4.0)
    assert found["auc_a"] == pytest.approx(0.66)
    reach = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert found["auc_a_high"] == pytest.approx(0.66 + reach)
    assert found["auc_difference"] == pytest.approx(0.05)
    assert found["auc_difference_high"] == pytest.approx(0.05 + reach)
    moved = [r | {"epsilon": 3 * r["epsilon"]} if r["seed"] == 2 else r for r in rows.privacy]
    moved = dataclasses.replace(rows, privacy=moved)  # one seed reaches from 6 to 24 only
    assert only(matching.equal_epsilon(moved, grid=[4.0]), epsilon=4.0)["how_a"] == "outside"
    assert [row["epsilon"] for row in matching.equal_epsilon(moved)] == [6.0, 8.0]


def test_frontier_keeps_what_nothing_beats():
    def point(auc, accuracy):
        return matching.Point(("f", "l2", auc), auc, accuracy)

    points = [point(0.8, 0.9), point(0.7, 0.6), point(0.6, 0.7), point(0.6, 0.65), point(0.5, 0.2)]
    assert [p.auc for p in matching.frontier(points)] == [0.5, 0.6, 0.8]
    assert matching.best_within(points, 0.75) == point(0.6, 0.7)
    assert matching.best_within(points, 0.49) is None


def test_equal_attack_takes_the_best_arm_that_was_run_the_baseline_included(world):
    found = matching.equal_attack(world())  # a: .60 to .80, b: .56 to .70
    assert [row["auc"] for row in found] == [0.6, 0.62, 0.64, 0.66, 0.68, 0.7]
    last = only(found, auc=0.7)
    assert (last["defence_a"], last["strength_a"], last["test_accuracy_a"]) == ("dp_sgd", 8.0, 0.84)
    assert (last["defence_b"], last["strength_b"], last["test_accuracy_b"]) == ("none", 0.0, 0.80)
    assert last["test_accuracy_difference"] == pytest.approx(0.04)
    first = only(matching.equal_attack(world(), grid=[0.65]), auc=0.65)
    assert (first["attained_auc_a"], first["attained_auc_b"]) == (pytest.approx(0.60), pytest.approx(0.56))
    assert first["test_accuracy_difference"] == pytest.approx(-0.07)
    assert first["test_accuracy_a_low"] == pytest.approx(0.69)


@pytest.mark.parametrize("outside", [0.59, 0.71])
def test_equal_attack_says_nothing_outside_of_both_ranges(world, outside):
    found = only(matching.equal_attack(world(), grid=[outside]), auc=outside)
    assert found["test_accuracy_a"] is found["test_accuracy_b"] is found["defence_a"] is None
    assert found["test_accuracy_difference"] is None


def test_one_family_has_nothing_to_compare(make):
    found = matching.comparisons(make(families=("mlp",)))
    assert found == {"equal_strength": [], "equal_epsilon": [], "equal_attack": []}


def test_values_that_are_missing_are_left_out(world):
    rows = world()
    results = [r | {"auc": None, "auc_low": None, "auc_high": None} for r in rows.results]
    found = matching.comparisons(dataclasses.replace(rows, results=results))
    assert found["equal_epsilon"] == found["equal_attack"] == []
    one = only(found["equal_strength"], strength=8.0)
    assert (one["auc_difference"], one["attack"]) == (None, None)
    assert one["test_accuracy_difference"] == pytest.approx(0.05)
