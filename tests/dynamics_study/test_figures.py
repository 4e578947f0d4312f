"""Figures of studies of every shape, and what is in them, against the rows."""

import math
import xml.etree.ElementTree as ET

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection

from mia_jax.dynamics_study import figures, marks, tables
from mia_jax.dynamics_study.figures.by_epoch import SHOWN_CURVES
from mia_jax.dynamics_study.looks import looks_of, shortened
from mia_jax.dynamics_study.rows import CURVES, NUMBERS, Interval
from mia_jax.report.figures import to_svg

NONE = Interval(math.nan, math.nan, math.nan)


def drawn(study):
    """All figures of a study and of its first arm."""
    arm = study.arms[0]
    found = [figures.planes(study), figures.curves(study), figures.arms(study)]
    found += [figures.trajectories(arm, cuts=study.cuts), figures.transitions(arm, study.cuts)]
    return [*found, figures.difficulty(arm)]


def titled(figure, title):
    found = [axes for axes in figure.axes if title in axes.get_title() or title in axes.get_title(loc="left")]
    assert len(found) == 1
    return found[0]


def scatters(axes):
    return [one for one in axes.collections if isinstance(one, PathCollection)]


def lines_of(axes, values):
    """The lines of a panel with these vertical values."""
    return [line for line in axes.lines if np.array_equal(np.asarray(line.get_ydata(), float), values)]


def gridded(make_study, levels):
    """A study in which every level of some factors meets every other: {factor: count}."""
    at = np.array(np.unravel_index(range(math.prod(levels.values())), list(levels.values()))).T
    study = make_study(len(at), records=40, checkpoints=5)
    arms = [
        arm._replace(factors={name: f"{name}{level}" for name, level in zip(levels, place, strict=True)})
        for arm, place in zip(study.arms, at, strict=True)
    ]
    return study._replace(arms=tuple(arms))


@pytest.mark.parametrize("which", ["study", "one_arm", "many_arms"])
def test_every_shape_draws(which, request):
    for place, figure in enumerate(drawn(request.getfixturevalue(which))):
        ET.fromstring(to_svg(figure, f"figure{place}"))


def test_a_plane_has_every_known_record_the_diagonal_and_the_cuts(study):
    arm = study.arms[0]
    tpr = arm.tpr.copy()
    tpr[:, 5] = math.nan
    figure = figures.planes(study, [arm._replace(tpr=tpr), study.arms[2]])
    at = [0, int(np.flatnonzero(arm.epochs == arm.foretold["epoch"])[0]), len(arm.epochs) - 1]
    panels = [axes for axes in figure.axes if axes.get_title().startswith("epoch")]
    assert len(panels) == 6
    assert [axes.get_title() for axes in panels[:3]] == [f"epoch {arm.epochs[place]}" for place in at]
    for axes, place in zip(panels[:3], at, strict=True):
        (cloud,) = scatters(axes)
        expected = np.delete(np.stack([arm.fpr[place], arm.tpr[place]], axis=1), 5, axis=0)
        found = np.asarray(cloud.get_offsets())
        assert len(found) == 299
        np.testing.assert_array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])
        ends = {
            tuple(np.round(line.get_xydata().ravel(), 9)) for line in axes.lines if len(line.get_xdata()) == 2
        }
        assert {(0, 0, 1, 1), (0, 0.2, 0.8, 1), (0, 0.5, 0.5, 1)} <= ends
        way = np.stack([arm.curves["center_fpr"], arm.curves["center_tpr"]], axis=1)[: place + 1]
        assert any(np.array_equal(line.get_xydata(), way) for line in axes.lines)
    assert len(np.asarray(scatters(panels[3])[0].get_offsets())) == 200


