"""A model that does as many panoramas as a test lets through, however fast the machine is.

What is still to be done when a node goes, a driver is killed or a job is told to stop is then the test's decision, not
that of a clock.
"""

from __future__ import annotations

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

    def wait(self) -> None:
        """Return when one panorama more may be done."""
        while not self._take():
            time.sleep(LOOK_SECONDS)

    def _take(self) -> bool:
        for path in self.folder.iterdir():
            if path.name == "open":
                return True
            try:
                path.unlink()
            except FileNotFoundError:
                # Another actor was faster.
                continue
            return True
        return False
