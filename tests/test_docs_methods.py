"""The reference pages of the methods: every name has its place, formulas are run, and nothing points nowhere."""

import json
import pathlib
import re
from typing import get_args

import numpy as np
import pytest

from mia_jax import attacks, audit, metrics
from mia_jax.attacks import Observations, catalogue, cross_fit, gathering, quantile, trajectory
from mia_jax.config import (
    AttacksConfig,
    Config,
    DpSgdConfig,
    LabelPrivacyConfig,
    RecordingConfig,
    ReportConfig,
    to_mapping,
)
from mia_jax.config.tradeoff import DefenceName
from mia_jax.data.features import MOST_TOKENS
from mia_jax.dynamics_study.rows import CURVES, NUMBERS, Arm
from mia_jax.dynamics_study.tables import record_rows
from mia_jax.dynamics_study.writing import COLOURINGS
from mia_jax.privacy import epsilon, random_dp_gamma
from mia_jax.probes import adversarial
from mia_jax.slices import slice_rows
from mia_jax.statistics.score_table import WholeTable
from mia_jax.statistics.vulnerability import Vulnerability
from mia_jax.study import privacy
from mia_jax.study.assembly import SLICED, _slice_row
from mia_jax.summary import Setting, attack_row, utility_row

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
CHOICE = DOCS / "attacks" / "README.md"
FAMILIES = sorted(set(CHOICE.parent.glob("*.md")) - {CHOICE})
OTHERS = [DOCS / f"{name}.md" for name in ("metrics", "statistics", "dp_pitfalls", "limits", "defences")]
PAGES = [CHOICE, *FAMILIES, *OTHERS]
ATTACKS = AttacksConfig()
CATALOGUE = catalogue(ATTACKS)
TRAINED = {"loss_trajectory", "shadow_classifiers", "quantile_regression", "white_box"}
"""Pages of attacks without a formula that a few lines could repeat."""


def names_of(pages):
    """What pytest calls a page."""
    return [page.parent.name + "/" + page.stem for page in pages]


def flat(text):
    """Text with all white space alike."""
    return " ".join(text.split())


def described(page):
    """The attacks that have an item of their own on a page."""
    return re.findall(r"^- `(\w+)`, ", page.read_text(), flags=re.MULTILINE)


