"""The stages after training: what the attacks are given, and what a report holds."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from mia_jax import study
from mia_jax.config import ConfigError, FamilyConfig
from mia_jax.runs.run_directory import existing

COLUMNS = {
    "family",
    "attack",
    "checkpoint",
    "auc",
    "auc_low",
    "auc_high",
    "balanced_accuracy",
    "tpr_at_fpr_0.1",
    "tpr_at_fpr_0.01",
}


@pytest.fixture(scope="module")
def reported(finished_run):
    study.report(finished_run)
    return finished_run


def test_results_hold_a_record_for_every_family_attack_and_checkpoint(reported):
    results = json.loads((reported.path / "results.json").read_text())
    assert len(results) == 1 * 3 * 3
    assert set(results[0]) >= COLUMNS
    for row in results:
        assert row["auc_low"] <= row["auc"] <= row["auc_high"]
        assert row["missing"] == 0
    with (reported.path / "results.csv").open() as table:
        assert [row["attack"] for row in csv.DictReader(table)] == [row["attack"] for row in results]


def test_report_is_a_page_with_figures(reported):
    page = (reported.path / "report.html").read_text()
    assert "LiRA, online" in page
    assert "<svg" in page
    for suffix in ("svg", "png"):
        assert list((reported.path / "figures").glob(f"*.{suffix}"))


def test_report_of_an_earlier_state_is_said_to_be_one(small_config, change, reported, tmp_path):
    import io
    import shutil

    from rich.console import Console

    from mia_jax.progress import Lines

    def told(config):
        out = io.StringIO()
        study.train(config, tmp_path / "copy", tell=Lines(Console(file=out, width=300)))
        return out.getvalue()

    shutil.copytree(reported.path, tmp_path / "copy")
    assert "is of an earlier state" not in told(small_config)
    assert "report.html is of an earlier state until attack and report have run" in told(
        change(small_config, "membership.num_models", 10)
    )


def test_labels_that_no_record_has_are_said(small_config, tmp_path):
    from mia_jax import data
    from mia_jax.study import training

    x, y = np.arange(400.0).reshape(200, 2), 2 * (np.arange(200) % 4) + 1
    np.savez(tmp_path / "odd.npz", x=x, y=y)
    config = dataclasses.replace(small_config.data, source=f"npz:{tmp_path / 'odd.npz'}", pool_size=100)
    (said,) = training._notes(small_config, data.load(config))
    assert "odd.npz has the label 0, 2, 4, 6 of 0 to 7, models have" in said
    np.savez(tmp_path / "odd.npz", x=x, y=y // 2)
    assert not training._notes(small_config, data.load(config))


def test_tpr_is_null_where_less_than_one_false_positive_is_expected(finished_run):
    rows = study.summarise(finished_run).results
    assert all(row["tpr_at_fpr_0.01"] is not None for row in rows), "160 non-members: 1.6 expected"
    strict = finished_run.with_section("report", {"fpr": (0.001,)})
    try:
        rows = study.summarise(strict).results
    finally:
        finished_run.with_section("report", {"fpr": (0.1, 0.01)})
    assert all(row["tpr_at_fpr_0.001"] is None for row in rows)


def test_scores_are_those_of_the_attacks_on_the_recorded_signals(finished_run):
    from mia_jax.attacks import lira

    drawn = finished_run.membership()
    twins = drawn.twin[:, None] == np.arange(8)[None, :]
    for checkpoint in range(3):
        expected = lira(
            finished_run.segments("mlp").signal("pool/scaled_logit", checkpoint), drawn.member, exclude=twins
        )
        got = finished_run.scores("mlp", "lira_online", checkpoint)
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_memorised_records_are_found(small_config, change, tmp_path):
    """Random labels can only be learnt by heart: members stand out."""
    config = change(small_config, "data.source", "synthetic:gaussian,classes=3,features=6,distance=0.01")
    config = change(config, "training.epochs", 150)
    config = change(config, "families", {"mlp": FamilyConfig(kind="mlp", hidden=32)})
    run = study.train(config, tmp_path)
    study.attack(run)
    last = [row for row in study.summarise(run).results if row["checkpoint"] == 2]
    assert all(row["auc_low"] > 0.7 for row in last), last


def test_diverged_models_are_named_and_kept_out(small_config, finished_run, tmp_path, monkeypatch):
    from mia_jax import training

    def with_one_bad_model(*args, **kwargs):
        hyper = training.hyper_of(small_config.training, 8)
        hyper = hyper._replace(learning_rate=hyper.learning_rate.at[3].set(1e30))
        return training.train_shadow_models(*args, **(kwargs | {"hyper": hyper}))

    monkeypatch.setattr("mia_jax.study.training.train_shadow_models", with_one_bad_model)
    run = study.train(small_config, tmp_path)
    study.attack(run)
    inputs = study.summarise(run)
    assert inputs.diverged == {"mlp": [3]}
    assert {row["targets"] for row in inputs.results if row["checkpoint"] == 2} == {7}
    assert np.isnan(run.scores("mlp", "lira_online", 2)[3]).all()
    assert np.isfinite(run.scores("mlp", "lira_online", 2)[4]).all()
    assert all(row["models"] == 7 for row in inputs.utility if row["checkpoint"] == 2)


def test_attack_without_references_is_refused_by_name(small_config, change, tmp_path):
    config = change(change(small_config, "membership.num_models", 4), "attacks.names", ("loss",))
    run = study.train(config, tmp_path)
    study.attack(run)
    with pytest.raises(ConfigError, match=r"num_models is 4: .* at least 6 are needed"):
        study.attack(run.with_section("attacks", {"names": ("lira_online",)}))


def test_family_whose_models_all_diverge_does_not_stop_the_study(small_config, change, tmp_path):
    config = change(change(small_config, "training.learning_rate", 1e30), "training.optimizer", "sgd")
    run = study.train(config, tmp_path)
    study.attack(run)
    inputs = study.report(run)
    assert inputs.diverged == {"mlp": list(range(8))}
    assert {row["auc"] for row in inputs.results} == {None}
    assert {row["train_accuracy"] for row in inputs.utility} == {None}
    assert (tmp_path / "report.html").exists()


def test_designs_that_leave_too_few_references_are_refused_before_any_work(small_config, change, tmp_path):
    config = change(small_config, "membership.design", "fixed_size")
    with pytest.raises(
        ConfigError, match=r"config\.membership\.num_models is 8: of 40 records .* are needed"
    ):
        study.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_families_can_be_added_and_keep_the_others(small_config, change, finished_run, tmp_path):
    import shutil

    shutil.copytree(finished_run.path, tmp_path / "copy")
    both = {**small_config.families, "other": FamilyConfig(kind="mlp", hidden=4)}
    run = study.train(change(small_config, "families", both), tmp_path / "copy")
    np.testing.assert_array_equal(
        run.segments("mlp").signal("pool/log_prob", 2),
        finished_run.segments("mlp").signal("pool/log_prob", 2),
    )
    study.attack(run)
    inputs = study.summarise(run)
    assert inputs.families == ["mlp", "other"]
    assert [row["attack"] for row in inputs.comparisons] == ["loss", "lira_online", "rmia_offline"]


def test_full_logits_are_kept_at_the_checkpoints_that_ask(small_config, change, finished_run, tmp_path):
    from mia_jax import signals

    run = study.train(change(small_config, "recording.logits", "final"), tmp_path)
    logits = run.segments("mlp").signal("pool/logits", 2)
    assert logits.shape == (8, 40, 3)
    assert run.segments("mlp").signal("population/logits", 2).shape == (8, 30, 3)
    assert not [place for place in run.store.names("signals/mlp/pool/logits/c/") if "/c/0/0/" in place]
    said = run.segments("mlp").signal("pool/log_prob", 2)
    np.testing.assert_array_equal(said, finished_run.segments("mlp").signal("pool/log_prob", 2))
    # The labels are not in the run directory: the log-probability must be that of one of the classes.
    every = np.stack([signals.from_logits(logits, np.full((8, 40), c)).log_prob for c in range(3)])
    assert (np.abs(every - said).min(axis=0) < 1e-5).all()


def test_existing_opens_what_was_made(finished_run):
    opened = existing(finished_run.path)
    assert opened.config == finished_run.config
    assert opened.epochs == (2, 4, 6)
    assert opened.num_classes == 3
