"""Several processes do what one does: the same numbers bit for bit, one report, and more models later."""

import json
import os

import numpy as np
import pytest

from mia_jax.runs import run_directory


def test_two_processes_give_the_numbers_of_one(done, same_as_expected, tmp_path):
    first, second = done(tmp_path, 2)
    same_as_expected(tmp_path)
    assert "train mlp: 4 models" in first.out  # of three chunks, two
    assert not second.out
    assert not second.err


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "devices"), [(1, 1), (1, 2), (2, 2), (3, 1)])
def test_processes_and_devices_change_no_number(processes, devices, done, same_as_expected, tmp_path):
    done(tmp_path, processes, devices=devices)
    same_as_expected(tmp_path)


@pytest.mark.slow
def test_slurm_says_who_the_processes_are(done, same_as_expected, tmp_path):
    """What srun sets for each task, and no more."""
    job_id = os.getpid()

    def task(number):
        said = {"JOB_ID": job_id, "STEP_NODELIST": "localhost", "STEP_NUM_NODES": 1, "NTASKS": 2}
        said |= {"PROCID": number, "LOCALID": number}
        named = {f"SLURM_{name}": str(value) for name, value in said.items()}
        return f"import os\nos.environ.update({named!r})"

    first, _ = done(tmp_path, 2, "--distributed", before={0: task(0), 1: task(1)})
    assert "mlp: 2 processes share 6 models, and this one has 4" in first.out
    same_as_expected(tmp_path)


@pytest.mark.slow
def test_processes_without_models_of_their_own_wait_for_the_others(done, same_as_expected, tmp_path):
    done(tmp_path, 4)
    same_as_expected(tmp_path)


@pytest.mark.slow
def test_a_study_of_two_processes_has_one_report(done, tmp_path):
    done(tmp_path / "two", 2, script="run")
    done(tmp_path / "one", 1, script="run")
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("two", "one")]
    assert results[0] == results[1]
    assert (tmp_path / "two" / "report.html").exists()
    sessions = run_directory.existing(tmp_path / "two").sessions()
    assert [session["device"] for session in sessions] == ["2 × cpu in 2 processes"]


@pytest.mark.slow
def test_attacks_alone_are_shared_too(done, tmp_path):
    """Of a finished training, with other attacks than it was made with."""
    done(tmp_path, 1)
    attacks = "--attacks=loss,lira_online,rmia_offline"
    first, _, third = done(tmp_path, 3, attacks, script="attack")
    assert "attack mlp: lira_online" in first.out
    assert not third.out + third.err
    by_three = scores(tmp_path)
    done(tmp_path, 1, attacks, script="attack")
    assert by_three.keys() == {
        (name, t) for name in ("loss", "lira_online", "rmia_offline") for t in range(3)
    }
    for place, values in scores(tmp_path).items():
        np.testing.assert_array_equal(by_three[place], values)
    sessions = run_directory.existing(tmp_path).sessions()
    assert "3 × cpu in 3 processes" in [session["device"] for session in sessions]


def scores(workdir):
    """All scores of a run, by attack and checkpoint."""
    run = run_directory.existing(workdir)
    names = run.config.attacks.names
    return {(name, t): run.scores("mlp", name, t) for name in names for t in run.scored("mlp", name)}


@pytest.mark.slow
def test_models_are_added_to_a_finished_run(done, expected, tmp_path):
    done(tmp_path, 1)
    done(tmp_path, 2, "--config.membership.num_models=12")
    grown = run_directory.existing(tmp_path)
    assert grown.segments("mlp").models_finished() == 12
    for checkpoint in range(3):
        signal = grown.segments("mlp").signal("pool/scaled_logit", checkpoint)
        assert np.isfinite(signal).all()
        np.testing.assert_array_equal(signal[:6], expected["pool/scaled_logit", checkpoint])


@pytest.mark.slow
def test_chunks_of_other_sizes_share_files_and_lose_nothing(done, same, tmp_path):
    """Two processes write into one file: its six models are the first chunk's size, and theirs is one."""
    done(tmp_path / "two", 1, "--config.training.models_per_chunk=6")
    more = "--config.membership.num_models=8"
    done(tmp_path / "two", 2, more, "--config.training.models_per_chunk=1")
    chunks = sorted(path.name for path in (tmp_path / "two" / "commits" / "mlp").iterdir())
    assert chunks == ["000000-000006", "000006-000007", "000007-000008"]
    files = sorted(path.name for path in (tmp_path / "two" / "signals/mlp/pool/log_prob/c").iterdir())
    assert files == ["0", "1"]
    done(tmp_path / "one", 1, more)
    same(run_directory.existing(tmp_path / "one"), run_directory.existing(tmp_path / "two"))
