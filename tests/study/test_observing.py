"""What attacks are shown of a run: every array they may ask for, canaries apart, skipped attacks by name."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from mia_jax import attacks, blocks, data, study
from mia_jax.attacks import of_records
from mia_jax.config import AttacksConfig, CanariesConfig, ConfigError
from mia_jax.data.features import features
from mia_jax.runs import run_directory, store
from mia_jax.runs.identity import RunError
from mia_jax.runs.segments import Segments
from mia_jax.study import observing
from mia_jax.study.attacking import selection, skipped
from mia_jax.types import Ragged, Records

LEARNED = {"shadow_classifier", "shadow_classifier_by_class", "loss_trajectory", "quantile_regression"}
RECORDED = ("gradient_norm", "embedding_norm", "adversarial_distance")


@pytest.fixture(scope="module")
def rich_run(small_config, tmp_path_factory):
    """The small study with canaries, extra signals and queries, attacked with everything possible."""
    config = dataclasses.replace(
        small_config,
        recording=dataclasses.replace(small_config.recording, signals=RECORDED, queries=("noise",)),
        canaries=CanariesConfig(count=6, kind="out_of_distribution"),
        attacks=AttacksConfig(names=("all",), classifier_epochs=1),
    )
    run = study.train(config, tmp_path_factory.mktemp("rich"))
    study.attack(run)
    return run


def test_canaries_are_kept_apart(rich_run):
    last = len(rich_run.epochs) - 1
    pool = observing.observations(rich_run, "mlp", last, ("scaled_logit", "labels"))
    canaries = observing.observations(rich_run, "mlp", last, ("scaled_logit", "labels"), "canaries")
    assert np.shape(pool.member) == np.shape(pool.scaled_logit) == (8, 40)
    assert np.shape(canaries.member) == np.shape(canaries.scaled_logit) == (8, 6)
    stored = rich_run.segments("mlp").signal("pool/scaled_logit", last)
    np.testing.assert_array_equal(np.hstack([pool.scaled_logit, canaries.scaled_logit]), stored)
    np.testing.assert_array_equal(np.r_[pool.labels, canaries.labels], rich_run.labels("pool"))
    np.testing.assert_array_equal(pool.member.sum(axis=1), np.full(8, 20))


def test_fields_have_the_shapes_that_observations_promise(rich_run):
    last = len(rich_run.epochs) - 1
    fields = observing.available(rich_run, "mlp", last)
    seen = observing.observations(rich_run, "mlp", last, fields)
    shapes = {name: np.shape(getattr(seen, name)) for name in fields}
    assert shapes["trajectory"] == (8, 3, 40)
    assert shapes["logits"] == (8, 40, 3)
    assert shapes["query_log_prob"] == shapes["query_scaled_logit"] == (8, 40, 2)
    assert shapes["population_log_prob"] == (8, 30)
    assert shapes["features"] == (40, 6)
    assert shapes["population_features"] == (30, 6)
    assert all(shapes[name] == (8, 40) for name in (*RECORDED, "entropy", "modified_entropy", "correct"))
    np.testing.assert_array_equal(seen.trajectory[:, -1], seen.log_prob)
    np.testing.assert_allclose(seen.query_log_prob[..., 0], seen.log_prob, atol=1e-5)


def test_some_records_are_read_as_they_stand_in_the_whole(rich_run):
    last = len(rich_run.epochs) - 1
    fields = observing.available(rich_run, "mlp", last)
    whole = observing.observations(rich_run, "mlp", last, fields)
    part = observing.observations(rich_run, "mlp", last, fields, records=slice(7, 19))
    for name, wanted in of_records(whole, slice(7, 19))._asdict().items():
        if name == "key" or wanted is None:
            assert name == "key" or getattr(part, name) is None
        else:
            np.testing.assert_array_equal(getattr(part, name), wanted, err_msg=name)
    canary = observing.observations(
        rich_run, "mlp", last, ("log_prob", "labels"), "canaries", records=slice(2, 4)
    )
    stored = rich_run.segments("mlp").signal("pool/log_prob", last)
    np.testing.assert_array_equal(canary.log_prob, stored[:, 42:44])
    np.testing.assert_array_equal(canary.labels, rich_run.labels("pool")[42:44])


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 4 records of the 8 models, and stored pieces of 2 models and 4 records."""
    monkeypatch.setattr(blocks, "ENTRIES", 32)
    monkeypatch.setattr(store, "ENTRIES_OF_A_PIECE", 8)
    monkeypatch.setattr(store, "RECORDS_OF_A_PIECE", 4)
    monkeypatch.setattr(store, "MODELS_OF_A_PIECE", 2)


