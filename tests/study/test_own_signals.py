"""Signals that somebody brings: one file in, scores and a report out."""

import csv
import json

import numpy as np
import pytest

from mia_jax.attacks import lira
from mia_jax.config import AttacksConfig, Config, ConfigError, ReportConfig
from mia_jax.runs.identity import RunError
from mia_jax.signals_file import observations_of
from mia_jax.study import own_signals

K, N, C = 9, 31, 3


@pytest.fixture
def arrays():
    """Nine models and 31 records, members with larger logits of their label."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C, N)
    member = rng.random((K, N)) < 0.5
    logits = rng.normal(size=(K, N, C)) + 2.0 * (member[:, :, None] * np.eye(C)[labels])
    return {"member": member, "logits": logits, "labels": labels, "slice_half": np.arange(N) < 15}


@pytest.fixture
def file(arrays, tmp_path):
    path = tmp_path / "signals.npz"
    np.savez(path, **arrays)
    return path


def config(*names, **report):
    return Config(name="mine", attacks=AttacksConfig(names=names), report=ReportConfig(**report))


def table(path):
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


FEW = config("loss", "lira_offline_global", "modified_entropy_by_class")


def test_everything_is_written(file, arrays, tmp_path):
    own_signals.attack_file(file, FEW, tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["attack"] for row in rows] == list(FEW.attacks.names)
    assert all(row["family"] == "own" and row["auc_low"] < row["auc"] < row["auc_high"] for row in rows)
    scores = np.load(tmp_path / "out" / "scores.npz")
    assert set(scores) == {"member", "valid", *FEW.attacks.names}
    np.testing.assert_array_equal(scores["member"], arrays["member"])
    seen = observations_of(arrays).observations
    expected = lira(seen.scaled_logit, arrays["member"], mode="offline", variance="global", missing="nan")
    np.testing.assert_array_equal(scores["lira_offline_global"], expected)
    slices = table(tmp_path / "out" / "slices.csv")
    assert {row["slice"] for row in slices} == {"class", "correct", "half"}
    exposed = table(tmp_path / "out" / "vulnerability" / "own.csv")
    assert [int(row["label"]) for row in exposed] == arrays["labels"].tolist()
    assert 0 < float(exposed[0]["loss_auc_error"]) < 1
    assert "half" in (tmp_path / "out" / "report.html").read_text()


def test_all_leaves_out_by_name_what_lacks_arrays(arrays):
    seen = observations_of(
        {"member": arrays["member"], "scaled_logit": np.random.default_rng(1).normal(size=(K, N))}
    )
    inputs, scores = own_signals.attack(seen, config("all"))
    assert {"loss", "confidence", "lira_online", "enhanced_reference"} <= set(scores)
    skipped = inputs.skipped["own"]
    assert skipped["gradient_norm"] == "needs gradient_norm"
    assert skipped["shadow_classifier"] == "needs labels and logits"
    assert skipped["rmia_online"] == "needs population_log_prob"
    assert not set(skipped) & set(scores)


def test_a_named_attack_without_its_arrays_is_refused(file, tmp_path):
    with pytest.raises(
        RunError, match="--attacks holds gradient_norm, which needs gradient_norm: add the arrays"
    ):
        own_signals.attack_file(file, config("loss", "gradient_norm"), tmp_path / "out")
    assert not (tmp_path / "out" / "signals.json").exists()


def test_a_file_that_allows_no_attack_is_refused(arrays):
    # A population alone says nothing of the records.
    population = np.random.default_rng(1).normal(size=(K, 20))
    brought = observations_of(
        {"member": arrays["member"], "entropy": abs(population[:, :1]) + np.zeros((K, N))}
    )
    brought = brought._replace(observations=brought.observations._replace(entropy=None))
    with pytest.raises(RunError, match="has no array that an attack could read"):
        own_signals.attack(brought, config("all"))


def test_a_grouping_of_everybody_alone_is_refused(arrays):
    many = {**arrays, "slice_name": np.arange(K * N).reshape(K, N)}
    with pytest.raises(ConfigError, match="slice_name has 279 distinct values: at most 200"):
        own_signals.attack(observations_of(many), FEW)


def test_results_of_another_file_are_kept(file, arrays, tmp_path):
    out = tmp_path / "out"
    own_signals.attack_file(file, FEW, out)
    before = (out / "results.json").read_bytes()
    other = tmp_path / "other.npz"
    np.savez(other, **{**arrays, "logits": arrays["logits"] + 0.5 * np.eye(C)[arrays["labels"]]})
    with pytest.raises(
        RunError, match=r"holds results of another file, .*signals.npz: name another --workdir"
    ):
        own_signals.attack_file(other, FEW, out)
    assert (out / "results.json").read_bytes() == before
    own_signals.attack_file(other, FEW, out, overwrite=True)
    assert (out / "results.json").read_bytes() != before


def test_attacks_are_added_to_those_of_the_same_file_and_settings(file, tmp_path):
    own_signals.attack_file(file, FEW, tmp_path / "out")
    mine = tmp_path / "out" / "figures" / "mine.txt"
    mine.write_text("precious")
    before = dict(np.load(tmp_path / "out" / "scores.npz"))
    own_signals.attack_file(file, config("entropy", "loss"), tmp_path / "out")
    after = np.load(tmp_path / "out" / "scores.npz")
    assert set(after) == {*before, "entropy"}
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["attack"] for row in rows] == [*FEW.attacks.names, "entropy"]
    assert mine.exists()


def test_other_settings_are_refused_by_name(file, tmp_path):
    own_signals.attack_file(file, FEW, tmp_path / "out")
    other = Config(name="mine", seed=3, attacks=AttacksConfig(names=("loss",), folds=5))
    with pytest.raises(RunError, match=r"results with other settings \(seed 0, here 3; folds 4, here 5\)"):
        own_signals.attack_file(file, other, tmp_path / "out")
    own_signals.attack_file(file, other, tmp_path / "out", overwrite=True)
    assert set(np.load(tmp_path / "out" / "scores.npz")) == {"member", "valid", "loss"}


def test_a_refused_directory_is_not_touched(file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(RunError):
        own_signals.attack_file(file, FEW, tmp_path / "out")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_population_that_is_the_pool_is_refused(arrays):
    brought = {**arrays, "population_logits": arrays["logits"], "population_labels": arrays["labels"]}
    with pytest.raises(ConfigError, match="the population must be records that no model was trained on"):
        own_signals.attack(observations_of(brought), FEW)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: {**a, "member": ~a["member"]}, "member may be inverted"),
        (lambda a: {**a, "labels": (a["labels"] + 1) % C}, "the labels may not belong to these signals"),
    ],
)
def test_accuracies_that_speak_against_the_arrays_are_noted(arrays, change, words):
    logits = arrays["logits"] + 1.5 * np.eye(C)[arrays["labels"]]
    inputs, _ = own_signals.attack(observations_of(change({**arrays, "logits": logits})), FEW)
    assert any(words in note for note in inputs.notes)
    plain, _ = own_signals.attack(observations_of({**arrays, "logits": logits}), FEW)
    assert not any(words in note for note in plain.notes)


def test_a_directory_with_other_things_is_refused(file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match=r"is not empty and holds no run \(thesis.tex is there\)"):
        own_signals.attack_file(file, FEW, tmp_path / "out", overwrite=True)


def test_models_that_failed_are_left_out(arrays):
    valid = np.arange(K) != 2
    logits = arrays["logits"].copy()
    logits[2] = np.nan
    inputs, scores = own_signals.attack(observations_of({**arrays, "logits": logits, "valid": valid}), FEW)
    assert inputs.diverged == {"own": [2]}
    assert all(np.isnan(scores[name][2]).all() for name in FEW.attacks.names)
    assert all(row["targets"] == K - 1 for row in inputs.results)


def test_the_seed_decides_what_is_drawn(arrays):
    def scores(seed):
        learned = Config(seed=seed, attacks=AttacksConfig(names=("shadow_classifier",), classifier_epochs=1))
        return own_signals.attack(observations_of(arrays), learned)[1]["shadow_classifier"]

    np.testing.assert_array_equal(scores(1), scores(1))
    assert (scores(1) != scores(2)).any()
