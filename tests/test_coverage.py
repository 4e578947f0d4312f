"""The intervals cover the truth as often as they say: the committed measurement, and a smaller one anew."""

import json
import pathlib
import subprocess
import sys

import pytest
from scipy import stats

ROOT = pathlib.Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "coverage.json"
LOW, HIGH = 0.93, 0.97


def measured(pool):
    return [row for row in json.loads(RESULT.read_text())["rows"] if row["pool"] == pool]


def name(row):
    kind = "signal" if row["signal"] else "null"
    return f"{row['models']}x{row['records']} {row['design']} {kind} {row['scores']} {row['statistic']}"


def test_committed_measurement_is_of_all_that_was_asked_for():
    rows = measured("new")
    assert {row["models"] for row in rows} == {32, 64}
    assert {row["records"] for row in rows} == {200, 500}
    assert {row["scores"] for row in rows} == {"raw", "lira_online", "lira_offline", "rmia_online"}
    assert {row["statistic"] for row in rows} >= {
        "auc",
        "tpr_at_fpr_0.1",
        "tpr_at_fpr_0.01",
        "balanced_accuracy",
        "auc_difference",
    }
    assert min(row["worlds"] for row in rows) >= 400


def test_committed_coverage_is_not_outside_of_93_to_97_percent_beyond_chance():
    for row in measured("new"):
        assert row["coverage_high"] >= LOW, name(row)
        assert row["coverage_low"] <= HIGH, name(row)


def test_truth_of_raw_scores_is_that_of_the_closed_form():
    """The mean estimate is the estimand, up to a tenth of a standard error or so."""
    rows = [row for row in measured("new") if "closed_form" in row]
    assert rows
    for row in rows:
        deviation = row["ideal_width"] / (2 * 1.96)
        assert abs(row["truth"] - row["closed_form"]) < 0.25 * deviation, name(row)


@pytest.mark.slow
def test_coverage_measured_anew_is_as_stated(tmp_path):
    out = tmp_path / "coverage.json"
    command = [sys.executable, "-m", "benchmarks.coverage", "--quick", "--worlds=240", f"--out={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 2 * 4 * 6
    for row in rows:
        least, most = (
            stats.binom.ppf(1e-4, row["worlds"], LOW),
            stats.binom.ppf(1 - 1e-4, row["worlds"], HIGH),
        )
        assert least <= row["coverage"] * row["worlds"] <= most, name(row)
        assert 0.75 < row["ratio"] < 1.7, name(row)
