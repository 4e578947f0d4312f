"""The benchmark of recording: both of its sides ask the same models about the same records, and it runs."""

import json
import pathlib
import statistics
import subprocess
import sys

import jax
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import recording_work  # noqa: E402
from benchmarks.recording_work import Kind  # noqa: E402
from mia_jax.config import FamilyConfig  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "recording_cpu_2cores.json"
SIZES = (300, 7, 5)


@pytest.fixture(scope="module")
def work():
    return recording_work.work_of(Kind(FamilyConfig(kind="mlp", hidden=6), (9,), 3), 4, SIZES)


def logits_of(work, part):
    """Logits [K, N, C] of a part by NumPy in float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), work.states[0].params)
    first, head = params["dense_0"], params["head"]
    x = np.asarray(work.parts[part].x, np.float64)
    hidden = np.maximum(np.einsum("nd,kdh->knh", x, first["kernel"]) + first["bias"][:, None], 0)
    return np.einsum("knh,khc->knc", hidden, head["kernel"]) + head["bias"][:, None]


@pytest.mark.parametrize("part", range(3))
@pytest.mark.slow
def test_both_sides_are_of_the_same_models_and_records(work, part):
    logits = logits_of(work, part)
    sums = np.asarray(work.forward(work.states[0], work.parts)[part])
    np.testing.assert_allclose(sums, logits.sum(axis=-1), rtol=1e-4, atol=1e-5)
    log_prob = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    said = recording_work.observed(work, 0)[0][part].log_prob
    for k in range(4):
        for n, label in enumerate(np.asarray(work.parts[part].y)):
            assert said[k, n] == pytest.approx(log_prob[k, n, label], rel=1e-4, abs=1e-5)


def test_what_is_timed_is_written(work, tmp_path):
    taken = recording_work.alternations(work, tmp_path, 2)
    assert len(taken) == 2
    for one in taken:
        assert one.recorded == one.observe + one.copy + one.write
        assert one.resumable == one.observe + one.copy + one.state + one.write_state
    log_prob = np.asarray(recording_work.observed(work, 0)[0][0].log_prob)
    last = recording_work.segments(work, tmp_path / "last", 1)
    np.testing.assert_array_equal(last.signal("pool/log_prob", 0), log_prob)
    done, leaves = recording_work.segments(work, tmp_path / "other", 5).resume(0, 4)
    assert done == 1 + recording_work.WARM_UPS
    for kept, leaf in zip(leaves, jax.tree.leaves(work.states[0]), strict=True):
        np.testing.assert_array_equal(kept, leaf)


def test_every_checkpoint_of_a_growing_run_is_written(work, tmp_path):
    measured = recording_work.growth(work, tmp_path, 3)
    assert len(measured["seconds"]) == measured["checkpoints"] == 3
    assert measured["grown_bytes"] >= 0
    kept = recording_work.segments(work, tmp_path / "growth3", 3)
    kept.check_complete()
    assert kept.signal("population/entropy", 2).shape == (4, 7)


def test_models_that_are_no_whole_chunks_are_refused():
    with pytest.raises(ValueError, match="models is 5: it must be whole chunks of 5 on 2 devices"):
        recording_work.work_of(recording_work.KINDS["MLP 446-128-30"], 5, SIZES)


def test_committed_result_is_of_all_kinds_and_its_ratios_are_those_of_its_seconds():
    rows = json.loads(RESULT.read_text())["rows"]
    assert [row["model"] for row in rows] == list(recording_work.KINDS)
    for row in rows:
        seconds = row["seconds"]
        assert row["num_models"] == 32
        assert row["records"] == [1000, 1000, 500]
        assert len(seconds["forward"]) >= 7
        ratios = [
            (observe + copy + write) / forward
            for observe, copy, write, forward in zip(
                *(seconds[step] for step in ("observe", "copy", "write", "forward")), strict=True
            )
        ]
        assert row["ratios"]["recorded"]["median"] == pytest.approx(statistics.median(ratios))
        assert [one["checkpoints"] for one in row["growth"]] == [4, 16]


def test_tables_of_the_readme_are_those_of_the_committed_result():
    command = [sys.executable, "-m", "benchmarks.recording", f"--show={RESULT}"]
    tables = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert tables.strip() in (ROOT / "benchmarks" / "README.md").read_text()


@pytest.mark.slow
def test_benchmark_runs(tmp_path):
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.recording", "--kinds=0,3", "--models=4", "--pool=20"]
    command += ["--population=8", "--test=4", "--repeats=2", "--checkpoints=2,3", f"--out={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["model"] for row in rows] == ["MLP 446-128-30", "CNN 8, 2 layers"]
    assert all(row["records"] == [20, 8, 4] and row["state_bytes"] > 0 for row in rows)
    assert "CNN 8, 2 layers" in done.stdout
