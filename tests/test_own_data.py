"""The page on one's own data is run, and the sentences that it quotes are those that are said."""

import pathlib
import re

import numpy as np
import pytest

from mia_jax import data, study
from mia_jax.config import Config, ConfigError, DataConfig, from_config_dict, to_config_dict, to_mapping

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own_data.md").read_text()

SOUND = {"x": np.random.default_rng(0).normal(size=(600, 20)), "y": np.arange(600) % 3}
HOLED = SOUND["x"].copy()
HOLED[0, 1] = np.nan
REFUSED = [
    ("it has no y", {"x": SOUND["x"]}),
    ("x has shape", SOUND | {"x": np.zeros(600)}),
    ("y has shape", SOUND | {"y": np.arange(3)}),
    ("x has dtype", SOUND | {"x": np.full((600, 2), "a")}),
    ("y has dtype", SOUND | {"y": SOUND["y"] / 2}),
    ("y has the label", SOUND | {"y": SOUND["y"] - 1}),
    ("x[0, 1] is nan", SOUND | {"x": HOLED}),
    ("length has the value", SOUND | {"length": SOUND["y"]}),
    ("it holds Python objects", SOUND | {"x": np.full((600, 2), None)}),
    ("config.data.pool_size", SOUND),
]


def examples(page):
    """The Python examples of a page of the documentation."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)


def quoted():
    """The sentences of what is refused."""
    return re.findall(r"^- `(.+)`$", PAGE.split("## What is refused")[1], flags=re.MULTILINE)


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile("\n".join(examples("own_data.md")), "own_data.md", "exec"), names)
    assert names["dataset"].pool.x.shape == (200, 20)
    assert names["dataset"].test.x.shape == (300, 20)
    assert names["texts"].vocabulary_size == 50
    assert names["texts"].pool.x.values.shape == (100, 12)
    by_file = data.load(DataConfig(source="npz:records.npz", pool_size=200, population_size=100))
    np.testing.assert_array_equal(names["dataset"].pool.x, by_file.pool.x)
    assert "download_and_prepare" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["own_data.md", "own_scores.md", "own_model.md"])
def test_examples_are_short(page):
    lines = [line for line in examples(page)[0].splitlines() if line.strip()]
    assert len(lines) <= 10, lines


@pytest.mark.parametrize(("begins", "arrays"), REFUSED)
def test_what_is_refused_is_what_the_page_quotes(begins, arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("records.npz", **arrays)
    (sentence,) = [one for one in quoted() if one.startswith(begins)]
    with pytest.raises(ConfigError) as caught:
        data.load(DataConfig(source="npz:records.npz", pool_size=700, population_size=100))
    assert sentence in str(caught.value)


def test_its_command_is_a_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("records.npz", **SOUND)
    config = to_config_dict(Config())
    for field, value in re.findall(r"--config\.([\w.]+)=(\S+)", PAGE):
        config.update_from_flattened_dict({field: int(value) if value.isdigit() else value})
    ready = study.prepare(from_config_dict(config))
    assert ready.dataset.pool.x.shape == (400, 20)
    assert ready.built["lstm"].steps is not None


def test_every_quoted_sentence_is_tried():
    assert len(quoted()) == len(REFUSED)


def test_fields_and_files_that_it_names_exist():
    values = to_mapping(Config())
    for section, field in re.findall(r"config\.(data)\.(\w+)", PAGE):
        assert field in values[section], (section, field)
    assert "steps" in values["families"]["lstm"]
    for link in re.findall(r"\]\(([\w./]+\.md)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
