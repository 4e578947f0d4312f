"""The explorer in a real browser: a script of the test acts on the page and writes down what it saw."""

import html
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest

from mia_jax.dynamics_study import page
from mia_jax.dynamics_study.rows import Shown

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1600",
    "--virtual-time-budget=20000",
    "--dump-dom",
]

WATCH = """<script>
window.wrong = [];
addEventListener("error", (event) => wrong.push(String(event.message)), true);
addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => wrong.push("policy: " + event.blockedURI));
console.error = (...words) => wrong.push(words.join(" "));
</script>"""

ACT = """<script>(async () => {
const saw = {};
const id = (name) => document.getElementById(name);
const wait = (time) => new Promise((done) => setTimeout(done, time));
const draw = () => explorer.draw();
const panel = (arm) => explorer.panels.get(arm).canvas;
const all = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
const print = (canvas) => all(canvas).reduce((sum, value, i) => (sum * 31 + value * (i % 251 + 1)) % 2147483647, 7);
const set = (name, value, event) => {
  id(name).value = value;
  id(name).dispatchEvent(new Event(event, { bubbles: true }));
  draw();
};
const slide = (to) => set("time", to, "input");
const pick = (name, value) => set(name, value, "change");
const clickAt = (canvas, x, y) => {
  const box = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new MouseEvent("click", { clientX: box.left + x, clientY: box.top + y, bubbles: true }));
  draw();
};
const key = (target, name) => {
  target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
  draw();
};
const chosen = () => explorer.state.chosen.map((one) => one.row);
const first = (selector) => document.querySelector(selector);
const every = (selector) => [...document.querySelectorAll(selector)];
const forget = () => {
  while (first("#cards button")) first("#cards button").click();
  draw();
};
const channel = (canvas, which) => [...all(canvas)].filter((_, i) => i % 4 === which);
const listed = () => every("#ranking li:not([hidden]) button").map((button) => Number(button.dataset.row));
try { %s } catch (error) { wrong.push(String(error.stack || error)); }
saw.wrong = wrong;
saw.loads = performance.getEntriesByType("resource").length;
const seen = document.createElement("pre");
seen.id = "seen-by-the-test";
seen.textContent = JSON.stringify(saw);
document.body.append(seen);
})();</script>"""


