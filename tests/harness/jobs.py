"""One configuration for jobs on the rendered samples, and the job in this process, for tests that are not about Ray."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pager_ray.config import RunConfig, load_config
from pager_ray.here import run_here
from pager_ray.infer import Predictor
from pager_ray.model import PagerModel, load_model, resolve_checkpoint
from pager_ray.runs import Reconciliation
from pager_ray.stages.names import StageName
from pager_ray.stages.settings import inference_settings


def config_of(inputs: Path, checkpoint: Path, output: Path, *overrides: str) -> RunConfig:
    """A job on CPUs whose maps are stored as they are."""
    return load_config(
        None,
        [
            f"input.uris={inputs}",
            f"output.uri={output}",
            f"checkpoint={checkpoint}",
            "compute.gpus_per_worker=0",
            "output.codec=exact",
            *overrides,
        ],
    )


@dataclass(frozen=True)
class Done:
    """How a job in this process ended, and how many rows it wrote."""

    reconciliation: Reconciliation
    fresh: int


def run_in_process(config: RunConfig, **options: Any) -> Done:
    """:func:`pager_ray.here.run_here` with the configuration's own checkpoint; takes its options."""
    predictor = Predictor(_model(config.checkpoint), inference_settings(config))
    stages: list[str] = []
    done = run_here(config, resolve_checkpoint(config.checkpoint), predictor, tell=stages.append, **options)
    return Done(done, stages.count(StageName.WRITE))


@cache
def _model(checkpoint: str) -> PagerModel:
    return load_model(checkpoint)
