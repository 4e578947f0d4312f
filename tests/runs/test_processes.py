"""Processes agree or end together, and work is dealt out evenly."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mia_jax.runs import processes
from mia_jax.runs.identity import JobError, RunError
from mia_jax.runs.processes import ALONE, Joined, agreeing, check_agreed, deal


class Service:
    """A coordination service in this process, with the errors of JAX's."""

    def __init__(self, count):
        self.values, self.changed = {}, threading.Condition()
        self.leaving = threading.Barrier(count)

    def key_value_set(self, key, value):
        with self.changed:
            assert key not in self.values
            self.values[key] = value
            self.changed.notify_all()

    def blocking_key_value_get(self, key, milliseconds):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.values, milliseconds / 1000):
                raise RuntimeError(f"DEADLINE_EXCEEDED: {key}\nmore [type.googleapis.com/x='']")
            return self.values[key]

    def key_value_dir_get(self, prefix):
        return [(key, value) for key, value in self.values.items() if key.startswith(prefix)]

    def leave(self):
        self.leaving.wait(10)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(processes, "_PAUSE", 0.02)


def together(count, work, patience=10.0):
    """What each of `count` processes gets from work(team), or its exception."""
    service = Service(count)

    def one(number):
        try:
            return work(Joined(service, number, count, leave=service.leave, patience=patience))
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_process_0_decides_and_hears_of_all():
    def work(team):
        with agreeing(team):
            value = team.share("plan", {"models": [1, 2]} if team.number == 0 else None)
            return value, team.gather("facts", team.number * 10)

    first, *others = together(3, work)
    assert first == ({"models": [1, 2]}, [0, 10, 20])
    assert others == [({"models": [1, 2]}, [])] * 2


def test_one_process_agrees_with_itself():
    with agreeing(ALONE):
        assert ALONE.share("a", 3) == 3
        assert ALONE.gather("a", 3) == [3]
    with pytest.raises(ValueError, match="x"), agreeing(ALONE):
        raise ValueError("x")


@pytest.mark.parametrize("failing", range(3))
def test_what_fails_in_one_ends_all(failing):
    def work(team):
        with agreeing(team):
            if team.number == failing:
                raise RunError("the data is gone")
            team.share("plan", 1)
            team.gather("facts", 1)
            team.share("verdict", 1)

    ended = together(3, work)
    assert str(ended[failing]) == "the data is gone"
    others = [str(error) for number, error in enumerate(ended) if number != failing]
    assert all(isinstance(error, RunError) for error in ended)
    # One may hear it of another that has ended for the same reason.
    assert f"process {failing} has failed: the data is gone" in others


def test_nobody_waits_for_ever():
    ended = together(2, lambda team: team.share("plan") if team.number else None, patience=0.1)
    assert isinstance(ended[1], JobError)
    assert "process 0 has said nothing" in str(ended[1])


def test_a_service_that_is_gone_is_one_sentence():
    def gone(*_):
        raise RuntimeError("UNAVAILABLE: Socket closed\nAdditional information")

    service = Service(1)
    service.blocking_key_value_get = gone
    with pytest.raises(JobError, match=r"process 0 cannot be reached: UNAVAILABLE: Socket closed\.$"):
        Joined(service, 1, 2, leave=gone).share("plan")
    with pytest.raises(JobError, match="could not part"):
        Joined(Service(1), 0, 1, leave=gone).part()


def test_nobody_is_told_after_parting():
    def work(team):
        with agreeing(team):
            team.share("plan", 1)
        team.fail("too late")
        return "done"

    assert together(2, work) == ["done", "done"]


def test_processes_that_differ_are_refused_by_name():
    same = {"jax": "1", "config.seed": 0}
    check_agreed([same, dict(same), dict(same)])
    with pytest.raises(
        RunError, match=r"process 2 does not do .*: config\.seed is 0 in process 0 and 1 in process 2;"
    ):
        check_agreed([same, dict(same), {**same, "config.seed": 1}])
    with pytest.raises(RunError, match="extra is None in process 0 and 1 in process 1"):
        check_agreed([same, {**same, "extra": 1}])


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_work_is_dealt_evenly(count):
    loads = [int(load) for load in np.random.default_rng(count).integers(0, 9, 40)]
    given = deal(loads, count)
    totals = [
        sum(load for load, owner in zip(loads, given, strict=True) if owner == who) for who in range(count)
    ]
    assert sum(totals) == sum(loads)
    # Whoever has the most got the last piece when having the least (Graham 1969).
    assert max(totals) - min(totals) <= max(loads)
    assert given == deal(loads, count)


def test_equal_pieces_go_round_and_finished_ones_to_nobody_else():
    assert deal([3, 3, 3, 3, 3], 2) == [0, 1, 0, 1, 0]
    assert deal([0, 3, 0, 3], 2) == [0, 0, 0, 1]
    assert deal([3], 2, begun=[5, 1]) == [1]
    assert deal([], 3) == []
    assert json.dumps(deal([2, 1], 4)) == "[0, 1]"
