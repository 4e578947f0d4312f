"""The arithmetic of a large study: by hand for one case, and as the documentation shows it."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from benchmarks import plan
from mia_jax.models import cnn, count_parameters

ROOT = Path(__file__).resolve().parent.parent
SMALL = plan.Study(
    models=100, pool=1000, train_size=500, others=100, epochs=2, checkpoints=2, attacks=1, forward=1e6, train=3e6,
    parameters=10,
)  # fmt: skip
RATES = plan.Rates(flop_per_s=1e9, fill=((1, 0.1), (10, 0.5), (100, 1.0)), compile_s=3.0, attack_s=1e-3)


def test_table_of_the_documentation_is_that_of_the_committed_results():
    text = (ROOT / "docs" / "scaling.md").read_text()
    shown = re.search(r"<!-- plan -->\n(.*?)\n<!-- /plan -->", text, re.S)
    assert shown[1] == plan.markdown()


def test_one_row_by_hand():
    # 10 devices with 10 models each work at half their rate, 5 GFLOP/s: 100 models x 2 epochs x 500 x 3 MFLOP
    # are 300 GFLOP, and 100 x 2 x 1,100 x 1 MFLOP = 220 GFLOP of recording.
    # Bytes: 100 x (2 x (24,000 + 2,000) + 1 x 120 + 40 x 1,100 + 40) = 9,616,000 in 104 s, from two hosts.
    row = plan.row_of(SMALL, RATES, 10)
    assert row[:6] == ("10", "10", "50%", "1.0 min", "44 s", "3 s")
    assert SMALL.bytes_written == 9_616_000
    # One attack on 100 x 1,000 x 2 entries takes 200 s, and a tenth of it for each of ten processes.
    assert row[-2:] == ("3.3 min", "20 s")


@pytest.mark.parametrize(("models", "share"), [(1, 0.1), (10**0.5, 0.3), (10, 0.5), (100, 1.0), (1000, 1.0)])
def test_share_of_rate_lies_between_the_measured_ones(models, share):
    assert plan.share_of_rate(RATES.fill, models) == pytest.approx(share)


def test_the_network_is_the_one_that_is_counted():
    model, x = cnn(num_classes=10, hidden=32, layers=4), jnp.zeros((32, 32, 3))
    params = jax.eval_shape(model.init, jax.random.key(0), x)
    assert count_parameters(model, x) == plan.Study().parameters
    counted = jax.jit(model.apply).lower(params, x).cost_analysis()["flops"]
    assert counted == pytest.approx(plan.Study().forward, rel=0.05)
