"""Records that no model is trained on: the file that names them, and a study with it from end to end."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mia_jax import data, study
from mia_jax.attacks import catalogue
from mia_jax.config import AttacksConfig, CanariesConfig, ConfigError, RecordingConfig
from mia_jax.runs.identity import RunError
from mia_jax.study import observing, without
from mia_jax.study.attacking import check_references, selection
from mia_jax.study.scoring import scores_of

ROWS = (3, 17, 0, 39)
LEFT = np.setdiff1d(np.arange(40), ROWS)
FORMULAS = (
    "loss",
    "loss_by_class",
    "enhanced_population",
    "enhanced_reference",
    "lira_online",
    "lira_online_global",
    "lira_online_auto",
    "lira_online_queries",
    "lira_offline",
    "rmia_online",
    "rmia_offline",
    "difficulty_calibration",
    "embedding_norm",
)


@pytest.fixture(scope="module")
def fingerprint(small_config):
    return data.load(small_config.data).facts["fingerprint"]


@pytest.fixture
def asking(small_config, change, tmp_path):
    """Function that writes a text as the file, and gives a config that names it."""

    def write(text):
        path = tmp_path / "listed.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return change(small_config, "membership.without", str(path))

    return write


# The file


def test_what_is_written_is_read_back(asking, fingerprint):
    text = without.to_text(np.asarray(ROWS), fingerprint, {"arm": "mlp", "measured": {"precision": None}})
    config = asking(text)
    for given in (None, fingerprint):
        rows = without.rows_of(config, given)
        assert rows.dtype == np.int64
        assert rows.tolist() == list(ROWS)
    assert json.loads(text) == {
        "fingerprint": fingerprint,
        "rows": list(ROWS),
        "arm": "mlp",
        "measured": {"precision": None},
    }


def test_without_a_file_nothing_is_left_out(small_config, fingerprint):
    assert without.rows_of(small_config) is None
    assert without.rows_of(small_config, fingerprint) is None


def test_a_file_may_name_no_record(asking):
    assert without.rows_of(asking(without.to_text(np.zeros(0, int), "f", {})), "f").shape == (0,)


def test_a_number_that_is_none_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        without.to_text(np.asarray([1]), "f", {"precision": float("nan")})


NO_JSON = "it must be JSON with rows and fingerprint, as scripts/dynamics.py --predict writes it."
NO_ROWS = "its rows must be numbers of records from 0 to 39, config.data.pool_size less one."
TWICE = "its rows name a record twice."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", NO_JSON),
        ("{", NO_JSON),
        (b"\xff\xfe", NO_JSON),
        ("[1, 2]", NO_JSON),
        ("3", NO_JSON),
        ("null", NO_JSON),
        ('{"rows": [1]}', NO_JSON),
        ('{"fingerprint": "f"}', NO_JSON),
        ('{"fingerprint": "f", "rows": 3}', NO_ROWS),
        ('{"fingerprint": "f", "rows": {"3": 1}}', NO_ROWS),
        ('{"fingerprint": "f", "rows": [40]}', NO_ROWS),
        ('{"fingerprint": "f", "rows": [1, -1]}', NO_ROWS),
        ('{"fingerprint": "f", "rows": [1.0]}', NO_ROWS),
        ('{"fingerprint": "f", "rows": [true]}', NO_ROWS),
        ('{"fingerprint": "f", "rows": ["1"]}', NO_ROWS),
        ('{"fingerprint": "f", "rows": [1, 2, 1]}', TWICE),
    ],
)
def test_a_file_that_names_no_records_is_refused(asking, text, words):
    config = asking(text)
    with pytest.raises(ConfigError) as caught:
        without.rows_of(config)
    assert str(caught.value) == f"config.membership.without is {config.membership.without!r}: {words}"


def test_records_of_other_data_are_refused(asking, change, fingerprint, tmp_path):
    config = asking(without.to_text(np.asarray(ROWS), "another", {}))
    assert without.rows_of(config).tolist() == list(ROWS)
    with pytest.raises(ConfigError, match=r"it is of other records: the data must be that of the run"):
        without.rows_of(config, fingerprint)
    with pytest.raises(ConfigError, match="it is of other records"):
        study.train(change(config, "membership.train_size", 18), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_refused_before_any_work(small_config, change, tmp_path, name):
    config = change(small_config, "membership.without", str(tmp_path / name))
    with pytest.raises(ConfigError, match=r"^config\.membership\.without is .*: it cannot be read: \w+"):
        study.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_relative_path_starts_where_the_command_was_given(asking, change, tmp_path, monkeypatch):
    config = change(asking(without.to_text(np.asarray(ROWS), "f", {})), "membership.without", "listed.json")
    monkeypatch.chdir(tmp_path)
    assert without.rows_of(config).tolist() == list(ROWS)


def test_too_few_records_left_for_the_design_are_refused_before_any_work(asking, fingerprint, tmp_path):
    config = asking(without.to_text(np.asarray(ROWS), fingerprint, {}))
    with pytest.raises(ConfigError, match=r'train_size is 20: the "paired" design needs .* 36 records'):
        study.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_references_are_counted_among_the_records_that_are_left(asking, change, fingerprint, tmp_path):
    """20 models hold 20 of 40 records often enough on both sides, but not 20 of 25."""
    config = asking(without.to_text(np.arange(15), fingerprint, {}))
    config = change(change(config, "membership.design", "fixed_size"), "membership.num_models", 20)
    check_references(config)
    with pytest.raises(ConfigError, match="num_models is 20: of 25 records"):
        study.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# A study


@pytest.fixture(scope="module")
def attacked(small_config, tmp_path_factory):
    """Function that trains and attacks the small study without ROWS, with canaries; the file is then gone."""

    def attacked(signals, names):
        path = tmp_path_factory.mktemp("listed") / "listed.json"
        config = dataclasses.replace(
            small_config,
            membership=dataclasses.replace(small_config.membership, train_size=18, without=str(path)),
            recording=RecordingConfig(num_checkpoints=1, signals=signals, queries=("noise",)),
            canaries=CanariesConfig(count=6, kind="out_of_distribution"),
            attacks=AttacksConfig(names=names, classifier_epochs=1),
        )
        path.write_text(listed(config, ROWS))
        run = study.train(config, tmp_path_factory.mktemp("left_out"))
        path.unlink()
        study.attack(run)
        return run

    return attacked


def listed(config, rows):
    """The text of a file for a config's own data, canaries and all."""
    found = data.load(config.data, config.canaries).facts["fingerprint"]
    return without.to_text(np.asarray(rows), found, {"said": "of these"})