def without_code(text):
    """A page's text without its code blocks."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def sections(page):
    """The parts of a page by their headings of the second level."""
    parts = re.split(r"^## (.*)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_attack_is_described_on_exactly_one_page():
    found = [name for page in FAMILIES for name in described(page)]
    assert sorted(found) == sorted(CATALOGUE)


@pytest.mark.parametrize("page", FAMILIES, ids=names_of(FAMILIES))
def test_pages_of_attacks_say_what_the_code_says(page):
    names, text = described(page), flat(page.read_text())
    assert names
    for name in names:
        one = CATALOGUE[name]
        needs = ", ".join(f"`{field}`" for field in sorted(one.needs))
        assert f"- `{name}`, {one.title}; reads {needs}" in text
        assert one.threat_model in text, name
        assert one.source in text, name


@pytest.mark.parametrize("page", FAMILIES, ids=names_of(FAMILIES))
def test_pages_of_attacks_have_every_part(page):
    assert list(sections(page)) == ["Names of `--attacks`", "Formula", "Cost", "When not to use it"]


@pytest.mark.parametrize("page", [CHOICE, *FAMILIES], ids=names_of([CHOICE, *FAMILIES]))
def test_pages_of_attacks_name_nothing_that_does_not_exist(page):
    known = {*CATALOGUE, *Observations._fields, *dir(attacks)}
    values = to_mapping(Config())
    for said in re.findall(r"`([^`\n]+)`", without_code(page.read_text())):
        section, _, field = said.partition(".")
        if re.fullmatch(r"\w+", said):
            assert said in known, said
        elif re.fullmatch(r"\w+\.\w+", said):
            assert field in values[section], said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "class_calibration",
            [f"(`attacks.folds`, {ATTACKS.folds})", f"Above {gathering.ENTRIES_FITTED:,} entries"],
        ),
        ("enhanced", [f"(above {gathering.ENTRIES_FITTED:,} those"]),
        ("lira", [f"`attacks.lira_fewest` ({ATTACKS.lira_fewest})"]),
        (
            "rmia",
            [
                f"`attacks.rmia_gamma` ({ATTACKS.rmia_gamma:g})",
                f"`attacks.rmia_offline_scale` ({ATTACKS.rmia_offline_scale:g})".replace("0.", "."),
            ],
        ),
        (
            "loss_trajectory",
            [
                f"`attacks.classifier_epochs`, {ATTACKS.classifier_epochs}",
                f"`attacks.classifier_rows` ({ATTACKS.classifier_rows:,})",
                f"{trajectory.LARGEST_LOSS:g}] nats",
                f"batches of {cross_fit.BATCH}",
            ],
        ),
        (
            "shadow_classifiers",
            [f"`attacks.classifier_rows` ({ATTACKS.classifier_rows:,})", f"batches of {cross_fit.BATCH}"],
        ),
        (
            "quantile_regression",
            [
                f"the {len(quantile.LEVELS)} quantiles",
                f"cut at {quantile.FARTHEST:g} deviations",
                f"At most {quantile.MOST_ROWS:,} population",
                f"about {quantile.STEPS:,} steps",
                f"fewer than {quantile.FEWEST_ROWS} are refused",
                f"at most {MOST_TOKENS:,} columns",
            ],
        ),
        (
            "white_box",
            [
                f"`recording.distance_steps` ({RecordingConfig().distance_steps})",
                f"about {adversarial.HALVINGS * (1 + adversarial.TURNS)} forward passes",
            ],
        ),
        ("embedding_norm", [f"p: recording.embedding_p ({RecordingConfig().embedding_p:g})"]),
    ],
)
def test_pages_of_attacks_have_the_codes_numbers(name, said):
    text = flat((CHOICE.parent / f"{name}.md").read_text())
    for one in said:
        assert one in text, one


def test_the_choice_of_attacks_names_each_once_and_parts_them_by_who_holds_what():
    items = re.split(r"^- ", sections(CHOICE)["By what the attacker holds"], flags=re.MULTILINE)[1:]
    groups = [re.findall(r"`(\w+)`", item) for item in items]
    assert sorted(name for group in groups for name in group) == sorted(CATALOGUE)
    threats = [{CATALOGUE[name].threat_model for name in group} for group in groups]
    assert sum(map(len, threats)) == len(set.union(*threats))


def test_the_choice_of_attacks_links_to_the_page_that_describes_each():
    parts = re.findall(r"((?:`\w+`[,:\s]+)+)\[[^\]]+\]\((\w+\.md)\)", CHOICE.read_text())
    linked = {name: page for names, page in parts for name in re.findall(r"\w+", names)}
    assert linked == {name: page.name for page in FAMILIES for name in described(page)}


@pytest.mark.parametrize("page", [*FAMILIES, *OTHERS[:3]], ids=names_of([*FAMILIES, *OTHERS[:3]]))
def test_what_the_pages_compute_is_what_the_code_computes(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert bool(blocks) == (page.stem not in TRAINED)
    exec(compile("\n".join(blocks), page.name, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=names_of(PAGES))
def test_links_lead_somewhere_and_files_and_fields_exist(page):
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / link).exists(), link
    for path in re.findall(r"(?:scripts|configs|mia_jax)/[\w/]+\.\w+", text):
        assert (ROOT / path).exists(), path
    values = to_mapping(Config())
    for said in re.findall(r"`(?:--)?(?:config\.)?((?!mia_jax|Model)\w+\.\w+)`", without_code(text)):
        section, field = said.split(".")
        assert field in {"csv", "json"} or field in values[section], said


@pytest.mark.parametrize("page", PAGES, ids=names_of(PAGES))
def test_lines_are_short_and_headings_come_in_order(page):
    assert max(map(len, page.read_text().splitlines())) <= 130
    levels = [
        len(marks) for marks in re.findall(r"^(#+) ", without_code(page.read_text()), flags=re.MULTILINE)
    ]
    assert levels[0] == 1
    assert set(levels[1:]) == {2}


def test_every_defence_of_a_tradeoff_has_one_section_with_every_part():
    parts = ["Promises", "Threat model", "Source", "Cost", "When not"]
    found = []
    for heading, text in sections(DOCS / "defences.md").items():
        names = re.findall(r"`(\w+)`", heading)
        found += names
        if names:
            assert re.findall(r"^- \*\*([\w ]+)\*\*", text, flags=re.MULTILINE) == parts, heading
    assert sorted(found) == sorted(get_args(DefenceName))


def test_the_metrics_page_names_the_columns_there_are():
    rng = np.random.default_rng(0)
    member, scores = rng.random((8, 60)) < 0.5, rng.normal(size=(8, 60))
    row = attack_row(Setting("mlp", 0, 1), "loss", scores, member, np.full(8, -1), ReportConfig(fpr=(0.1,)))
    audited = audit.audit_rows(scores, member, delta=1e-5)
    sliced = slice_rows(scores, member, {"class": rng.integers(0, 2, 60)}, fprs=(0.1,))
    right, usable = WholeTable(rng.random((8, 60)) < 0.5), np.ones(8, bool)
    useful = utility_row(
        Setting("mlp", 0, 1), right, member, right, usable, num_parameters=3, confidence=0.95
    )
    private = Config(dp_sgd=DpSgdConfig(noise_multiplier=1.0), label_privacy=LabelPrivacyConfig(epsilon=1.0))
    parts = [_slice_row("mlp", "loss", one) for one in sliced]
    written = (row, useful, *parts, *audited, *privacy.rows(private, 1.0))
    columns = {name for found in written for name in found} | {*Vulnerability._fields}
    columns |= {"record", "label", "auc_p_holm", "p_holm"}
    columns = {name.replace("_0.1", "_…") for name in columns}
    methods = {found["method"] for found in audited}
    assert {"joint_runs", "one_run_first", "one_run_median"} <= methods
    known = (
        columns | methods | {"many_runs", "slice_NAME", "…_error", "ATTACK_…"} | SLICED | set(dir(metrics))
    )
    known |= {"NAME", "NAME_low", "NAME_high", "NAME_error", "low", "high"}
    text = without_code((DOCS / "metrics.md").read_text())
    assert set(re.findall(r"`([\w…]+)`", text)) <= known
    said = set(re.findall(r"`([\w…]+)`", text))
    assert said >= {*SLICED, *Vulnerability._fields} - {name for name in columns if name.endswith("_error")}
    assert {name for name in columns if not name.endswith(("_low", "_high", "_error"))} <= said


def _explained(page):
    """What the first cells of a page's tables name."""
    heads = re.findall(r"^\| (`[^|]+) \|", (DOCS / f"{page}.md").read_text(), flags=re.MULTILINE)
    return {name for head in heads for name in re.findall(r"`(\w+)`", head)}