def seen(text, script, folder):
    """What a script wrote into `saw` on a page; nothing went wrong and nothing was loaded."""
    text = text.replace("<head>", "<head>" + WATCH, 1)
    path = folder / "page.html"
    path.write_text(text.replace("</body>", ACT.replace("%s", script) + "</body>"), encoding="utf-8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="seen-by-the-test">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page was not finished: {done.stdout[-300:]} {done.stderr[-600:]}"
    saw = json.loads(html.unescape(found.group(1)))
    assert saw.pop("wrong") == []
    assert saw.pop("loads") == 0
    return saw


TOUR = """
draw();
saw.title = document.title;
saw.hidden = id("explorer").hidden;
saw.at_first = { at: explorer.state.at, when: id("when").textContent, chosen: chosen(), panels: explorer.panels.size };
saw.live = id("when").getAttribute("aria-live");
forget();

id("spread").click(); draw();
const places = (arm) => Array.from({ length: explorer.arms[arm].pool.records }, (_, row) => explorer.pointOf(arm, row));
saw.geometry = explorer.panels.get(0).geometry;
saw.ends = places(0);
const painted = (places) => places.filter((p) => {
  const ratio = saw.geometry.dpr;
  const context = panel(0).getContext("2d");
  const [r, g, b, a] = context.getImageData(Math.round(p.x * ratio), Math.round(p.y * ratio), 1, 1).data;
  return a === 255 && (r < 250 || g < 250 || b < 250);
}).length / places.length;
saw.painted = painted(saw.ends);
saw.painted_aside = painted(saw.ends.map(({ x, y }) => ({ x: saw.geometry.width - x, y: saw.geometry.height - y })));
saw.print_at_end = print(panel(0));
const chart = explorer.charts.get("vulnerability");
saw.line_at_end = chart.lineAt;
saw.chart_at_end = print(chart.canvas);
slide(0);
saw.firsts = places(0);
saw.when_first = id("when").textContent;
saw.valuetext = id("time").getAttribute("aria-valuetext");
saw.print_at_first = print(panel(0));
saw.line_at_first = chart.lineAt;
saw.chart_at_first = print(chart.canvas);
saw.words_at_first = panel(0).getAttribute("aria-label");
slide(5);
saw.print_in_between = print(panel(0));
slide(explorer.state.timeline.length - 1);
saw.print_at_end_again = print(panel(0));
id("spread").click(); draw();

document.querySelectorAll("#arms input")[2].click(); draw();
saw.with_third = { panels: explorer.panels.size, timeline: explorer.state.timeline, epoch: id("when").textContent };
// A canvas that is read often is drawn by other means, whose edges differ by a shade.
for (let i = 0; i < 4; i++) { [0, 1, 2].forEach((arm) => all(panel(arm))); draw(); }
const before = [0, 1, 2].map((arm) => print(panel(arm)));
const points = places(0).map((p, row) => ({ ...p, row }));
for (const p of points) p.far = Math.min(...points.map((q) => (q === p ? 1e9 : (p.x - q.x) ** 2 + (p.y - q.y) ** 2)));
const lone = points.reduce((best, p) => (p.far > best.far ? p : best));
clickAt(panel(0), lone.x + 2, lone.y - 1);
saw.picked = { wanted: lone.row, chosen: chosen() };
saw.changed = [0, 1, 2].map((arm) => print(panel(arm)) !== before[arm]);
saw.card = document.querySelector("#cards article").innerText;
const thumb = document.querySelector("#cards canvas");
saw.thumb = { width: thumb.width, height: thumb.height, red: channel(thumb, 0) };
saw.thumb_label = thumb.getAttribute("aria-label");
clickAt(panel(0), lone.x, lone.y);
saw.after_second_click = chosen();
clickAt(panel(0), 2, 2);
saw.after_click_on_nothing = chosen();

id("record").value = "7"; id("choose").requestSubmit(); draw();
saw.by_number = chosen();
id("record").value = "300"; id("choose").requestSubmit();
saw.refused = { words: id("refused").textContent, chosen: chosen() };
saw.ranking = listed();
document.querySelectorAll("#ranking button")[3].click(); draw();
saw.from_ranking = chosen();
saw.pressed = document.querySelectorAll("#ranking button")[3].getAttribute("aria-pressed");
document.querySelector("#cards button").click(); draw();
saw.after_removal = chosen();
slide(2); pick("listed-when", "shown");
saw.ranking_shown = listed();
saw.epoch_ranked = explorer.state.timeline[explorer.state.at];
pick("of-arm", "2");
saw.other_pool = explorer.choose(11); draw();
saw.cards = every("#cards article h4").map((heading) => heading.textContent);
const strips = every("#cards canvas");
const opaque = channel(strips[1], 3).map((alpha) => alpha === 255);
saw.strip = { width: strips[1].width, height: strips[1].height, opaque };
forget();

const colours = {};
for (const option of id("colour").options) { pick("colour", option.value); colours[option.value] = print(panel(0)); }
saw.colours = colours;
pick("colour", "class");
saw.classes = [...document.querySelectorAll("#scale button")].map((b) => b.textContent);
const everyone = print(panel(0));
document.querySelectorAll("#scale button")[4].click(); draw();
saw.highlighted = { state: explorer.state.highlighted, changed: print(panel(0)) !== everyone };
pick("colour", "vulnerability");
saw.scale = id("scale").textContent;

slide(0);
const speed = explorer.charts.get("speed");
const box = speed.canvas.getBoundingClientRect();
const share = (epoch) => { slide(explorer.state.timeline.indexOf(epoch)); return speed.lineAt; };
saw.lines = explorer.state.timeline.map(share);
const target = explorer.state.timeline[4];
const x = share(target); slide(0);
clickAt(speed.canvas, x, box.height / 2);
saw.clicked = { wanted: target, epoch: explorer.state.timeline[explorer.state.at], slider: Number(id("time").value) };
saw.speed_words = speed.words.textContent;
saw.charts = [...explorer.charts.keys()];
document.querySelectorAll("#curves input")[1].click(); draw();
saw.charts_after = explorer.state.curves;
saw.drawn = every("#charts h4").length;

slide(3);
key(panel(0), "ArrowRight"); saw.right = explorer.state.at;
key(panel(0), "ArrowLeft"); key(panel(0), "ArrowLeft"); saw.left = explorer.state.at;
key(panel(0), "End"); saw.end = explorer.state.at - explorer.state.timeline.length;
key(id("record"), "Home"); saw.in_a_field = explorer.state.at - explorer.state.timeline.length;
key(panel(0), "Home"); saw.home = explorer.state.at;
key(panel(0), "ArrowLeft"); saw.below_home = explorer.state.at;

id("play").click();
const player = () => ({ label: id("play").textContent, live: id("when").getAttribute("aria-live") });
saw.playing = player();
await wait(15000);
saw.played = { at: explorer.state.at - explorer.state.timeline.length, ...player() };

for (const input of document.querySelectorAll("#arms input")) input.click();
saw.arms_left = explorer.state.arms;
const named = (one) =>
  one.labels?.[0]?.textContent.trim() || one.getAttribute("aria-label") ||
  (one.tagName === "BUTTON" && one.textContent.trim()) || one.closest("[hidden], [aria-hidden]");
const parts = every("#explorer :is(button, input, select, canvas)");
saw.unnamed = parts.filter((one) => !named(one)).map((one) => one.outerHTML);
saw.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
"""


@pytest.fixture(scope="module")
def tour(study, tmp_path_factory):
    """What a walk through all controls saw."""
    return seen(page.render(study, {}), TOUR, tmp_path_factory.mktemp("tour"))


def test_it_opens_at_the_end_with_the_most_exposed_record_chosen(tour, study):
    first = tour["at_first"]
    assert not tour["hidden"]
    assert first["when"] == "Epoch 60 of 60"
    assert (first["at"], first["panels"]) == (11, 2)
    final = study.arms[0].vulnerability[-1]
    assert final[first["chosen"][0]] == pytest.approx(final.max(), abs=2 / 254)
    assert tour["live"] == "polite"


@pytest.mark.parametrize(("seen_as", "at"), [("firsts", 0), ("ends", -1)])
def test_points_lie_where_their_rates_are(tour, study, seen_as, at):
    g = tour["geometry"]
    assert g["unit"] > 200
    bottom = g["top"] + g["size"] - g["pad"]
    for place, fpr, tpr in zip(tour[seen_as], study.arms[0].fpr[at], study.arms[0].tpr[at], strict=True):
        assert place["x"] == pytest.approx(g["left"] + g["pad"] + g["unit"] * fpr, abs=g["unit"] / 500)
        assert place["y"] == pytest.approx(bottom - g["unit"] * tpr, abs=g["unit"] / 500)


def test_the_slider_moves_the_points(tour):
    assert tour["painted"] > 0.8  # the rims of others cover some
    assert tour["painted_aside"] < 0.5
    assert tour["firsts"] != tour["ends"]
    prints = [tour["print_at_first"], tour["print_in_between"], tour["print_at_end"]]
    assert len(set(prints)) == 3
    assert tour["print_at_end_again"] == tour["print_at_end"]
    assert tour["when_first"] == "Epoch 0 of 60"
    assert tour["valuetext"] == "Epoch 0"


def test_the_plane_is_said_in_words(tour, study):
    v = study.arms[0].vulnerability[0]
    high = round(100 * np.mean(v >= 0.5 - 1e-9))
    assert (
        f"FPR-TPR plane of mlp · sgd at epoch 0. 300 records; vulnerability {high}% at 0.5 or more"
        in (tour["words_at_first"])
    )


def test_the_line_of_the_curves_moves_with_the_slider(tour, study):
    assert tour["line_at_first"] < tour["line_at_end"]
    assert tour["chart_at_first"] != tour["chart_at_end"]
    epochs = tour["with_third"]["timeline"]
    assert epochs == sorted({int(epoch) for arm in study.arms for epoch in arm.epochs})
    lines = np.array(tour["lines"])
    assert np.allclose(lines, lines[0] + (lines[-1] - lines[0]) * np.array(epochs) / epochs[-1])


def test_an_arm_can_be_added_and_the_epoch_stays(tour):
    assert tour["with_third"]["panels"] == 3
    assert tour["with_third"]["epoch"] == "Epoch 60 of 70"


def test_at_least_one_arm_stays(tour):
    assert len(tour["arms_left"]) == 1


def test_a_click_on_a_point_chooses_its_record_in_all_panels_of_the_pool(tour):
    assert tour["picked"]["chosen"] == [tour["picked"]["wanted"]]
    assert tour["changed"] == [True, True, False]
    assert tour["after_second_click"] == []
    assert tour["after_click_on_nothing"] == []


def test_its_picture_is_painted_and_its_numbers_are_said(tour, study):
    row, thumb, shown = tour["picked"]["wanted"], tour["thumb"], study.shown["digits"]
    assert (thumb["width"], thumb["height"]) == (8, 8)
    assert thumb["red"] == shown.values[row].ravel().tolist()
    assert tour["thumb_label"]
    assert f"Record {row} of digits, class {study.arms[0].labels[row]}" in tour["card"]
    for arm in study.arms[:2]:
        said = tour["card"].split(arm.name)[1]
        found = re.search(
            r"At the end: FPR ([\d.]+) ± ([\d.]+), TPR ([\d.]+) ± ([\d.]+), vulnerability (\S+)\.\s", said
        )
        fpr, fpr_error, tpr, tpr_error, v = map(float, found.groups())
        true = (arm.fpr[-1, row], arm.fpr_error[-1, row], arm.tpr[-1, row], arm.tpr_error[-1, row])
        assert (fpr, fpr_error, tpr, tpr_error) == pytest.approx(true, abs=0.0075)
        assert v == pytest.approx(arm.vulnerability[-1, row], abs=0.0095)
        for title, more, name in (
            ("Epoch learned", "later", "epoch_learned"),
            ("OUT error", "higher", "out_error"),
            ("Prediction depth", "deeper", "prediction_depth"),
        ):
            value, share = re.search(rf"{title} (\S+): {more} than (\d+)% of the records", said).groups()
            true = arm.difficulty[name]
            assert float(value) == pytest.approx(true[row], rel=0.006)
            assert float(share) == pytest.approx(100 * np.mean(true < true[row]), abs=0.51)


def test_records_are_chosen_by_number_and_from_the_list_and_removed(tour, study):
    assert tour["by_number"] == [7]
    assert tour["refused"] == {"words": "Records are numbered from 0 to 299.", "chosen": [7]}
    assert tour["from_ranking"] == [7, tour["ranking"][3]]
    assert tour["pressed"] == "true"
    assert tour["after_removal"] == [tour["ranking"][3]]


@pytest.mark.parametrize("when", ["ranking", "ranking_shown"])
def test_the_list_has_the_twenty_most_exposed(tour, study, when):
    arm = study.arms[0]
    at = -1 if when == "ranking" else int(np.searchsorted(arm.epochs, tour["epoch_ranked"], side="right")) - 1
    v = arm.vulnerability[at]
    assert len(tour[when]) == len(set(tour[when])) == 20
    assert v[tour[when]].min() >= np.sort(v)[-20] - 2 / 254
    assert tour["ranking"] != tour["ranking_shown"]


def test_a_sequence_is_a_strip_with_its_padding_clear(tour, study):
    assert tour["other_pool"]
    assert tour["cards"][1].startswith("Record 11 of walks")
    values = study.shown["walks"].values[11]
    assert (tour["strip"]["width"], tour["strip"]["height"]) == values.shape
    assert tour["strip"]["opaque"] == (~np.isnan(values.T)).ravel().tolist()


def test_every_colour_is_another_picture(tour):
    names = ["vulnerability", "class", "epoch_learned", "out_error", "prediction_depth"]
    assert list(tour["colours"]) == names
    assert len(set(tour["colours"].values())) == 5
    assert tour["classes"] == [f"Class {label}" for label in range(10)]
    assert tour["highlighted"] == {"state": 4, "changed": True}
    assert "TPR - FPR at the last checkpoint" in tour["scale"]


def test_a_click_in_a_chart_moves_the_slider(tour):
    assert tour["clicked"]["epoch"] == tour["clicked"]["wanted"]
    assert tour["clicked"]["slider"] == 4
    assert re.search(r"mlp · sgd: [\d.]+ \(by chance [\d.]+, dotted\)", tour["speed_words"])


def test_curves_are_chosen(tour):
    assert tour["charts"] == ["vulnerability", "speed", "entropy", "high", "early_recall"]
    assert tour["charts_after"] == ["vulnerability", "center_fpr", *tour["charts"][1:]]
    assert tour["drawn"] == 6


def test_keys_move_through_time_but_not_out_of_fields(tour):
    assert (tour["right"], tour["left"], tour["end"], tour["in_a_field"]) == (4, 2, -1, -1)
    assert (tour["home"], tour["below_home"]) == (0, 0)


def test_playing_ends_at_the_end_and_is_not_read_aloud(tour):
    assert tour["playing"] == {"label": "Pause", "live": "off"}
    assert tour["played"] == {"at": -1, "label": "Play", "live": "polite"}


def test_every_control_has_a_name_and_nothing_is_too_wide(tour):
    assert tour["unnamed"] == []
    assert tour["wide"] <= 0


def test_texts_and_names_from_outside_stay_texts(make_arm, one_arm, evil, tmp_path):
    arm = make_arm({"family": evil})._replace(pool=evil)
    shown = {evil: Shown(np.arange(300), "text", [evil] * 300)}
    script = """draw(); explorer.choose(4); draw();
    saw.title = document.title; saw.text = document.querySelector("#cards pre").textContent;
    saw.heading = document.querySelector("#panels h4").textContent; saw.images = document.images.length;"""
    rows = one_arm._replace(arms=(arm,), shown=shown)
    saw = seen(page.render(rows, {}), script, tmp_path)
    assert saw["title"] == "Membership on the plane: dynamics of membership"
    assert saw["text"] == evil
    assert saw["heading"].startswith(evil)
    assert saw["images"] == 0


def test_a_study_with_hardly_anything_known(one_arm, tmp_path):
    arm = one_arm.arms[0]
    fpr, tpr = arm.fpr.copy(), arm.tpr.copy()
    fpr[:3] = np.nan
    tpr[5, ::2] = np.nan
    error = np.full_like(arm.fpr_error, np.nan)
    learned = np.full(300, np.nan)
    learned[4:6] = arm.epochs[-1] + np.array([5, 0])
    bare = arm._replace(
        fpr=fpr,
        tpr=tpr,
        fpr_error=error,
        tpr_error=error,
        labels=np.zeros_like(arm.labels),
        difficulty={"epoch_learned": learned},
        curves={"speed": np.full(12, np.nan), "high": np.where(np.arange(12) < 6, np.nan, 0.0)},
    )
    script = """forget(); saw.colours = [...id("colour").options].map((o) => o.value);
    pick("colour", "epoch_learned"); saw.charts = [...explorer.charts.keys()]; saw.words = [];
    for (const at of explorer.state.timeline.keys()) {
      slide(at);
      saw.words.push(explorer.panels.get(0).words.textContent);
    }
    saw.lost = (slide(0), explorer.pointOf(0, 3)); explorer.choose(3); draw();
    saw.card = document.querySelector("#cards").textContent;
    saw.learned = [4, 5].map((row) => (forget(), explorer.choose(row), draw(), first("#cards").textContent));"""
    rows = one_arm._replace(arms=(bare,), shown={})
    saw = seen(page.render(rows, {}), script, tmp_path)
    assert saw["colours"] == ["vulnerability", "epoch_learned"]
    assert saw["charts"] == ["high"]
    assert saw["lost"] is None
    assert saw["words"][:3] == ["No record is known here."] * 3
    assert "150 records are not known here." in saw["words"][5]
    assert "not known" not in saw["words"][6]
    assert "The record itself is not on this page." in saw["card"]
    assert "Epoch learned: not known." in saw["card"]
    never = "(models that never learn it count as after the end)"
    late, in_time = saw["learned"]
    assert f"Epoch learned {learned[4]:g} {never}: later than 50% of the records." in late
    assert f"Epoch learned {learned[5]:g}: later than 0% of the records." in in_time
    assert "±" not in saw["card"]


def test_pictures_in_colour_and_plain_vectors_are_painted(one_arm, tmp_path):
    rng = np.random.default_rng(3)
    rgb = Shown(np.arange(300), "image", rng.integers(0, 256, (300, 4, 6, 3)).astype(np.uint8))
    vector = Shown(np.arange(300), "vector", rng.standard_normal((300, 100)).astype(np.float32))
    script = """forget(); explorer.choose(5); draw(); const canvas = document.querySelector("#cards canvas");
    saw.size = [canvas.width, canvas.height]; saw.pixels = [...all(canvas)];"""
    folders = [tmp_path / name for name in ("rgb", "vector")]
    saws = []
    for folder, shown in zip(folders, (rgb, vector), strict=True):
        folder.mkdir()
        saws.append(seen(page.render(one_arm._replace(shown={"digits": shown}), {}), script, folder))
    assert saws[0]["size"] == [6, 4]
    pixels = np.reshape(saws[0]["pixels"], (4, 6, 4))
    assert np.array_equal(pixels[..., :3], rgb.values[5])
    assert saws[1]["size"] == [64, 2]
    opaque = np.reshape(saws[1]["pixels"], (128, 4))[:, 3] == 255
    assert opaque.tolist() == [True] * 100 + [False] * 28


def test_arms_that_begin_late_say_so(study, tmp_path):
    late = study.arms[2]._replace(epochs=study.arms[2].epochs + 20)
    script = """document.querySelectorAll("#arms input")[2].click(); slide(0);
    saw.when = explorer.panels.get(2).when.textContent; saw.words = explorer.panels.get(2).words.textContent;
    slide(explorer.state.timeline.indexOf(22)); saw.later = explorer.panels.get(2).when.textContent;"""
    saw = seen(page.render(study._replace(arms=(*study.arms[:2], late)), {}), script, tmp_path)
    assert saw["when"] == "no checkpoint yet"
    assert saw["words"] == "Nothing was recorded of it so early."
    assert saw["later"] == "as of epoch 20"


@pytest.mark.slow
def test_twenty_thousand_records_at_fifty_checkpoints(make_study, tmp_path):
    rows = make_study(2, records=20_000, checkpoints=50, last=245)
    script = """draw(); saw.prints = []; saw.points = [];
    for (const at of [0, 20, 49]) {
      slide(at);
      saw.prints.push(print(panel(1)));
      saw.points.push(explorer.pointOf(1, 19999));
    }
    saw.records = explorer.arms[1].pool.records; saw.at = explorer.state.at;
    saw.geometry = explorer.panels.get(1).geometry; saw.reach = explorer.arms[1].reach;"""
    text = page.render(rows, {})
    assert len(text) < 9_000_000
    saw = seen(text, script, tmp_path)
    assert (saw["records"], saw["at"]) == (20_000, 49)
    assert len(set(saw["prints"])) == 3
    g = saw["geometry"]
    for place, at in zip(saw["points"], (0, 20, 49), strict=True):
        expected = g["left"] + g["pad"] + g["unit"] * rows.arms[1].fpr[at, 19_999]
        assert math.isclose(place["x"], expected, abs_tol=g["unit"] * (saw["reach"] + 1 / 500))
