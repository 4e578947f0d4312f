"""The page and the figures in it."""

import dataclasses
import html.parser
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from mia_jax.report import atomic, figures, page, sections, write_report, writing
from mia_jax.report.inputs import AttackCard, Curve
from mia_jax.report.marks import log_path
from mia_jax.runs.contents import REPORTS

EVIL = "<script>alert('x')</script>"


class Reader(html.parser.HTMLParser):
    """Collects what the tests ask about: tags, ids, links, and whether tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [
            value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")
        ]
        if tag not in ("meta", "link", "br", "img", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def written(inputs, tmp_path_factory):
    directory = tmp_path_factory.mktemp("report")
    return write_report(inputs, directory)


@pytest.fixture(scope="module")
def text(written):
    return written.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def full(many, tmp_path_factory):
    """The folder of a report with everything in it."""
    rows = [{"record": 0, "label": 3, "loss_auc": 2 / 3, "loss_se": float("nan")}]
    promises = [
        {
            "defence": "dp_sgd",
            "unit": "record",
            "relation": relation,
            "epsilon": epsilon,
            "delta": 1e-5,
            "meaning": "Poisson sampling",
        }
        for relation, epsilon in (("add-or-remove", 7.25), ("replace-one", None))
    ]
    inputs = dataclasses.replace(many, vulnerability={"lstm": rows, "mlp": rows}, promises=promises)
    return write_report(inputs, tmp_path_factory.mktemp("many")).parent


@pytest.fixture(scope="module")
def full_text(full):
    return (full / "report.html").read_text(encoding="utf-8")


def test_promises_stand_beside_what_audits_of_the_same_relation_and_delta_prove(full_text, many):
    table = full_text[full_text.index("What the defences promise") : full_text.index("<h2>Audit</h2>")]
    assert "<strong>7.25</strong>" in table
    assert "<strong>none</strong>" in table
    promise = {"unit": "record", "relation": "add-or-remove", "delta": 1e-5, "epsilon": 7.25}
    inputs = dataclasses.replace(many, promises=[promise])
    same = {"relation": "add-or-remove", "delta": 1e-5}
    assert sections.promised(inputs, same) == 7.25
    assert sections.promised(inputs, same | {"delta": 1e-6}) is None
    assert sections.promised(inputs, same | {"relation": "replace-one"}) is None
    of_labels = dataclasses.replace(many, promises=[promise | {"unit": "label"}])
    assert sections.promised(of_labels, same) is None


def test_every_file_is_there(written):
    names = {str(file.relative_to(written.parent)) for file in written.parent.rglob("*") if file.is_file()}
    drawn = ("exposure_by_attack", "roc", "exposure_over_training", "score_distributions")
    expected = {f"figures/{name}.{kind}" for name in drawn for kind in ("svg", "png")}
    assert names == expected | {"report.html", "results.json", "results.csv", "utility.csv"}
    for file in written.parent.glob("figures/*.png"):
        assert file.read_bytes().startswith(b"\x89PNG")
    for file in written.parent.glob("figures/*.svg"):
        ET.parse(file)


def test_tables_that_may_be_empty_are_written_where_they_have_rows(full):
    names = {file.name for file in full.iterdir()}
    assert names == set(REPORTS)
    assert {file.name for file in (full / "vulnerability").iterdir()} == {"lstm.csv", "mlp.csv"}
    text = (full / "vulnerability" / "lstm.csv").read_text()
    assert text == "record,label,loss_auc,loss_se\n0,3,0.666667,\n"
    assert len((full / "slices.csv").read_text().splitlines()) == 841
    assert (full / "privacy.csv").read_text().splitlines()[1].startswith("dp_sgd,record,add-or-remove,7.25,")
    assert (full / "audit.csv").read_text().startswith("family,method,relation,epsilon,ceiling,delta,")


def test_what_an_earlier_report_left_is_removed_and_nothing_else(full, make, tmp_path):
    shutil.copytree(full, tmp_path, dirs_exist_ok=True)
    (tmp_path / "notes.txt").write_text("mine")
    small = make({"mlp": {"loss": (0.6, 0)}}, checkpoints=1, size=300)
    write_report(dataclasses.replace(small, vulnerability={"mlp": [{"record": 0}]}), tmp_path)
    assert [file.name for file in (tmp_path / "vulnerability").iterdir()] == ["mlp.csv"]
    assert not (tmp_path / "audit.csv").exists()
    assert not (tmp_path / "slices.csv").exists()
    assert len(list((tmp_path / "figures").iterdir())) == 6
    write_report(dataclasses.replace(small, utility=[]), tmp_path)
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"figures", "report.html", "results.json", "results.csv", "notes.txt"}


@pytest.mark.parametrize("page_text", ["text", "full_text"])
def test_the_page_needs_no_network_and_no_script(page_text, request):
    text = request.getfixturevalue(page_text)
    reader = Reader(text)
    assert reader.open == []
    assert not {"script", "link", "img", "iframe", "base", "object"} & set(reader.tags)
    assert all(link.startswith("#") for link in reader.links)
    without_namespace = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "http" not in without_namespace
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert len(text) < 1_500_000


@pytest.mark.parametrize("page_text", ["text", "full_text"])
def test_ids_are_unique_and_every_reference_has_its_target(page_text, request):
    text = request.getfixturevalue(page_text)
    reader = Reader(text)
    assert len(reader.ids) == len(set(reader.ids))
    targets = {link[1:] for link in reader.links} | set(re.findall(r"url\(#([^)]*)\)", text))
    targets |= set(re.findall(r'aria-labelledby="([^"]*)"', text))
    assert targets <= set(reader.ids)


def test_inline_figures_are_xml_and_labelled(text):
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(drawings) == 4
    for drawing in drawings:
        root = ET.fromstring(drawing)
        assert root.get("role") == "img"
        assert root.get("viewBox")
        assert root.get("width") is None


def test_the_page_has_its_parts_in_order(text, inputs):
    parts = [
        "What was found",
        "How sure it is",
        "What it means",
        "<h2>What was run",
        "<h2>Accuracy",
        "<h2>Attacks",
    ]
    parts += ["<h2>Figures", "<h2>Who holds what", "<h2>How to reproduce"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    for card in inputs.attacks.values():
        assert card.title in text
    assert inputs.command in text
    assert text.count("<caption>") == text.count("<table>") == 4
    assert 'name="viewport"' in text


def test_every_section_has_its_place(full_text):
    parts = ["What was found", ">Notes<", "<h2>Attacks", "Of the 35 attacks", "The other attacks"]
    parts += ["Advantage and positive predictive value", "Differences between families"]
    parts += ["Attacks that were not run", "<h2>Groups of records", "<h2>The most exposed records"]
    parts += [
        "<h2>What the defences promise",
        "<h2>Audit",
        "What an audit can and cannot prove",
        "<h2>Figures",
        "<h2>Who holds what",
    ]
    places = [full_text.index(part) for part in parts]
    assert places == sorted(places)
    assert "needs step_logits, which were not recorded" in full_text
    assert "Records" in full_text
    assert full_text.count("<li>Holds for the training that made this model.</li>") == 1
    assert full_text.count("<caption>") == full_text.count("<table>")
    assert full_text.count("with 95% intervals") > 4


def test_all_attacks_are_on_the_page_most_of_them_folded(full_text, many):
    for name in many.attack_names:
        words = full_text.replace("<wbr>", "")
        assert words.count(f"<code>{name}</code>") + words.count(f">{name}</th>") >= 2
    assert len(re.findall("<details>", full_text)) == 10


def test_what_is_empty_has_no_section(text, full_text):
    for part in ("Groups of records", "most exposed records", ">Audit<", "were not run", ">Notes<"):
        assert part not in text
    for part in ("slices.csv", "audit.csv", "vulnerability", "Advantage", "Adjusted p", "The other attacks"):
        assert part in full_text
        assert part not in text


def test_groups_beyond_the_room_of_a_page_are_left_to_the_file(many, slices_of):
    inputs = dataclasses.replace(many, slices=slices_of(many, 300))
    text = page.render(inputs, {})
    assert "What is not shown here is in slices.csv." in text
    assert text.count('class="group"') <= 1_000
    assert len(text) < 800_000
    assert "290 more groups under" in text


def test_somebodys_own_arrays_make_a_page(own):
    text = page.render(own, {})
    assert "Attacks were run on given arrays" in text
    assert "were trained, each on" not in text
    assert "Accuracy and generalisation gap" not in text
    assert "size unknown" not in text
    assert 'class="family"' not in text
    assert "member held 0/1 integers, taken as such." in text
    words = text.replace("<wbr>", "")
    assert "<code>gradient_norm</code>, <code>embedding_norm</code>: needs arrays that are not there" in words
    bare = dataclasses.replace(own, config={}, environment={}, data_facts={}, command="", attacks={})
    Reader(page.render(bare, {}))


def test_somebodys_own_accuracies_have_no_columns_that_say_nothing(own):
    row = {"family": "own", "checkpoint": 0, "epoch": 0, "models": 32}
    row |= {"train_accuracy": 0.99, "test_accuracy": 0.9, "gap": 0.09}
    text = page.render(dataclasses.replace(own, utility=[row]), {})
    assert "<h2>Accuracy and generalisation gap" in text
    assert ">Models<" in text
    assert ">Parameters<" not in text
    assert ">Epoch<" not in text


def test_the_same_inputs_give_the_same_bytes(make, tmp_path):
    small = make({"mlp": {"loss": (0.6, 0)}}, checkpoints=2, size=400)
    first, second = write_report(small, tmp_path / "a"), write_report(small, tmp_path / "b")
    for file in sorted(first.parent.rglob("*.*")):
        assert file.read_bytes() == (second.parent / file.relative_to(first.parent)).read_bytes(), file.name


def test_hostile_names_are_text(make):
    base = make({EVIL: {"loss": (0.65, 0)}}, checkpoints=2, size=400)
    config = base.config | {"data": {"source": EVIL}, "name": EVIL}
    card = AttackCard(f"{EVIL} $x_$ -->", EVIL, EVIL)
    values = base.__dict__ | {"config": config, "title": EVIL, "attacks": {"loss": card}, "command": EVIL}
    values |= {
        "data_facts": {EVIL: [EVIL]},
        "environment": {EVIL: EVIL, "started": EVIL},
        "diverged": {EVIL: [1]},
    }
    hostile = type(base)(**values)
    drawn = {name: figures.to_svg(figure, name) for name, figure in writing.draw(hostile).items()}
    for svg in drawn.values():
        ET.fromstring(svg)
    text = page.render(hostile, drawn | {f'"{EVIL}': next(iter(drawn.values()))})
    reader = Reader(text)
    assert "script" not in reader.tags
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert text.count("&lt;script&gt;") > 20


def test_odd_values_are_shown_as_such(change):
    text = page.render(change(**{"tpr_at_fpr_0.001": None, "balanced_accuracy": float("nan")}), {})
    assert "not estimable" in text
    assert "not computed" in text
    assert ">nan" not in text.lower()
    assert "None" not in text


def test_hostile_names_in_every_new_table_are_text(make, slices_of, audits_of):
    base = make({EVIL: {"loss": (0.65, 0)}}, checkpoints=2, size=400)
    record = {"record": EVIL, "label": EVIL, "attack": EVIL, "times_in": 3, "times_out": 4}
    record |= {"auc": 0.9, "auc_error": 0.1, "tpr": None, "fpr": float("nan")}
    rows = [row | {"slice": EVIL, "value": f"{EVIL}{row['value']} $x_$"} for row in slices_of(base)]
    audits = [row | {"method": EVIL, "relation": EVIL, "meaning": EVIL} for row in audits_of([EVIL])]
    values = {"slices": rows, "audits": audits, "exposed": {EVIL: [record]}, "notes": [EVIL]}
    values |= {"skipped": {EVIL: {EVIL: EVIL}}, "vulnerability": {EVIL: [{"record": 1}]}}
    hostile = dataclasses.replace(base, **values)
    drawn = {name: figures.to_svg(figure, name) for name, figure in writing.draw(hostile).items()}
    assert "exposure_by_group" in drawn
    for svg in drawn.values():
        ET.fromstring(svg)
    text = page.render(hostile, drawn)
    reader = Reader(text)
    assert "script" not in reader.tags
    assert reader.open == []
    assert text.count("&lt;script&gt;") > 40


@pytest.mark.parametrize("families", [1, 6])
def test_studies_of_another_shape(make, tmp_path, families):
    exposure = {
        f"family_{i}": {f"attack_{j}": (0.6 + 0.01 * j, 0.01) for j in range(3)} for i in range(families)
    }
    written = write_report(make(exposure, checkpoints=1, size=300), tmp_path)
    Reader(written.read_text(encoding="utf-8"))
    assert not (tmp_path / "figures" / "exposure_over_training.svg").exists()


def test_a_page_that_would_be_too_heavy_says_what_it_leaves_out(inputs, monkeypatch):
    monkeypatch.setattr(page, "ROOM", 200)
    text = page.render(
        inputs, {"roc": '<?xml version="1.0"?>\n<svg viewBox="0 0 1 1">' + "<g/>" * 100 + "</svg>"}
    )
    assert "<svg" not in text
    assert "see figures/roc.svg" in text


def test_nothing_usable_still_makes_a_page(make, tmp_path):
    base = make({"mlp": {"loss": (0.6, 0)}}, checkpoints=1, size=300)
    nothing = {key: None for key in base.results[0] if key.startswith(("auc", "tpr", "target", "balanced"))}
    values = base.__dict__ | {
        "results": [base.results[0] | nothing | {"targets": 0}],
        "curves": {},
        "histograms": {},
    }
    text = write_report(type(base)(**values), tmp_path).read_text(encoding="utf-8")
    assert "No attack gave a usable result" in text
    assert "<h2>Figures" not in text


def test_a_failing_disk_leaves_the_older_report(make, tmp_path, monkeypatch):
    old = make({"mlp": {"loss": (0.6, 0)}}, checkpoints=1, size=300)
    written = write_report(old, tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_report(make({"lstm": {"loss": (0.7, 0)}}, checkpoints=1, size=300), tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*")} == before
    assert written.exists()


def test_tied_scores_are_drawn_on_the_chord_not_on_a_straight_line_in_logarithms():
    x, y = log_path(Curve(np.array([0.0, 0.0, 0.5, 1.0]), np.array([0.0, 0.1, 0.6, 1.0])), 1e-3)
    assert np.all(np.diff(x) >= 0)
    assert np.all(np.diff(y) >= 0)
    np.testing.assert_allclose(np.interp(0.05, x, y), 0.15, atol=0.002)
    assert x.min() > 0
    assert y.min() > 0


def test_importing_the_report_does_not_import_matplotlib_or_jinja():
    code = "import sys, mia_jax.report; print({'matplotlib', 'jinja2', 'rich', 'jax'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
