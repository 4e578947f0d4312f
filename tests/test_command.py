"""The command that a report and a stopped run offer to be typed again."""

import ast
import pathlib
import sys

import pytest

from mia_jax.command import as_typed, this_command


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


def test_a_person_is_told_the_commands_and_pages_there_are(monkeypatch):
    text = "python scripts/run.py, scripts/rnn_vs_ffnn.py (docs/clusters.md)"
    monkeypatch.setattr(sys, "argv", ["scripts/run.py"])
    assert as_typed(text) == text
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/mia-run"])
    assert as_typed(text) == 'mia-run, scripts/rnn_vs_ffnn.py (the page "clusters" of the documentation)'


def test_no_line_of_progress_names_a_script_that_may_not_be_there():
    """What is said while a study runs goes through `as_typed`, or names no script."""
    package = pathlib.Path(__file__).parents[1] / "mia_jax"
    for path in package.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        said = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "say"]
        assert not [call for call in said if "scripts/" in ast.unparse(call)], path
