"""``python -m tests.harness.fake_gpus PACE key=value …``: the inference job on GPUs that nodes pretend to have.

Everything is the job's own, scheduling on GPUs included; the model alone runs on the CPU. PACE is how many seconds more
than that it takes per panorama, or the folder of a :class:`~tests.harness.valve.Valve`.
For tests of clusters: a machine without GPUs can have nodes that say they have some.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pager_ray.config import load_config
from pager_ray.pipeline.job import run_job
from pager_ray.pipeline.model_actor import InferActor
from pager_ray.stages.infer import InferSettings
from tests.harness.valve import Valve


def on_pretended_gpus(wait: Callable[[int], None]) -> type[InferActor]:
    """The model stage of such a job, which waits before every block, by its panoramas."""

    class PretendingActor(InferActor):
        def _load(self, settings: InferSettings) -> None:
            super()._load(replace(settings, device="cpu", threads=1, memory_share=None))

        def _predict(self, table: Any) -> Any:
            wait(table.num_rows)
            return super()._predict(table)

    return PretendingActor


def main(pace: str, *overrides: str) -> int:
    """Run the job; its exit code."""
    wait = Valve(Path(pace)).wait if os.sep in pace else lambda count: time.sleep(count * float(pace))
    # Without a GPU the model gives float32 normals, which the stages after it must know.
    config = load_config(None, ["precision=float32", "compute.batch_size=1", *overrides])
    return run_job(config, model_stage=on_pretended_gpus(wait)).exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
