"""What the documentation says is run."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from mia_jax.attacks import catalogue
from mia_jax.config import AttacksConfig, Config, to_mapping

ROOT = pathlib.Path(__file__).parents[1]


def python_blocks(name):
    """The Python code of a page, as one program."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL))


def test_own_model_page_runs_and_the_attack_succeeds():
    names = {}
    exec(compile(python_blocks("docs/own_model.md"), "own_model.md", "exec"), names)
    assert names["scores"].shape == (24, 60)
    assert names["metrics"].auc(names["scores"], names["drawn"].member) > 0.6


def test_own_scores_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(python_blocks("docs/own_scores.md"), "own_scores.md", "exec"), names)
    assert [row["attack"] for row in names["inputs"].results] == list(names["config"].attacks.names)
    assert (tmp_path / "signals.npz").exists()
    assert names["inputs"].results[1]["auc_low"] > 0.5


def test_own_scores_page_lists_every_attack_with_what_it_needs():
    page = (ROOT / "docs" / "own_scores.md").read_text()
    for one in catalogue(AttacksConfig()).values():
        needs = ", ".join(f"`{name}`" for name in sorted(one.needs))
        assert f"| `{one.name}`<br>{one.title} | {needs} | {one.threat_model} | {one.source} |" in page


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


def test_bootstrap_names_a_command_that_is_none():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bootstrap.py", "runn"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout.endswith("rnn_vs_ffnn, test.\n")
    assert "error: 'runn' is no command: it must be one of run, train" in done.stdout


@pytest.mark.slow
def test_defences_page_runs_and_its_strengths_are_each_models_own():
    names = {}
    exec(compile(python_blocks("docs/defences.md"), "defences.md", "exec"), names)
    confidence = names["confidence"]
    assert confidence.shape == (8,)
    assert confidence[-1] > confidence[0]


def test_defences_page_names_fields_and_files_that_exist():
    page = (ROOT / "docs" / "defences.md").read_text()
    for path in re.findall(r"(?:scripts|configs|mia_jax)/[\w/]+\.\w+", page):
        assert (ROOT / path).exists(), path
    values = to_mapping(Config())
    for section, field in re.findall(r"--config\.(\w+)\.(\w+)", page):
        assert field in values[section]


def test_dynamics_page_runs_and_its_probe_world_is_found():
    names = {}
    exec(compile(python_blocks("docs/dynamics.md"), "dynamics.md", "exec"), names)
    fpr, tpr = names["fpr"], names["tpr"]
    np.testing.assert_array_equal((fpr[-1], tpr[-1]), (np.zeros(200), np.ones(200)))
    assert (np.abs(fpr[0] - 0.5) < 6 * names["errors"][0][0]).all()
    assert names["speed"].shape == (2, 200)
    assert set(names["config"].dynamics.factors["optimizer"]) == {"sgd", "sam"}


def test_dynamics_page_names_fields_and_files_that_exist():
    page = (ROOT / "docs" / "dynamics.md").read_text()
    for path in re.findall(r"(?:scripts|configs|mia_jax)/[\w/]+\.\w+", page):
        assert (ROOT / path).exists(), path
    values = to_mapping(Config())
    for section, field in re.findall(r"config\.(dynamics|membership|training|data)\.(\w+)", page):
        assert field in values[section], (section, field)
