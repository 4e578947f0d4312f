"""A comparison's rows against what its runs say when they are asked by other ways."""

import dataclasses
import io
import itertools
import json
import types

import numpy as np
import pytest
from scipy import stats

from mia_jax import comparison, data, metrics
from mia_jax.comparison import tables, writing
from mia_jax.comparison.measuring import levels
from mia_jax.comparison.rows import at_one_level, at_the_end
from mia_jax.config import ComparisonConfig, ConfigError
from mia_jax.runs import run_directory
from mia_jax.runs.identity import RunError
from mia_jax.study import reporting


def only(rows, **asked):
    """The one row with these values."""
    (found,) = [row for row in rows if all(row[name] == value for name, value in asked.items())]
    return found


def test_runs_are_pools_and_variants(config):
    todo = comparison.runs(config)
    assert [one.name for one in todo] == ["pool0", "pool1", "pool0_slow", "pool1_slow"]
    assert [one.config.seed for one in todo] == [0, 1, 0, 1]
    assert [one.config.training.learning_rate for one in todo] == [1e-2, 1e-2, 3e-3, 3e-3]
    pools = [np.asarray(data.load(one.config.data).pool.x) for one in todo[:2]]
    means = [pool.round(3).tolist() for pool in pools]
    assert not any(record in means[1] for record in means[0])


def test_curves_are_those_of_the_runs_own_reports(config, rows, workdir):
    for family, place in itertools.product(config.families, (0, 3)):
        found = {"auc": [], "balanced_accuracy": [], "train_accuracy": []}
        for pool in range(2):
            own = reporting.rows_at(run_directory.existing(workdir / f"pool{pool}"), family, place)
            result = only(own.results, attack="loss")
            found["auc"].append(result["auc"])
            found["balanced_accuracy"].append(result["balanced_accuracy"])
            found["train_accuracy"].append(own.utility["train_accuracy"])
        for what, values in found.items():
            attack = "" if what == "train_accuracy" else "loss"
            epoch = config.recording.epochs[place]
            row = only(rows.curves, variant="", family=family, attack=attack, epoch=epoch, what=what)
            assert row["pools"] == pytest.approx(values)
            assert row["value"] == pytest.approx(np.mean(values))


def test_accuracy_on_others_is_that_of_the_pools_non_members(rows, workdir):
    run = run_directory.existing(workdir / "pool1_slow")
    right = run.segments("wide").signal("pool/correct", 2)
    member = run.membership().member
    row = only(rows.curves, variant="slow", family="wide", attack="", epoch=8, what="test_accuracy")
    assert row["pools"][1] == pytest.approx(right[~member].mean())
    gap = only(rows.curves, variant="slow", family="wide", attack="", epoch=8, what="gap")
    assert gap["pools"][1] == pytest.approx(right[member].mean() - right[~member].mean())


def test_differences_at_an_epoch_are_those_of_the_function_for_pairs(rows, workdir):
    row = only(at_the_end(rows), family="wide", attack="lira_offline_global", what="auc")
    found = []
    for pool in range(2):
        run = run_directory.existing(workdir / f"pool{pool}")
        drawn = run.membership()
        arms = (run.scores(family, "lira_offline_global", 3) for family in ("wide", "mlp"))
        found.append(metrics.auc_difference(*arms, drawn.member, 0.95, drawn.twin))
    assert row["pools"] == pytest.approx([one.value for one in found])
    # Four pairs of twins are four targets; Welch's degrees for both pools.
    errors = np.array([(one.high - one.low) / 2 for one in found]) / stats.t.ppf(0.975, 3)
    degrees = np.sum(errors**2) ** 2 / np.sum(errors**4 / 3)
    reach = stats.t.ppf(0.975, degrees) * np.hypot(*errors) / 2
    assert [row["low"], row["high"]] == pytest.approx([row["value"] - reach, row["value"] + reach])


