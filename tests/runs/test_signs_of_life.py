"""Who lives is never taken for dead, who is dead is found out, and one process at a time holds a place."""

import threading

import pytest

from mia_jax.runs.identity import RunError
from mia_jax.runs.signs_of_life import LOCK, Sign, Watch, leased
from mia_jax.runs.store import Store, StoreError


class Clock:
    """A clock that is set by hand, and moves while somebody sleeps. while_asleep: what happens meanwhile."""

    def __init__(self, while_asleep=lambda: None):
        self.now, self.slept, self._while_asleep = 100.0, 0.0, while_asleep

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.slept += seconds
        self._while_asleep()


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(tmp_path) if request.param == "local" else Store(f"memory://{tmp_path.name}")


def hold(store, silence=8.0, clock=None, said=None):
    say = (lambda text: None) if said is None else said.append
    return leased(store, silence=silence, sleep=(clock or Clock()).sleep, say=say)


def test_a_sign_is_renewed_until_it_ends(store):
    sign, watch = Sign(store, "s.json", {"state": "working"}, silence=0.2), Watch(store, ["s.json"])
    assert watch.look()["s.json"].says is None
    sign.begin()
    first = watch.look()["s.json"].says
    assert first["state"] == "working"
    assert first["pid"] > 0
    for _ in range(400):
        if (later := watch.look()["s.json"].says)["sign"] > first["sign"] + 1:
            break
        threading.Event().wait(0.01)
    assert later["sign"] > first["sign"] + 1
    sign.say({"state": "finished"})
    sign.end()
    assert watch.look()["s.json"].says["state"] == "finished"
    before = store.read("s.json")
    threading.Event().wait(0.1)
    assert store.read("s.json") == before


def test_silence_is_measured_by_the_watchers_clock_alone(store):
    clock = Clock()
    watch = Watch(store, ["a.json", "b.json"], silence=80, clock=clock)
    store.write_json("a.json", {"sign": 1})
    assert [seen.silent for seen in watch.look().values()] == [0, 0]
    clock.sleep(7)
    store.write_json("a.json", {"sign": 2})
    seen = watch.look()
    assert (seen["a.json"].silent, seen["b.json"].silent) == (0, 7)
    clock.sleep(4)
    assert watch.look()["a.json"].silent == 4


def test_a_watcher_who_was_held_up_takes_nobody_for_dead(store):
    clock = Clock()
    watch = Watch(store, ["a.json"], silence=80, clock=clock)
    store.write_json("a.json", {"sign": 1})
    watch.look()
    clock.sleep(10_000)
    assert watch.look()["a.json"].silent == 10
    for _ in range(7):
        clock.sleep(10)
        silent = watch.look()["a.json"].silent
    assert silent == 80


def test_a_failed_write_or_read_is_no_failure_of_the_work(store, monkeypatch):
    def refused(*_):
        raise StoreError("the disk is full")

    sign, watch = Sign(store, "s.json", {}), Watch(store, ["s.json"])
    monkeypatch.setattr(store, "write_json", refused)
    sign.begin()
    sign.end()
    monkeypatch.setattr(store, "read", refused)
    assert watch.look()["s.json"].says is None


def test_a_held_store_is_refused_to_others_and_free_afterwards(store):
    with hold(store, silence=0.4):
        assert store.exists(LOCK)
        renewed = Clock(while_asleep=lambda: threading.Event().wait(0.2))
        with (
            pytest.raises(RunError, match=r"is in use by another process \(host "),
            hold(store, clock=renewed),
        ):
            pass
    assert not store.exists(LOCK)
    with hold(store):
        pass


def test_a_dead_holders_store_is_taken_over_after_its_silence(store):
    store.write_json(LOCK, {"host": "gone", "pid": 7, "sign": 3})
    clock, said = Clock(), []
    with hold(store, silence=60, clock=clock, said=said):
        assert clock.slept >= 60
        assert "host gone, process id 7" in said[0]
    assert not store.exists(LOCK)


def test_a_holder_that_shows_itself_seldom_is_waited_for_as_long_as_it_asks(store):
    store.write_json(LOCK, {"host": "slow", "pid": 7, "sign": 3, "silence": 600})
    clock, said = Clock(), []
    with hold(store, silence=60, clock=clock, said=said):
        assert clock.slept >= 600
    assert "waiting up to 600 s" in said[0]


def test_a_lock_that_is_given_back_meanwhile_is_taken_at_once(store):
    store.write_json(LOCK, {"host": "there", "pid": 7, "sign": 3})
    clock = Clock(while_asleep=lambda: store.delete(LOCK))
    with hold(store, silence=60, clock=clock):
        assert clock.slept < 10


def test_of_two_who_wait_for_the_dead_one_is_refused(store):
    store.write_json(LOCK, {"host": "gone", "pid": 7, "sign": 3})
    clock = Clock()

    def other_takes_it():
        if clock.slept > 55:
            store.write_json(LOCK, {"host": "quicker", "pid": 8, "sign": 1})

    clock._while_asleep = other_takes_it
    with (
        pytest.raises(RunError, match=r"in use by another process \(host quicker"),
        hold(store, silence=60, clock=clock),
    ):
        pass


@pytest.mark.parametrize("silence", [0.08, 1000.0])
def test_who_was_taken_for_dead_hears_of_it(store, silence):
    """When its sign is next renewed, or at the end, if it is not renewed before."""
    lease = hold(store, silence=silence)

    def work():
        with lease:
            store.write_json(LOCK, {"host": "other", "pid": 8, "sign": 1})
            threading.Event().wait(0.1)

    with pytest.raises(RunError, match="was taken over by another process"):
        work()
    assert store.read_json(LOCK)["host"] == "other"


def test_an_error_is_not_hidden_by_the_lock(store):
    with pytest.raises(ValueError, match="mine"), hold(store):
        raise ValueError("mine")
    assert not store.exists(LOCK)
