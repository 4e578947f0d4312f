"""Tables: what stands in them against the rows, and that they fit a terminal."""

import io
import math

import numpy as np
import pytest
from rich.console import Console

from mia_jax.dynamics_study import tables
from mia_jax.dynamics_study.rows import CURVES, NUMBERS, Interval

NONE = Interval(math.nan, math.nan, math.nan)


def printed(rows, width=110):
    out = io.StringIO()
    Console(file=out, width=width).print(tables.terminal(rows))
    return out.getvalue()


def without(study, name, arms=None):
    """The study with a number unknown in some arms, or absent from all."""
    changed = [
        arm._replace(
            numbers={key: value for key, value in arm.numbers.items() if key != name}
            if arms is None
            else arm.numbers | ({name: NONE} if place in arms else {})
        )
        for place, arm in enumerate(study.arms)
    ]
    return study._replace(arms=tuple(changed))


def test_columns_are_the_numbers_that_any_arm_has(study):
    assert tables.columns_of(study) == [name for name in NUMBERS if name in study.arms[0].numbers]
    assert "displacement" not in tables.columns_of(without(study, "displacement"))
    assert "displacement" in tables.columns_of(without(study, "displacement", arms={0, 1}))
    assert "displacement" not in tables.columns_of(without(study, "displacement", arms={0, 1, 2}))
    assert tables.columns_of(study._replace(arms=())) == []


def test_arms_are_told_apart_by_what_varies(study, one_arm):
    assert tables.varying(study) == ["family", "optimizer"]
    assert tables.varying(one_arm) == ["family"]


@pytest.mark.parametrize(
    ("number", "value", "within"),
    [
        (Interval(0.12345, 0.11111, 0.13579), "0.123", "0.111 to 0.136"),
        (Interval(0.00125, 0.00120, 0.00130), "0.00125", "0.00120 to 0.00130"),
        (Interval(123.4, 100.0, 150.0), "123", "100 to 150"),
        (Interval(0.0001, -0.04, 0.04), "0.000", "-0.040 to 0.040"),
        (Interval(-0.00001, -0.04, 0.04), "0.000", "-0.040 to 0.040"),
        (Interval(0.5, 0.5, 0.5), "0.50", "0.50 to 0.50"),
        (Interval(0.0, 0.0, 0.0), "0.00", "0.00 to 0.00"),
        (Interval(0.012345, math.nan, math.nan), "0.0123", ""),
        (NONE, "none", ""),
        (None, "none", ""),
    ],
)
def test_numbers_are_rounded_by_their_interval(number, value, within):
    assert tables.number_cell(number) == (value, within)


def test_every_arm_is_a_flat_row(study):
    found = tables.arm_rows(without(study, "high", arms={1}))
    assert len(found) == 3
    for row, arm in zip(found, study.arms, strict=True):
        assert list(row)[:3] == ["family", "optimizer", "num_models"]
        assert [row["family"], row["optimizer"]] == list(arm.factors.values())
        assert row["num_models"] == arm.num_models
        for name in set(arm.numbers) - {"path", "high"}:
            assert (row[name], row[f"{name}_low"], row[f"{name}_high"]) == arm.numbers[name]
    assert found[0]["path"] == study.arms[0].numbers["path"].value
    assert found[0]["path_low"] is None
    assert [row["high"] is None for row in found] == [False, True, False]


def test_a_factor_named_like_a_number_keeps_its_level(one_arm):
    arm = one_arm.arms[0]._replace(factors={"family": "mlp", "speed": "fast", "epoch": "late"})
    rows = one_arm._replace(arms=(arm,))
    row = tables.arm_rows(rows)[0]
    assert (row["factor_speed"], row["speed"], row["epoch"]) == ("fast", arm.numbers["speed"].value, "late")
    first = tables.curve_rows(rows)[0]
    assert (first["factor_epoch"], first["epoch"], first["factor_speed"]) == ("late", 0, "fast")


