"""A training that several processes share: who does what, and what is said where one is missing."""

import numpy as np
import pytest

from mia_jax import data, membership, study
from mia_jax.keys import roots
from mia_jax.progress import Silent
from mia_jax.runs import locking, run_directory
from mia_jax.runs.identity import JobError
from mia_jax.runs.processes import Alone
from mia_jax.runs.signs_of_life import Sign
from mia_jax.study import together, training
from mia_jax.training import Plan

PLAN = Plan(models_per_chunk=4, models_together=1)


class Telling(Silent):
    """A reporter that remembers what it was told."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.mark.parametrize(
    ("num_models", "chunk", "processes", "devices", "expected"),
    [
        (64, 16, 2, 2, Plan(16, 1)),
        (20, 16, 3, 2, Plan(8, 1)),
        (6, 6, 3, 4, Plan(2, 1)),
        (2, 2, 5, 1, Plan(1, 1)),
        (1024, 512, 2, 1, Plan(512, 1)),
        (100, 64, 4, 1, Plan(25, 1)),
    ],
)
def test_every_process_has_a_chunk(num_models, chunk, processes, devices, expected):
    divided = together.divided(Plan(chunk, 1), num_models, processes, devices)
    assert divided == expected
    assert -(-num_models // divided.models_per_chunk) >= min(processes, num_models)


def test_models_side_by_side_never_outnumber_a_devices_share():
    assert together.divided(Plan(512, 256), 512, 4, 2) == Plan(128, 64)


def test_what_is_left_is_dealt_out_and_only_that(finished_run, small_config, change, tmp_path):
    work = together.work_of(finished_run, {"mlp": PLAN}, 3)
    assert work.dealt == {"mlp": [[[0, 4], [4, 8]], [], []]}
    assert work.share("mlp", 0) == together.Share(PLAN, [(0, 4), (4, 8)])
    grown = run_directory.RunDirectory(
        finished_run.path, {**finished_run.record, "config": {**finished_run.record["config"]}}
    )
    grown.config = change(small_config, "membership.num_models", 20)
    dealt = together.work_of(grown, {"mlp": PLAN}, 2).dealt["mlp"]
    assert dealt == [[[0, 4], [4, 8], [8, 12], [16, 20]], [[12, 16]]]


def test_facts_tell_other_configs_data_and_memberships_apart(small_config, change):
    def facts(config, seed=0):
        dataset = data.load(config.data)
        drawn = membership.draw(roots(seed).membership, config.membership, config.data.pool_size, 0, None)
        return together.facts(config, dataset, drawn)

    def different(one, other):
        return {name for name in one if one[name] != other[name]}

    same = facts(small_config)
    assert same == facts(change(small_config, "data.directory", "elsewhere"))
    assert different(same, facts(change(small_config, "training.epochs", 9))) == {"config.training.epochs"}
    assert different(same, facts(change(small_config, "data.seed", 1))) == {
        "config.data.seed",
        "the data's fingerprint",
    }
    assert different(same, facts(small_config, seed=1)) == {"the membership's hash"}


@pytest.fixture
def unfinished(small_config, finished_run, tmp_path):
    """A run of which the second chunk's last segment is missing."""
    import shutil

    shutil.copytree(finished_run.path, tmp_path / "run")
    (tmp_path / "run" / "commits" / "mlp" / "000004-000008" / "0002.json").unlink()
    return run_directory.existing(tmp_path / "run")


def sign_of(run, number, state, **says):
    """The last word of a process."""
    sign = Sign(run.store, f"processes/job/{number:04d}.json", {"state": state, **says})
    sign.begin()
    sign.end()


