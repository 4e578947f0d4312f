"""Whose a run directory is, what exists in it, and what is refused."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mia_jax import study
from mia_jax.config import FamilyConfig
from mia_jax.runs import contents, locking, run_directory
from mia_jax.runs.identity import FORMAT, RunError
from mia_jax.runs.store import StoreError


class StopError(Exception):
    """Ends a training in the middle."""


class StopAfter:
    """A reporter that ends the training after some segments."""

    def __init__(self, segments):
        self.left = segments

    def say(self, text):
        pass

    def begin(self, family, models, steps, done):
        self.done = done

    def advance(self, models_done, steps):
        self.left -= 1
        if self.left == 0:
            raise StopError

    def end(self):
        pass


@pytest.fixture
def copy(finished_run, tmp_path):
    """A finished run that a test may spoil."""
    path = tmp_path / "copy"
    shutil.copytree(finished_run.path, path)
    return path


@pytest.mark.parametrize("segments", range(1, 6))
def test_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    segments, small_config, finished_run, all_numbers, tmp_path
):
    with pytest.raises(StopError):
        study.train(small_config, tmp_path, tell=StopAfter(segments))
    again = StopAfter(100)
    resumed = study.train(small_config, tmp_path, tell=again)
    assert again.left == 100 - (6 - segments), "finished segments are not trained again"
    expected, got = all_numbers(finished_run), all_numbers(resumed)
    assert expected.keys() == got.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(values, got[name], err_msg=str(name))


def test_finished_training_is_not_repeated(small_config, copy):
    nothing = StopAfter(1)
    study.train(small_config, copy, tell=nothing)
    assert nothing.left == 1


def test_models_can_be_added_and_the_old_ones_stay(small_config, change, finished_run, copy):
    larger = study.train(change(small_config, "membership.num_models", 14), copy)
    for checkpoint in range(3):
        grown = larger.segments("mlp").signal("pool/scaled_logit", checkpoint)
        assert grown.shape == (14, 40)
        np.testing.assert_array_equal(
            grown[:8], finished_run.segments("mlp").signal("pool/scaled_logit", checkpoint)
        )


@pytest.mark.slow
def test_models_of_varying_sizes_can_be_added_too(small_config, change, tmp_path):
    """The longest list of members must not depend on how many models there are."""
    config = change(change(small_config, "membership.design", "bernoulli"), "membership.num_models", 24)
    small = study.train(config, tmp_path).segments("mlp").signal("pool/scaled_logit", 2)
    large = study.train(change(config, "membership.num_models", 40), tmp_path)
    np.testing.assert_array_equal(large.segments("mlp").signal("pool/scaled_logit", 2)[:24], small)
    assert np.unique(large.membership().mask.sum(axis=1)).size > 1


def test_models_added_while_a_chunk_is_unfinished(small_config, change, finished_run, tmp_path):
    with pytest.raises(StopError):
        study.train(small_config, tmp_path, tell=StopAfter(4))
    larger = study.train(change(small_config, "membership.num_models", 10), tmp_path)
    got = larger.segments("mlp").signal("pool/log_prob", 2)
    np.testing.assert_array_equal(got[:8], finished_run.segments("mlp").signal("pool/log_prob", 2))
    assert np.isfinite(got).all()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("training.epochs", 7, "config.training.epochs is 6 there and 7 here"),
        ("seed", 1, "config.seed is 0 there and 1 here"),
        ("data.seed", 3, "config.data.seed is 0 there and 3 here"),
        ("training.models_together", 2, "config.training.models_together is 0 there and 2 here"),
        (
            "membership.num_models",
            6,
            "config.membership.num_models is 6 here, and 8 models of family mlp were begun",
        ),
        ("recording.num_checkpoints", 2, "config.recording.num_checkpoints is 3 there and 2 here"),
    ],
)
def test_run_of_another_config_is_refused_by_name(field, value, words, small_config, change, copy):
    with pytest.raises(RunError, match=words) as refused:
        study.train(change(small_config, field, value), copy)
    assert "--overwrite" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_run_on_other_data_is_refused(small_config, copy):
    record = json.loads((copy / "config.json").read_text())
    record["data_fingerprint"] = "0" * 64
    (copy / "config.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="other data: the fingerprint is 000000000000 there"):
        study.train(small_config, copy)


def test_run_of_another_format_is_refused(small_config, copy):
    record = json.loads((copy / "config.json").read_text())
    record["format"] = FORMAT + 1
    (copy / "config.json").write_text(json.dumps(record))
    for use in (lambda: study.train(small_config, copy), lambda: run_directory.existing(copy)):
        with pytest.raises(RunError, match=f"artefact format {FORMAT + 1}, this version writes {FORMAT}"):
            use()


def test_run_with_another_membership_is_refused(small_config, copy):
    held = run_directory.existing(copy).membership()
    np.savez(copy / "membership.npz", **{**held._asdict(), "member": ~held.member})
    with pytest.raises(RunError, match="another membership"):
        study.train(small_config, copy)


def test_commits_of_another_run_are_refused(small_config, copy):
    commit = next(copy.glob("commits/mlp/*/0000.json"))
    commit.write_text(json.dumps({**json.loads(commit.read_text()), "hash": "other"}))
    with pytest.raises(RunError, match="of another run"):
        study.train(small_config, copy)


def test_overwrite_begins_anew(small_config, change, copy):
    other = study.train(change(small_config, "training.epochs", 3), copy, overwrite=True)
    assert other.epochs == (1, 2, 3)
    assert not (copy / "scores").exists()


def test_directory_that_holds_something_else_is_never_touched(small_config, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="is not empty and holds no run"):
            study.train(small_config, tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_damaged_signal_is_noticed_and_can_be_restored(small_config, finished_run, copy):
    chunk = next(path for path in copy.glob("signals/mlp/pool/log_prob/c/*/2/*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[5] ^= 1
    chunk.write_bytes(content)
    damaged = run_directory.existing(copy)
    with pytest.raises((RunError, StoreError), match=r"damaged|could not read"):
        damaged.segments("mlp").signal("pool/log_prob", 2)
    shutil.rmtree(copy / "commits" / "mlp")
    restored = study.train(small_config, copy)
    np.testing.assert_array_equal(
        restored.segments("mlp").signal("pool/log_prob", 2),
        finished_run.segments("mlp").signal("pool/log_prob", 2),
    )


def test_missing_signal_is_not_read_as_numbers(copy):
    for chunk in copy.glob("signals/mlp/pool/log_prob/c/0/2/*"):
        chunk.unlink()
    with pytest.raises(RunError, match="damaged for models 0 to 3"):
        run_directory.existing(copy).segments("mlp").signal("pool/log_prob", 2)


def test_segments_whose_record_is_lost_are_done_again(small_config, finished_run, all_numbers, copy):
    next(copy.glob("commits/mlp/000000*/0001.json")).unlink()
    with pytest.raises(RunError, match="holds 4 of 8 finished models of family mlp"):
        study.attack(run_directory.existing(copy))
    again = StopAfter(100)
    restored = study.train(small_config, copy, tell=again)
    assert again.left == 100 - 3, "the state at its checkpoint is long gone: the chunk begins anew"
    for name, values in all_numbers(finished_run).items():
        np.testing.assert_array_equal(values, all_numbers(restored)[name])


def test_what_is_refused_changes_nothing(small_config, change, copy):
    """A family that was left out and comes back changed is refused, and the run goes on as it was."""
    other = {"other": FamilyConfig(kind="mlp", hidden=3)}
    study.train(change(small_config, "families", other), copy)
    changed = {"mlp": FamilyConfig(kind="mlp", hidden=9)}
    before = (copy / "config.json").read_bytes()
    with pytest.raises(RunError, match="commits/mlp records models 0 to 3 of another run"):
        study.train(change(small_config, "families", changed), copy)
    assert (copy / "config.json").read_bytes() == before
    study.train(small_config, copy, tell=StopAfter(1))


def test_models_that_were_never_begun_can_be_taken_back(small_config, change, copy):
    grown = change(small_config, "membership.num_models", 80)
    with pytest.raises(StopError):
        study.train(grown, copy, tell=StopAfter(1))
    with pytest.raises(RunError, match="12 models of family mlp were begun"):
        study.train(small_config, copy)
    shutil.rmtree(next(copy.glob("commits/mlp/000008*")))
    back = study.train(small_config, copy, tell=StopAfter(1))
    study.attack(back)
    assert back.scores("mlp", "loss", 2).shape == (8, 40)


@pytest.mark.parametrize("name", ["data.json", "report.html", "figures/mine.png", "results.csv"])
def test_files_that_are_only_named_like_a_runs_are_never_touched(name, small_config, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="is not empty and holds no run"):
            study.train(small_config, tmp_path, overwrite=overwrite)
    assert (tmp_path / name).read_text() == "mine"


def test_labels_are_kept_and_damage_is_named(small_config, copy):
    from mia_jax import data

    dataset = data.load(small_config.data)
    run = run_directory.existing(copy)
    for part in ("pool", "population", "test"):
        np.testing.assert_array_equal(run.labels(part), getattr(dataset, part).y)
    (copy / "labels.npz").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"labels\.npz is missing or damaged"):
        run.labels("pool")


def test_overwrite_removes_runs_and_nothing_else(small_config, copy):
    (copy / "notes.txt").write_text("mine")
    study.train(small_config, copy, overwrite=True)
    assert (copy / "notes.txt").read_text() == "mine"


def test_foreign_config_json_is_no_run(small_config, tmp_path):
    for content in ('{"model_type": "bert"}', "[1]"):
        (tmp_path / "config.json").write_text(content)
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(RunError, match="holds no run"):
            study.train(small_config, tmp_path, overwrite=True)
        assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("steps", range(1, 5))
def test_overwrite_stopped_in_the_middle_can_be_repeated(steps, small_config, copy, monkeypatch):
    left = iter(range(steps))

    def stopping(path, *args, **kwargs):
        if next(left, None) is None:
            raise StopError
        remove(path, *args, **kwargs)

    remove = shutil.rmtree
    monkeypatch.setattr(contents.shutil, "rmtree", stopping)
    with pytest.raises(StopError):
        study.train(small_config, copy, overwrite=True)
    monkeypatch.undo()
    again = StopAfter(100)
    study.train(small_config, copy, tell=again)
    assert again.left == 100 - 6, "all segments are done again"


def test_chunk_size_may_change(small_config, change, finished_run, all_numbers, tmp_path):
    with pytest.raises(StopError):
        study.train(small_config, tmp_path, tell=StopAfter(4))
    run = study.train(change(small_config, "training.models_per_chunk", 3), tmp_path)
    got, expected = all_numbers(run), all_numbers(finished_run)
    for name in (name for name in expected if name[0] == "mlp"):
        np.testing.assert_array_equal(got[name], expected[name])


def test_damaged_state_costs_its_chunk_and_no_more(small_config, finished_run, all_numbers, tmp_path):
    with pytest.raises(StopError):
        study.train(small_config, tmp_path, tell=StopAfter(2))
    state = next(tmp_path.glob("states/mlp/*/0001.npz"))
    state.write_bytes(state.read_bytes()[:100])
    resumed = study.train(small_config, tmp_path)
    for name, values in all_numbers(finished_run).items():
        np.testing.assert_array_equal(values, all_numbers(resumed)[name])


def test_unfinished_training_is_not_attacked(small_config, tmp_path):
    with pytest.raises(StopError):
        study.train(small_config, tmp_path, tell=StopAfter(4))
    with pytest.raises(RunError, match="holds 4 of 8 finished models of family mlp"):
        study.attack(run_directory.existing(tmp_path))


def test_scores_of_other_settings_are_not_reported(copy):
    changed = run_directory.existing(copy).with_section("attacks", {"rmia_gamma": 2.0})
    with pytest.raises(RunError, match=r"scores of other models or attack settings.*scripts/attack\.py"):
        study.summarise(changed)
    study.attack(changed)
    study.summarise(changed)


def test_directory_in_use_is_refused(tmp_path):
    with (
        locking.locked(tmp_path),
        pytest.raises(RunError, match="in use by another process"),
        locking.locked(tmp_path),
    ):
        pass


def test_states_are_removed_once_they_are_not_needed(finished_run):
    assert not finished_run.store.names("states/")
    assert len(finished_run.store.names("parameters/mlp/")) == 2 * 3


def test_failed_write_is_one_sentence_and_leaves_a_run_that_goes_on(small_config, finished_run, tmp_path):
    """A file-size limit makes writes fail as a full disk does."""
    program = (
        "import resource, signal, sys, pathlib\n"
        "from mia_jax import config, study\nfrom mia_jax.runs import store\n"
        "given = config.from_json(pathlib.Path(sys.argv[1]).read_text())\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def advance(self, *_): resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "from mia_jax.progress import Silent\n"
        "Silent.advance = advance\n"
        "try:\n"
        "    study.train(given, pathlib.Path(sys.argv[2]))\n"
        "except store.StoreError as error:\n"
        "    print(error)\n"
    )
    from mia_jax.config import to_json

    (tmp_path / "config.json").write_text(to_json(small_config))
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "config.json", run],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"could not write {run}"), done.stdout
    assert done.stdout.count("\n") == 1
    resumed = study.train(small_config, run)
    np.testing.assert_array_equal(
        resumed.segments("mlp").signal("pool/log_prob", 2),
        finished_run.segments("mlp").signal("pool/log_prob", 2),
    )
