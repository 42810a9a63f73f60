"""One job at a time per output: a lease on the output storage that its holder renews.

A lease is a file per generation, ``state/lease/<generation>.json``, made with an exclusive put: of any number of jobs
that want the next generation, the store lets one make it. Nothing is ever taken over by overwriting or deleting, so two
jobs that see the same dead lease cannot both follow it. The holder renews its own file; when a higher generation
exists, it has lost the output and stops.

A lease counts as dead when it was given back, when it has not been renewed for :data:`LEASE_SECONDS`, or when its
process is gone on this very machine. Its age is judged by the store's or the writer's clock against ours: clocks of
machines that share an output may differ by less than that.

Some stores do not decide who was first (:meth:`Folder.decides`). There a job first *announces* which generation it
wants, in a file of its own, ``<generation>.<id>.wanted``, and then looks: it goes on where nobody else that lives wants
the same, and no such generation has been made. Of two that look after they have announced, one at least sees the other,
so never two of them go on, provided that the store lists what it has acknowledged; both may withdraw, and try again
after a random time. What is weaker: a job that was paused for longer than :data:`LEASE_SECONDS` between its look and
its lease writes over the one that followed, which the other finds out when it renews.
"""

from __future__ import annotations

import json
import os
import platform
import random
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from pager_ray.bounded import parse_json
from pager_ray.errors import OutputInUseError, StorageError
from pager_ray.plain import get_logger
from pager_ray.storage import Folder

log = get_logger(__name__)

LEASE_SECONDS: Final = 90.0
"""After this long without renewal a lease is dead: longer than a store that is down for a moment."""

RENEW_SECONDS: Final = 15.0

LOOK_SECONDS: Final = 2.0
"""Between two looks at a lease whose holder may be dead."""

ANNOUNCEMENTS: Final = 8
"""How often a job announces what it wants before it leaves it to the others."""

_SUFFIX: Final = ".json"
_WANTED: Final = ".wanted"
_DIGITS: Final = 8


