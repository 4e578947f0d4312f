"""A study on the disk: every file, read back."""

import csv
import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from mia_jax.dynamics_study import page, tables, writing
from mia_jax.report import atomic
from mia_jax.runs.store import StoreError


@pytest.fixture(autouse=True)
def plain_page(monkeypatch):
    """A page that only names its figures: the page itself has tests of its own."""
    monkeypatch.setattr(page, "render", lambda rows, svgs: f"{rows.title}: {', '.join(svgs)}")


@pytest.fixture
def few_figures(monkeypatch):
    """Blank figures of the right names, which take less time."""

    def draw(rows):
        names = writing.file_names(rows)
        found = [writing.TRAJECTORIES + names[arm.name] for arm in rows.arms]
        found += [writing.DIFFICULTY + names[arm.name] for arm in rows.arms if arm.difficulty]
        return {name: Figure(figsize=(1, 1)) for name in found}

    monkeypatch.setattr(writing, "draw", draw)


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    directory = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "render", lambda rows, svgs: f"{rows.title}: {', '.join(svgs)}")
        assert writing.write_dynamics(study, directory) == directory / "dynamics.html"
    return directory


def strict(path):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def lines(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def numbers(values):
    """JSON's lists as an array, null as NaN."""
    return np.array(values, dtype=np.float64)


def files(directory):
    return {str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file()}


def test_all_files_are_there_and_no_others(written, study):
    names = list(writing.file_names(study).values())
    assert names == ["mlp_sgd", "lstm_sgd", "mlp_adam"]
    drawn = ["arms", "curves", "planes"]
    drawn += [f"{kind}_{name}" for kind in ("transitions", "difficulty", "trajectories") for name in names]
    drawn.append("planes_difficulty")
    expected = {"dynamics.html", "dynamics.json", "dynamics_arms.csv", "dynamics_curves.csv"}
    expected |= {f"arms/{name}.json" for name in names} | {f"records/{name}.csv" for name in names}
    expected |= {f"figures/dynamics_{name}.{kind}" for name in drawn for kind in ("svg", "png")}
    assert files(written) == expected
    text = (written / "dynamics.html").read_text(encoding="utf-8")
    assert text == f"{study.title}: {', '.join(f'dynamics_{name}' for name in drawn)}"


def test_json_has_everything_but_the_records(written, study):
    found = strict(written / "dynamics.json")
    assert [found["title"], found["confidence"], found["cuts"]] == [study.title, 0.95, [0.2, 0.5]]
    assert [found["facts"], found["config"]] == [study.facts, study.config]
    assert [(one["number"], one["verdict"]) for one in found["claims"]] == [
        (claim.number, claim.verdict) for claim in study.claims
    ]
    assert found["claims"][0]["evidence"] == list(study.claims[0].evidence)
    assert found["factors"] == study.factors
    assert len(found["arms"]) == len(study.arms)
    for one, arm in zip(found["arms"], study.arms, strict=True):
        assert one["factors"] == arm.factors
        assert (one["num_models"], one["records"]) == (arm.num_models, arm.fpr.shape[1])
        assert one["epochs"] == arm.epochs.tolist()
        for name, curve in arm.curves.items():
            np.testing.assert_array_equal(numbers(one["curves"][name]), curve)
        np.testing.assert_array_equal(numbers(one["transitions"]), arm.transitions)
        for name, number in arm.numbers.items():
            np.testing.assert_array_equal(numbers(list(one["numbers"][name].values())), numbers(list(number)))
        assert one["numbers"]["path"]["low"] is None
        assert one["also"] == [dict(row) for row in arm.also]
        assert one["foretold"]["recall"] == arm.foretold["recall"]._asdict()
        assert "fpr" not in one
        assert strict(written / "arms" / f"{one['file']}.json")["curves"] == one["curves"]


def test_an_arms_own_json(study):
    found = json.loads(writing.arm_json(study, study.arms[1]))
    assert found["name"] == "lstm · sgd"
    assert found["cuts"] == [0.2, 0.5]
    assert found["config"] == study.config


def test_what_is_not_finite_and_numpy_values_are_plain_json(study):
    facts = {"ε": math.inf, "none": math.nan, "count": np.int64(3), "flag": np.bool_(True)}
    facts |= {
        "share": np.float32(np.nan),
        "rows": np.array([1.0, np.nan]),
        "path": writing.pathlib.Path("a/b"),
    }
    found = json.loads(writing.study_json(study._replace(facts=facts)))["facts"]
    assert found == {
        "ε": "inf",
        "none": None,
        "count": 3,
        "flag": True,
        "share": None,
        "rows": [1.0, None],
        "path": "a/b",
    }


def test_tables_read_back_equal_the_rows(written, study):
    for name, rows in (("arms", tables.arm_rows(study)), ("curves", tables.curve_rows(study))):
        found = lines(written / f"dynamics_{name}.csv")
        assert len(found) == len(rows)
        for line, row in zip(found, rows, strict=True):
            assert list(line) == list(row)
            for key, value in row.items():
                if value is None:
                    assert line[key] == ""
                else:
                    assert type(value)(line[key]) == value


def test_records_read_back_equal_the_rates(written, study):
    for arm, name in zip(study.arms, writing.file_names(study).values(), strict=True):
        found = lines(written / "records" / f"{name}.csv")
        assert [int(line["label"]) for line in found] == arm.labels.tolist()
        for key, values in (("fpr", arm.fpr[-1]), ("tpr_error", arm.tpr_error[-1]), *arm.difficulty.items()):
            np.testing.assert_allclose([float(line[key]) for line in found], values, rtol=1e-5)
        high = [line["high_since"] != "" for line in found]
        assert high == (arm.vulnerability[-1] >= 0.5 - 1e-9).tolist()


def test_figures_are_what_they_say(written):
    for file in (written / "figures").iterdir():
        start = file.read_bytes()[:8]
        assert start == b"\x89PNG\r\n\x1a\n" if file.suffix == ".png" else start.startswith(b"<?xml")


@pytest.mark.slow
def test_the_same_study_gives_the_same_bytes(make_study, tmp_path):
    one_arm = make_study(1, records=450, checkpoints=4)  # enough for points as pixels
    first, second = (writing.write_dynamics(one_arm, tmp_path / name).parent for name in "ab")
    assert files(first) == files(second)
    for file in files(first):
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_what_an_earlier_study_left_is_removed(study, tmp_path, few_figures):
    writing.write_dynamics(study, tmp_path)
    kept = [
        tmp_path / "notes.txt",
        tmp_path / "figures" / "mine.png",
        tmp_path / "arms" / "run" / "config.json",
    ]
    kept[2].parent.mkdir()
    for file in kept:
        file.write_text("mine")
    arm = study.arms[0]
    writing.write_dynamics(study._replace(arms=(arm._replace(difficulty={}),)), tmp_path)
    found = files(tmp_path)
    assert {file for file in found if file.startswith("records")} == {"records/mlp_sgd.csv"}
    assert {file for file in found if file.startswith("arms")} == {
        "arms/mlp_sgd.json",
        "arms/run/config.json",
    }
    assert not [file for file in found if "lstm" in file or "dynamics_difficulty" in file]
    assert "figures/dynamics_trajectories_mlp_sgd.svg" in found
    assert all(file.read_text() == "mine" for file in kept)


def test_nothing_is_written_where_the_page_fails(one_arm, tmp_path, monkeypatch, few_figures):
    def fail(rows, svgs):
        raise ZeroDivisionError

    monkeypatch.setattr(page, "render", fail)
    with pytest.raises(ZeroDivisionError):
        writing.write_dynamics(one_arm, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_refusing_disk_is_named(one_arm, tmp_path, monkeypatch, few_figures):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(StoreError, match="No space left"):
        writing.write_dynamics(one_arm, tmp_path)
    assert files(tmp_path) == set()


def named(arm, *names):
    return tuple(arm._replace(factors={"family": name}) for name in names)


def test_names_of_files_are_safe_and_differ(study):
    arms = named(study.arms[0], "a/b", "A\\B", "a b", "../..", "ü", "x" * 300, "x" * 299, "a_b_2", "c.d-e_1")
    names = list(writing.file_names(study._replace(arms=arms)).values())
    assert names[:3] == ["a_b", "A_B_2", "a_b_3"]
    assert names[3:5] == ["arm", "arm_2"]
    assert names[7:] == ["a_b_2_2", "c.d-e_1"]
    assert len({name.lower() for name in names}) == len(names)
    assert max(map(len, names)) < 90
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzAB0123456789._-") for name in names)


def test_two_arms_of_one_name_are_refused(study, tmp_path):
    rows = study._replace(arms=named(study.arms[0], "mlp", "mlp"))
    with pytest.raises(ValueError, match="arms has two arms of the name 'mlp'"):
        writing.write_dynamics(rows, tmp_path)


def test_a_study_without_arms_is_written(study, one_arm, tmp_path, few_figures):
    writing.write_dynamics(one_arm, tmp_path)
    writing.write_dynamics(study._replace(arms=()), tmp_path)
    assert strict(tmp_path / "dynamics.json")["arms"] == []
    assert files(tmp_path) == {"dynamics.html", "dynamics.json"}


@pytest.mark.slow
def test_of_many_arms_four_have_figures_of_their_own(many_arms):
    drawn = writing.draw(many_arms)
    assert sum(name.startswith(writing.TRAJECTORIES) for name in drawn) == 4
    assert list(drawn)[:3] == ["dynamics_arms", "dynamics_curves", "dynamics_planes"]
    assert list(drawn)[-1] == "dynamics_planes_difficulty"
