"""What a process costs that dies, fails, or meets another that does the same: at most its own segment."""

import json
import os
import signal
import sys

import pytest

from mia_jax.runs import run_directory

QUICK = "--heartbeat_timeout=5"

WAIT_BEFORE_THE_SECOND_CHECKPOINT = """
import time
from mia_jax.runs.segments import Segments
write = Segments.write
def slowly(self, segment, **options):
    if segment.checkpoint == 1:
        time.sleep(10_000)
    write(self, segment, **options)
Segments.write = slowly
"""

NO_MORE_ROOM = """
import resource, signal
from mia_jax.runs.segments import Segments
write = Segments.write
def limited(self, segment, **options):
    if segment.checkpoint == 1:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
    write(self, segment, **options)
Segments.write = limited
"""

AS_ANYBODY = """
import ctypes, os
if os.geteuid() == 0:  # without the right to write what is read-only
    libc = ctypes.CDLL(None, use_errno=True)
    version, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(version, sets) == 0
    sets[0] &= ~0b110
    assert libc.capset(version, sets) == 0
"""

READ_ONLY = """
from mia_jax.runs.segments import Segments
write = Segments.write
def locked(self, segment, **options):
    if segment.checkpoint == 1:
        for folder, _, _ in os.walk({place!r}):
            os.chmod(folder, 0o500)
    write(self, segment, **options)
Segments.write = locked
"""


def commits(workdir):
    """The segments that are committed: {(first model, checkpoint)}."""
    found = workdir.glob("commits/mlp/*/*.json")
    return {(int(path.parent.name[:6]), int(path.stem)) for path in found}


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "restarted"), [(0, 1), (1, 3), (2, 2)])
def test_a_killed_process_costs_its_segment_and_others_finish_theirs(
    victim, restarted, job, done, until, same_as_expected, tmp_path
):
    processes = job(tmp_path, 3, QUICK, before={victim: WAIT_BEFORE_THE_SECOND_CHECKPOINT})
    whole = {(first, checkpoint) for first in (0, 2, 4) for checkpoint in range(3)}
    lost = {(2 * victim, 1), (2 * victim, 2)}
    until(lambda: commits(tmp_path) == whole - lost)
    os.kill(processes[victim].pid, signal.SIGKILL)
    for number, process in enumerate(processes):
        process.finish()
        if number == victim:
            assert process.code == -signal.SIGKILL
            continue
        assert process.code == 1, process.err
        assert process.err.count("\n") == 1, process.err
        assert process.err.startswith(f"error: process {number}: " if number else "error: ")
        assert "2 models of family mlp are not finished" in process.err
        assert f"process {victim} (host " in process.err
        assert "has not been heard of for" in process.err
        assert "run the same command again" in process.err
    assert commits(tmp_path) == whole - lost
    done(tmp_path, restarted, devices=2)
    same_as_expected(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_disk_that_takes_no_more_is_one_sentence_and_the_run_goes_on(
    victim, job, done, same_as_expected, tmp_path
):
    processes = [process.finish() for process in job(tmp_path, 2, QUICK, before={victim: NO_MORE_ROOM})]
    for process in processes:
        assert process.code == 1, process.err
        assert process.err.count("\n") == 1, process.err
        assert "Traceback" not in process.err
    assert f"could not write {tmp_path}" in processes[victim].err
    assert "models of family mlp are not finished" in processes[1 - victim].err
    assert f"process {victim} " in processes[1 - victim].err
    done(tmp_path, 1)
    same_as_expected(tmp_path)


DIE_AT_THE_FIRST_SCORES = """
import os, signal
from mia_jax.runs.run_directory import RunDirectory
def dies(self, *args, **options):
    os.kill(os.getpid(), signal.SIGKILL)
RunDirectory.write_scores = dies
"""


@pytest.mark.slow
def test_whoever_dies_while_attacking_leaves_its_part_to_process_0(job, done, tmp_path):
    done(tmp_path / "one", 1, script="run")
    processes = job(tmp_path / "two", 2, QUICK, script="run", before={1: DIE_AT_THE_FIRST_SCORES})
    first, second = (process.finish() for process in processes)
    assert second.code == -signal.SIGKILL
    assert first.code == 0, first.err
    said = " ".join(first.out.split())
    assert "attack: process 1 (host " in said
    assert ": its part is done here" in said
    results = [(tmp_path / name / "results.json").read_text() for name in ("one", "two")]
    assert json.loads(results[0]) == json.loads(results[1])


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="root's right to write everywhere is given up as Linux has it"
)
def test_a_directory_that_turns_read_only_is_one_sentence_and_the_run_goes_on(
    job, done, same_as_expected, tmp_path
):
    turns = {0: AS_ANYBODY, 1: AS_ANYBODY + READ_ONLY.format(place=str(tmp_path))}
    processes = [process.finish() for process in job(tmp_path, 2, QUICK, before=turns)]
    assert [process.code for process in processes] == [1, 1]
    assert all(process.err.count("\n") == 1 for process in processes), processes[0].err + processes[1].err
    assert f"could not write {tmp_path}" in processes[1].err
    assert "permission is denied; make it accessible and run the same command again" in processes[1].err
    for folder, _, _ in os.walk(tmp_path):
        os.chmod(folder, 0o700)
    done(tmp_path, 3)
    same_as_expected(tmp_path)


