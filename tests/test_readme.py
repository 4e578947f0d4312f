"""What README.md says of the package is so."""

import pathlib
import re
import tomllib

import pytest

from mia_jax import study
from mia_jax.attacks import catalogue
from mia_jax.config import AttacksConfig, Config

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_links_lead_somewhere_and_the_figure_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert "docs/quickstart.ipynb" in links
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_every_page_of_docs_is_linked():
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if f"](docs/{page.name})" not in README]


def test_numbers_of_the_default_study_and_of_attacks_are_those_of_the_code():
    config = Config()
    assert config.membership.num_models == 32
    assert "trains 32 LSTMs and 32 MLPs" in README
    assert len(config.attacks.names) == 7
    assert "with seven attacks" in README
    assert f"| attacks | {len(catalogue(AttacksConfig()))} choices:" in README


def test_installed_commands_are_named():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(re.findall(r"`(mia-\w+)`", README)) == set(scripts)


def test_lines_are_short_outside_tables_and_listings():
    plain = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert not [line for line in plain.splitlines() if len(line) > 130 and not re.match(r"\||\d\. ", line)]


@pytest.mark.slow
def test_the_table_that_it_shows_is_that_of_the_default_study(tmp_path):
    run = study.train(Config(), tmp_path / "run")
    study.attack(run)
    rows = study.report(run).results
    last = max(row["epoch"] for row in rows)
    blocks = dict(re.findall(r"^ (lstm|mlp)\n((?:   \w+ +0\.\d{3} .*\n)+)", README, flags=re.MULTILINE))
    shown = {
        (family, name): float(area)
        for family, lines in blocks.items()
        for name, area in re.findall(r"^   (\w+) +(0\.\d{3}) ", lines, flags=re.MULTILINE)
    }
    assert len(shown) == 14
    for row in rows:
        if row["epoch"] == last:
            assert abs(shown[row["family"], row["attack"]] - row["auc"]) < 0.03, row["attack"]
