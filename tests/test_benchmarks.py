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


@pytest.mark.slow
def test_attack_benchmark_runs_and_agrees_with_the_loops(tmp_path):
    out = tmp_path / "result.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.attacks",
        "--sizes=16x300x100",
        "--repeats=1",
        f"--out={out}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["attack"] for row in rows] == ["LiRA", "RMIA"]
    assert all(row["largest_difference"] < 1e-3 for row in rows)


SHOWN = {
    "train": [
        "train_cpu_2cores",
        "train_cpu_2cores_128_models",
        "train_nvidia_h100_80gb_hbm3",
        "train_nvidia_h100_80gb_hbm3_scaling",
    ],
    "learned_attacks": ["learned_attacks_cpu_2cores", "learned_attacks_nvidia_h100_80gb_hbm3"],
    "attacks": ["attacks_cpu_1core"],
    "coverage": ["coverage"],
    "published_predictions": ["published_predictions"],
}


@pytest.mark.parametrize(("module", "name"), [(m, name) for m, names in SHOWN.items() for name in names])
def test_table_of_the_readme_is_that_of_the_committed_result(module, name):
    result = f"benchmarks/results/{name}.json"
    command = [sys.executable, "-m", f"benchmarks.{module}", f"--show={result}"]
    table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert table.strip() in (ROOT / "benchmarks" / "README.md").read_text()
