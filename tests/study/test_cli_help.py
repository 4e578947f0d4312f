"""--help says what every flag and field may be, once and in one manner."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import typing

import pytest

from mia_jax.config import Config, DataConfig, TrainingConfig

ROOT = pathlib.Path(__file__).parents[2]


def said(script):
    """What --help of a script prints."""
    command = [sys.executable, ROOT / "scripts" / f"{script}.py", "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def run_help():
    return said("run")


def test_fields_that_choose_among_names_list_them(run_help):
    config = Config()
    for name in (field.name for field in dataclasses.fields(Config)):
        section = getattr(config, name)
        if not dataclasses.is_dataclass(section):
            continue
        for field, type_ in typing.get_type_hints(type(section)).items():
            if (
                typing.get_origin(type_) is typing.Literal and field != "attack"
            ):  # those are listed at the end
                (line,) = [one for one in run_help.splitlines() if f"--config.{name}.{field}=" in one]
                assert all(repr(choice) in line for choice in typing.get_args(type_)), line
    (line,) = [one for one in run_help.splitlines() if "--config.recording.queries=" in one]
    assert line.endswith("(any of 'flip', 'shift', 'noise')")


def test_every_section_is_explained_once_and_every_field_is_there(run_help):
    for section in (DataConfig, TrainingConfig):
        assert run_help.count(section.__doc__.splitlines()[0]) == 1
    assert run_help.count("One model family of the study.") == 1
    assert all(f"--config.{field.name}" in run_help for field in dataclasses.fields(Config))
    assert all(
        f"{field.name}:" in run_help for field in dataclasses.fields(DataConfig) if field.name != "seed"
    )


@pytest.mark.parametrize("script", ["attack", "report"])
def test_commands_have_examples_and_show_defaults_that_are_zero(script):
    text = said(script)
    assert f"\n  python scripts/{script}.py --workdir=" in text
    assert "(default: that of the run; 0.95 where there is none)" in text
    if script == "attack":
        assert "--seed: Seed of the attacks that draw numbers, with --signals. (default: 0)" in text


@pytest.mark.parametrize("script", ["tradeoff", "dynamics", "compare", "rnn_vs_ffnn"])
def test_studies_of_many_runs_say_what_their_workdir_is(script):
    text = said(script)
    assert "--workdir: The directory of the study: its runs and what they show are written there" in text
    assert "bucket" not in text.split("Fields of the config")[0]
    assert "(default: )" not in text
    assert "(default: [])" not in text


def _installed(tmp_path, *given):
    """What an installed command prints and says: its own name is all that it knows of where it is."""
    program = tmp_path / "mia-attack"
    program.write_text("from mia_jax import cli\ncli.attack()\n")
    command = [sys.executable, program, *given]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)


def test_an_installed_command_names_no_script(tmp_path):
    text = _installed(tmp_path, "--help").stdout
    assert "  mia-attack --workdir=runs/digits --attacks=all" in text
    assert "scripts/" not in text
    assert "docs/" not in text
    assert "  python scripts/attack.py --workdir=runs/digits --attacks=all" in said("attack")
    refused = _installed(tmp_path, f"--workdir={tmp_path / 'none'}")
    assert refused.returncode == 2
    assert "does not exist: run mia-train with this --workdir first" in refused.stderr


@pytest.mark.parametrize("p", ["0.5", "nan"])
def test_the_p_of_a_norm_is_refused_by_the_flag_that_was_typed(tmp_path, p):
    refused = _installed(
        tmp_path, "--signals=mine.npz", f"--workdir={tmp_path / 'out'}", f"--embedding_p={p}"
    )
    assert refused.returncode == 2
    assert refused.stderr == f"error: --embedding_p is {p}: it must be at least 1 (inf is allowed).\n"
