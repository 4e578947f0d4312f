"""CSV, JSON and terminal tables."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console

from mia_jax.report import atomic, tables
from mia_jax.report.inputs import LongTable
from mia_jax.runs.store import StoreError

ROWS = [
    {
        "family": "mlp",
        "attack": "loss",
        "auc": np.float64(0.6),
        "tpr_at_fpr_0.001": None,
        "records": np.int64(4),
    },
    {
        "family": "mlp",
        "attack": 'a,"b"',
        "auc": float("nan"),
        "tpr_at_fpr_0.001": float("inf"),
        "extra": True,
    },
]


def _refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def _printed(inputs, width=100):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(tables.terminal(inputs))
    return console.export_text()


def test_json_is_strict_and_has_null_for_what_is_not_a_number(tmp_path):
    tables.write_json(ROWS, tmp_path / "r.json")
    first, second = json.loads((tmp_path / "r.json").read_text(), parse_constant=_refuse)
    assert first == {"family": "mlp", "attack": "loss", "auc": 0.6, "tpr_at_fpr_0.001": None, "records": 4}
    assert second == {
        "family": "mlp",
        "attack": 'a,"b"',
        "auc": None,
        "tpr_at_fpr_0.001": None,
        "extra": True,
    }


def test_csv_has_every_column_once_and_reads_back(tmp_path):
    tables.write_csv(ROWS, tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == ["family", "attack", "auc", "tpr_at_fpr_0.001", "records", "extra"]
    assert rows[0]["auc"] == "0.6"
    assert rows[0]["tpr_at_fpr_0.001"] == ""
    assert rows[1]["auc"] == ""
    assert rows[1]["attack"] == 'a,"b"'


@pytest.mark.parametrize("lines", [1, 7, 4096])
def test_a_table_that_nobody_holds_is_written_as_one_that_is_there(tmp_path, monkeypatch, lines):
    monkeypatch.setattr(tables, "LINES_AT_ONCE", lines)
    rows = [{"record": n, "name": 'a,"b"', "auc": n / 7, "none": None} for n in range(50)]
    long = LongTable(["record", "name", "auc", "none"], lambda: iter(rows))
    for _ in range(2):  # it can be read again
        tables.write_csv(long, tmp_path / "long.csv", digits=6)
    tables.write_csv(rows, tmp_path / "whole.csv", digits=6)
    assert (tmp_path / "long.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_rows_that_cannot_be_made_leave_the_older_file_and_their_own_words(tmp_path):
    path = tmp_path / "r.csv"
    tables.write_csv(ROWS, path)
    before = path.read_bytes()

    def rows():
        yield {"a": 1}
        raise StoreError("the scores are damaged")

    with pytest.raises(StoreError, match=r"^the scores are damaged$"):
        tables.write_csv(LongTable(["a"], rows), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["r.csv"]


def test_no_rows_make_an_empty_table(tmp_path):
    tables.write_json([], tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == []


def test_terminal_fits_100_columns_and_shows_every_family_and_attack(inputs):
    text = _printed(inputs)
    assert max(map(len, text.splitlines())) <= 100
    for word in (*inputs.families, *inputs.attack_names):
        assert text.count(word) >= 1, word
    assert text.count("lira_online_global") == 2
    assert "83.7% [83.1, 84.3]" in text
    assert "not estimable" not in text


def test_terminal_says_what_is_missing(inputs, change):
    odd = change(lambda row: row["attack"] == "loss", **{"tpr_at_fpr_0.001": None, "auc": float("nan")})
    text = _printed(dataclasses.replace(odd, diverged={"lstm": [3, 17], "mlp": []}))
    assert "n/e" in text
    assert "none" in text
    assert "not estimable: fewer than one expected" in text
    assert "2 models of lstm diverged in training and were kept out of the attacks: 3, 17." in text


@pytest.mark.parametrize(
    ("ends", "shown"),
    [((0.134, 0.171), "[13, 17]"), ((0.0149, 0.0271), "[1.5, 2.7]"), ((0.996, 0.9996), "[99.6, 100.0]")],
)
def test_ends_of_rates_have_the_digits_that_tell_them_from_their_value(ends, shown):
    row = {"tpr_at_fpr_0.01": sum(ends) / 2, "tpr_at_fpr_0.01_low": ends[0], "tpr_at_fpr_0.01_high": ends[1]}
    *_, cell = tables._attack_cells({"attack": "loss", "auc": 0.9, **row}, (0.01,), balanced=False)
    assert cell.plain.endswith(shown)


def test_terminal_does_not_read_names_as_markup(make):
    assert "[red]x" in _printed(make({"[red]x": {"loss": (0.6, 0)}}, checkpoints=1, size=400))


def test_csv_with_few_digits_is_as_near_as_it_says(tmp_path):
    rows = [
        {"a": 1 / 3, "b": np.float32(1 / 3), "c": 12, "d": np.int32(3), "e": -np.inf, "f": None, "g": "x"}
    ]
    tables.write_csv(rows, tmp_path / "r.csv", digits=6)
    assert (tmp_path / "r.csv").read_text() == "a,b,c,d,e,f,g\n0.333333,0.333333,12,3,,,x\n"


def test_csv_and_json_say_the_same(tmp_path):
    rows = [{"a": 1 / 3, "b": np.float32(0.1), "c": np.float64("nan"), "d": np.bool_(True)}]
    tables.write_csv(rows, tmp_path / "r.csv")
    tables.write_json(rows, tmp_path / "r.json")
    (record,) = json.loads((tmp_path / "r.json").read_text(), parse_constant=_refuse)
    shown = (tmp_path / "r.csv").read_text().splitlines()[1].split(",")
    assert [float(shown[0]), float(shown[1])] == [record["a"], record["b"]]
    assert shown[2:] == ["", "True"]


def test_terminal_shows_many_attacks_whole_within_100_columns(many):
    text = _printed(many)
    assert max(map(len, text.splitlines())) <= 100
    words = text.split()
    for name in many.attack_names:
        assert words.count(name) >= 2, name
    assert "Not run on lstm: shadow_classifier_steps (needs step_logits, which were not recorded)." in text
    assert "log_prob was worked out from logits and labels." in text


def test_terminal_shows_every_audit_with_its_relation_and_ceiling(many):
    lines = _printed(many).splitlines()
    (line,) = [line for line in lines if "lstm" in line and "one run" in line]
    assert line.split() == [
        "lstm",
        "1.23",
        "3.71",
        "95%",
        "0.00001",
        "add-or-remove",
        "one",
        "run",
        "64",
        "64",
    ]
    assert any("never confirm one" in line for line in lines)


def test_terminal_of_somebodys_own_arrays(own):
    text = _printed(own)
    assert "utility" not in text
    assert "signals: attacks (TPR in % of members)" in text
    assert "Not run: gradient_norm, embedding_norm (needs arrays that are not there)." in text
    assert " own" not in text


def test_a_failing_disk_leaves_the_older_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    tables.write_csv(ROWS, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(atomic.os, step, full)
            with pytest.raises(OSError, match="No space"):
                tables.write_csv(ROWS[:1], path)
        assert path.read_bytes() == before
        assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]
