"""Figures of studies of every shape, and what is in them."""

import dataclasses
import itertools
import math
import xml.etree.ElementTree as ET

import pytest

from mia_jax.report.figures import to_svg
from mia_jax.tradeoff import figures, labels, writing

ONE = {"l2": [0.001], "dp_sgd": [4.0]}
SHAPES = {
    "one family": {"families": ("mlp",)},
    "two families": {},
    "seven families": {"families": tuple(f"family_{i}" for i in range(7)), "strengths": ONE},
    "one strength": {"strengths": ONE},
    "no audits": {"audited": False},
    "two seeds": {"seeds": (0, 1), "strengths": ONE},
    "no defence": {"strengths": {}},
    "strength 0": {"strengths": {"parameter_noise": [0.0, 0.01, 0.1, 1.0], "dropout": [0.0, 0.5]}},
    "infinite strength": {"strengths": {"dp_sgd": [1.0, math.inf]}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_draws(make, shape):
    rows = make(**SHAPES[shape])
    drawn = writing.draw(rows)
    assert ("tradeoff_curves" in drawn) == bool(rows.defences)
    for name, figure in drawn.items():
        ET.fromstring(to_svg(figure, name))


def axes_of(figure, title):
    found = [axes for axes in figure.axes if axes.get_title().startswith(title)]
    assert len(found) == 1
    return found[0]


def drawn_at(axes, marker):
    """The vertical places of single points with a marker."""
    return [
        line.get_ydata()[0]
        for line in axes.lines
        if line.get_marker() == marker and len(line.get_ydata()) == 1
    ]


def test_strengths_run_from_weak_to_strong(one_seed):
    left, right = figures.by_strength(one_seed, "l2").axes[0].get_xlim()
    assert left < right
    left, right = figures.by_strength(one_seed, "dp_sgd").axes[0].get_xlim()
    assert left > right


def test_a_panel_for_the_strongest_attack_the_loss_and_the_accuracy(one_seed, make):
    titles = [axes.get_title() for axes in figures.by_strength(one_seed, "l2").axes]
    assert titles == ["AUC: lira_online", "AUC: loss", "Test accuracy"]
    only_loss = dataclasses.replace(one_seed, results=[r for r in one_seed.results if r["attack"] == "loss"])
    titles = [axes.get_title() for axes in figures.by_strength(only_loss, "l2").axes]
    assert titles == ["AUC: loss", "Test accuracy"]


def test_the_baseline_is_across_and_points_are_the_rows(one_seed):
    axes = axes_of(figures.by_strength(one_seed, "l2"), "AUC: lira_online")
    across = {round(line.get_ydata()[0], 6) for line in axes.lines if tuple(line.get_xdata()) == (0, 1)}
    assert across == {0.5, 0.78, 0.64}
    mine = [
        r["auc"]
        for r in one_seed.results
        if (r["family"], r["defence"]) == ("lstm", "l2") and r["attack"] != "loss"
    ]
    assert any(list(line.get_ydata()) == mine for line in axes.lines)


def test_curves_begin_at_the_baseline(one_seed):
    figure = figures.curves(one_seed)
    assert [axes.get_title() for axes in figure.axes] == one_seed.defences
    for axes in figure.axes:
        lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
        assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines] == [(0.78, 0.8), (0.64, 0.75)]
    aucs = axes_of(figure, "dp_sgd").lines[1].get_xdata()
    assert all(later < earlier for earlier, later in itertools.pairwise(aucs))


def test_theory_is_of_the_audited_relation_and_bounds_of_no_other(one_seed):
    figure = figures.theory_and_practice(one_seed)
    titles = [axes.get_title().replace("\n", " ") for axes in figure.axes]
    assert titles == [
        "dp_sgd: record, add-or-remove, accounted, δ = 0.00001",
        "parameter_noise: record, replace-one, analytic, δ = 0.00001",
    ]
    practice, none = figure.axes
    assert [round(value, 6) for value in drawn_at(practice, "o")] == [2.25, 1.5, 0.75]
    assert len(drawn_at(practice, "v")) == 2  # 0 is at the lower edge, for both families
    assert drawn_at(none, "o") == []


def test_a_bound_at_a_smaller_delta_is_not_drawn(one_seed):
    stricter = [row | {"delta": 1e-7} for row in one_seed.audits]
    figure = figures.theory_and_practice(dataclasses.replace(one_seed, audits=stricter))
    assert all(drawn_at(axes, "o") == [] for axes in figure.axes)


def test_an_infinite_epsilon_is_at_the_upper_edge(one_seed):
    privacy = [row | {"epsilon": math.inf} if row["strength"] == 8.0 else row for row in one_seed.privacy]
    axes = figures.theory_and_practice(dataclasses.replace(one_seed, privacy=privacy)).axes[0]
    top = drawn_at(axes, "^")
    assert len(top) == 2
    low, high = axes.get_ylim()
    assert all(high / (high / low) ** 0.05 < value < high for value in top)


def test_no_promise_no_figure(one_seed):
    nothing = [row | {"epsilon": None} for row in one_seed.privacy]
    assert figures.theory_and_practice(dataclasses.replace(one_seed, privacy=nothing)) is None
    assert figures.theory_and_practice(dataclasses.replace(one_seed, privacy=[])) is None


def test_only_infinite_promises_still_draw(one_seed):
    nothing = [row | {"epsilon": math.inf} for row in one_seed.privacy]
    figure = figures.theory_and_practice(dataclasses.replace(one_seed, privacy=nothing, audits=[]))
    assert len(drawn_at(figure.axes[0], "^")) == 8


def test_missing_values_leave_gaps(one_seed):
    nothing = {"auc": None, "auc_low": None, "auc_high": None}
    results = [row | nothing if row["defence"] == "l2" else row for row in one_seed.results]
    drawn = writing.draw(dataclasses.replace(one_seed, results=results))
    assert [axes.get_title() for axes in drawn["tradeoff_curves"].axes] == one_seed.defences[1:]
    assert "tradeoff_strength_l2" in drawn


def test_texts_of_one_point_are_beside_each_other(one_seed):
    axes = figures.curves(one_seed).axes[0]
    for text in list(axes.texts):
        text.remove()
    labels.place(axes, [labels.Label((0.6, 0.7), "0.001", "k")] * 4, [(0.6, 0.7)])
    assert len({text.get_position() for text in axes.texts}) == 4