def test_the_dynamics_page_names_the_columns_there_are():
    rates, levels = np.zeros((2, 5)), {"family": "mlp"}
    harder = dict.fromkeys(COLOURINGS, rates[0])
    arm = Arm(levels, "", np.arange(2), 3, "", *[rates] * 4, rates[0], harder, {}, {}, np.zeros((1, 3, 3)))
    columns = {"epoch", "num_models", *CURVES, *NUMBERS, *record_rows(arm)[0]}
    heads = {path: path.read_text().split("\n")[0].split(",") for path in DOCS.glob("dynamics_*/*.csv")}
    assert len(heads) > 4
    for path, names in heads.items():  # in front of the number of models stand the study's own factors
        columns |= {*names[names.index("num_models") :]} if path.stem == "dynamics_arms" else {*names}
    whole = {"out_error", "rank_out_error"}
    found = {name if name in whole else re.sub(r"_(low|high|error)$", "", name) for name in columns}
    assert found == _explained("dynamics") - {"entropy_change_10", "entropy_change_50"}


def test_the_dynamics_page_explains_what_its_json_holds():
    text = (DOCS / "dynamics.md").read_text()
    said = set(re.findall(r"`(\w+)`", text)) | {
        "title",
        "confidence",
        "cuts",
        "name",
        "facts",
        "config",
        "records",
        "arm",
    }
    said |= {"factors"}
    for path in [*DOCS.glob("dynamics_*/arms/*.json"), *DOCS.glob("dynamics_*/early_warning/*.json")]:
        found = json.loads(path.read_text())
        names = {*found, *found.get("numbers", ()), *found.get("curves", ()), *found.get("measured", ())}
        assert {
            re.sub(r"_(ceiling|chance)$", "", name) if name not in said else name for name in names
        } <= said, path


