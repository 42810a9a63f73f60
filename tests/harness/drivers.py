"""Drivers of the job without a cluster, each a process of its own that costs a fork: for deaths that need no Ray.

Before and after its pipeline a driver does the same whether or not a Ray stands between: it lists its inputs, claims
the output, reconciles and ends. They are forked from a process that has imported the job.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec

from pager_ray.config import RunConfig, load_config
from pager_ray.here import run_here
from pager_ray.infer import Predictor
from pager_ray.model import load_model, resolve_checkpoint
from pager_ray.report.outcomes import RunSummary
from pager_ray.runs.growing import Growing
from pager_ray.stages.settings import inference_settings
from tests.harness import faults

END_SECONDS = 1800


def drive(
    orders: Path, settings: Sequence[str], environment: Mapping[str, str] | None = None, growing: Growing | None = None
) -> int | None:
    """Run the job of some settings, or resume it.

    Args:
        orders: folder of deaths on order.
        environment: further variables, those that fsspec reads among them.
        growing: take what the sources have by now into the run that stands.

    Returns:
        The driver's exit code, as :mod:`subprocess` tells it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_drive, args=(orders, [*settings], {**(environment or {})}, growing))
    process.start()
    process.join(END_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"the driver did not end within {END_SECONDS} s")
    return process.exitcode


def _drive(orders: Path, settings: list[str], environment: dict[str, str], growing: Growing | None) -> None:
    os.environ.update(environment)
    fsspec.config.set_conf_env(fsspec.config.conf)
    faults.install(orders)
    config = load_config(None, settings)
    done = run_here(config, resolve_checkpoint(config.checkpoint), Late(config), growing=growing)
    sys.exit(RunSummary(config.output.uri, done, 0, 0.0, previews=False).exit_code)


class Late:
    """The model of a configuration, loaded for the first row, which many a driver does not live to see."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._predict: Predictor | None = None

    def __call__(self, *arguments: Any) -> Any:
        """As :class:`pager_ray.infer.Predictor`."""
        if self._predict is None:
            self._predict = Predictor(load_model(self._config.checkpoint), inference_settings(self._config))
        return self._predict(*arguments)