@pytest.fixture(scope="module")
def left_out_run(attacked):
    """The study attacked by formulas. Read it, never write to it."""
    return attacked(("embedding_norm",), FORMULAS)


@pytest.mark.slow
def test_no_model_holds_them_and_all_say_something_of_them(left_out_run):
    member = np.asarray(left_out_run.membership().member)
    assert not member[:, ROWS].any()
    assert (member[:, LEFT].sum(axis=1) == 18).all()
    assert member[:, 40:].any()
    np.testing.assert_array_equal(observing.never_members(left_out_run), np.isin(np.arange(40), ROWS))
    assert np.isfinite(left_out_run.segments("mlp").signal("pool/log_prob", 0)).all()
    assert (left_out_run.segments("mlp").signal("pool/last_seen", 0)[:, ROWS] == -1).all()


def assert_scored(run, names):
    """Every attack has scores of the records that are left, and none of the others."""
    for name in names:
        scores = run.scores("mlp", name, 0)
        assert np.isnan(scores[:, ROWS]).all(), name
        # A norm of 0 has no logarithm.
        enough = 0.9 if name == "embedding_norm" else 1.0
        assert np.isfinite(scores[:, LEFT]).mean() >= enough, name


@pytest.mark.slow
def test_attacks_score_all_records_but_them(left_out_run):
    assert [one.name for one in selection(left_out_run, "mlp").attacks] == list(FORMULAS)
    assert_scored(left_out_run, FORMULAS)