def test_process_0_waits_for_the_others_and_goes_on_where_all_is_there(finished_run, tmp_path):
    import shutil

    shutil.copytree(finished_run.path, tmp_path / "run")
    run, tell = run_directory.existing(tmp_path / "run"), Telling()
    sign_of(run, 1, "finished")
    with together.at_work(Alone(0, 3, silence=0.2), run, tell):
        pass  # process 2 was never seen, and nothing is missing
    assert tell.said == ["waiting for 1 of 3 processes"]
    assert run.store.read_json("processes/job/0000.json")["state"] == "complete"
    with together.at_work(Alone(1, 3, silence=0.2), run, tell):
        pass
    assert len(tell.said) == 1


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("working", r"process 1 \(host \S+, process id \d+\) has not been heard of for \d+ s"),
        ("failed", r"process 1 has failed \(the disk is full\)"),
        (None, "process 1 has never been seen in the run directory, which all processes must share"),
    ],
)
def test_missing_models_are_counted_and_whoever_ended_is_named(state, words, unfinished):
    if state:
        sign_of(unfinished, 1, state, reason="the disk is full.")
    words = (
        f"^4 models of family mlp are not finished: {words}; what was finished is kept: run the same command"
    )
    with (
        pytest.raises(JobError, match=words),
        together.at_work(Alone(0, 2, 0.1), unfinished, Silent()),
    ):
        pass
    assert unfinished.store.read_json("processes/job/0000.json")["state"] == "failed"


def test_others_hear_of_it_from_process_0(unfinished):
    sign_of(unfinished, 0, "failed", reason="somebody died")
    words = r"process 0 has failed \(somebody died\)"
    with (
        pytest.raises(JobError, match=words),
        together.at_work(Alone(1, 2, 5.0), unfinished, Silent()),
    ):
        pass


def test_an_error_is_left_as_a_last_word(unfinished):
    with (
        pytest.raises(ValueError, match="mine"),
        together.at_work(Alone(1, 2, 5.0), unfinished, Silent()),
    ):
        raise ValueError("mine")
    assert unfinished.store.read_json("processes/job/0001.json")["reason"] == "mine"


def test_a_run_in_memory_is_the_run_on_disk(small_config, finished_run, all_numbers, tmp_path):
    """Everything goes through addresses: `memory://` has no files at all."""
    place = f"memory://{tmp_path.name}/run"
    with locking.locked(place):
        run = study.train(small_config, place)
        study.attack(run)
        study.report(run)
    expected, got = all_numbers(finished_run), all_numbers(run)
    for name, values in expected.items():
        np.testing.assert_array_equal(values, got[name], err_msg=str(name))
    for attack in small_config.attacks.names:
        np.testing.assert_array_equal(run.scores("mlp", attack, 2), finished_run.scores("mlp", attack, 2))
    written = run.store.names()
    assert {"report.html", "results.json", "results.csv", "figures/roc.svg", "vulnerability/mlp.csv"} <= set(
        written
    )
    assert "lock.json" not in written
    assert run.store.read("report.html").startswith(b"<!")
    study.train(small_config, place, overwrite=True)
    assert not {"report.html", "figures/roc.svg"} & set(run.store.names())
    assert run_directory.existing(place).segments("mlp").models_finished() == 8


def test_a_bucket_that_holds_something_else_is_never_touched(small_config, tmp_path):
    from mia_jax.runs.identity import RunError
    from mia_jax.runs.store import Store

    place = f"memory://{tmp_path.name}"
    Store(place).write("thesis.tex", b"years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"is not empty and holds no run \(thesis\.tex is there\)"):
            study.train(small_config, place, overwrite=overwrite)
    assert Store(place).names() == ["thesis.tex"]


def test_a_file_url_is_the_local_path(small_config, finished_run, tmp_path):
    run = study.train(small_config, f"file://{tmp_path}/my%20run")
    assert run.path == tmp_path / "my run"
    np.testing.assert_array_equal(
        run.segments("mlp").signal("pool/log_prob", 2),
        finished_run.segments("mlp").signal("pool/log_prob", 2),
    )


@pytest.mark.parametrize(
    ("devices", "kind"),
    [("2 × cpu", "cpu"), ("16 × NVIDIA H100 in 4 processes", "NVIDIA H100"), ("", "")],
)
def test_a_run_that_goes_on_elsewhere_is_known_by_the_kind_of_its_devices(devices, kind):
    assert training._kind(devices) == kind
