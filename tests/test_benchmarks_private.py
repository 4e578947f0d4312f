"""The benchmark of private steps: what it checks before it times anything, and that it runs."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from mia_jax.privacy import clipped_gradient_sum

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import private_check, private_work  # noqa: E402
from benchmarks.private_work import Case  # noqa: E402
from benchmarks.torch_workers import DisagreementError  # noqa: E402


@pytest.fixture(scope="module", params=["lstm", "gru"])
def recurrent(request):
    return private_work.work_of(Case(request.param, 8))


def test_model_with_two_biases_is_the_model_at_the_sum_of_them(recurrent):
    twin, x = private_check.with_two_biases(recurrent.model), recurrent.dataset.pool.x[0]
    params = recurrent.model.init(jax.random.key(0), x)
    doubled = twin.init(jax.random.key(0), x)
    layer = doubled["recurrent_0"]
    shift = np.linspace(-1, 1, layer["second"].size, dtype=np.float32)
    bias = layer["bias"]
    if "recurrent_bias" in params["recurrent_0"]:
        hidden = params["recurrent_0"]["recurrent_bias"].size
        bias = bias.at[: 2 * hidden].add(-shift[: 2 * hidden])
        params["recurrent_0"]["recurrent_bias"] = shift[2 * hidden :]
    else:
        bias = bias - shift
    doubled = {**doubled, "recurrent_0": {**layer, "bias": bias, "second": shift[None]}}
    np.testing.assert_allclose(twin.apply(doubled, x), recurrent.model.apply(params, x), atol=1e-5)


@pytest.mark.slow
def test_its_norms_are_those_of_its_gradients(recurrent):
    twin, pool, rows = (
        private_check.with_two_biases(recurrent.model),
        recurrent.dataset.pool,
        recurrent.rows[0],
    )
    params = twin.init(jax.random.key(0), pool.x[0])
    given = (twin, params, pool.x[rows], pool.y[rows], np.ones(rows.size, bool), 2.0)
    total, norms = clipped_gradient_sum(*given, method="bookkeeping")
    oracle, expected = clipped_gradient_sum(*given, method="vmap")
    np.testing.assert_allclose(norms, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), total, oracle)


@pytest.mark.slow
def test_half_of_the_records_of_the_check_are_clipped():
    work = private_work.work_of(Case("mlp", 8))
    checked = private_check.expected(work)
    # Sums that nothing limits would be larger, and sums of which everything is cut as long as 8 clip norms.
    length = np.sqrt(sum(np.sum(a.astype(np.float64) ** 2) for a in checked.total.values()))
    assert 0 < length < 8 * checked.clip_norm
    assert checked.rows.shape == (8,)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:optax.global_norm is deprecated")
def test_jax_privacy_clips_to_the_same_sum(recurrent):
    pytest.importorskip("jax_privacy")
    assert private_check.jax_privacy_apart(recurrent) < 1e-5


@pytest.mark.parametrize("wrong", [1.001, np.nan])
def test_sums_that_differ_are_refused(wrong):
    ours = {"a": np.ones(3), "b": np.array([1.0, 2.0, 3.0])}
    assert private_check.apart(ours, ours) == 0
    with pytest.raises(DisagreementError, match="b differs by"):
        private_check.apart({**ours, "b": ours["b"] * wrong}, ours)
    with pytest.raises(DisagreementError, match="parameters"):
        private_check.apart(ours, {"a": ours["a"]})


@pytest.mark.skipif(importlib.util.find_spec("opacus") is None, reason="opacus is in the bench extra only")
@pytest.mark.parametrize("method", ["grad_sample", "ghost"])
def test_opacus_clips_to_the_same_sum(recurrent, method):
    from benchmarks import opacus_steps
    from benchmarks.shadow_work import FAMILIES

    family, pool = FAMILIES[recurrent.case.family], recurrent.dataset.pool
    shape = (family.kind, family.record[-1], family.hidden, family.num_classes)
    ours = private_check.expected(recurrent)
    with pytest.warns(UserWarning, match="Full backward hook is firing"):
        total = opacus_steps.clipped_sum(
            shape, ours.params, pool.x[ours.rows], pool.y[ours.rows], ours.clip_norm, method
        )
    assert private_check.apart(ours.total, total) < 1e-5


def test_without_noise_and_clip_norm_a_private_loop_is_the_plain_one(monkeypatch):
    work = private_work.work_of(Case("mlp", 8))
    monkeypatch.setattr(private_work, "CLIP_NORM", 1e6)
    monkeypatch.setattr(private_work, "NOISE_MULTIPLIER", 1e-20)
    loops = private_work.sides(work, jax_privacy=False)
    loops["plain"]()
    loops["private"]()
    plain, private = (loops[name]._state.params for name in ("plain", "private"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), plain, private)


@pytest.mark.slow
def test_benchmark_of_private_steps_runs(tmp_path):
    out = tmp_path / "result.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.private_steps",
        "--preset=small",
        "--noothers",
        f"--out={out}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["family"] for row in rows] == ["mlp", "gru"]
    for row in rows:
        assert set(row["seconds_per_step"]) == {"plain", "private", "poisson"}
        assert set(row["ratios"]) == {"private / plain", "Poisson / private"}


def test_table_of_the_readme_is_that_of_the_committed_result():
    command = [
        sys.executable,
        "-m",
        "benchmarks.private_steps",
        "--show=benchmarks/results/private_steps_cpu_1core.json",
    ]
    table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert table.strip() in (ROOT / "benchmarks" / "README.md").read_text()
