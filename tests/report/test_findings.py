"""The sentences, case by case."""

import dataclasses

import pytest

from mia_jax.report.findings import findings
from mia_jax.report.formatting import (
    chosen_out_of,
    listed,
    measured_out_of,
    p_value,
    percent,
    probability,
    rate,
    tiny,
)


def _text(inputs):
    return " ".join(sentence for part in findings(inputs) for sentence in part)


def _null(make, **values):
    exposure = {family: {"loss": (0.5, 0), "lira_online": (0.5, 0)} for family in ("lstm", "mlp")}
    base = make(exposure, checkpoints=1, size=1000)
    fixed = {"auc": 0.505, "auc_low": 0.48, "auc_high": 0.53, "tpr_at_fpr_0.1_low": 0.09}
    fixed |= {"tpr_at_fpr_0.01_low": 0.005, "tpr_at_fpr_0.001_low": 0.0} | values
    return dataclasses.replace(base, results=[row | fixed for row in base.results])


@pytest.mark.parametrize(
    ("value", "words"), [(0.1, "1 in 10"), (0.01, "1 in 100"), (0.05, "5 in 100"), (0.001, "1 in 1,000")]
)
def test_chosen_rates_are_whole_cases(value, words):
    assert chosen_out_of(value) == words


def test_measured_rates_are_rounded_cases():
    assert measured_out_of(0.131) == "about 13 in 100"
    assert measured_out_of(0.041) == "about 41 in 1,000"
    assert measured_out_of(0.0) == "none of the"
    assert [percent(0.1351), percent(0.0042), percent(0.0), percent(None)] == [
        "13.5%",
        "0.42%",
        "0.0%",
        "n/e",
    ]
    assert [rate(0.001), rate(0.07)] == ["0.1%", "7%"]
    assert [listed("a"), listed("ab"), listed("abc")] == ["a", "a and b", "a, b and c"]


def test_p_values_and_tiny_numbers_are_written_out():
    assert [p_value(0.0004), p_value(0.0123), p_value(1.0)] == ["p < 0.001", "p = 0.012", "p = 1.000"]
    assert [probability(0.2), probability(1e-9), probability(None)] == ["0.200", "< 0.001", "not estimable"]
    assert [tiny(1e-5), tiny(0.05), tiny(0.0), tiny(1e-20)] == ["0.00001", "0.05", "0", "1e-20"]


def test_two_families_with_a_finding(inputs):
    found, sure, meaning, notices = findings(inputs)
    assert found[0].startswith(
        "Members of the training set could be told from non-members. The strongest of the 7 attacks"
    )
    assert (
        "“LiRA, online, global variance”, reached an AUC of 0.758 (95% interval 0.740 to 0.776) on lstm"
        in found[0]
    )
    assert "1 in 100 non-members is wrongly accused, it identifies about 13 in 100 members" in found[0]
    assert "guessing would identify 1 in 100" in found[0]
    assert found[1].startswith("On mlp, the strongest attack was “RMIA, online”: its AUC is 0.739")
    assert (
        "lstm is more exposed than mlp: AUC difference +0.024 (95% interval +0.004 to +0.044, which excludes 0)"
        in found[2]
    )
    assert "lstm the more exposed under 6 and no distinguishable difference under 1 of the 7" in found[2]
    assert "other records of the same kind" in sure[0]
    assert "picked among 7 after seeing their results" in sure[1]
    assert "99.8% and 83.7% for lstm (a generalisation gap of 16.1 points)" in meaning[0]
    assert "lstm, also has the largest gap" in meaning[0]
    assert notices == []


def test_the_sign_of_a_difference_does_not_depend_on_the_order_of_the_pair(inputs):
    turned = [
        row
        | {"family_a": row["family_b"], "family_b": row["family_a"], "difference": -row["difference"]}
        | {"low": -row["high"], "high": -row["low"]}
        for row in inputs.comparisons
    ]
    assert _text(dataclasses.replace(inputs, comparisons=turned)) == _text(inputs)


def test_a_difference_whose_interval_contains_0(inputs):
    wide = [row | {"low": -0.03, "high": 0.08} for row in inputs.comparisons]
    text = _text(dataclasses.replace(inputs, comparisons=wide))
    assert "lstm and mlp cannot be told apart: AUC difference +0.024" in text
    assert "which contains 0" in text
    assert "None of the 7 attacks tells the exposure of lstm from that of mlp" in text


def test_a_reversed_order_at_strict_thresholds_is_told(change):
    text = _text(change(lambda row: row["family"] == "mlp", **{"tpr_at_fpr_0.01": 0.137}))
    assert "does not settle the order at strict ones" in text
    assert "13.1% on lstm but 13.7% on mlp" in text


def test_a_smaller_gap_with_more_exposure_is_told(inputs):
    utility = [row | {"gap": 0.01 if row["family"] == "lstm" else 0.2} for row in inputs.utility]
    assert "lstm, does not have the largest gap" in _text(dataclasses.replace(inputs, utility=utility))


