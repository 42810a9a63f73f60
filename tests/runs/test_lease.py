"""One job at a time: of any number that want an output, one gets it, and it follows only who is dead."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pager_ray.errors import OutputInUseError, StorageError
from pager_ray.runs import lease as module
from pager_ray.runs.lease import LEASE_SECONDS, Lease
from pager_ray.storage import Folder

ROUNDS, RACERS = 20, 2


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "lease"))


def states(folder: Folder) -> dict[str, dict[str, Any]]:
    return {name: folder.read_json(name) for name in folder.names(".json")}


def leave(folder: Folder, generation: int, **changes: Any) -> None:
    """A lease as somebody else leaves it: on another machine, renewed just now, unless said otherwise."""
    state = {"id": "x", "host": "elsewhere", "boot": "b", "pid": 7, "began": time.time(), "renewed": time.time(),
             "given_back": False}  # fmt: skip
    folder.write(f"{generation:08}.json", json.dumps(state | changes).encode())


def test_an_output_is_held_until_it_is_given_back(folder: Folder) -> None:
    """A second job is refused with who holds it; after giving back the next one gets in at once."""
    first = Lease(folder).take()
    with pytest.raises(OutputInUseError, match=rf"process {os.getpid()}.* is running; wait for it or stop it"):
        Lease(folder).take()
    first.give_back()
    with Lease(folder).take():
        assert list(states(folder)) == ["00000002.json"]
    assert states(folder)["00000002.json"]["given_back"]


@pytest.mark.parametrize(
    ("age", "changes", "alive"),
    [
        (0, {}, True),
        (LEASE_SECONDS / 2, {}, True),
        (LEASE_SECONDS + 60, {}, False),
        (0, {"given_back": True}, False),
        (-3600, {}, True),
        (0, {"renewed": "garbage"}, True),
    ],
)
def test_only_the_dead_are_followed(folder: Folder, age: float, changes: dict[str, Any], alive: bool) -> None:
    """A lease elsewhere counts until it is given back or has not been renewed for its time."""
    leave(folder, 4, **({"renewed": time.time() - age} | changes))
    if alive:
        with pytest.raises(OutputInUseError, match="a job on elsewhere"):
            Lease(folder).take()
        assert list(states(folder)) == ["00000004.json"]
    else:
        with Lease(folder).take():
            assert list(states(folder)) == ["00000005.json"]


def impatient(monkeypatch: pytest.MonkeyPatch, then: Any) -> None:
    """Instead of sleeping between two looks, something happens."""
    monkeypatch.setattr(module.time, "sleep", lambda _: then())


def test_who_waits_follows_a_job_that_dies(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease elsewhere that is not renewed any more is followed the moment its time is over."""
    leave(folder, 4, renewed=time.time() - LEASE_SECONDS + 20)
    clock = [time.time()]
    monkeypatch.setattr(module.time, "time", lambda: clock[0])
    impatient(monkeypatch, lambda: clock.append(clock.pop() + module.LOOK_SECONDS))
    before = clock[0]
    with Lease(folder).take(wait=True):
        assert list(states(folder)) == ["00000005.json"]
    assert 20 <= clock[0] - before <= 20 + 2 * module.LOOK_SECONDS


