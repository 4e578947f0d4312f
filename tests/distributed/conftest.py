"""Jobs of several real processes on this machine."""

import contextlib
import importlib.util
import os
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from mia_jax import config as configs
from mia_jax import study
from mia_jax.runs import run_directory

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = pathlib.Path(__file__).with_name("small.py")
LIMIT = 240
"""Seconds after which a process is taken to hang."""


class Process:
    """One process of a job. pid, and when it has ended: code, out, err."""

    def __init__(self, command):
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ)
        )
        self.pid = self._process.pid
        self.code, self.out, self.err = None, "", ""

    def runs(self):
        return self._process.poll() is None

    def kill(self):
        self._process.kill()

    def finish(self):
        self.out, self.err = self._process.communicate(timeout=LIMIT)
        self.code = self._process.returncode
        return self


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def program(script, before=""):
    """The command of a script; before: what its process does first, as Python."""
    if not before:
        return [sys.executable, str(ROOT / "scripts" / f"{script}.py")]
    return [sys.executable, "-c", f"{before}\nfrom mia_jax import cli\ncli.{script}()"]


@pytest.fixture
def job():
    """Function that starts a job: job(workdir, processes, *flags, script, devices, before) -> [Process].

    before: by the number of a process, Python that it runs first.
    """
    started = []

    def start(workdir, processes, *flags, script="train", devices=1, before=None):
        common = [f"--workdir={workdir}", f"--cpu_devices={devices}", *flags]
        if script != "attack":
            common = [f"--config={CONFIG}", *common]
        port = free_port()
        for number in range(processes):
            own = [
                f"--coordinator=localhost:{port}",
                f"--num_processes={processes}",
                f"--process_id={number}",
            ]
            command = program(script, (before or {}).get(number, ""))
            by_hand = processes > 1 and "--distributed" not in flags
            started.append(Process([*command, *common, *(own if by_hand else [])]))
        return started[-processes:]

    yield start
    for process in started:
        if process.runs():
            process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
            process.finish()


@pytest.fixture
def done(job):
    """Function that runs a job to its end, which must be a good one; arguments of `job`."""

    def run(*args, **options):
        processes = [process.finish() for process in job(*args, **options)]
        assert [process.code for process in processes] == [0] * len(processes), (
            processes[-1].err + processes[0].err
        )
        return processes

    return run


def numbers(run):
    """Every number that a training leaves behind, by name, through the checks of a run directory."""
    found = {}
    for family in run.config.families:
        for checkpoint in range(len(run.epochs)):
            for name in run.segments(family).recorded(checkpoint):
                found[name, checkpoint] = run.segments(family).signal(name, checkpoint)
            entries = [
                n for n in run.store.names(f"parameters/{family}/") if n.endswith(f"/{checkpoint:04d}.npz")
            ]
            chunks = [run.store.read_arrays(entry) for entry in entries]
            for leaf in chunks[0]:
                found[leaf, checkpoint] = np.concatenate([chunk[leaf] for chunk in chunks])
    return found


@pytest.fixture(scope="session")
def config():
    """The config of all jobs."""
    spec = importlib.util.spec_from_file_location("small", CONFIG)
    small = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(small)
    return configs.from_config_dict(small.get_config())


@pytest.fixture(scope="session")
def expected(config, tmp_path_factory):
    """Every number of the study, trained by one process with the two devices of these tests."""
    return numbers(study.train(config, tmp_path_factory.mktemp("alone")))


def compare(expected, got):
    """Compare all numbers bit for bit."""
    assert got.keys() == expected.keys()
    for name, values in expected.items():
        assert values.dtype == got[name].dtype
        np.testing.assert_array_equal(got[name], values, err_msg=str(name))


@pytest.fixture
def same():
    """Function that compares two runs, bit for bit."""
    return lambda one, other: compare(numbers(one), numbers(other))


@pytest.fixture
def same_as_expected(expected):
    """Function that compares what is in a run directory with `expected`, bit for bit."""
    return lambda workdir: compare(expected, numbers(run_directory.existing(workdir)))


@pytest.fixture
def until():
    """Function that waits until something is so: until(condition)."""

    def wait(condition):
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.05)

    return wait