class Lease:
    """A claim on an output, held from :meth:`take` to :meth:`give_back`; also a context manager that gives back.

    Args:
        folder: ``state/lease`` of the output.

    Attributes:
        announced: whether the output lies in a store that does not decide who was first.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._generation: int | None = None
        self.announced = False
        self._began = time.time()
        self._holder = {"id": uuid.uuid4().hex, "host": platform.node(), "boot": _boot_id(), "pid": os.getpid()}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost = threading.Event()
        self._when_lost: Callable[[], object] = lambda: None

    def take(self, *, wait: bool = False) -> Lease:
        """Make the next generation and keep renewing it.

        Args:
            wait: where the holder is on another machine and may have died, see whether it renews its lease: it is
                followed as soon as it is dead, and refuses us as soon as it shows that it lives.

        Raises:
            OutputInUseError: a living job holds the output; says where it runs and since when.
            StorageError: the storage cannot be read or written.
        """
        newest = self._newest()
        current = self._read(newest) if newest else None
        if wait and current is not None:
            newest, current = self._see_whether_it_lives(newest, current)
        if current is not None and (why := _life(current)):
            raise OutputInUseError(_in_use(self._folder, current, why))
        generation = newest + 1
        self.announced = not self._folder.decides()
        if not self.announced:
            self._make(generation)
        else:
            self._announce(generation)
            try:
                self._make(generation)
            finally:
                self._folder.delete([self._wish(generation)])
        self._generation = generation
        self._folder.delete(_name(old) for old in self._generations() if old < generation)
        if self.announced:
            # Of jobs that died, or that were told off by this generation.
            self._folder.delete(name for name in self._folder.names(_WANTED) if name < _name(generation))
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return self

    def _make(self, generation: int) -> None:
        """Make a generation, unless somebody else is faster."""
        if not self._folder.create(_name(generation), self._state()):
            winner = self._read(generation) or {}
            # It may be our own, where the answer to the put was lost on its way.
            if winner.get("id") != self._holder["id"]:
                raise OutputInUseError(_in_use(self._folder, winner, "was faster by a moment"))
        if (newer := self._newest()) != generation:
            # Others came and went since we looked, and cleaned up the generation that we made again.
            self._folder.delete([_name(generation)])
            raise OutputInUseError(_in_use(self._folder, self._read(newer) or {}, "was faster by a moment"))

    def _wish(self, generation: int) -> str:
        return f"{generation:0{_DIGITS}}.{self._holder['id']}{_WANTED}"

    def _announce(self, generation: int) -> None:
        """Say that a generation is wanted, and make sure that nobody else that lives wants it or has it.

        Raises:
            OutputInUseError: somebody has it, or wants it as often as we do.
        """
        mine = self._wish(generation)
        other: dict[str, Any] | None = None
        for _ in range(ANNOUNCEMENTS):
            self._folder.write(mine, self._state())
            other = self._other_wish(generation, mine)
            # After the look at the others: who is through has made the generation before it took back its wish.
            newest = self._newest()
            if other is None and newest < generation:
                return
            self._folder.delete([mine])
            if newest >= generation:
                other = self._read(newest)
                break
            time.sleep(random.uniform(0.1, LOOK_SECONDS))
        raise OutputInUseError(_in_use(self._folder, other or {}, "was faster by a moment"))

    def _other_wish(self, generation: int, mine: str) -> dict[str, Any] | None:
        """What somebody else that may live says who wants a generation; None where nobody does."""
        for name in self._folder.names(_WANTED):
            if name != mine and name.startswith(f"{generation:0{_DIGITS}}."):
                state = self._read_state(name)
                if state is not None and _life(state):
                    return state
        return None

    def _see_whether_it_lives(self, newest: int, state: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        """The newest lease once it is clear what its holder is: as it was while it may be dead, else anew."""
        first, current, told = newest, state, False
        while (why := _life(current)) and _is_elsewhere(current):
            if newest != first or current.get("renewed") != state.get("renewed"):
                break
            if not told:
                told = True
                host = current.get("host", "another machine")
                log.info(
                    "a job on %s that writes to this output %s: waiting whether it lives, %g s at most",
                    host,
                    why,
                    LEASE_SECONDS,
                )
            time.sleep(LOOK_SECONDS)
            newest = self._newest()
            found = self._read(newest) if newest else None
            if found is None:
                return newest, None
            current = found
        return newest, current

    @property
    def generation(self) -> int:
        """The number of this lease, higher than that of every earlier holder; 0 when it is not held."""
        return self._generation or 0

    def when_lost(self, call: Callable[[], object]) -> None:
        """Have something called, from the renewing thread, when another job has followed."""
        self._when_lost = call

    def check(self) -> None:
        """Make sure that the output is still ours.

        Raises:
            OutputInUseError: another job has followed, because this one was not heard of for too long.
        """
        if self._lost.is_set():
            raise OutputInUseError(
                f"output.uri: another job has taken over {self._folder}, since this one could not renew its lease for "
                f"{LEASE_SECONDS:g} s; wait for the other one, or choose another output"
            )

    def give_back(self) -> None:
        """Let the next job in at once. A lease that was lost is left to the one who has it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=RENEW_SECONDS)
        if self._generation is not None and not self._lost.is_set():
            try:
                self._folder.write(_name(self._generation), self._state(given_back=True))
            except StorageError as error:
                log.warning("the lease runs out by itself: %s", error)
        self._generation = None
        # What is to be told may hold a good deal more than itself.
        self._when_lost = lambda: None

    def __enter__(self) -> Lease:
        """Hold the lease for a ``with`` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self.give_back()

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._stop.wait(RENEW_SECONDS):
            try:
                if self._newest() != self._generation or self._is_overwritten():
                    self._lost.set()
                    self._when_lost()
                    return
                # Not repeated with the time of its first attempt: the next renewal comes soon.
                self._folder.once().write(_name(self._generation or 0), self._state())
                renewed = time.monotonic()
            except StorageError as error:
                # The store may be down for a moment; nobody can follow while it is.
                log.warning("the lease could not be renewed for %.0f s: %s", time.monotonic() - renewed, error)

    def _is_overwritten(self) -> bool:
        """Whether a store that does not decide let somebody write over our lease."""
        state = self._read(self._generation or 0) if self.announced else None
        return state is not None and state.get("id") != self._holder["id"]

    def _state(self, given_back: bool = False) -> bytes:
        state = self._holder | {"began": self._began, "renewed": time.time(), "given_back": given_back}
        return json.dumps(state).encode()

    def _generations(self) -> list[int]:
        names = (name.removesuffix(_SUFFIX) for name in self._folder.names(_SUFFIX))
        return sorted(int(name) for name in names if name.isdigit())

    def _newest(self) -> int:
        return max(self._generations(), default=0)

    def _read(self, generation: int) -> dict[str, Any] | None:
        """A lease's content; None where it was cleaned away, {} where it cannot be understood."""
        return self._read_state(_name(generation))

    def _read_state(self, name: str) -> dict[str, Any] | None:
        try:
            content = self._folder.read(name)
        except StorageError:
            if not self._folder.exists(name):
                return None
            raise
        try:
            state = parse_json(content)
        except ValueError:
            return {}
        return state if isinstance(state, dict) else {}


def life(folder: Folder) -> str:
    """What shows that the job that holds an output may be alive, in words; empty when it is dead or there is none.

    Args:
        folder: ``state/lease`` of the output.

    Raises:
        StorageError: the storage cannot be read.
    """
    lease = Lease(folder)
    newest = lease._newest()
    state = lease._read(newest) if newest else None
    return _life(state) if state is not None else ""


def _name(generation: int) -> str:
    return f"{generation:0{_DIGITS}}{_SUFFIX}"


def _life(state: dict[str, Any]) -> str:
    """What shows that a lease's holder may be alive; empty when it is dead."""
    if state.get("given_back"):
        return ""
    renewed = state.get("renewed")
    age = time.time() - renewed if isinstance(renewed, (int, float)) else 0.0
    if age > LEASE_SECONDS:
        return ""
    if state.get("boot") == _boot_id() and state.get("host") == platform.node():
        return "is running" if _is_running(state.get("pid")) else ""
    return f"was heard of {max(age, 0):.0f} s ago"


def _is_elsewhere(state: dict[str, Any]) -> bool:
    """Whether only time can tell if a lease's holder lives: it ran elsewhere, and its lease can be understood."""
    here = state.get("boot") == _boot_id() and state.get("host") == platform.node()
    return not here and isinstance(state.get("renewed"), (int, float))


def _is_running(pid: Any) -> bool:
    if not isinstance(pid, int) or pid < 1:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot_id() -> str:
    """What tells this boot of this machine from every other; containers with the same name share neither."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _in_use(folder: Folder, state: dict[str, Any], why: str) -> str:
    began = state.get("began")
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(began)) if isinstance(began, (int, float)) else "unknown"
    return (
        f"output.uri: a job on {state.get('host', 'another machine')} (process {state.get('pid', '?')}, since {since}) "
        f"writes to this output and {why}; wait for it or stop it. A job that died is followed after "
        f"{LEASE_SECONDS:g} s ({folder})"
    )
