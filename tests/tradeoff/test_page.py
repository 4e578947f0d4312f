"""The page, and everything that is written beside it."""

import csv
import dataclasses
import html.parser
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from mia_jax.report import atomic
from mia_jax.report.figures import to_svg
from mia_jax.tradeoff import differences, matching, page, tables, writing

EVIL = "<script>alert('x')</script>"


class Reader(html.parser.HTMLParser):
    """Collects tags, ids and links, and whether tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in ("meta", "link", "br", "img", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def rendered(rows):
    drawn = {name: to_svg(figure, name) for name, figure in writing.draw(rows).items()}
    return page.render(rows, drawn, matching.comparisons(rows))


@pytest.fixture(scope="module")
def written(one_seed, tmp_path_factory):
    return writing.write_tradeoff(one_seed, tmp_path_factory.mktemp("tradeoff"))


@pytest.fixture(scope="module")
def text(written):
    return written.read_text(encoding="utf-8")


def test_every_file_is_there(written, one_seed):
    folder = written.parent
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    drawn = ["curves", "epsilons", *(f"strength_{defence}" for defence in one_seed.defences)]
    tables = ("utility", "results", "privacy", "audits", "equal_strength", "equal_epsilon", "equal_attack")
    expected = {f"figures/tradeoff_{name}.{kind}" for name in drawn for kind in ("svg", "png")}
    expected |= {f"tradeoff_{name}.csv" for name in tables} | {"tradeoff.html", "tradeoff.json"}
    assert names == expected
    for file in folder.glob("figures/*.svg"):
        ET.parse(file)


def test_the_page_needs_no_network_and_no_script(text):
    reader = Reader(text)
    assert reader.open == []
    assert not {"script", "link", "img", "iframe", "base", "object"} & set(reader.tags)
    assert all(link.startswith("#") for link in reader.links)
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"@import|https?://(?!www\.w3\.org)", text)
    assert len(reader.ids) == len(set(reader.ids))


def test_the_page_has_the_style_of_the_report(text):
    assert "prefers-color-scheme: dark" in text
    assert "max-width: 40rem" in text
    assert "{%" not in text
    assert "{{" not in text


def test_every_defence_and_comparison_is_on_the_page(text, one_seed):
    for defence in one_seed.defences:
        assert f"<h3>{defence}</h3>" in text
        assert f'aria-label="tradeoff strength {defence.replace("_", " ")}"' in text
    for title in ("equal strength", "equal ε", "equal attack success"):
        assert f"At {title}</h3>" in text
    for word in ("add-or-remove", "replace-one", "accounted", "nominal", "analytic", "interpolated", "γ"):
        assert word in text
    assert "accounted: a sentence on how." in text
    assert ">None<" not in text
    assert ">nan" not in text.lower()


def test_one_family_and_no_audit_leave_no_empty_headings(make):
    text = rendered(make(families=("mlp",), audited=False))
    assert "Families compared" not in text
    assert "What was proven against it" not in text
    assert "What is promised" in text
    bare = rendered(
        dataclasses.replace(make(families=("mlp",), audited=False), privacy=[], facts={}, config={})
    )
    assert "Theory and practice" not in bare
    assert "How to reproduce" not in bare


def test_several_seeds_are_said(many_seeds, text):
    pooled = rendered(many_seeds)
    assert "each for 4 seeds with a pool of its own" in pooled
    assert "means over 4 seeds with 95% intervals" in pooled
    assert "1 seed: differences between families have no interval over pools" in text
    assert "1 seed: differences" not in pooled


def test_contrasts_are_on_the_page_with_their_intervals(one_seed, row):
    pair = {"family_a": "lstm", "family_b": "mlp", "defence": "l2"}
    some = [
        pair
        | {"what": "auc_gain", "attack": "lira_online", "strength": 0.01}
        | row.contrast(0.2, 0.05, 0.01),
        pair | {"what": "auc_gain", "attack": "loss", "strength": 0.01} | row.contrast(0.9, 0.8, 0.01),
        pair | {"what": "accuracy_loss", "attack": "", "strength": 0.01} | row.contrast(0.031, 0.011, 0.004),
        pair
        | {"what": "auc_gain", "attack": "lira_online", "strength": "mean"}
        | row.contrast(0.3, 0.1, 0.02),
        pair
        | {"what": "accuracy_at_auc", "attack": "lira_online", "auc": 0.6}
        | row.contrast(0.7, 0.75, 0.02),
        pair | {"what": "accuracy_at_auc", "attack": "loss", "auc": 0.6} | row.contrast(0.1, 0.2, 0.02),
    ]
    rows = dataclasses.replace(one_seed, contrasts=some)
    first, mean = tables.gains(differences.gains(rows)).rows
    assert [cell.value for cell in first] == ["l2 0.01", "+0.200", "+0.050", "+0.150", "+3.1", "+1.1", "+2.0"]
    assert (first[3].interval, first[6].interval) == ("+0.140 to +0.160", "+1.6 to +2.4")
    assert [cell.value for cell in mean[:4]] == ["l2 mean", "+0.300", "+0.100", "+0.200"]
    (kept,) = tables.kept_at_auc(differences.kept(rows)).rows
    assert [cell.value for cell in kept] == ["l2", "0.60", "70.0%", "75.0%", "-5.0"]
    assert kept[4].interval == "-7.0 to -3.0"
    text = rendered(rows)
    assert "At equal AUC</h3>" in text
    assert "over the models and records of this pool" in text
    assert "over the models and records" not in rendered(one_seed)


def test_nothing_usable_still_makes_a_page(make):
    rows = make(strengths={})
    Reader(rendered(rows))
    nothing = [row | {"auc": None, "auc_low": None, "auc_high": None} for row in rows.results]
    Reader(rendered(dataclasses.replace(rows, results=nothing)))
    Reader(rendered(dataclasses.replace(rows, results=[], utility=[])))


def test_hostile_names_are_text(make, tmp_path):
    base = make(families=(EVIL, "mlp"), strengths={EVIL: [0.1, 1.0], "dp_sgd": [1.0, 4.0]})
    rows = dataclasses.replace(
        base,
        title=EVIL,
        results=[row | {"attack": f"{row['attack']}{EVIL}$x_$"} for row in base.results],
        privacy=[
            row | {"meaning": EVIL, "unit": EVIL, "relation": f"{row['relation']}{EVIL}"}
            for row in base.privacy
        ],
        audits=[row | {"meaning": EVIL, "relation": f"{row['relation']}{EVIL}"} for row in base.audits],
        facts={EVIL: EVIL},
        config={EVIL: EVIL},
    )
    text = writing.write_tradeoff(rows, tmp_path).read_text(encoding="utf-8")
    reader = Reader(text)
    assert "script" not in reader.tags
    assert reader.open == []
    assert text.count("&lt;script&gt;") > 40
    assert all(re.fullmatch(r"\w+\.(svg|png)", file.name) for file in (tmp_path / "figures").iterdir())


def test_a_page_that_would_be_too_heavy_says_what_it_leaves_out(one_seed, monkeypatch):
    monkeypatch.setattr(page, "ROOM", 200)
    text = rendered(one_seed)
    assert "<svg" not in text
    assert "see figures/tradeoff_strength_l2.svg" in text


def test_long_tables_are_folded(one_seed, monkeypatch):
    monkeypatch.setattr(page, "UNFOLDED", 3)
    compared = matching.comparisons(one_seed)
    text = page.render(one_seed, {}, compared)
    assert f"<summary>{len(compared['equal_strength'])} rows</summary>" in text


def test_infinite_epsilons_stay_infinite_in_files(one_seed, tmp_path):
    privacy = [one_seed.privacy[0] | {"epsilon": math.inf}, one_seed.privacy[1] | {"epsilon": None}]
    writing.write_tradeoff(dataclasses.replace(one_seed, privacy=privacy), tmp_path)
    whole = json.loads((tmp_path / "tradeoff.json").read_text(), parse_constant=pytest.fail)
    assert [row["epsilon"] for row in whole["privacy"]] == ["inf", None]
    assert whole["config"]["limit"] == "inf"
    assert whole["over_seeds"]["utility"][0]["seeds"] == 1
    with open(tmp_path / "tradeoff_privacy.csv", newline="") as file:
        assert [row["epsilon"] for row in csv.DictReader(file)] == ["inf", ""]


def test_numbers_of_the_comparisons_are_in_the_files(written, one_seed):
    with open(written.parent / "tradeoff_equal_strength.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = matching.equal_strength(one_seed)
    assert len(rows) == len(expected)
    assert float(rows[1]["auc_gain_difference"]) == expected[1]["auc_gain_difference"]
    assert rows[1]["auc_difference_low"] == ""


def test_what_an_earlier_study_left_is_removed_and_nothing_else(make, tmp_path):
    writing.write_tradeoff(make(strengths={"l2": [0.1], "dp_sgd": [1.0, 2.0]}), tmp_path)
    (tmp_path / "figures" / "mine.svg").write_text("mine")
    (tmp_path / "tradeoff_notes.csv").write_text("mine")
    small = make(families=("mlp",), strengths={"l2": [0.1]}, audited=False)
    writing.write_tradeoff(small, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "figures",
        "tradeoff.html",
        "tradeoff.json",
        "tradeoff_notes.csv",
        "tradeoff_results.csv",
        "tradeoff_utility.csv",
    }
    assert {file.name for file in tmp_path.glob("figures/*.svg")} == {
        "mine.svg",
        "tradeoff_curves.svg",
        "tradeoff_strength_l2.svg",
    }


def test_the_same_rows_give_the_same_bytes(make, tmp_path):
    rows = make(strengths={"dp_sgd": [1.0, 2.0]})
    first, second = (writing.write_tradeoff(rows, tmp_path / name) for name in "ab")
    for file in sorted(first.parent.rglob("*.*")):
        assert file.read_bytes() == (second.parent / file.relative_to(first.parent)).read_bytes(), file.name


def test_a_failing_disk_leaves_the_older_study(make, tmp_path, monkeypatch):
    writing.write_tradeoff(make(families=("mlp",), strengths={"l2": [0.1]}), tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        writing.write_tradeoff(make(families=("lstm",), strengths={"l2": [0.1]}), tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*")} == before


def test_importing_rows_tables_and_writing_draws_nothing():
    code = "import sys, mia_jax.tradeoff.writing, mia_jax.tradeoff.tables, mia_jax.tradeoff.matching; "
    code += "print({'matplotlib', 'jinja2'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