@pytest.mark.parametrize(("page", "kind"), [("comparison", "at_levels"), ("defences", "contrasts")])
def test_every_column_of_a_study_is_explained(page, kind):
    kept = [json.loads(path.read_text()) for path in (DOCS / "rnn_vs_ffnn" / "results").glob("*.json")]
    found = {
        re.sub(r"_(low|high|difference|[ab])$", "", re.sub(r"_(low|high)$", "", name))
        for one in kept
        if kind in one
        for table in one.values()
        if isinstance(table, list)
        for row in table
        for name in row
    }
    explained = _explained(page)
    metrics_page = re.findall(r"`(\w+)`", (DOCS / "metrics.md").read_text())
    explained |= {"auc", "balanced_accuracy"} & {*metrics_page}
    assert len(found) > 20
    assert {name for name in found if not name.startswith("tpr_at_fpr_")} <= explained


def test_the_statistics_page_says_of_coverage_what_was_measured():
    measured = json.loads((ROOT / "benchmarks" / "results" / "coverage.json").read_text())["rows"]
    rows = [row for row in measured if row["pool"] == "new"]
    within = sum(0.93 <= round(row["coverage"], 3) <= 0.97 for row in rows)
    odd = ("rmia_online", "tpr_at_fpr_0.01", False)
    widths = {
        is_odd: [
            row["ratio"]
            for row in rows
            if ((row["scores"], row["statistic"], row["signal"]) == odd) == is_odd
        ]
        for is_odd in (False, True)
    }
    text = flat((DOCS / "statistics.md").read_text())
    assert f"Of {len(rows)} figures {within} lie between 93 and 97 %" in text
    low, high = (f"{end:.2f}".lstrip("0") for end in (min(widths[False]), max(widths[False])))
    assert f"Mean widths are {low} to {high} times the right one" in text
    assert f"(up to {max(widths[True]):.1f} times)" in text


def test_what_the_pages_say_of_epsilons_is_so():
    training = {"num_examples": 1000, "batch_size": 64, "steps": 480, "noise_multiplier": 1.1, "delta": 1e-5}
    one, other = (epsilon(**training, relation=relation) for relation in ("add_or_remove", "replace"))
    assert f"(below: {other:.1f} for {one:.1f})" in flat((DOCS / "dp_pitfalls.md").read_text())
    rho = np.linspace(1e-4, 1 - 1e-4, 100_001)
    smallest = (rho + np.sqrt(np.log(1 / rho) / (2 * 50))).min()
    np.testing.assert_allclose(random_dp_gamma(50), smallest, rtol=1e-6)
    assert "(m = 50: γ = .22)" in flat((DOCS / "defences.md").read_text())
    assert f"{smallest:.2f}" == "0.22"
    assert f"{metrics.ppv(0.1, 0.01, 0.01):.0%}" == "9%"
