"""Attacks that several processes share: the same scores, whoever makes them."""

import shutil
import threading

import numpy as np
import pytest

from mia_jax import study
from mia_jax.attacks import Attack, Observations
from mia_jax.attacks.base import NO_SIDE
from mia_jax.blocks import records_at_once
from mia_jax.progress import Silent
from mia_jax.runs import run_directory
from mia_jax.runs.identity import JobError, RunError
from mia_jax.runs.processes import Alone
from mia_jax.runs.signs_of_life import Sign
from mia_jax.runs.store import Store
from mia_jax.study import scoring


@pytest.fixture
def copied(finished_run, tmp_path):
    """Another run directory with the finished run's models and without its scores."""
    shutil.copytree(finished_run.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "scores")
    return tmp_path / "run"


@pytest.fixture
def small_files(monkeypatch):
    """Files and blocks of eight records for eight models."""
    monkeypatch.setattr("mia_jax.blocks.ENTRIES", 64)


class Telling(Silent):
    """A reporter that remembers what it was told."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def attack_by(path, count, present, silence=60.0, tell=None):
    """Attack a run by some of `count` processes, each a thread of its own; their exceptions, by number."""

    def one(number):
        run = run_directory.existing(path)
        said = tell if number == 0 else None
        return study.attack(run, tell=said, team=Alone(number, count, silence))

    ended = {}

    def keep(number):
        try:
            ended[number] = one(number)
        except Exception as error:
            ended[number] = error

    threads = [threading.Thread(target=keep, args=[number], name=f"process_{number}") for number in present]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def same_scores(path, expected):
    run = run_directory.existing(path)
    for name in expected.config.attacks.names:
        assert run.scored("mlp", name) == expected.scored("mlp", name) == [0, 1, 2]
        for checkpoint in range(3):
            np.testing.assert_array_equal(
                run.scores("mlp", name, checkpoint), expected.scores("mlp", name, checkpoint)
            )


@pytest.mark.parametrize("count", [2, 3, 5])
def test_scores_of_several_processes_are_those_of_one(count, copied, finished_run, small_files):
    assert attack_by(copied, count, range(count)) == dict.fromkeys(range(count))
    same_scores(copied, finished_run)


def test_no_file_of_scores_is_written_by_two(copied, small_files, monkeypatch):
    written, turn = [], threading.Lock()
    write = run_directory.RunDirectory.write_scores

    def noted(run, family, attack, checkpoint, scores, *, first_record, job):
        with turn:
            written.append((attack, checkpoint, first_record))
        write(run, family, attack, checkpoint, scores, first_record=first_record, job=job)

    monkeypatch.setattr(run_directory.RunDirectory, "write_scores", noted)
    assert not any(attack_by(copied, 3, range(3)).values())
    assert len(set(written)) == len(written) == 3 * 3 * 5


def test_what_a_dead_process_was_dealt_is_done_by_the_first(copied, finished_run, small_files):
    tell = Telling()
    assert attack_by(copied, 3, [0, 1], silence=1.0, tell=tell) == {0: None, 1: None}
    never = "process 2 has never been seen in the run directory, which all processes must share"
    assert f"attack: {never}: its part is done here" in tell.said
    same_scores(copied, finished_run)


def test_nobody_scores_before_the_first_process_has_begun(copied):
    ended = attack_by(copied, 2, [1], silence=0.5)
    assert isinstance(ended[1], JobError)
    assert "there is nothing to attack: process 0 has never been seen" in str(ended[1])
    assert not (copied / "scores").exists()


def test_a_first_process_that_fails_ends_the_others(copied):
    run = run_directory.existing(copied)
    sign = Sign(run.store, "processes/job-attack/0000.json", {"state": "failed", "reason": "no room"})
    sign.begin()
    sign.end()
    ended = attack_by(copied, 2, [1])
    assert "process 0 has failed (no room)" in str(ended[1])


@pytest.mark.parametrize(
    ("checkpoints", "records", "size", "count"),
    [
        ([0, 1, 2], 40, 8, 4),
        ([0], 40, 64, 3),
        ([0, 4], 41, 8, 16),
        ([], 40, 8, 2),
        (list(range(10)), 1_000_000, 8192, 7),
    ],
)
def test_every_file_is_dealt_once_and_evenly(checkpoints, records, size, count):
    for turn in range(3):
        files = []
        for number in range(count):
            parts = scoring.dealt(checkpoints, records, size, number, count, turn)
            mine = [
                (part.checkpoint, first)
                for part in parts
                for first in range(part.records.start, part.records.stop, size)
            ]
            assert all(part.records.start % size == 0 for part in parts)
            assert all(part.records.stop in (records, part.records.stop // size * size) for part in parts)
            files.append(mine)
        together = [file for mine in files for file in mine]
        expected = [(number, first) for number in checkpoints for first in range(0, records, size)]
        assert sorted(together) == expected
        counts = [len(mine) for mine in files]
        assert max(counts) - min(counts) <= 1


def test_an_error_of_a_later_block_says_where_its_records_begin(monkeypatch):
    monkeypatch.setattr("mia_jax.blocks.ENTRIES", 4)

    def judge(seen, fitted):
        if np.any(seen.log_prob > 20):
            raise ValueError("log_prob is bad.")
        return np.asarray(seen.log_prob, np.float64)

    one = Attack("a", "A", "t", "s", NO_SIDE, frozenset({"log_prob"}), judge)
    log_prob = np.arange(36.0).reshape(9, 4).T
    with pytest.raises(ValueError, match=r"log_prob is bad\. \(Records are counted from 5 on\.\)"):
        scoring.scores_of(one, Observations(np.zeros((4, 9), bool), log_prob=log_prob))


def test_scores_whose_file_is_lost_are_refused(copied, finished_run, small_files):
    attack_by(copied, 1, [0])
    run = run_directory.existing(copied)
    some = run.store.names("scores/mlp/loss/job/c/")
    lost = [name for name in some if name.endswith("/1/2")]
    assert len(lost) == 1
    run.store.delete(lost[0])
    run.scores("mlp", "loss", 0)
    run.scores("mlp", "loss", 1, records=slice(0, 16))
    with pytest.raises(
        RunError, match=r"scores/mlp/loss/job lacks scores that were written: run scripts/attack"
    ):
        run.scores("mlp", "loss", 1)


def test_one_who_was_taken_for_dead_writes_into_nobody_elses_scores(copied, finished_run):
    attack_by(copied, 2, [0, 1])
    run = run_directory.existing(copied)
    run.write_scores("mlp", "loss", 0, np.zeros((8, 40)), job="earlier")
    same_scores(copied, finished_run)
    run.forget_scores("mlp", "loss")
    assert not run.store.names("scores/mlp/loss/")


@pytest.mark.parametrize("num_models", [8, 257, 1000, 2048])
def test_what_is_dealt_is_a_file(num_models):
    records = records_at_once(num_models)
    shape = (num_models, 2, 10 * records + 1)
    array = Store(f"memory://files{num_models}").array(
        "scores", shape, np.float64, models_per_chunk=num_models, records_per_file=records
    )
    assert array.chunk_layout.write_chunk.shape == (num_models, 1, records)


def test_whoever_cannot_read_what_the_first_could_leaves_its_part_to_it(copied, finished_run, monkeypatch):
    """Nobody decides for itself what can be scored."""
    tell, done = Telling(), scoring.Family.score

    def score(self, one, part):
        if threading.current_thread().name.endswith("_1"):
            raise RunError("the records are not on this machine.")
        done(self, one, part)

    monkeypatch.setattr(scoring.Family, "score", score)
    ended = attack_by(copied, 2, [0, 1], tell=tell)
    assert isinstance(ended[1], RunError)
    assert ended[0] is None
    assert (
        "attack: process 1 has failed (the records are not on this machine): its part is done here"
        in tell.said
    )
    same_scores(copied, finished_run)


def test_scores_that_cannot_be_given_are_no_lost_ones(copied):
    run = run_directory.existing(copied)
    run.write_scores("mlp", "loss", 0, np.full((8, 40), np.nan))
    run.sign_scores("mlp", "loss", [0])
    assert np.isnan(run.scores("mlp", "loss", 0)).all()
