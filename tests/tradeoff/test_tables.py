"""Tables: what stands in them, and that they fit a terminal."""

import dataclasses
import io
import math

import pytest
from rich.console import Console

from mia_jax.tradeoff import matching, tables


def words(table):
    return [[cell.value for cell in row] for row in table.rows]


def test_strengths_follow_their_baseline(one_seed):
    table = tables.by_strength(one_seed, "dp_sgd")
    assert [row[:2] for row in words(table)] == [
        [family, strength] for family in ("lstm", "mlp") for strength in ("none", "8", "4", "2", "1")
    ]
    assert table.heads[1] == "Target ε"
    assert table.heads[-4:] == ["AUC of lira_online", "AUC of loss", "TPR at 1% FPR", "TPR at 10% FPR"]
    first = table.rows[0]
    assert (first[3].value, first[3].interval) == ("80.0%", "79.0% to 81.0%")
    assert first[5].value == "0.780"
    assert first[7].value == "not estimable"


def test_an_attack_that_was_not_run_on_an_arm_is_said(one_seed):
    results = [row for row in one_seed.results if row["defence"] != "l2"]
    table = tables.by_strength(dataclasses.replace(one_seed, results=results), "l2")
    assert words(table)[1][5:] == ["not computed"] * 4


def test_captions_say_which_intervals_they_are(one_seed, many_seeds):
    assert "95% intervals, of accuracies over models" in tables.by_strength(one_seed, "l2").caption
    assert (
        "means over 4 seeds with 95% intervals (Student's t" in tables.by_strength(many_seeds, "l2").caption
    )


def test_draws_of_noise_are_named(one_seed):
    results = [
        row | {"draws": 10} if row["defence"] == "parameter_noise" else row for row in one_seed.results
    ]
    rows = dataclasses.replace(one_seed, results=results)
    assert "10 draws of noise for each model" in tables.by_strength(rows, "parameter_noise").caption
    assert "draws" not in tables.by_strength(rows, "l2").caption


def test_epsilons_in_words():
    values = [None, math.inf, 0.0, 0.0123, 4.314, 12345.6]
    assert [tables.epsilon_text(value) for value in values] == [
        "none",
        "∞",
        "0.00",
        "0.012",
        "4.31",
        "12,346",
    ]


def test_promises_say_unit_relation_kind_delta_and_gamma(one_seed):
    privacy = [*one_seed.privacy, one_seed.privacy[0] | {"strength": 16.0, "epsilon": "inf"}]
    table = tables.promises(dataclasses.replace(one_seed, privacy=privacy))
    rows = words(table)
    assert ["lstm", "dp_sgd", "record", "add-or-remove", "accounted", "7.99", "0.00001", "none"] in rows
    assert [
        "mlp",
        "parameter_noise",
        "record",
        "replace-one",
        "analytic",
        "15.00",
        "0.00001",
        "0.160",
    ] in rows
    assert rows[0][5] == "∞"


def test_the_named_audit_comes_first(one_seed):
    other = [row | {"method": "many_runs", "epsilon": 0.5} for row in one_seed.audits]
    table = tables.audits(dataclasses.replace(one_seed, audits=[*other, *one_seed.audits]))
    methods = [row[2] for row in words(table)]
    assert methods == sorted(methods)
    assert methods[0] == "joint runs"
    assert len(table.rows) == 2 * len(one_seed.audits)


def test_comparisons_have_signs_and_intervals_only_where_there_are(one_seed, many_seeds):
    table = tables.equal_strength(matching.equal_strength(one_seed))
    assert [cell.value for cell in table.rows[0]][3::3] == ["+0.140", "+5.0"]
    assert table.rows[0][3].interval == ""
    table = tables.equal_strength(matching.equal_strength(many_seeds))
    assert table.rows[0][3].interval == "+0.140 to +0.140"
    gains = tables.gains(matching.equal_strength(one_seed))
    assert len(gains.rows) == len(table.rows) - 1
    assert [cell.value for cell in gains.rows[0]][1:4] == ["+0.052", "+0.030", "+0.022"]


def test_what_is_outside_is_said(one_seed):
    table = tables.equal_epsilon(matching.equal_epsilon(one_seed, grid=[2.0, 1e6]))
    assert words(table)[0][2] != "outside"
    assert words(table)[1][2:] == ["outside", "outside", "", "outside", "outside", ""]
    table = tables.equal_attack(matching.equal_attack(one_seed, grid=[0.99]))
    assert words(table)[0][2:] == ["outside", "", "outside", "", ""]


@pytest.mark.parametrize("which", ["one_seed", "many_seeds"])
def test_terminal_fits_100_columns(which, request):
    rows, out = request.getfixturevalue(which), io.StringIO()
    Console(file=out, width=100).print(tables.terminal(rows))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for defence in rows.defences:
        assert f"{defence} from weak to strong" in text
    assert "[0.770, 0.790]" in text or which == "many_seeds"


def test_terminal_shows_names_as_they_are(make):
    out = io.StringIO()
    Console(file=out, width=100).print(
        tables.terminal(make(families=("[red]x", "mlp"), strengths={"l2": [0.1]}))
    )
    assert "[red]x" in out.getvalue()
