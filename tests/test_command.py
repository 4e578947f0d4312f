"""The command that a report and a stopped run offer to be typed again."""

import pathlib
import sys

import pytest

from mia_jax.command import this_command


@pytest.mark.parametrize(
    ("executable", "argv", "expected"),
    [
        (
            "{here}/.venv/bin/python",
            ["{here}/scripts/run.py", "--a=b c"],
            ".venv/bin/python scripts/run.py '--a=b c'",
        ),
        ("/elsewhere/bin/python3", ["scripts/run.py"], "python3 scripts/run.py"),
        ("/elsewhere/bin/python3", ["/other/run.py"], "python3 /other/run.py"),
        ("/elsewhere/bin/python3", ["/elsewhere/bin/mia-run", "--workdir=x"], "mia-run --workdir=x"),
    ],
)
def test_commands_can_be_typed_again(executable, argv, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    here = str(pathlib.Path.cwd())
    monkeypatch.setattr(sys, "executable", executable.format(here=here))
    monkeypatch.setattr(sys, "argv", [word.format(here=here) for word in argv])
    assert this_command() == expected