@pytest.mark.slow
def test_every_attack_there_is_does_so(attacked):
    run = attacked(("gradient_norm", "embedding_norm", "adversarial_distance"), ("all",))
    names = [one.name for one in selection(run, "mlp").attacks]
    assert set(names) == set(catalogue(run.config.attacks)) - {"shadow_classifier_steps"}
    assert_scored(run, names)
    assert {row["attack"] for row in study.report(run).results} == set(names)


@pytest.mark.slow
def test_the_report_is_written_and_counts_them_nowhere(left_out_run):
    inputs = study.report(left_out_run)
    assert (left_out_run.path / "report.html").exists()
    member = np.asarray(left_out_run.membership().member)[:, LEFT]
    assert [row["attack"] for row in inputs.results] == list(FORMULAS)
    for row in inputs.results:
        scores = left_out_run.scores("mlp", row["attack"], 0)[:, LEFT]
        there = np.isfinite(scores)
        ins, outs = scores[member & there], scores[~member & there]
        above = (ins[:, None] > outs[None, :]).mean() + 0.5 * (ins[:, None] == outs[None, :]).mean()
        assert row["auc"] == pytest.approx(above, abs=1e-9), row["attack"]
        assert ins.size + outs.size == there.sum()
    for row in inputs.vulnerability["mlp"]:
        held = (row["loss_times_in"], row["loss_times_out"])
        assert held == ((0, 0) if row["record"] in ROWS else (4, 4))
    assert not {row["record"] for row in inputs.exposed["mlp"]} & set(ROWS)
    json.dumps([*inputs.results, *inputs.slices, *inputs.audits, *inputs.exposed["mlp"]], allow_nan=False)


@pytest.mark.slow
def test_scores_of_records_that_may_be_held_are_those_of_the_attack(left_out_run):
    (one,) = (one for one in selection(left_out_run, "mlp").attacks if one.name == "loss")
    seen = observing.observations(left_out_run, "mlp", 0, one.needs)
    plain, never = scores_of(one, seen), np.isin(np.arange(40), ROWS)
    assert np.isfinite(plain).all()
    np.testing.assert_array_equal(scores_of(one, seen, never)[:, LEFT], plain[:, LEFT])


# Going on


@pytest.fixture
def started(left_out_run, tmp_path):
    """A copy of the run, its config, and a function that writes the file that it names anew."""
    shutil.copytree(left_out_run.path, tmp_path / "copy")
    config, path = left_out_run.config, Path(left_out_run.config.membership.without)
    yield tmp_path / "copy", config, lambda rows: path.write_text(listed(config, rows))
    path.unlink(missing_ok=True)


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_records_left_out(started, left_out_run, change):
    path, config, write = started
    write(ROWS[::-1])
    larger = study.train(change(config, "membership.num_models", 10), path)
    grown, before = (run.segments("mlp").signal("pool/log_prob", 0) for run in (larger, left_out_run))
    np.testing.assert_array_equal(grown[:8], before)
    assert np.isfinite(grown).all()
    assert not np.asarray(larger.membership().member)[:, ROWS].any()


@pytest.mark.slow
def test_a_run_with_other_records_left_out_is_refused(started):
    path, config, write = started
    write([1, *ROWS[1:]])
    with pytest.raises(RunError, match=r"another membership.* the file in config\.membership\.without has"):
        study.train(config, path)
    write(ROWS)
    assert study.train(config, path).config == config


@pytest.mark.slow
def test_a_run_with_another_file_or_none_is_refused(started, small_config, change, tmp_path):
    path, config, write = started
    write(ROWS)
    (tmp_path / "other.json").write_text(listed(config, ROWS))
    plain = dataclasses.replace(config, membership=small_config.membership)
    for other in (change(config, "membership.without", str(tmp_path / "other.json")), plain):
        with pytest.raises(RunError, match=r"config\.membership\.without is '.*listed\.json' there and '"):
            study.train(other, path)