def test_who_waits_is_refused_by_a_job_that_lives(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first renewal shows that the holder lives: nobody waits longer than for that."""
    leave(folder, 4, renewed=time.time() - 10)
    impatient(monkeypatch, lambda: leave(folder, 4, renewed=time.time()))
    with pytest.raises(OutputInUseError, match="a job on elsewhere"):
        Lease(folder).take(wait=True)
    assert list(states(folder)) == ["00000004.json"]


def test_who_waits_is_refused_by_whoever_is_faster(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third job that follows meanwhile has the output."""
    leave(folder, 4, renewed=time.time() - 10)
    impatient(monkeypatch, lambda: leave(folder, 5, host="third"))
    with pytest.raises(OutputInUseError, match="a job on third"):
        Lease(folder).take(wait=True)


def test_a_job_on_this_machine_is_not_waited_for(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a running process is known to run: it is no use to wait."""
    impatient(monkeypatch, lambda: pytest.fail("waited"))
    with Lease(folder).take(), pytest.raises(OutputInUseError, match="is running"):
        Lease(folder).take(wait=True)


def test_a_damaged_lease_is_no_free_output(folder: Folder) -> None:
    """What cannot be understood may be a living job's."""
    folder.write("00000001.json", b"{")
    with pytest.raises(OutputInUseError, match="another machine"):
        Lease(folder).take()


def hold(path: str, ready: Any) -> None:
    Lease(Folder(path)).take()
    ready.set()
    signal.pause()


def test_a_killed_process_is_followed_at_once(folder: Folder) -> None:
    """On the same machine a dead process is known to be dead; nobody waits for its lease to run out."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(folder.path, ready))
    process.start()
    assert ready.wait(600)
    with pytest.raises(OutputInUseError, match=f"process {process.pid}"):
        Lease(folder).take()
    process.kill()
    process.join()
    with Lease(folder).take():
        assert len(states(folder)) == 1


def race(paths: list[str], barrier: Any, won: Any, racer: int) -> None:
    for number, path in enumerate(paths):
        barrier.wait(600)
        try:
            lease = Lease(Folder(path)).take()
        except OutputInUseError:
            barrier.wait(600)
            continue
        won.put((number, racer))
        # Held until both have tried.
        barrier.wait(600)
        lease.give_back()


@pytest.mark.parametrize("dead", [False, True], ids=["new", "after-a-dead-one"])
def test_of_two_jobs_exactly_one_gets_the_output(tmp_path: Path, dead: bool) -> None:
    """Two processes at the same moment, 20 rounds, on new outputs and on those of a dead job: one winner each."""
    paths = [str(tmp_path / f"run{number}") for number in range(ROUNDS)]
    for path in paths if dead else ():
        leave(Folder(path), 3, renewed=time.time() - 2 * LEASE_SECONDS)
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(RACERS), context.Queue()
    racers = [context.Process(target=race, args=(paths, barrier, won, racer)) for racer in range(RACERS)]
    for process in racers:
        process.start()
    winners = [won.get(timeout=900) for _ in range(ROUNDS)]
    for process in racers:
        process.join(60)
        assert process.exitcode == 0
    assert won.empty()
    assert sorted(number for number, _ in winners) == list(range(ROUNDS))


def test_a_slow_racer_does_not_pass_a_later_one(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looked before others came and went makes a generation that is past, notices, and leaves no trace of it."""
    leave(folder, 1, given_back=True)
    working = Folder.create

    def overtaken(self: Folder, name: str, data: bytes) -> bool:
        leave(self, 3)
        return working(self, name, data)

    monkeypatch.setattr(Folder, "create", overtaken)
    with pytest.raises(OutputInUseError, match="a job on elsewhere"):
        Lease(folder).take()
    assert list(states(folder)) == ["00000001.json", "00000003.json"]


def test_who_comes_second_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that want the same generation at once, the one whose put came second is told who has the output."""
    working = Folder.create

    def overtaken(self: Folder, name: str, data: bytes) -> bool:
        leave(self, 1)
        return working(self, name, data)

    monkeypatch.setattr(Folder, "create", overtaken)
    with pytest.raises(OutputInUseError, match=r"a job on elsewhere .* was faster by a moment; wait for it or stop it"):
        Lease(folder).take()
    assert list(states(folder)) == ["00000001.json"]
    assert states(folder)["00000001.json"]["id"] == "x"


def test_the_holder_renews(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a job lives its lease does not age, also when the store fails for a moment."""
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.02)
    lease = Lease(folder).take()
    before = states(folder)["00000001.json"]["renewed"]
    working = type(folder).write
    failures = []

    def fail_once(self: Folder, name: str, data: bytes) -> None:
        if not failures:
            failures.append(name)
            raise StorageError("down for a moment")
        working(self, name, data)

    monkeypatch.setattr(Folder, "write", fail_once)
    deadline = time.monotonic() + 600
    while states(folder)["00000001.json"]["renewed"] == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert failures
    lease.check()
    lease.give_back()


def test_who_was_followed_stops(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was not heard of for too long notices its successor, says so, and leaves the lease to it."""
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.02)
    told = threading.Event()
    lease = Lease(folder).take()
    lease.when_lost(told.set)
    leave(folder, 2)
    assert told.wait(600)
    with pytest.raises(
        OutputInUseError, match=r"^output\.uri: another job has taken over .*; wait for the other one, or choose"
    ):
        lease.check()
    lease.give_back()
    assert not states(folder)["00000002.json"]["given_back"]


def test_leases_lie_on_any_store() -> None:
    """The same on an object store."""
    folder = Folder("memory://bucket/run/state/lease")
    try:
        with Lease(folder).take(), pytest.raises(OutputInUseError):
            Lease(folder).take()
        with Lease(folder).take():
            assert folder.names(".json") == ["00000002.json"]
    finally:
        fsspec.filesystem("memory").store.clear()


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """A folder of a store that answers 501 to conditional puts."""
    files = fsspec.filesystem("memory")
    as_it_was = type(files).pipe_file

    def without_conditions(self: Any, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        if mode == "create":
            raise OSError(errno.ENOSYS, "A header you provided implies functionality that is not implemented")
        as_it_was(self, path, value, mode=mode, **more)

    monkeypatch.setattr(type(files), "pipe_file", without_conditions)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    yield Folder("memory://bucket/run/state/lease")
    files.store.clear()


def test_without_conditional_puts_a_job_announces_itself(undecided: Folder) -> None:
    """Where a store does not decide who was first, a second job is refused all the same, and nothing is left behind."""
    with Lease(undecided).take() as first:
        assert first.announced
        assert undecided.names() == ["00000001.json"]
        with pytest.raises(OutputInUseError, match="is running"):
            Lease(undecided).take()
    with Lease(undecided).take() as second:
        assert second.generation == 2
        assert undecided.names() == ["00000002.json"]


def test_an_announced_job_meets_nobody(undecided: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes between an announcement and its lease is refused, and so is who announced too late."""
    make, look = Lease._make, Lease._other_wish
    refused = []

    def meet(lease: Lease, *given: Any) -> None:
        monkeypatch.setattr(Lease, "_make", make)
        with pytest.raises(OutputInUseError) as caught:
            Lease(undecided).take()
        refused.append(caught.value)
        make(lease, *given)

    monkeypatch.setattr(Lease, "_make", meet)
    with Lease(undecided).take() as first:
        assert first.generation == len(refused) == 1
    leases = []

    def overtaken(lease: Lease, *given: Any) -> Any:
        monkeypatch.setattr(Lease, "_other_wish", look)
        undecided.delete([lease._wish(2)])
        leases.append(Lease(undecided).take())
        undecided.write(lease._wish(2), b"{}")
        return look(lease, *given)

    monkeypatch.setattr(Lease, "_other_wish", overtaken)
    with pytest.raises(OutputInUseError, match="was faster by a moment"):
        Lease(undecided).take()
    assert undecided.names() == ["00000002.json"]
    leases[0].give_back()


def test_of_many_that_announce_themselves_one_at_most_holds(undecided: Folder) -> None:
    """However many want an undecided store's output at once, never two hold it; the next one alone gets it."""
    for _ in range(3):
        held: list[Lease] = []

        def race(held: list[Lease] = held) -> None:
            with contextlib.suppress(OutputInUseError):
                held.append(Lease(undecided).take())

        racers = [threading.Thread(target=race) for _ in range(4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert len(held) <= 1
        for lease in held:
            lease.give_back()
        Lease(undecided).take().give_back()


def test_an_announced_lease_that_is_written_over_is_lost(undecided: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was paused too long and writes over its follower's lease is found out at the next renewal."""
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.01)
    lost = threading.Event()
    lease = Lease(undecided).take()
    lease.when_lost(lost.set)
    leave(undecided, 1)
    # A renewal that was under way may have put ours once more.
    while not lost.wait(0.05):
        leave(undecided, 1)
    with pytest.raises(OutputInUseError, match="taken over"):
        lease.check()
    lease.give_back()