def test_blocks_of_records_change_nothing_but_rounding(rich_run, tmp_path, small_blocks, monkeypatch):
    """Every attack that trains nothing, in blocks of 4 records; and none reads more of the pool than a block."""
    names = [name for name in (one.name for one in selection(rich_run, "mlp").attacks) if name not in LEARNED]
    shutil.copytree(rich_run.path, tmp_path / "copy")
    run = run_directory.existing(tmp_path / "copy").with_section("attacks", {"names": names})
    sizes, honest = [], Segments.signal

    def watched(self, name, checkpoint, **parts):
        found = honest(self, name, checkpoint, **parts)
        if name.startswith("pool/"):
            sizes.append(found.shape[1])
        return found

    monkeypatch.setattr(Segments, "signal", watched)
    study.attack(run)
    assert sizes
    assert max(sizes) == 4
    for name in names:
        np.testing.assert_allclose(
            run.scores("mlp", name, 2), rich_run.scores("mlp", name, 2), rtol=1e-9, err_msg=name
        )
        np.testing.assert_array_equal(
            run.scores("mlp", name, 2, models=slice(3, 6), records=slice(5, 13)),
            run.scores("mlp", name, 2)[3:6, 5:13],
        )


def test_classifiers_are_the_same_whatever_the_blocks(rich_run, tmp_path, monkeypatch):
    shutil.copytree(rich_run.path, tmp_path / "copy")
    names = ["loss_trajectory", "shadow_classifier_by_class"]
    run = run_directory.existing(tmp_path / "copy").with_section("attacks", {"names": names})
    monkeypatch.setattr(blocks, "ENTRIES", 256)
    study.attack(run)
    for name in names:
        np.testing.assert_allclose(
            run.scores("mlp", name, 2), rich_run.scores("mlp", name, 2), rtol=1e-3, atol=1e-4, err_msg=name
        )


def test_scores_of_an_attack_that_could_not_be_run_are_nan_in_parts_too(rich_run):
    part = rich_run.scores("mlp", "shadow_classifier", 0, models=slice(0, 3), records=slice(1, 6))
    assert part.shape == (3, 5)
    assert np.isnan(part).all()


def test_trajectories_count_models_that_were_finite_all_along(rich_run, monkeypatch):
    honest = Segments.signal

    def poisoned(self, name, checkpoint, **parts):
        found = honest(self, name, checkpoint, **parts)
        if name == "pool/log_prob" and checkpoint == 0:
            found[5] = np.nan
        return found

    monkeypatch.setattr(Segments, "signal", poisoned)
    finite = observing.finite_until(rich_run, "mlp", 1)
    np.testing.assert_array_equal(finite, np.arange(8) != 5)
    seen = observing.observations(rich_run, "mlp", 2, ("trajectory",), records=slice(0, 3))
    np.testing.assert_array_equal(seen.valid, np.arange(8) != 5)
    assert observing.usable_models(rich_run, "mlp", 2).all()


def test_usable_models_are_finite_and_lose_at_most_three_times_chance(rich_run, small_blocks, monkeypatch):
    honest, chance = Segments.signal, np.log(rich_run.num_classes)

    def spoiled(self, name, checkpoint, **parts):
        found = honest(self, name, checkpoint, **parts)
        if name == "pool/log_prob":
            found[1, -1] = np.nan
            found[2], found[3] = -3.1 * chance, -2.9 * chance
        elif name == "pool/scaled_logit":
            found[4, 0] = np.inf
        elif name == "population/log_prob":
            found[5, 0] = np.nan
        return found

    monkeypatch.setattr(Segments, "signal", spoiled)
    usable = observing.usable_models(rich_run, "mlp", 2)
    np.testing.assert_array_equal(usable, [True, False, False, True, False, False, True, True])


