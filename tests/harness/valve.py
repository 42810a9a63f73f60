"""A model that does as many panoramas as a test lets through, however fast the machine is.

What is still to be done when a node goes, a driver is killed or a job is told to stop is then the test's decision, not
that of a clock.
"""

from __future__ import annotations

import fcntl
import time
import uuid
from pathlib import Path

LOOK_SECONDS = 0.1


class Valve:
    """How many panoramas the model actors of a machine may do; closed for all that nobody let through.

    It is a folder, so that workers of other processes see it too: a file is a panorama.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def let_through(self, count: int) -> None:
        """So many more."""
        for _ in range(count):
            (self.folder / uuid.uuid4().hex).touch()

    def open(self) -> None:
        """All of them, from now on."""
        (self.folder / "open").touch()

    @property
    def left(self) -> int:
        """How many of those that were let through nobody has taken."""
        return sum(1 for _ in self.folder.iterdir())

    def wait(self, count: int = 1) -> None:
        """Return when so many panoramas more may be done.

        They are taken together or not at all: two actors that wait for a whole block each would otherwise share what is
        left, and neither would ever get its own.
        """
        while not self._take(count):
            time.sleep(LOOK_SECONDS)

    def _take(self, count: int) -> bool:
        # The lock of a process that is killed goes with it.
        with (self.folder.parent / f"{self.folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (self.folder / "open").exists():
                return True
            passes = list(self.folder.iterdir())[:count]
            if len(passes) < count:
                return False
            for path in passes:
                path.unlink()
            return True
