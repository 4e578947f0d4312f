"""The documentation as a site, and what its pages on starting and on architecture say."""

import csv
import importlib
import importlib.util
import os
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest

from mia_jax.attacks import Observations
from mia_jax.config import Config, to_mapping
from mia_jax.metrics import auc
from mia_jax.privacy import clipped_gradient_sum

ROOT = pathlib.Path(__file__).parents[1]
STARTING = (ROOT / "docs" / "getting_started.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
COMMANDS = re.findall(
    r"^(?:python scripts/|mia-|python3 scripts/bootstrap).*$",
    STARTING.replace("\\\n", ""),
    flags=re.MULTILINE,
)
SMALL = {
    "data.pool_size": 120,
    "data.population_size": 60,
    "data.test_size": 40,
    "membership.train_size": 60,
    "membership.num_models": 24,
    "training.epochs": 1,
    "recording.num_checkpoints": 1,
    "attacks.names": "lira_online",
}


def program(page):
    names = {}
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    exec(compile(code, "architecture.md", "exec"), names)
    return names


@pytest.fixture(scope="module")
def built_by_hand():
    return program(ARCHITECTURE)


def test_the_attack_of_the_architecture_page_finds_what_a_threshold_misses(built_by_hand):
    seen, scores = built_by_hand["observations"], built_by_hand["midpoint_scores"]
    assert auc(scores, seen.member) > auc(seen.scaled_logit, seen.member) + 0.1


def test_the_attack_of_the_architecture_page_leaves_out_whom_it_should(built_by_hand):
    seen, one = built_by_hand["observations"], built_by_hand["one"]
    twin = np.eye(32, dtype=bool)[np.arange(32) ^ 1]
    valid = np.arange(32) != 5
    phi = np.array(seen.scaled_logit)
    scores = one.score(Observations(seen.member, valid, twin, scaled_logit=phi))
    assert np.isnan(scores[5]).all()
    phi[5], phi[1] = np.inf, 100.0
    again = one.score(Observations(seen.member, valid, twin, scaled_logit=phi))
    np.testing.assert_array_equal(again[0], scores[0])  # 1 is its twin, 5 is not valid
    assert (again[2] != scores[2]).all()


def test_the_model_of_the_architecture_page_is_clipped_in_one_pass_as_by_vmap(built_by_hand):
    model, dataset = built_by_hand["softmax_regression"](2), built_by_hand["dataset"]
    x, y = np.asarray(dataset.pool.x)[:6], np.asarray(dataset.pool.y)[:6]
    params = model.init(jax.random.key(0), x[0])
    one_pass, general = (
        clipped_gradient_sum(model, params, x, y, np.ones(6, bool), 0.3, method=method)
        for method in ("bookkeeping", "vmap")
    )
    assert (np.asarray(general[1]) > 0.3).any()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one_pass, general)


def test_the_source_of_the_architecture_page_is_parted_like_any(built_by_hand):
    dataset = built_by_hand["dataset"]
    assert dataset.pool.x.shape == (100, 2)
    assert dataset.num_classes == 2
    assert dataset.facts["source"] == "moons:0.4"


def test_the_defence_of_the_architecture_page_makes_outputs_less_sure(built_by_hand):
    entropy = np.asarray(built_by_hand["entropy"])
    assert entropy.shape == (8,)
    assert entropy[-1] > entropy[0] + 0.1


def test_the_places_that_the_architecture_page_names_are_there():
    prose = re.sub(r"```.*?```", "", ARCHITECTURE, flags=re.DOTALL)
    for path in re.findall(r"`((?:mia_jax|tests)/[\w/]*(?:\.py)?)`", prose):
        assert (ROOT / path).exists(), path
    named = re.findall(r"`(\w+)`\s+(?:of|in)\s+`(mia_jax/[\w/]+\.py)`", prose)
    assert len(named) >= 7
    for name, path in named:
        assert re.search(rf"^(?:def )?{name}\b", (ROOT / path).read_text(), flags=re.MULTILINE), (name, path)


