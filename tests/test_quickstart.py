"""The notebook of docs/ is run, and what it shows is what it gives."""

import json
import pathlib
import re
import tomllib

import matplotlib.pyplot as plt
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


def cells(kind):
    """The cells of one kind, as the notebook holds them."""
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def shown():
    """All that the stored run has printed."""
    outputs = [output for cell in cells("code") for output in cell["outputs"]]
    return "".join(line for output in outputs for line in output.get("text", ""))


@pytest.fixture
def on_paper(monkeypatch):
    """Figures that need no screen, and are closed again."""
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def test_first_cell_installs_the_package_that_pyproject_names():
    first = cells("code")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f'PACKAGE = "{project["name"]}"\n' in first["source"]


def test_it_is_small_and_holds_nothing_of_the_machine_it_ran_on():
    text = NOTEBOOK.read_text()
    assert len(text.encode()) < 300_000
    assert not re.search(r"/(tmp|home|root|Users|work|opt|usr)/|stderr|\"error\"|Warning", text)


def test_pages_and_fields_that_it_names_exist():
    text = "".join(line for cell in cells("markdown") for line in cell["source"])
    named = re.findall(r"(?:docs|scripts|configs|mia_jax)/\w+\.\w+", text)
    assert "docs/own_data.md" in named
    for path in named:
        assert (ROOT / path).exists(), path


@pytest.mark.slow
def test_it_runs_and_gives_what_it_shows(on_paper, monkeypatch):
    monkeypatch.chdir(NOTEBOOK.parent)
    names = {}
    for number, cell in enumerate(cells("code")):
        exec(compile("".join(cell["source"]), f"quickstart.ipynb, cell {number}", "exec"), names)
    for family in ("mlp", "gru"):
        area, find = names["exposed"][family].values()
        assert area[1] > 0.6  # the ends of the intervals, far from guessing
        assert find[1] > 0.02
        (stored,) = re.findall(rf"{family}: AUC (\d\.\d+)", shown())
        assert abs(float(stored) - area[0]) < 0.02
    train, test = names["accuracy"]["mlp"]
    assert train > test > 0.85
    assert names["table"].auc.max() > 0.9
    assert names["brought"].shape == (32, 400)
    assert 7.5 < names["promised"] <= 8.0
    assert names["exposed_private"]["AUC"][0] < names["exposed"]["mlp"]["AUC"][1]
    assert f"epsilon {names['promised']:.2f} at delta" in shown()
