"""``python -m tests.harness.fake_gpus PACE key=value …``: the inference job on GPUs that nodes pretend to have.

Everything is the job's own, scheduling on GPUs included; the model alone runs on the CPU. PACE is how many seconds more
than that it takes per panorama, or a :class:`Valve`'s folder: then it does as many panoramas as the test lets through.
For tests of clusters: a machine without GPUs can have nodes that say they have some.
"""

from __future__ import annotations

import functools
import os
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pager_ray.config import load_config
from pager_ray.pipeline.job import run_job
from pager_ray.pipeline.model_actor import InferActor
from pager_ray.stages.infer import InferSettings

LOOK_SECONDS = 0.1


class Valve:
    """How many panoramas the model actors of a machine may do; closed for all that nobody let through.

    A test decides with it what is still to be done when something happens to the cluster, however fast the machine is.
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


def on_pretended_gpus(wait: Callable[[], None]) -> type[InferActor]:
    """The model stage of such a job, which waits before every panorama."""

    class PretendingActor(InferActor):
        def _load(self, settings: InferSettings) -> None:
            super()._load(replace(settings, device="cpu", threads=1, memory_share=None))

        def _predict(self, table: Any) -> Any:
            for _ in range(table.num_rows):
                wait()
            return super()._predict(table)

    return PretendingActor


def main(pace: str, *overrides: str) -> int:
    """Run the job; its exit code."""
    wait = Valve(Path(pace)).wait if os.sep in pace else functools.partial(time.sleep, float(pace))
    # Without a GPU the model gives float32 normals, which the stages after it must know.
    config = load_config(None, ["precision=float32", "compute.batch_size=1", *overrides])
    return run_job(config, model_stage=on_pretended_gpus(wait)).exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
