"""Made-up pools are read as recorded ones are, and what attacks hold does not grow with the records."""

import tracemalloc

import numpy as np
import pytest

from benchmarks import big_pool
from benchmarks.big_pool import FAMILY, Size, carried_on, make
from mia_jax import blocks, study
from mia_jax.attacks import gathering
from mia_jax.metrics import auc
from mia_jax.runs import store

K, T, Z = 32, 2, 50
FITTED = ("loss", "loss_by_class", "enhanced_shadow", "lira_online", "rmia_online")
"""One of every kind of fit but training, which has a memory of its own."""


def test_made_up_members_can_be_told_from_others(tmp_path):
    run = make(tmp_path / "run", Size(K, 200, T, Z), ["loss", "lira_online"])
    study.attack(run)
    member = np.asarray(run.membership().member)
    for name in ("loss", "lira_online"):
        assert 0.6 < auc(run.scores(FAMILY, name, T - 1), member) < 0.9


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 1,024 records of the 8 models, and fits to as many."""
    monkeypatch.setattr(blocks, "ENTRIES", K * 1024)
    monkeypatch.setattr(gathering, "ENTRIES_FITTED", K * 1024)
    monkeypatch.setattr(store, "ENTRIES_OF_A_PIECE", K * 256)


def largest(run):
    """The largest memory, beside what was there before, while a run is attacked."""
    tracemalloc.start()
    study.attack(run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_four_times_the_records_hardly_take_more_memory(tmp_path, small_blocks):
    """What grows is the membership, a byte of each record and model, and a few numbers of each record."""
    sizes = (4_000, 16_000)
    runs = [make(tmp_path / str(size), Size(K, size, T, Z), FITTED) for size in sizes]
    study.attack(runs[0])  # what is made once for all: programs, imports
    few, many = map(largest, runs)
    assert many - few < (K + 24) * (sizes[1] - sizes[0])


def test_the_goal_is_reached_at_the_largest_pools_rates():
    stages = {"attack": {"seconds": 36.0, "peak_bytes": 1, "bytes_before": 1}}
    row = {"models": 32, "checkpoints": 2, "disk_bytes": 10, "stages": stages}
    goal = carried_on([{**row, "records": 100_000}, {**row, "records": 1000, "stages": {}}])
    assert goal["hours"] == pytest.approx({"attack": 36.0 * 8 * 10 * 5 / 3600})
    assert goal["disk_bytes"] == pytest.approx(10 * 8 * 10 * 5)
    result = {"rows": [{**row, "records": 100_000}], "goal": goal}
    assert "| 100,000 | 0.0 | 36 |" in big_pool.markdown(result)