def test_commands_of_the_first_page_name_scripts_and_fields_that_exist():
    assert len(COMMANDS) >= 5
    values = to_mapping(Config())
    entries = (ROOT / "pyproject.toml").read_text()
    for command in COMMANDS:
        program, *rest = shlex.split(command)
        assert program.startswith("python") or f"{program} =" in entries, command
        assert not program.startswith("python") or (ROOT / rest[0]).exists(), command
        for section, field in re.findall(r"--config\.(\w+)\.(\w+)=", command):
            assert field in values[section], command
    for name in re.findall(r"`(mia-\w+)`", STARTING):
        assert f"{name} =" in entries


@pytest.mark.slow
def test_files_and_columns_of_the_first_page_come_out_of_its_commands(tmp_path):
    small = [f"--config.{field}={value}" for field, value in SMALL.items()]
    run, *later = [shlex.split(one)[1:] for one in COMMANDS if "--workdir=runs/short" in one]
    assert [run[0], *(one[0] for one in later)] == [
        f"scripts/{one}.py" for one in ("run", "attack", "report")
    ]
    start([*run, *small], tmp_path)
    section = STARTING.split("## What comes out")[1].split("\nHow to read them")[0]
    for item in section.split("\n- ")[1:]:
        for path in re.findall(r"`([\w/]+(?:\.(?:csv|html|json|npz)|/))`", item):
            assert (tmp_path / "run" / path).exists(), path
        table = re.match(r"`([\w/]+\.csv)`", item)
        if table:
            columns = re.findall(r"`([a-z_]\w*(?:\.\d+)?)`", item)
            assert len(columns) >= 8
            missing = set(columns) - set(header(tmp_path / "run" / table[1]))
            assert not missing, (table[1], missing)
    for command in later:
        start(command, tmp_path)
    shown = header(tmp_path / "run" / "vulnerability" / "lstm.csv")
    assert "rmia_offline_auc" in shown
    assert "lira_online_auc" not in shown


def start(command, folder):
    """A command of the page, in a run directory of the test's own."""
    script, *flags = command
    own = [flag for flag in flags if not flag.startswith("--workdir")]
    subprocess.run([sys.executable, script, f"--workdir={folder / 'run'}", *own], check=True, cwd=ROOT)


def header(path):
    with open(path, newline="") as file:
        return next(csv.reader(file))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason='the site is built with `pip install -e ".[docs]"`'
)
def test_the_site_builds_without_a_warning_and_shows_every_public_name(tmp_path):
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    for path in (ROOT / "docs").rglob("*.md"):
        page = path.with_stem("index") if path.stem == "README" else path
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).exists(), path
    for path in sorted((site / "reference").glob("*.html")):
        if path.stem == "index":
            continue
        shown = set(re.findall(r'id="mia_jax\.[\w.]*?(\w+)"', path.read_text()))
        source = importlib.import_module(f"mia_jax.{path.stem}")
        missing = public(source) - shown
        assert not missing, (path.name, missing)
    # A page fetches nothing from elsewhere.
    for path in (site / "index.html", site / "architecture.html", site / "reference" / "attacks.html"):
        assert not re.findall(
            r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="https?:', path.read_text()
        )


def test_packages_that_show_names_stand_in_the_reference():
    reference = set(re.findall(r"reference/([\w.]+)\.md", (ROOT / "mkdocs.yml").read_text())) - {"index"}
    for name in reference:
        importlib.import_module(f"mia_jax.{name}")
    packages = {path.parent.name for path in (ROOT / "mia_jax").glob("*/__init__.py")}
    shown = {name for name in packages if " as " in (ROOT / "mia_jax" / name / "__init__.py").read_text()}
    assert shown - reference <= {"cli"}


def public(module):
    """Functions and classes of a module's own, or what it re-exports under the same name."""
    text = pathlib.Path(module.__file__).read_text()
    names = set(re.findall(r"^(?:from [\w.]+ import | +)(\w+) as \1\b,?$", text, flags=re.MULTILINE))
    if names:
        return names
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", "") == module.__name__
    }
