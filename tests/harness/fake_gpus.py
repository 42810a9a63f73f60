"""``python -m tests.harness.fake_gpus SECONDS key=value …``: the inference job on GPUs that nodes pretend to have.

Everything is the job's own, scheduling on GPUs included; the model alone runs on the CPU, and takes SECONDS more per
panorama than that. For tests of clusters: a machine without GPUs can have nodes that say they have some.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

from pager_ray.config import load_config
from pager_ray.pipeline.infer import InferActor, InferSettings
from pager_ray.pipeline.job import run_job


def on_pretended_gpus(seconds: float) -> type[InferActor]:
    """The model stage of such a job."""

    class PretendingActor(InferActor):
        def _load(self, settings: InferSettings) -> None:
            super()._load(replace(settings, device="cpu", threads=1, memory_share=None))

        def _predict(self, table: Any) -> Any:
            time.sleep(seconds * table.num_rows)
            return super()._predict(table)

    return PretendingActor


def main(seconds: str, *overrides: str) -> int:
    """Run the job; its exit code."""
    # Without a GPU the model gives float32 normals, which the stages after it must know.
    config = load_config(None, ["precision=float32", "compute.batch_size=1", *overrides])
    return run_job(config, model_stage=on_pretended_gpus(float(seconds))).exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