def test_differences_at_a_level_are_read_off_the_curves(rows):
    for matched in ("gap", "loss_gap", "test_accuracy"):
        asked = ("auc", "wide")
        some = [row for row in at_one_level(rows, matched) if (row["what"], row["family"]) == asked]
        assert some, matched
        for row in some:
            read = []
            for pool in range(2):
                values = []
                for family in ("wide", "mlp"):
                    x, y = (
                        [
                            point["pools"][pool]
                            for point in rows.curves
                            if (point["variant"], point["family"], point["attack"], point["what"])
                            == ("", family, attack, what)
                        ]
                        for attack, what in (("", matched), (row["attack"], "auc"))
                    )
                    after = next(place for place in range(len(x)) if min(x[place:]) >= row["level"])
                    values.append(np.interp(row["level"], x[after - 1 : after + 1], y[after - 1 : after + 1]))
                read.append(values[0] - values[1])
            assert row["pools"] == pytest.approx(read)


def test_the_level_that_stands_for_all_is_the_last_up_to_nine_tenths():
    """Each pair of families at its own; where the only one lies above, that one."""
    levels = {"wide": (0.5, 0.9, 1.0), "deep": (0.2,), "others": (0.1, 0.3)}
    rows = types.SimpleNamespace(
        families=["mlp", "wide", "deep"],
        at_levels=[
            {"variant": variant, "matched": matched, "family": family, "level": level}
            for variant in ("", "slow")
            for matched in ("gap", "loss_gap")
            for family, some in levels.items()
            for level in some
        ],
    )
    found = at_one_level(rows, "gap", "slow")
    assert [(row["family"], row["level"]) for row in found] == [("wide", 0.9), ("deep", 0.2), ("others", 0.1)]
    assert {(row["variant"], row["matched"]) for row in found} == {("slow", "gap")}


def test_levels_are_the_multiples_that_every_curve_comes_to_for_good():
    def curve(*values):
        return [types.SimpleNamespace(value=value) for value in values]

    rising, late = curve(0.05, 0.2, 0.3), curve(0.12, 0.35, 0.18, 0.4)
    assert 0.3 / 0.1 < 3  # in float64
    assert levels(0.1, rising) == [0.1, 0.2, 0.3]
    assert levels(0.1, rising, late) == [0.2, 0.3]
    assert levels(0.1, rising, curve(0.5, 0.6)) == []


def test_the_mean_of_all_others_is_the_mean(rows):
    for epoch in (0, 8):
        asked = {"variant": "slow", "attack": "loss", "what": "balanced_accuracy", "epoch": epoch}
        each = [only(rows.at_epochs, family=name, **asked)["pools"] for name in ("wide", "deep")]
        assert only(rows.at_epochs, family="others", **asked)["pools"] == pytest.approx(np.mean(each, axis=0))
    some = [row for row in rows.at_levels if row["family"] == "others" and not row["variant"]]
    assert some
    for row in some:
        asked = {name: row[name] for name in ("variant", "attack", "what", "matched", "level")}
        each = [only(rows.at_levels, family=name, **asked)["pools"] for name in ("wide", "deep")]
        assert row["pools"] == pytest.approx(np.mean(each, axis=0))


def test_results_are_those_of_the_runs_own_reports(rows, workdir):
    own = reporting.rows_at(run_directory.existing(workdir / "pool1_slow"), "deep", 3)
    found = [
        row for row in rows.results if (row["variant"], row["pool"], row["family"]) == ("slow", 1, "deep")
    ]
    assert found == [{"variant": "slow", "pool": 1, **row} for row in own.results]
    assert only(rows.utility, variant="slow", pool=1, family="deep") == {
        "variant": "slow",
        "pool": 1,
        **own.utility,
    }


def test_early_members_are_those_of_the_last_epochs_first_third(rows, workdir):
    """Five of twenty records a step: the first two steps hold the early third, the last two the late one."""
    run = run_directory.existing(workdir / "pool0")
    seen = run.segments("mlp").signal("pool/last_seen", 3)
    member = run.membership().member
    scores = run.scores("mlp", "loss", 3)
    last = seen.max()
    assert last == 20 * 4 - 1
    for part, steps in (("early", (last - 3, last - 2)), ("late", (last - 1, last))):
        some = ~member | np.isin(seen, steps)
        row = only(rows.by_order, variant="", family="mlp", attack="loss", part=part)
        assert row["pools"][0] == pytest.approx(metrics.auc(scores[some], member[some]))
    parts = [
        only(rows.by_order, variant="", family="mlp", attack="loss", part=part)["value"]
        for part in ("early", "late", "early less late")
    ]
    assert parts[2] == pytest.approx(parts[0] - parts[1])