def test_a_single_family_has_no_comparison(make):
    text = _text(make({"gru": {"loss": (0.65, 0), "rmia_online": (0.7, 0.05)}}, checkpoints=1))
    assert "strongest of the 2 attacks" in text
    assert "on gru" in text
    assert "exposed than" not in text
    assert "part of the exposure may be plain overfitting" in text


def test_a_single_attack_is_not_called_the_strongest(make):
    text = _text(make({"gru": {"loss": (0.65, 0)}}, checkpoints=1))
    assert "The attack “Loss threshold” reached" in text
    assert "strongest" not in text


def test_nothing_found(make):
    found, sure, meaning, _ = findings(_null(make))
    assert found[0].startswith("No attack told members from non-members apart at this size")
    assert "had to reach an AUC of about 0.53. Weaker exposure is not ruled out" in found[1]
    assert "reach up to 0.530" in found[1]
    assert "no proof of privacy" in " ".join(meaning)
    assert "picked among" not in " ".join(sure)


def test_a_leak_at_strict_thresholds_only_is_not_called_nothing(make):
    null = _null(make)
    leak = {"tpr_at_fpr_0.01": 0.04, "tpr_at_fpr_0.01_low": 0.03, "tpr_at_fpr_0.01_high": 0.05}
    results = [row | leak if row["family"] == "mlp" else row for row in null.results]
    text = _text(dataclasses.replace(null, results=results))
    assert "Over all thresholds, no attack told" in text
    assert "2 of 12 true-positive rates do lie above guessing" in text
    assert "identifies 4.0% (95% interval 3.0% to 5.0%) of the members of mlp" in text


def test_one_lucky_interval_is_met_with_caution(make):
    null = _null(make)
    results = [dict(row) for row in null.results]
    results[0] |= {"auc": 0.53, "auc_low": 0.505, "auc_high": 0.555}
    text = _text(dataclasses.replace(null, results=results))
    assert "Only 1 of 4 intervals lies above 0.5" in text
    assert "On mlp, no attack told members from non-members apart" in text


def test_worse_than_guessing_is_noticed(make):
    text = _text(_null(make, auc=0.4, auc_low=0.38, auc_high=0.42))
    assert "ranks members below non-members: AUC 0.400" in text


def test_rates_that_are_not_estimable(change, inputs):
    absent = {"tpr_at_fpr_0.001": None, "tpr_at_fpr_0.01": float("nan")}
    text = _text(change(**absent))
    assert "At 1% and 0.1% false positives, some or all true-positive rates are not estimable" in text
    assert "fewer than one false positive was to be expected" in text
    assert "1 in 10 non-members is wrongly accused" in text
    none = absent | {"tpr_at_fpr_0.1": None}
    assert "how many members it identifies is not estimable" in _text(change(**none))


def test_values_without_intervals_are_not_findings(change):
    bare = {"auc_low": None, "auc_high": None}
    assert "without intervals it cannot be said" in _text(change(**bare))
    text = _text(change(lambda row: row["attack"] == "loss", **bare))
    assert "“Loss threshold” on lstm has an AUC of 0.647 without an interval" in text


def test_no_result_at_all(change):
    text = _text(change(auc=None, auc_low=None, auc_high=None))
    assert "No attack gave a usable result" in text
    assert "“Loss threshold” on lstm gave no usable result" in text


def test_diverged_models_and_missing_scores_are_named(change):
    base = change(lambda row: row["attack"] == "loss", missing=1200)
    notices = findings(dataclasses.replace(base, diverged={"lstm": [3, 17], "mlp": [5], "gru": []})).notices
    assert notices == [
        "2 models of lstm diverged in training and were kept out of the attacks: 3, 17.",
        "1 model of mlp diverged in training and was kept out of the attacks: 5.",
        "Scores that could not be computed were left out: 1,200 of “Loss threshold” on lstm and "
        "1,200 of “Loss threshold” on mlp.",
    ]


def _adjusted(inputs, *p_holm):
    rows = [row | {"p_holm": p_holm[place % len(p_holm)]} for place, row in enumerate(inputs.comparisons)]
    return dataclasses.replace(inputs, comparisons=rows)


def test_the_strongest_of_many_attacks_is_met_with_more_caution(many):
    found, sure, *_ = findings(many)
    assert "The strongest of the 35 attacks" in found[0]
    text = " ".join(sure)
    assert "picked among 35 after seeing their results" in text
    assert "the Holm-adjusted p-values of the comparisons do" in text
    assert "name one attack before looking" in text
    assert "so many intervals above 0.5 are not as many confirmations" in text


def test_a_difference_that_counts_alone_but_not_among_many(many):
    text = _text(many)
    assert "lstm and mlp cannot be told apart once all 35 comparisons are taken together" in text
    assert "which by itself excludes 0; Holm-adjusted p = 0.200" in text
    assert "None of the 35 attacks, taken together, tells the exposure of lstm from that of mlp" in text