def test_logits_are_there_where_they_were_kept(rich_run):
    assert "logits" in observing.available(rich_run, "mlp", 2)
    assert "logits" not in observing.available(rich_run, "mlp", 0)
    assert rich_run.scored("mlp", "shadow_classifier") == [2]
    assert rich_run.scored("mlp", "loss") == [0, 1, 2]
    assert np.isnan(rich_run.scores("mlp", "shadow_classifier", 0)).all()


def test_everything_possible_is_run_and_the_rest_is_named(rich_run):
    names = [one.name for one in selection(rich_run, "mlp").attacks]
    left_out = skipped(rich_run, "mlp")
    assert left_out == {
        "shadow_classifier_steps": "needs step_logits (recorded with config.recording.signals=step_logits, by "
        "models that read step by step)"
    }
    assert set(names) | set(left_out) == set(attacks.catalogue(rich_run.config.attacks))
    for name in names:
        scores = rich_run.scores("mlp", name, 2)
        assert scores.shape == (8, 40)
        assert np.isfinite(scores).mean() > 0.5, name


def test_the_report_has_audits_slices_and_every_record(rich_run, tmp_path):
    inputs = study.summarise(rich_run)
    assert {row["slice"] for row in inputs.slices} == {"class", "correct"}
    assert inputs.skipped["mlp"].keys() == {"shadow_classifier_steps"}
    assert [row["record"] for row in inputs.vulnerability["mlp"]] == list(range(40))
    assert len(inputs.exposed["mlp"]) == 20
    assert {row["relation"] for row in inputs.audits} <= {"add-or-remove"}
    json.dumps([*inputs.slices, *inputs.audits, *inputs.exposed["mlp"]], allow_nan=False)


def test_an_attack_that_nothing_was_recorded_for_is_refused_and_changes_nothing(finished_run):
    before = (finished_run.path / "config.json").read_bytes()
    named = finished_run.with_section("attacks", {"names": ["loss", "gradient_norm"]})
    with pytest.raises(
        RunError, match=r"attack gradient_norm cannot be done, for it needs gradient_norm \(recorded with"
    ):
        study.attack(named)
    assert (finished_run.path / "config.json").read_bytes() == before
    assert finished_run.scored("mlp", "loss") == [0, 1, 2]


def test_records_that_are_gone_leave_out_what_needs_them(rich_run, monkeypatch):
    def gone(*_):
        raise ConfigError("there is no such file")

    monkeypatch.setattr("mia_jax.study.observing.data.load", gone)
    observing._records.cache_clear()
    few = rich_run.with_section("attacks", {"names": ["loss", "quantile_regression"]})
    with pytest.raises(RunError, match="cannot be read: there is no such file"):
        study.attack(few)
    assert rich_run.scored("mlp", "loss") == [0, 1, 2]
    assert observing.unreadable(rich_run, {"features"})
    assert not observing.unreadable(rich_run, {"logits"})


def test_features_of_other_records_are_refused(rich_run):
    with pytest.raises(RunError, match="Attacks on features need the records of"):
        observing._records(rich_run.config.data, rich_run.config.canaries, "0" * 16)


def test_features_are_the_records_flattened(rich_run):
    dataset = data.load(rich_run.config.data, rich_run.config.canaries)
    np.testing.assert_array_equal(features(dataset.pool, 0), dataset.pool.x.reshape(46, -1))


def test_tokens_are_counted_and_padding_is_not():
    tokens = np.array([[1, 1, 2, 0], [3, 0, 0, 0]])
    y = np.zeros(2, np.int32)
    counted = features(Records(Ragged(tokens, np.array([3, 1])), y), 4)
    np.testing.assert_array_equal(counted, [[0, 2, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(features(Records(tokens, y), 4), [[1, 2, 1, 0], [3, 0, 0, 1]])
    wide = features(Records(np.array([[1, 4097]]), y[:1]), 5000)
    assert wide.shape == (1, 4096)
    assert wide[0, 1] == 2


def test_ragged_features_end_where_the_record_does():
    values = np.ones((2, 3, 2), np.float32)
    found = features(Records(Ragged(values, np.array([1, 3])), np.zeros(2, np.int32)), 0)
    np.testing.assert_array_equal(found, [[1, 1, 0, 0, 0, 0], [1] * 6])