def test_what_is_done_is_not_done_again(config, rows, workdir, monkeypatch):
    written = {path: path.stat().st_mtime_ns for path in workdir.glob("*/signals/**/*") if path.is_file()}
    assert written
    monkeypatch.setattr("mia_jax.study.attack", None)
    again = comparison.compare(config, workdir)
    assert again.at_levels == rows.at_levels
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_files_hold_the_rows(rows, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "comparison_gap_gone.svg").write_text("of an earlier comparison")
    path = writing.write_comparison(rows, tmp_path)
    found = json.loads(path.read_text())
    for written, row in zip(found["at_epochs"], rows.at_epochs, strict=True):
        assert list(written) == list(row)
        for name, value in row.items():
            number = isinstance(value, float | list)
            assert written[name] == (pytest.approx(value, rel=1e-5) if number else value)
    assert found["parameters"]["slow"] == {
        "mlp": 6 * 4 + 4 + 4 * 3 + 3,
        "wide": 6 * 32 + 32 + 32 * 3 + 3,
        "deep": 6 * 8 + 8 + 8 * 8 + 8 + 8 * 3 + 3,
    }
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {
        f"comparison_{what}{variant}.{kind}"
        for what in ("training", "gap")
        for variant in ("", "_slow")
        for kind in ("svg", "png")
    }
    lines = (tmp_path / "comparison_at_epochs.csv").read_text().splitlines()
    assert len(lines) == 1 + len(rows.at_epochs)


def test_the_terminal_says_the_difference(rows):
    from rich.console import Console

    console = Console(width=120, file=io.StringIO())
    console.print(tables.terminal(rows))
    text = console.file.getvalue()
    row = only(at_the_end(rows), family="wide", attack="loss", what="auc")
    assert f"{row['value']:+.3f}" in text
    assert "wide - mlp" in text
    assert "at equal gap of loss" in text
    assert "no level that every family comes to" not in text
    console = Console(width=120, file=io.StringIO())
    console.print(tables.terminal(rows._replace(at_levels=[])))
    assert "AUC at equal gap of loss: no level that every family comes to for good" in console.file.getvalue()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"reference": "lstm"}, "config.comparison.reference is 'lstm'.*mlp, wide, deep"),
        ({"variants": {"a b": {}}}, "'a b'"),
        ({"variants": {"x": {"families": {}}}}, "variants.x changes families"),
        ({"variants": {"x": {"training": {"epochs": 0}}}}, "variants.x: config.training.epochs is 0"),
        (
            {"variants": {"x": {"data": {"source": "digits", "pool_number": 44}}}},
            "pool_number 44 x pool_size 40",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(config, tmp_path, asked, message):
    with pytest.raises(ConfigError, match=message):
        comparison.compare(
            dataclasses.replace(config, comparison=ComparisonConfig(**asked)), tmp_path / "new"
        )
    assert not list(tmp_path.glob("new/*/config.json"))


def test_one_family_is_no_comparison(config, tmp_path):
    alone = dataclasses.replace(config, families={"mlp": config.families["mlp"]})
    with pytest.raises(ConfigError, match=r"config.families has mlp alone"):
        comparison.compare(alone, tmp_path)


def test_no_family_is_called_others(config, tmp_path):
    taken = dataclasses.replace(config, families={**config.families, "others": config.families["wide"]})
    with pytest.raises(ConfigError, match=r"config.families has the name 'others'"):
        comparison.compare(taken, tmp_path)


def test_a_directory_of_something_else_is_refused(config, workdir, tmp_path, rows):
    with pytest.raises(RunError, match="holds a run of its own"):
        comparison.compare(config, workdir / "pool0")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"notes\.txt"):
        comparison.compare(config, tmp_path)