@pytest.mark.parametrize("colour", ["vulnerability", "out_error"])
def test_a_plane_is_coloured_by_the_end_or_a_difficulty(study, colour):
    arm = study.arms[0]
    expected = arm.vulnerability[-1] if colour == "vulnerability" else arm.difficulty[colour]
    figure = figures.planes(study, [arm], colour)
    for place, axes in zip((0, -1), (figure.axes[0], figure.axes[2]), strict=True):
        (cloud,) = scatters(axes)
        values = {tuple(at): set() for at in cloud.get_offsets()}
        for at, value in zip(cloud.get_offsets(), cloud.get_array(), strict=True):
            values[tuple(at)].add(value)
        for x, y, value in zip(arm.fpr[place], arm.tpr[place], expected, strict=True):
            assert value in values[x, y]


def test_planes_without_a_center_or_a_colour(study):
    arm = study.arms[0]
    bare = arm._replace(curves={}, difficulty={"x": np.full(300, math.nan)})
    assert not [line for line in figures.planes(study, [bare]).axes[2].lines if len(line.get_xdata()) > 2]
    assert not len(scatters(figures.planes(study, [bare], "x").axes[0])[0].get_offsets())
    with pytest.raises(ValueError, match="colour is 'out_error': it must be one of vulnerability, x"):
        figures.planes(study, [bare], "out_error")


@pytest.mark.parametrize("count", [0, 5])
def test_planes_are_of_one_to_four_arms(many_arms, count):
    with pytest.raises(ValueError, match=rf"arms has {count} arms: it must have 1 to 4\."):
        figures.planes(many_arms, many_arms.arms[:count])


def test_of_many_arms_those_are_shown_that_span_their_vulnerability(many_arms, study):
    shown = figures.shown_arms(many_arms)
    final = {arm.name: arm.vulnerability[-1].mean() for arm in many_arms.arms}
    assert {min(final, key=final.get), max(final, key=final.get)} <= {arm.name for arm in shown}
    assert len(shown) == 4
    names = [arm.name for arm in many_arms.arms]
    assert [arm.name for arm in shown] == sorted((arm.name for arm in shown), key=names.index)
    assert figures.shown_arms(study) == list(study.arms)


def test_the_early_checkpoint(make_arm):
    arm = make_arm({"family": "mlp"})._replace(epochs=np.array([0, 10, 29, 30, 100]), foretold={})
    assert marks.early_checkpoint(arm, 0.3) == 3
    assert marks.early_checkpoint(arm, 0.299) == 2
    assert [marks.early_checkpoint(arm, share) for share in (0.1, 0.05, 1.0)] == [1, 0, 4]
    assert marks.early_checkpoint(arm._replace(epochs=arm.epochs[1:]), 0.05) == 0
    assert marks.early_checkpoint(arm._replace(foretold={"epoch": 29}), 0.9) == 2
    assert marks.early_checkpoint(arm._replace(foretold={"epoch": Interval(10.0, 1.0, 1.0)}), 0.9) == 1


def test_ways_are_those_of_the_most_exposed_and_of_the_median(study):
    arm = study.arms[0]
    final = arm.vulnerability[-1]
    exposed, typical = sorted(range(300), key=lambda row: -final[row])[:5], np.median(final)
    usual = sorted(range(300), key=lambda row: abs(final[row] - typical))[:5]
    figure = figures.trajectories(arm, 5)
    steps = len(arm.epochs) - 1
    for title, rows in (("5 most exposed", exposed), ("5 nearest to the median", usual)):
        axes = titled(figure, title)
        (ways,) = [
            one for one in axes.collections if isinstance(one, LineCollection) and len(one.get_paths()) > 5
        ]
        pieces = [path.vertices for path in ways.get_paths()]
        assert len(pieces) == 5 * steps
        for place, row in enumerate(rows):
            mine = pieces[place * steps : (place + 1) * steps]
            np.testing.assert_array_equal(
                [piece[0] for piece in mine], np.stack([arm.fpr, arm.tpr], 2)[:-1, row]
            )
            np.testing.assert_array_equal(mine[-1][1], [arm.fpr[-1, row], arm.tpr[-1, row]])
        assert any(text.get_text().replace("\n", " ") == ", ".join(map(str, rows)) for text in axes.texts)
    over_time = titled(figure, "Vulnerability, TPR - FPR")
    for row in exposed + usual:
        assert lines_of(over_time, arm.vulnerability[:, row])