@pytest.mark.slow
def test_two_writers_of_the_same_segments_leave_one_run(job, same_as_expected, tmp_path):
    """Two jobs that do not know of each other, each without the lock that would keep the second out."""
    unlocked = (
        "import contextlib\nfrom mia_jax.runs import locking\n"
        "locking.locked = lambda path, **options: contextlib.nullcontext(path)\n"
    )
    jobs = [job(tmp_path, 1, before={0: unlocked}) for _ in range(2)]
    for process in (process.finish() for processes in jobs for process in processes):
        assert process.code == 0, process.err
    same_as_expected(tmp_path)
    assert not run_directory.existing(tmp_path).store.names("states/mlp/000000-000002/0001")


@pytest.mark.slow
def test_a_second_job_is_refused_while_the_first_works(job, until, tmp_path):
    waiting = dict.fromkeys(range(2), WAIT_BEFORE_THE_SECOND_CHECKPOINT)
    first = job(tmp_path, 2, before=waiting)
    until(lambda: commits(tmp_path))
    for process in (process.finish() for process in job(tmp_path, 2)):
        assert process.code == 1
        assert f"{tmp_path} is in use by another process" in process.err, process.err
        assert "Traceback" not in process.err
    assert all(process.runs() for process in first)


@pytest.mark.slow
def test_processes_that_do_not_do_the_same_are_refused(job, tmp_path):
    other = {1: "import sys\nsys.argv.append('--config.training.epochs=9')"}
    processes = [process.finish() for process in job(tmp_path, 2, before=other)]
    for process in processes:
        assert process.code in (1, 2)
        assert "config.training.epochs is '6' in process 0 and '9' in process 1" in process.err
        assert process.err.count("\n") == 1, process.err
    assert not (tmp_path / "config.json").exists()


@pytest.mark.slow
def test_nobody_waits_for_a_process_that_cannot_begin(job, tmp_path):
    missing = {1: "import sys\nsys.argv.append('--config.data.source=npz:missing.npz')"}
    processes = [process.finish() for process in job(tmp_path, 2, before=missing)]
    assert processes[1].code == 2
    assert processes[1].err.startswith("error: process 1: ")
    assert processes[0].code == 1
    assert processes[0].err.startswith("error: process 1 has failed: ")
    assert all("there is no file" in process.err for process in processes)


@pytest.mark.slow
def test_a_process_that_never_comes_is_one_sentence(job, tmp_path):
    waiting = job(tmp_path, 2, "--start_timeout=5", before={1: "import sys; sys.exit(3)"})
    assert waiting[1].finish().code == 3
    waiting[0].finish()
    assert waiting[0].code == 1
    assert "the processes of this job did not find each other at localhost:" in waiting[0].err
    assert "within 5 s: start all of them" in waiting[0].err
    assert waiting[0].err.count("\n") == 1, waiting[0].err