def test_every_checkpoint_is_a_row(study):
    some = study.arms[0]
    fewer = some._replace(curves={name: some.curves[name] for name in ("vulnerability", "speed")})
    found = tables.curve_rows(study._replace(arms=(fewer, *study.arms[1:])))
    assert len(found) == sum(len(arm.epochs) for arm in study.arms)
    assert list(found[0]) == ["family", "optimizer", "epoch", *CURVES]
    mine = found[: len(some.epochs)]
    assert [row["epoch"] for row in mine] == some.epochs.tolist()
    assert [row["vulnerability"] for row in mine] == some.curves["vulnerability"].tolist()
    assert mine[0]["speed"] is None
    assert mine[1]["speed"] == some.curves["speed"][1]
    assert {row["entropy"] for row in mine} == {None}
    assert found[-1]["entropy"] == study.arms[-1].curves["entropy"][-1]


def test_every_record_is_a_row(study):
    arm = study.arms[0]
    tpr = arm.tpr.copy()
    tpr[-1, 4] = math.nan
    found = tables.record_rows(arm._replace(tpr=tpr), study.cuts)
    assert [row["record"] for row in found] == list(range(300))
    assert [row["label"] for row in found] == arm.labels.tolist()
    assert (found[4]["tpr"], found[4]["vulnerability"], found[4]["high_since"]) == (None, None, None)
    names = ["fpr", "tpr", "fpr_error", "tpr_error", "vulnerability"]
    assert list(found[0]) == ["record", "label", *names, *arm.difficulty, "high_since"]
    for name in names:
        assert found[7][name] == getattr(arm, name)[-1, 7]
    for name, values in arm.difficulty.items():
        assert [row[name] for row in found] == values.tolist()


def test_the_epoch_of_entering_high_for_good(study):
    arm = study.arms[0]
    high = 0.5
    ways = {  # vulnerability at four checkpoints, and the epoch it says
        (0.6, 0.6, 0.6, 0.6): 0,
        (0.1, 0.6, 0.1, 0.5): 30,
        (0.1, 0.3, 0.7, 0.6): 20,
        (0.6, 0.6, 0.6, 0.1): None,
        (0.6, math.nan, 0.6, 0.6): 20,
        (0.6, 0.6, 0.6, math.nan): None,
        (math.nan, 0.7 - 0.2, 0.6, 0.6): 10,  # 0.49999999999999994 is one half
        (0.1, 0.1, 0.1, 0.1): None,
    }
    tpr = np.array(list(ways)).T
    size = tpr.shape[1]
    made = arm._replace(
        epochs=np.array([0, 10, 20, 30]),
        tpr=tpr,
        fpr=np.zeros_like(tpr),
        tpr_error=np.ones_like(tpr),
        fpr_error=np.ones_like(tpr),
        labels=np.zeros(size, int),
        difficulty={},
    )
    assert [row["high_since"] for row in tables.record_rows(made, (0.2, high))] == list(ways.values())
    assert [row["high_since"] for row in tables.record_rows(made, (0.05,))][-1] == 0


@pytest.mark.parametrize("which", ["study", "one_arm", "many_arms"])
def test_terminal_fits_110_columns(which, request):
    rows = request.getfixturevalue(which)
    text = printed(rows)
    assert max(map(len, text.splitlines())) <= 110
    assert "…" not in text
    for arm in rows.arms:
        value, within = tables.number_cell(arm.numbers["displacement"])
        assert f"{value} [{within.replace(' to ', ', ')}]" in text
    for block in tables.headline(rows):
        for name in block:
            assert NUMBERS[name].title in text


def test_terminal_says_claims_and_what_is_the_same(study, one_arm):
    text = printed(study)
    for claim in study.claims:
        assert f"Claim {claim.number}, {claim.verdict}: {claim.words}" in text
        for sentence in claim.evidence:
            assert f"\n  {sentence}" in text
    assert "64 models an arm" in text
    assert "optimizer sgd" not in text
    assert "optimizer sgd" in printed(one_arm)
    assert "Claim" not in printed(one_arm)


def test_terminal_leaves_out_what_no_arm_has_and_says_what_one_lacks(study):
    text = printed(without(study, "rank_prediction_depth"))
    assert NUMBERS["rank_prediction_depth"].title not in text
    assert "none" in printed(without(study, "high", arms={0}))
    assert "none" not in printed(study)


def test_terminal_shows_names_as_they_are(one_arm):
    arm = one_arm.arms[0]._replace(factors={"family": "[red]x"})
    assert "[red]x" in printed(one_arm._replace(arms=(arm,), title="[b]T"))
    assert "[b]T" in printed(one_arm._replace(title="[b]T"))
