"""What the documentation says is run."""

import pathlib
import re
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]


def python_blocks(name):
    """The Python code of a page, as one program."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL))


def test_own_model_page_runs_and_the_attack_succeeds():
    names = {}
    exec(compile(python_blocks("docs/own_model.md"), "own_model.md", "exec"), names)
    assert names["scores"].shape == (24, 60)
    assert names["metrics"].auc(names["scores"], names["drawn"].member) > 0.6


def test_readme_code_runs():
    member = np.random.default_rng(0).random((40, 30)) < 0.5
    names = {"member": member, "logit": np.random.default_rng(1).normal(size=(40, 30)) + member}
    exec(compile(python_blocks("README.md"), "README.md", "exec"), names)
    assert names["scores"].shape == (40, 30)


def test_readme_commands_name_files_that_exist():
    for path in re.findall(
        r"(?:scripts|configs|docs|benchmarks)/[\w/]+\.\w+", (ROOT / "README.md").read_text()
    ):
        assert (ROOT / path).exists(), path


def test_bootstrap_explains_itself_on_any_python():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bootstrap.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "scripts/bootstrap.py test" in done.stdout
