"""An arm on disk: read back it is the same, and of another making or damaged it is none."""

import types

import numpy as np
import pytest

from mia_jax.dynamics import Bits, as_bits
from mia_jax.dynamics_study import keeping
from mia_jax.dynamics_study.rows import Ends, Interval
from mia_jax.runs.store import Store


@pytest.fixture
def run(tmp_path):
    """What of a run an arm is kept in."""
    return types.SimpleNamespace(store=Store(tmp_path))


@pytest.fixture
def arm(make_arm):
    """A made-up arm with everything an arm can have, numbers that are none among it."""
    rng = np.random.default_rng(0)
    made = make_arm({"family": "mlp", "optimizer": "sgd"}, records=30, checkpoints=5)
    made.fpr[2, 3] = made.curves["early_precision"][0] = np.nan
    calls = rng.random((5, 24, 30)) < 0.5
    return made._replace(
        also=[
            {"attack": "loss", "fpr": 0.1, "high": np.nan, "vulnerability": Interval(0.25, np.nan, 1 / 3)},
            {"attack": "lira", "fpr": 0.01, "high": 0.1, "displacement": Interval(0.5, 0.25, 0.75)},
        ],
        foretold={"epoch": 12, "share": 0.1, "precision": np.nan, "recall": 0.1 + 0.2},
        ends=Ends(*(as_bits("calls", one, one.shape) for one in calls), np.arange(24) ^ 1),
    )


def assert_same(found, wanted):
    """Equal to the bit, NaN and kinds included."""
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    elif isinstance(wanted, Bits):
        assert found.shape == wanted.shape
        assert_same(found.packed, wanted.packed)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for name in wanted:
            assert_same(found[name], wanted[name])
    elif isinstance(wanted, list | tuple):
        assert type(found) is type(wanted)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert type(found) is type(wanted)
        assert found == wanted or (found != found and wanted != wanted)


def test_an_arm_read_back_is_the_same(run, arm):
    keeping.keep_arm(run, "mlp", "mine", arm)
    assert_same(keeping.read_arm(run, "mlp", "mine"), arm)


def test_an_arm_without_ends_or_anything_else_that_may_be_missing(run, arm):
    bare = arm._replace(ends=None, also=[], foretold={}, difficulty={})
    keeping.keep_arm(run, "mlp", "mine", bare)
    assert_same(keeping.read_arm(run, "mlp", "mine"), bare)


def test_families_are_kept_apart_and_the_last_one_counts(run, arm):
    other = arm._replace(who="somebody else")
    keeping.keep_arm(run, "mlp", "mine", arm)
    keeping.keep_arm(run, "lstm", "mine", other)
    assert keeping.read_arm(run, "mlp", "mine").who == arm.who
    keeping.keep_arm(run, "mlp", "mine", other)
    assert keeping.read_arm(run, "mlp", "mine").who == "somebody else"


def test_what_is_not_there_or_of_another_making_is_none(run, arm):
    assert keeping.read_arm(run, "mlp", "mine") is None
    keeping.keep_arm(run, "mlp", "mine", arm)
    assert keeping.read_arm(run, "mlp", "another") is None
    assert keeping.read_arm(run, "lstm", "mine") is None


@pytest.mark.parametrize("harm", ["gone", "cut", "one bit", "of an older writing"])
def test_damaged_arrays_are_none(run, arm, tmp_path, harm):
    keeping.keep_arm(run, "mlp", "mine", arm)
    file = tmp_path / "dynamics" / "mlp.npz"
    content = bytearray(file.read_bytes())
    if harm == "gone":
        file.unlink()
    elif harm == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif harm == "one bit":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:  # stopped between its two files: new arrays beside the facts of before
        facts = (tmp_path / "dynamics" / "mlp.json").read_bytes()
        keeping.keep_arm(run, "mlp", "mine", arm._replace(labels=arm.labels + 1))
        (tmp_path / "dynamics" / "mlp.json").write_bytes(facts)
    assert keeping.read_arm(run, "mlp", "mine") is None
