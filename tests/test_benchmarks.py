"""Benchmarks run; what they measure is not asserted."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.slow
def test_training_benchmark_runs(tmp_path):
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.train", "--quick", "--notorch", f"--out={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert {row["family"] for row in rows} == {"mlp", "gru"}
    assert all(row["ours"]["steps_per_s"] > 0 for row in rows)


@pytest.mark.parametrize("name", ["train_cpu_2cores", "train_cpu_2cores_128_models"])
def test_table_of_the_readme_is_that_of_the_committed_result(name):
    result = f"benchmarks/results/{name}.json"
    command = [sys.executable, "-m", "benchmarks.train", f"--show={result}"]
    table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert table.strip() in (ROOT / "benchmarks" / "README.md").read_text()
