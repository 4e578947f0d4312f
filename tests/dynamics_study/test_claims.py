"""Each verdict on each claim, reached by made-up arms."""

import numpy as np
import pytest

from mia_jax.dynamics_study.claims import claims
from mia_jax.dynamics_study.rows import Interval

NONE = Interval(np.nan, np.nan, np.nan)
FACTORS = ({"optimizer": "sgd"}, {"optimizer": "sam"})


def around(value, width=0.05):
    return Interval(value, value - width, value + width)


GOOD = {
    "displacement": around(0.3),
    "vulnerability": around(0.2),
    "rank_epoch_learned": around(0.5),
    "rank_out_error": around(0.6),
    "top_ratio": around(0.7),
    "early_ratio": around(0.8),
}


@pytest.fixture
def arms_of(make_arm):
    """Function that makes arms, one for each mapping of numbers laid over good ones."""

    def made(*changes):
        return [
            make_arm(dict(factors), records=20, checkpoints=3)._replace(numbers=GOOD | change)
            for factors, change in zip(FACTORS, changes, strict=False)
        ]

    return made


def verdict(number, arms, compared=()):
    (found,) = [claim for claim in claims(arms, compared, 0.95) if claim.number == number]
    return found


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (around(0.3), around(0.1), "supported"),
        (around(0.3), Interval(0.03, 0.0, 0.1), "undecided"),
        (Interval(0.04, 0.0, 0.1), Interval(0.03, 0.0, 0.1), "undecided"),  # nothing seen is not nothing
        (Interval(0.02, 0.0, 0.04), Interval(0.01, 0.0, 0.03), "not supported"),
    ],
)
def test_records_move_where_the_center_does_in_every_arm(arms_of, first, second, expected):
    found = verdict(1, arms_of({"displacement": first}, {"displacement": second}))
    assert found.verdict == expected
    moved = sum(one.low > 0 for one in (first, second))
    assert f"so in {moved} of 2" in found.evidence[0]
    assert f"{second.value:.3f} to {first.value:.3f}" in found.evidence[1]


def compared(factor, *p_values, measure="displacement", reach=0.04):
    row = {"factor": factor, "measure": measure, "difference_low": -reach, "difference_high": reach}
    return [{**row, "p": p} for p in p_values]


@pytest.mark.parametrize(
    ("rows", "expected", "of"),
    [
        (compared("optimizer", 1e-4, 1e-4, 0.9), "supported", {"Optimizer": ("supported", "2 of 3")}),
        (
            compared("optimizer", 1e-4, 0.5, reach=0.06),
            "undecided",
            {"Optimizer": ("undecided", "1 of 2")},
        ),  # half is not most
        (compared("optimizer", 0.2, 0.5), "not supported", {"Optimizer": ("not supported", "0 of 2")}),
        (
            compared("optimizer", 0.2, 0.5, reach=0.06),
            "undecided",
            {"Optimizer": ("undecided", "0 of 2")},
        ),  # nothing seen is not nothing
        # .03 alone would do; beside another it is .06.
        (compared("optimizer", 0.03, 0.9), "not supported", {"Optimizer": ("not supported", "0 of 2")}),
        (compared("optimizer", 0.03), "supported", {"Optimizer": ("supported", "1 of 1")}),
        (
            compared("optimizer", 1e-4) + compared("model_size", 0.9),
            "undecided",
            {"Optimizer": ("supported", "1 of 1"), "Model size": ("not supported", "0 of 1")},
        ),
        # What vulnerability says has no part in it.
        (
            compared("optimizer", 0.9) + compared("optimizer", 1e-9, measure="vulnerability"),
            "not supported",
            {"Optimizer": ("not supported", "0 of 1")},
        ),
    ],
)
def test_factors_matter_where_most_of_their_comparisons_differ(arms_of, rows, expected, of):
    arms = [
        arm._replace(factors=arm.factors | {"model_size": "small"})
        for arm in arms_of({}, {"displacement": around(0.1)})
    ]
    found = verdict(2, arms, rows)
    assert found.verdict == expected
    assert len(found.evidence) == 1 + len(of)
    for sentence, (name, (own, count)) in zip(found.evidence[1:], of.items(), strict=True):
        assert sentence.startswith(f"{name}: {own}, {count} differ")
    assert "sgd 0.300, sam 0.100" in found.evidence[1]


def test_without_comparisons_factors_have_no_verdict(arms_of):
    assert [claim.number for claim in claims(arms_of({}), (), 0.95)] == [1, 3, 4]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, "supported"),
        ({}, {"rank_out_error": around(0.02)}, "undecided"),
        (
            {"rank_out_error": around(-0.2), "rank_epoch_learned": around(-0.3)},
            {"rank_out_error": around(-0.2), "rank_epoch_learned": around(-0.3)},
            "not supported",
        ),
        ({"rank_out_error": around(-0.2)}, {"rank_out_error": around(-0.2)}, "undecided"),
        # Depth is told, and decides nothing.
        ({"rank_prediction_depth": around(-0.4)}, {"rank_prediction_depth": around(-0.2)}, "supported"),
        # A rank that could not be had is evidence neither way.
        ({"rank_epoch_learned": NONE}, {}, "undecided"),
        ({"rank_epoch_learned": NONE, "rank_out_error": NONE},) * 2 + ("undecided",),
    ],
)
def test_hard_records_are_exposed_where_both_ranks_say_so_in_every_arm(arms_of, first, second, expected):
    arms = arms_of(first, second)
    found = verdict(3, arms)
    assert found.verdict == expected
    told = [sentence for sentence in found.evidence if "Prediction depth" in sentence]
    assert len(told) == ("rank_prediction_depth" in first)
    if told:
        assert "from -0.40 to -0.20, above 0 in 0 of 2" in told[0]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (around(0.7), around(0.6), "supported"),
        (around(0.7), around(0.52), "undecided"),  # above one half, but not surely
        (around(0.7), around(0.2), "undecided"),
        (around(0.3), around(0.4), "not supported"),
        (around(0.3), around(0.48), "undecided"),
        (around(0.7), NONE, "undecided"),
        (NONE, NONE, "undecided"),
    ],
)
def test_it_is_told_early_where_an_early_list_surely_finds_most(arms_of, first, second, expected):
    found = verdict(4, arms_of({"top_ratio": first}, {"top_ratio": second}))
    assert found.verdict == expected
    assert f"in every arm: so in {sum(one.low > 0.5 for one in (first, second))} of 2" in found.evidence[0]


def test_one_arm_alone_is_every_arm(arms_of):
    found = claims(arms_of({}), (), 0.95)
    assert [claim.verdict for claim in found] == ["supported"] * 3
    assert all("1 of 1" in claim.evidence[0] for claim in found if claim.number != 3)


def test_what_is_said_holds_no_figure_that_is_none(arms_of):
    unknown = {"rank_epoch_learned": NONE, "rank_out_error": NONE, "top_ratio": NONE, "early_ratio": NONE}
    for claim in claims(arms_of(unknown, unknown), compared("optimizer", 0.5), 0.95):
        assert "nan" not in " ".join(claim.evidence)
        assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in claim.evidence)


def test_an_arm_without_a_rank_at_all_leaves_it_undecided(arms_of):
    first, second = arms_of({}, {"rank_out_error": around(0.3)})
    numbers = {name: value for name, value in first.numbers.items() if not name.startswith("rank_")}
    found = verdict(3, [first._replace(numbers=numbers), second])
    assert found.verdict == "undecided"
    assert any("above 0 in 1 of 1 arms" in sentence for sentence in found.evidence)
