"""The flags by which processes find each other: what does not fit together is one sentence."""

import functools
import pathlib
import re
import types

import pytest
from absl import flags

from mia_jax.cli import processes as commands
from mia_jax.config import ConfigError
from mia_jax.runs import processes
from mia_jax.runs.identity import JobError


@pytest.fixture
def parse(monkeypatch):
    """Function that parses flags into a place of their own, and checks them."""

    def parsed(*given):
        values = flags.FlagValues()
        names = ("DEFINE_bool", "DEFINE_string", "DEFINE_integer", "DEFINE_float")
        own = {name: functools.partial(getattr(flags, name), flag_values=values) for name in names}
        monkeypatch.setattr(commands, "flags", types.SimpleNamespace(FLAGS=values, **own))
        commands.process_flags()
        values(["train.py", *given])
        commands.check_process_flags()
        return values

    return parsed


BY_HAND = ("--coordinator=10.0.0.1:9876", "--num_processes=2", "--process_id=1")


@pytest.mark.parametrize(
    "given", [(), ("--distributed",), BY_HAND, ("--cpu_devices=3", "--heartbeat_timeout=1.5")]
)
def test_flags_that_fit_together_are_taken(given, parse):
    parse(*given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--distributed", *BY_HAND), "--distributed and --coordinator: --distributed finds out"),
        (("--distributed", "--process_id=0"), "--distributed and --process_id"),
        (BY_HAND[:2], "--process_id is missing: processes that are started by hand need --coordinator"),
        (BY_HAND[1:], "--coordinator is missing"),
        (("--process_id=0",), "--coordinator is missing"),
        (("--coordinator=10.0.0.1", *BY_HAND[1:]), "--coordinator is '10.0.0.1': it must be HOST:PORT"),
        ((*BY_HAND, "--process_id=2"), "--process_id is 2: it must be from 0 to 1"),
        ((*BY_HAND, "--num_processes=0"), "--num_processes is 0: it must be at least 1"),
        (("--cpu_devices=0",), "--cpu_devices is 0: it must be at least 1"),
        (("--heartbeat_timeout=0.5",), "--heartbeat_timeout is 0.5: it must be at least 1"),
        (("--start_timeout=-1",), "--start_timeout is -1: it must be at least 1"),
    ],
)
def test_flags_that_do_not_are_one_sentence(given, words, parse):
    with pytest.raises(ConfigError) as refused:
        parse(*given)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_page_on_clusters_names_flags_and_files_that_exist(parse):
    root = pathlib.Path(__file__).parents[2]
    page = (root / "docs" / "clusters.md").read_text()
    own = {*parse(), "config", "workdir"}
    commands_ = [line for line in page.splitlines() if "python scripts/" in line]
    assert len(commands_) == 3
    for line in commands_:
        assert set(re.findall(r"--(\w+)", line.split("python scripts/")[1])) <= own
    assert {"heartbeat_timeout", "start_timeout", "cpu_devices"} <= set(re.findall(r"`--(\w+)`", page))
    for path in re.findall(r"(?:scripts|configs|mia_jax)/[\w/]+\.\w+", page):
        assert (root / path).exists(), path


def test_a_command_alone_joins_nobody(parse):
    parse()
    with commands.joined() as team:
        assert (team.number, team.count) == (0, 1)


def test_other_processes_say_their_number(parse, monkeypatch):
    monkeypatch.setattr(processes, "join", lambda launch, **_: processes.Alone(launch.process_id, 2))
    for number, words in ((0, "^bad$"), (1, "^process 1: bad$")):
        parse(*BY_HAND[:2], f"--process_id={number}")
        with pytest.raises(JobError, match=words), commands.joined():
            raise JobError("bad")


def test_a_process_that_nothing_started_is_told_so(parse, monkeypatch):
    import jax

    def nothing(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", nothing)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    parse("--distributed")
    with (
        pytest.raises(JobError, match="start it with Slurm, Open MPI, Kubernetes or on a TPU pod"),
        commands.joined(),
    ):
        pass