def test_ways_of_what_is_not_known(study):
    arm = study.arms[0]
    tpr = arm.tpr.copy()
    tpr[:, np.argmax(arm.vulnerability[-1])] = math.nan
    assert np.argmax(arm.vulnerability[-1]) not in marks.most_exposed(arm._replace(tpr=tpr), 300)
    assert figures.trajectories(arm._replace(tpr=np.full_like(tpr, math.nan))) is None
    unknown = arm._replace(fpr_error=np.full_like(tpr, math.nan))
    assert not [text for text in figures.trajectories(unknown).axes[0].texts if "SE" in text.get_text()]
    assert [text for text in figures.trajectories(arm).axes[0].texts if "SE" in text.get_text()]


def test_curves_are_those_of_the_rows(study):
    figure = figures.curves(study)
    for name in SHOWN_CURVES:
        axes = titled(figure, CURVES[name].title)
        for arm in study.arms:
            known = np.isfinite(arm.curves[name])
            (line,) = lines_of(axes, arm.curves[name][known])
            assert list(line.get_xdata()) == arm.epochs[known].tolist()
    recall = titled(figure, "Early recall")
    across = [line.get_ydata()[0] for line in recall.lines if list(line.get_xdata()) == [0, 1]]
    assert across == [arm.numbers["early_ceiling"].value for arm in study.arms]


def test_curves_that_are_missing_are_left_out(study):
    first, second, third = study.arms
    curves = {"vulnerability": first.curves["vulnerability"], "high": np.full(len(first.epochs), math.nan)}
    figure = figures.curves(study._replace(arms=(first._replace(curves=curves),)))
    assert [axes.get_title() for axes in figure.axes] == ["Mean vulnerability", ""]
    assert figures.curves(study._replace(arms=(first._replace(curves={}),))) is None
    holes = second.curves["vulnerability"].copy()
    holes[3] = math.nan
    arms = (
        first._replace(curves=curves),
        second._replace(curves=second.curves | {"vulnerability": holes}),
        third,
    )
    figure = figures.curves(study._replace(arms=arms))
    assert len(titled(figure, "Share high").lines) == 2
    (line,) = lines_of(titled(figure, "Mean vulnerability"), np.delete(holes, 3))
    assert second.epochs[3] not in line.get_xdata()


def test_the_floor_goes_to_the_least_and_to_the_largest_speed_by_chance(study):
    study = study._replace(arms=study.arms[:2])  # of the same checkpoints
    axes = titled(figures.curves(study), "Encoding speed")
    tops = [
        band.get_datalim(axes.transData).y1 for band in axes.collections if isinstance(band, PolyCollection)
    ]
    floors = [arm.curves["speed_floor"][-1] for arm in study.arms]
    np.testing.assert_allclose(sorted(tops), [min(floors), max(floors)])
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > max(np.nanmax(arm.curves["speed"]) for arm in study.arms)
    arms = [arm._replace(curves={"speed": arm.curves["speed"]}) for arm in study.arms]
    bare = titled(figures.curves(study._replace(arms=tuple(arms))), "Encoding speed")
    assert not bare.collections


@pytest.mark.parametrize(
    "levels", [{"a": 24}, {"a": 2, "b": 6}, {"a": 6, "b": 4}, {"a": 3, "b": 4, "c": 2}, {"a": 1, "b": 3}]
)
def test_arms_are_told_apart(make_study, levels):
    rows = gridded(make_study, levels)
    looks = looks_of(rows)
    assert len(set(looks.of.values())) == len(rows.arms)
    assert set(looks.keys) == {name for name, count in levels.items() if count > 1}
    most = max(levels, key=levels.get)
    colours = {look.colour for look in looks.keys[most].values()}
    assert len(colours) == levels[most]
    if len(looks.keys) == 1:
        return
    grey = sorted(np.dot(matplotlib.colors.to_rgb(colour), (0.299, 0.587, 0.114)) for colour in colours)
    assert min(np.diff(grey)) > 0.05


