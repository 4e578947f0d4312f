"""The benchmark of precision: what it says of the models is true of them, and it runs."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import precision  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "precision_cpu_2cores.json"


def test_committed_result_is_of_every_precision_and_the_readme_has_its_table():
    result = json.loads(RESULT.read_text())
    said = [(row["family"], row["precision"]) for row in result["rows"]]
    assert said == [(family, name) for family in precision.FAMILIES for name in precision.PRECISIONS]
    assert precision.markdown(result) in (ROOT / "benchmarks" / "README.md").read_text()
    for row in result["rows"]:
        rounded = row["precision"] in ("bfloat16", "tensorfloat32")
        # On a CPU all others are float32, the same program.
        assert (row["difference"] > 0) == rounded
        assert row["difference_99"] <= row["difference"]


@pytest.mark.slow
def test_benchmark_runs(tmp_path):
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.precision", "--families=mlp", "--models=24", "--epochs=2"]
    command += ["--repeats=1", f"--out={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["precision"] for row in rows] == list(precision.PRECISIONS)
    assert all(np.isfinite(row["lira_auc"]) and 0 <= row["train_accuracy"] <= 1 for row in rows)
    assert "bfloat16" in done.stdout
