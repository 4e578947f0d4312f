"""The page: what is on it, and that nothing of the data can break out of it."""

import functools
import html.parser
import json
import pathlib
import re

import pytest

from mia_jax.dynamics_study import page
from mia_jax.dynamics_study.page import html_tables, rendering
from mia_jax.dynamics_study.rows import CURVES, NUMBERS, Claim, Interval

VOID = ("meta", "link", "br", "img", "wbr", "input")
SVG = '<?xml version="1.0"?><svg width="9pt" viewBox="0 0 9 9"><g id="a"><path d="M 1.2345 2"/></g></svg>'


class Reader(html.parser.HTMLParser):
    """Collects tags, ids, links, headings, scripts and words, and whether tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.open = [], [], [], []
        self.headings, self.scripts, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("h1", "h2"):
            self.headings.append("")
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open:
            return
        if self.open[-1] in ("h1", "h2"):
            self.headings[-1] += data
        if self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def text(study):
    return page.render(study, {"dynamics_planes": SVG, "dynamics_transitions_mlp_sgd": SVG, "my_own": SVG})


@pytest.fixture(scope="module")
def read(text):
    return Reader(text)


def test_the_sections_stand_in_their_order(read, study):
    assert read.headings == [
        study.title,
        "Claims",
        "The arms",
        "Every record, through training",
        "Figures",
        "How to read it",
        "Limits",
        "How to reproduce",
    ]
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))


def test_facts_claims_and_the_config_are_there(read, study):
    for name, value in study.facts.items():
        assert f"{name} {value}" in read.text
    for claim in study.claims:
        assert f"{claim.words} {claim.verdict.capitalize()}." in read.text
        assert all(sentence in read.text for sentence in claim.evidence)
    assert '"batch": 32' in read.text
    assert all(f"{meaning.title}: {meaning.says}." in read.text for meaning in CURVES.values())


def test_the_page_loads_nothing(text, read):
    assert not {"link", "img", "iframe", "base", "object", "embed"} & set(read.tags)
    assert read.links == []  # not even a place in the page itself
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"@import|https?://(?!www\.w3\.org)", text)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|sendBeacon|import)\s*\(", text)
    assert "default-src 'none'" in text


def test_there_are_two_scripts_data_and_code(read):
    data, code = read.scripts
    assert len(json.loads(data)["arms"]) == 3
    assert "window.explorer" in code


def test_the_code_finds_all_that_it_looks_for_and_cannot_be_cut_short(read):
    code = read.scripts[1]
    assert not re.search(r"</?script|<!--|innerHTML|insertAdjacentHTML|document\.write|\beval\b", code, re.I)
    assert set(re.findall(r'byId\("([^"]+)"\)', code)) <= set(read.ids)


def test_every_file_of_the_explorer_is_in_the_script_and_no_name_stands_twice(read):
    folder = pathlib.Path(rendering.__file__).parent / "explorer"
    files = {path.stem: path.read_text("utf-8") for path in folder.glob("*.js")}
    assert set(rendering.SCRIPTS) == set(files)
    assert len(rendering.SCRIPTS) == len(files)
    names = [
        name for text in files.values() for name in re.findall(r"^(?:const|let|function) (\w+)", text, re.M)
    ]
    assert len(names) > 100
    assert len(names) == len(set(names))
    places = [read.scripts[1].index(files[name]) for name in rendering.SCRIPTS]
    assert places == sorted(places)


def test_with_few_arms_each_is_a_column_with_its_numbers(study):
    table = html_tables.arms_table(study)
    assert [head.value for head in table.heads] == ["Measure", "mlp · sgd", "lstm · sgd", "mlp · adam"]
    titles = [row[0].value for row in table.rows]
    assert titles == [meaning.title for name, meaning in NUMBERS.items() if name in study.arms[0].numbers]
    high = table.rows[titles.index("High at the end")]
    for cell, arm in zip(high[1:], study.arms, strict=True):
        assert float(cell.value) == pytest.approx(arm.numbers["high"].value, abs=1e-3)
        low, top = map(float, cell.interval.split(" to "))
        assert (low, top) == pytest.approx(arm.numbers["high"][1:], abs=1e-3)
    assert table.rows[titles.index("Path length")][1].interval == ""


def test_with_many_arms_each_is_a_row(many_arms):
    table = html_tables.arms_table(many_arms)
    assert [head.value for head in table.heads[:3]] == ["Family", "Optimizer", "Vulnerability"]
    assert (table.names, len(table.rows)) == (2, 24)
    assert {len(row) for row in table.rows} == {len(table.heads)}
    assert [row[0].value for row in table.rows] == [arm.factors["family"] for arm in many_arms.arms]


def test_a_number_that_an_arm_lacks_is_said_to_be_none(study):
    lacking = study.arms[0]._replace(numbers={"vulnerability": Interval(0.25, 0.2, 0.3)})
    rows = html_tables.arms_table(study._replace(arms=(lacking, *study.arms[1:]))).rows
    assert [row[1].value for row in rows if row[0].value != "Vulnerability"] == ["none"] * (len(rows) - 1)
    assert all(row[2].value != "none" for row in rows)


def test_early_warning_and_other_decisions_are_folded_tables(read, one_arm):
    assert read.text.count("Of records listed early") == 1
    assert "Precision" in read.text
    assert "0.410 to 0.450" in read.text
    bare = one_arm._replace(arms=(one_arm.arms[0]._replace(foretold={}, also=()),))
    found = Reader(page.render(bare, {}))
    assert "Early warning" not in found.text
    assert "Other decisions" not in found.text


def test_figures_have_captions_and_sizes_of_the_page(text, read):
    assert text.count("<svg ") == 3
    assert 'id="figure-1-a"' in text
    assert "Every record on the FPR-TPR plane at first, early and at the end." in read.text
    assert "it is dotted, the cuts of vulnerability are dashed" in read.text
    assert "Arm: mlp sgd." in read.text
    assert "My own." in read.text


def test_a_figure_that_does_not_fit_is_left_out_by_name(study, monkeypatch):
    monkeypatch.setattr(rendering, "ROOM", len(SVG))
    found = page.render(study, {"dynamics_curves": SVG.replace("M 1", "M " + "1 " * 400)})
    assert "<svg" not in found
    assert "see figures/dynamics_curves.svg" in found


def test_everything_from_outside_is_escaped(study, evil, make_arm):
    arm = make_arm({"family": evil, evil: "level"})._replace(
        who=evil, pool=evil, also=({"attack": evil, evil: 1.0},), foretold={evil: evil}
    )
    rows = study._replace(
        title=evil,
        arms=(arm,),
        claims=(Claim(1, evil, "supported", (evil,)),),
        facts={evil: evil},
        config={evil: {"deep": evil}},
        shown={},
    )
    found = page.render(rows, {"dynamics_" + evil: SVG})
    read = Reader(found)
    assert read.open == []
    assert read.tags.count("script") == 2
    assert "img" not in read.tags
    assert evil not in found
    assert json.loads(read.scripts[0])["arms"][0]["name"] == arm.name
    assert read.text.count("onerror=alert(1)") >= 10


def test_a_study_of_one_arm_without_claims(one_arm):
    read = Reader(page.render(one_arm, {}))
    assert "Claims" not in read.headings
    assert "Figures" not in read.headings
    assert "In 1 arm, 64 models each were trained" in read.text


def test_a_study_without_arms_has_a_page(one_arm):
    read = Reader(page.render(one_arm._replace(arms=(), shown={}), {}))
    assert "No arm has come to its end yet." in read.text
    assert "script" not in read.tags
    assert read.open == []


def test_what_is_left_out_of_the_explorer_is_said(study, read, monkeypatch):
    assert "Not every checkpoint is on the plane" not in read.text
    assert "only the most exposed are on this page" not in read.text
    small = functools.partial(rendering.payload.payload, rates_room=8_000, shown_room=640)
    monkeypatch.setattr(rendering.payload, "payload", small)
    thin = Reader(page.render(study, {})).text
    assert "Not every checkpoint is on the plane" in thin
    assert "only the most exposed are on this page" in thin