def test_a_difference_that_counts_after_holm(inputs):
    text = _text(_adjusted(inputs, 0.0002))
    assert "+0.004 to +0.044, which excludes 0; Holm-adjusted p < 0.001)" in text
    assert "lstm the more exposed under 6 and no distinguishable difference under 1 of the 7" in text
    some = _text(_adjusted(inputs, 0.0002, 0.9))
    assert "lstm the more exposed under 4 and no distinguishable difference under 3 of the 7" in some
    wide = [row | {"low": -0.03, "high": 0.08, "p_holm": 1.0} for row in inputs.comparisons]
    assert "which contains 0; Holm-adjusted p = 1.000" in _text(dataclasses.replace(inputs, comparisons=wide))


def test_adjusted_p_values_of_aucs_decide_whether_chance_will_do(inputs, change):
    sure_enough = _text(change(auc_p_holm=0.001))
    assert sure_enough.startswith("Members of the training set could be told")
    assert "chance" not in sure_enough.split("The intervals (95%)")[0]
    text = _text(change(auc_p_holm=0.4))
    assert text.startswith(
        "Whether members of the training set could be told from non-members is not certain."
    )
    assert "One by one, 14 of 14 intervals lie above 0.5; taken together, none does" in text
    assert "smallest Holm-adjusted p = 0.400" in text


def test_a_group_that_differs_is_named(many):
    text = _text(many)
    assert "class 9 of lstm is more exposed than the rest: AUC 0.961 (95% interval" in text
    assert "Holm-adjusted p < 0.001." in text
    assert "The p-values of groups of records are adjusted for all 840 that were tested." in text


def test_several_groups_on_both_sides_are_counted_and_the_foremost_named(many, slices_of):
    rows = []
    for row in slices_of(many):
        place = int(row["value"]) if row["value"].isdigit() else 0
        away = 0.01 * place if row["slice"] == "class" and place > 4 else -0.3
        telling = row["slice"] == "class" and place not in (0, 1, 2, 3)
        known = {"auc": 0.7 + away, "difference": away, "p_holm": 0.01 if telling else None}
        rows.append(row | known)
    text = _text(dataclasses.replace(many, slices=rows))
    assert "5 groups of lstm are more exposed than the rest: class 9, AUC 0.790" in text
    assert "; class 8, AUC 0.780" in text
    assert "; 2 more, and class 4 of lstm is less exposed than the rest: AUC 0.400" in text
    assert "adjusted for all 240 that were tested" not in text  # 6 of 12 groups of 70 results
    assert "adjusted for all 420 that were tested" in text


def test_groups_that_do_not_differ_and_groups_that_were_not_tested(many):
    same = [row | {"p_holm": 1.0} for row in many.slices]
    text = _text(dataclasses.replace(many, slices=same))
    assert "no group of records of lstm differs from the rest once all 840 groups that were tested" in text
    untested = [row | {"p_holm": None} for row in many.slices]
    assert "group" not in _text(dataclasses.replace(many, slices=untested))


def test_audits_name_relation_confidence_delta_and_ceiling(many):
    text = _text(many)
    assert (
        "The audit of lstm (one run, add-or-remove) proves ε ≥ 1.23 at 95% confidence and δ = 0.00001; "
        "it could have proven at most 3.71." in text
    )
    assert (
        "The audit of mlp (independent trials, replace-one) proves nothing: its lower bound on ε is 0, "
        "at 95% confidence and δ = 0.00001; it could have proven at most 2.05." in text
    )
    assert "Each of the 4 audits has its confidence by itself" in text


def test_of_several_audits_for_one_relation_the_first_is_told_not_the_largest(inputs, audits_of):
    first = audits_of(["lstm"])[0] | {"ceiling": None}
    rows = [first, first | {"method": "one_run_median", "epsilon": 2.5}]
    text = _text(dataclasses.replace(inputs, audits=rows))
    told = (
        "Of the 2 audits of lstm for add-or-remove, the one named beforehand (one run) proves ε ≥ 1.23 at 95%"
    )
    assert told in text
    assert "2.50" not in text
    assert "The largest bound of several has less" in text
    single = _text(dataclasses.replace(inputs, audits=[first]))
    assert "has its confidence by itself" not in single


def test_somebodys_own_arrays_have_no_gap_and_no_family(own):
    text = _text(own)
    assert "reached an AUC of 0.758 (95% interval 0.740 to 0.776); 0.5 is guessing" in text
    assert "Nothing was trained for this report" in text
    assert "class 9 is more exposed than the rest" in text
    for word in (" on own", " of own", " for own", "gap", "accuracy", "architecture", "families"):
        assert word not in text, word


def test_somebodys_own_arrays_may_have_accuracies(own):
    row = {"family": "own", "checkpoint": 0, "epoch": 0, "models": 32}
    row |= {"train_accuracy": 0.99, "test_accuracy": 0.9, "gap": 0.09}
    text = _text(dataclasses.replace(own, utility=[row]))
    assert "is 99.0% and 90.0% (a generalisation gap of 9.0 points)" in text


def test_many_missing_scores_stay_one_readable_sentence(many):
    results = [row | {"missing": 5} for row in many.results]
    (notice,) = findings(dataclasses.replace(many, results=results)).notices
    assert notice.endswith("and some of 61 more (see results.csv).")
