"""Both PyTorch sides train the same models; and the one table is that of the committed results."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import headlines, table  # noqa: E402

FEATURES, HIDDEN, CLASSES, LENGTH = 3, 5, 4, 6


@pytest.fixture(params=["mlp", "rnn", "lstm", "gru"])
def modules(request):
    """Two models of the loop, the same two to be mapped, and records of their shape."""
    torch = pytest.importorskip("torch", reason="torch is in the bench extra only")
    from benchmarks import torch_loop, torch_vmap

    torch.manual_seed(0)
    shape = (request.param, FEATURES, HIDDEN, CLASSES)
    loop = [torch_loop.build(*shape) for _ in range(2)]
    mapped = [torch_vmap.build(*shape) for _ in range(2)]
    for one, other in zip(loop, mapped, strict=True):
        other.load_state_dict(one.state_dict())
    record = (FEATURES,) if request.param == "mlp" else (LENGTH, FEATURES)
    return loop, mapped, torch.randn(10, *record), torch.randint(CLASSES, (10,))


def test_mapped_models_train_as_each_does_alone(modules):
    import torch

    from benchmarks import torch_loop, torch_vmap

    loop, mapped, x, y = modules
    rows = torch.tensor([[0, 1, 2, 3], [9, 8, 7, 6]])
    stack = torch_vmap.Stack(mapped, rows, 1e-2)
    # One batch an epoch: the order within it changes nothing.
    stack.train(x, y, epochs=3, batch_size=4)
    for k, module in enumerate(loop):
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
        torch_loop.train(module, optimizer, x, y, rows[k], epochs=3, batch_size=4)
        for name, leaf in module.named_parameters():
            found = stack.params[name][k].detach().numpy()
            np.testing.assert_allclose(found, leaf.detach().numpy(), atol=2e-5, err_msg=name)


def test_every_record_of_a_model_is_seen_once_an_epoch(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is in the bench extra only")
    from benchmarks import torch_vmap

    rows = torch.tensor([[0, 2, 4], [1, 3, 5]])
    stack = torch_vmap.Stack([torch_vmap.build("mlp", 1, 2, 2) for _ in range(2)], rows, 0.0)
    seen, gradients = [], stack.gradients_and_losses

    def watched(params, x, y):
        seen.append(x[..., 0])
        return gradients(params, x, y)

    monkeypatch.setattr(stack, "gradients_and_losses", watched)
    stack.train(torch.arange(6.0)[:, None], torch.zeros(6, dtype=torch.long), epochs=1, batch_size=2)
    assert [batch.shape[1] for batch in seen] == [2, 1]
    assert torch.cat(seen, 1).sort(1).values.tolist() == rows.tolist()


def test_a_side_that_is_too_slow_says_so():
    ratio = {"median": 2.0, "min": 1.0, "max": 3.0}
    assert table.compared(None) == ("-", "-")
    assert table.compared({"too_slow_s": 1234.0}) == ("-", "too slow: 1,234 s a repeat")
    assert table.compared({"steps_per_s": 10.0, "ratio": ratio}) == ("10", "2.0 (1.0–3.0)")


def written(folder, name, date, rows):
    """A result of the training benchmark with these (K, ratio)."""
    machine = {"processor": "made", "cores": 2, "python": "3", "packages": {"jax": "1"}, "date": date}
    side = {"seconds": [1.0], "steps_per_s": 1.0, "flop_per_s": 5.0}
    made = [
        {
            "setting": "one_thread",
            "family": "mlp",
            "num_models": count,
            "ours": side,
            "vmap": {**side, "ratio": {"median": ratio, "min": ratio, "max": ratio}},
        }
        for count, ratio in rows
    ]
    result = {
        "machine": {**machine, "device": "cpu"},
        "limits": {"one_thread": {"matmul_flop_per_s": 10.0}},
        "rows": made,
    }
    (folder / f"train_{name}.json").write_text(json.dumps(result))


def test_headline_is_of_the_newest_result_and_its_most_models(tmp_path):
    written(tmp_path, "a", "2026-01-01", [(128, 9.0)])
    written(tmp_path, "b", "2026-01-02", [(32, 3.0), (8, 2.0)])
    (row,) = headlines.headlines(tmp_path)
    assert row.work == "MLP 446-128-30, 32 models, one thread"
    assert row.ratios == {"torch.func vmap": "3.0 (3.0–3.0)"}
    assert row.of_limit == 0.5
    assert "2026-01-02" in row.machine


def test_headlines_are_those_of_the_committed_results():
    command = [sys.executable, "-m", "benchmarks.all", "--show=benchmarks/results"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for page in (ROOT / "benchmarks" / "README.md", ROOT / "README.md"):
        assert said.strip() in page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["rnn", "gru", "lstm"])
def test_variants_of_a_cell_have_the_shipped_gradient(family):
    import jax

    from benchmarks import cell_variants

    case = cell_variants.case_of(family, 3)
    expected = cell_variants.shipped(case)(case.params)
    variants = cell_variants.variants(case)
    assert len(variants) == {"rnn": 5, "gru": 6, "lstm": 7}[family]
    for name, gradient in variants.items():
        found = jax.jit(gradient)(case.params)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        assert cell_variants.difference(expected, found) < 1e-5, name


@pytest.mark.slow
def test_benchmark_of_growth_compiles_the_same_programs_whatever_the_number_of_models(tmp_path):
    out = tmp_path / "growth.json"
    command = [sys.executable, "-m", "benchmarks.growth", "--families=mlp", "--models=40,80"]
    command += ["--steps=5", "--repeats=1", f"--out={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert [row["num_models"] for row in result["rows"]] == [40, 80]
    few, many = result["rows"]
    assert few["programs"] == many["programs"] > 0
    assert few["peak_bytes"] > 0
    assert result["begin_s"][0] > 0