def test_a_fourth_factor_changes_no_look(make_study):
    rows = gridded(make_study, {"a": 3, "b": 2, "c": 2, "d": 2})
    looks = looks_of(rows)
    assert set(looks.keys) == {"a", "b", "c"}
    assert len(set(looks.of.values())) == 12


def test_every_arm_and_headline_number_is_a_dot_on_its_interval(make_study):
    rows = gridded(make_study, {"model": 3, "data": 4, "optimizer": 2})
    figure = figures.arms(rows)
    shown = [name for block in tables.headline(rows) for name in block]
    assert shown == list(tables.HEADLINE)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(names) == 24 + 3
    assert names[:2] == ["model0", "data0 · optimizer0"]
    for name in shown:
        axes = titled(figure, NUMBERS[name].title)
        for arm in rows.arms:
            number = arm.numbers[name]
            group, row = arm.factors["model"], f"{arm.factors['data']} · {arm.factors['optimizer']}"
            at = names.index(row, names.index(group))
            points = [tuple(line.get_xydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1]
            bars = [tuple(line.get_xydata().ravel()) for line in axes.lines if len(line.get_xdata()) == 2]
            assert (number.value, at) in points
            assert (number.low, at, number.high, at) in bars


def test_numbers_that_are_missing_are_left_out(study):
    first, second, third = study.arms
    arms = (
        first._replace(numbers=first.numbers | {"high": NONE}),
        second._replace(numbers=second.numbers | {"high": Interval(0.1, math.nan, math.nan)}),
        third._replace(numbers={"vulnerability": third.numbers["vulnerability"]}),
    )
    figure = figures.arms(study._replace(arms=arms))
    axes = titled(figure, "High at the end")
    points = [line for line in axes.lines if line.get_marker() in "osD^"]
    assert [float(line.get_xdata()[0]) for line in points] == [0.1]
    assert not [line for line in axes.lines if len(line.get_xdata()) == 2 and 0.1 in line.get_xdata()]
    assert figures.arms(study._replace(arms=(first._replace(numbers={}),))) is None


def test_where_nothing_happens_is_a_guide(study):
    arm = study.arms[0]
    numbers = arm.numbers | {"rank_epoch_learned": Interval(0.001, -0.001, 0.003)}
    figure = figures.arms(study._replace(arms=(arm._replace(numbers=numbers),)))
    assert any(set(line.get_xdata()) == {0.0} for line in titled(figure, "ρ, epoch").lines)
    assert not any(set(line.get_xdata()) == {0.0} for line in titled(figure, "ρ, OUT").lines)


def test_transitions_are_the_first_an_early_and_the_last(study):
    arm = study.arms[0]
    figure = figures.transitions(arm, study.cuts)
    last, early = len(arm.epochs) - 2, marks.early_checkpoint(arm) - 1
    for axes, interval in zip(figure.axes, (0, early, last), strict=False):
        assert axes.get_title() == f"epoch {arm.epochs[interval]} to {arm.epochs[interval + 1]}"
        matrix = arm.transitions[interval]
        shown = {tuple(map(int, text.xy)): text.get_text() for text in axes.texts}
        assert len(shown) == 9
        for (row, column), value in np.ndenumerate(matrix):
            words = shown[column, row]
            if math.isnan(value):
                assert words == "none"
            else:
                assert abs(float(words.rstrip("%")) / 100 - value) <= 0.0051
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["low\n< 0.2", "middle\n< 0.5", "high\n≥ 0.5"]
    shares = titled(figure, "Shares of the records")
    top = {band.get_label(): band for band in shares.collections}
    assert set(top) == {"low", "between", "high"}
    corners = np.round(top["low"].get_paths()[0].vertices, 9)
    assert {tuple(at) for at in zip(arm.epochs, np.round(arm.curves["low"], 9), strict=True)} <= {
        tuple(at) for at in corners
    }


def test_transitions_of_few_intervals_and_states(study):
    arm = study.arms[0]
    bare = arm._replace(epochs=arm.epochs[:2], transitions=np.array([[[0.5, 0.5], [0.0, 1.0]]]), curves={})
    figure = figures.transitions(bare)
    assert [axes.get_title() for axes in figure.axes] == [f"epoch {arm.epochs[0]} to {arm.epochs[1]}"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["low", "high"]
    assert figures.transitions(arm._replace(epochs=arm.epochs[:1], transitions=np.zeros((0, 3, 3)))) is None
    assert figures.transitions(arm._replace(transitions=np.full((11, 3, 3), math.nan))) is None
    assert marks.state_names(4) == ["low", "state 2", "state 3", "high"]


def test_difficulty_has_the_records_their_middle_and_the_correlation(study):
    arm = study.arms[0]
    values = arm.difficulty["out_error"].copy()
    values[:10] = math.nan
    figure = figures.difficulty(
        arm._replace(difficulty={"out_error": values, "never": np.full(300, math.nan)})
    )
    assert len(figure.axes) == 1
    (axes,) = figure.axes
    found, known = np.asarray(scatters(axes)[0].get_offsets()), ~np.isnan(values)
    np.testing.assert_array_equal(found, np.stack([values, arm.vulnerability[-1]], 1)[known])
    assert axes.get_title() == "ρ = 0.61 (0.55 to 0.67)"
    (line,) = axes.lines
    parts = {}
    for value, exposed in found:
        passed = sum(value >= np.percentile(found[:, 0], 10 * part) for part in range(1, 10))
        parts.setdefault(passed, []).append((value, exposed))
    middles = [np.median(parts[part], axis=0) for part in sorted(parts)]
    np.testing.assert_allclose(line.get_xydata(), middles)
    assert (np.diff(line.get_xdata()) > 0).all()


def test_difficulty_of_many_few_and_no_records(make_arm):
    many = make_arm({"family": "mlp"}, records=3000, checkpoints=2)
    (hexagons, *_) = figures.difficulty(many).axes[0].collections
    assert hexagons.get_array().sum() > 0
    assert not scatters(figures.difficulty(many).axes[0])
    few = make_arm({"family": "mlp"}, records=6)._replace(numbers={})
    panels = figures.difficulty(few).axes
    assert len(panels) == 3
    assert [axes.get_title() for axes in panels] == [""] * 3
    assert not panels[0].lines
    assert figures.difficulty(few._replace(difficulty={})) is None


def test_a_single_checkpoint_draws(make_arm, one_arm):
    arm = make_arm({"family": "mlp"}, checkpoints=2)
    first = arm._replace(
        epochs=arm.epochs[-1:],
        **{name: getattr(arm, name)[-1:] for name in ("fpr", "tpr", "fpr_error", "tpr_error")},
        curves={name: values[-1:] for name, values in arm.curves.items()},
        transitions=np.zeros((0, 3, 3)),
        foretold={},
    )
    rows = one_arm._replace(arms=(first,))
    assert len([axes for axes in figures.planes(rows).axes if axes.get_title()]) == 1
    for figure in (figures.planes(rows), figures.curves(rows), figures.trajectories(first)):
        ET.fromstring(to_svg(figure, "one"))


def test_names_are_not_read_as_mathematics_and_are_shortened(one_arm):
    name = "$x_1$ " + "a very long name of a family of models " * 4
    arm = one_arm.arms[0]._replace(factors={"family": name})
    for figure in drawn(one_arm._replace(arms=(arm,))):
        ET.fromstring(to_svg(figure, "names"))
    assert shortened("abcdefghij", 5) == "ab…ij"
    assert shortened("abcde", 5) == "abcde"
