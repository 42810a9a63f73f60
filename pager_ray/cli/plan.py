"""``pager-ray plan``: what a run will take."""

from __future__ import annotations

from typing import Any

import click

from pager_ray.cli.options import (
    CommandWithKeys,
    Finite,
    all_of,
    config_option,
    echo_lines,
    json_option,
    overrides_argument,
    write_json,
)
from pager_ray.config import load_config
from pager_ray.config.schema import PlanConfig

_COUNT = click.IntRange(1, 10_000)
_PRICE = Finite(0, 1e9)

_OPTIONS = (
    click.option("--samples", default=8, show_default=True, type=click.IntRange(1, 1000), help="Panoramas to measure."),
    click.option(
        "--profile",
        metavar="FILE|RUN",
        help='What the model takes per panorama: JSON such as {"device": "H100", "seconds_per_panorama": 0.1}, an '
        "earlier run's output, or a report of benchmarks/model.py. By default the model is measured here.",
    ),
    click.option("--local", is_flag=True, help="Plan for this machine alone."),
    click.option("--gpus-per-node", default=1, show_default=True, type=_COUNT, help="GPUs of a GPU node."),
    click.option("--cpus-per-gpu-node", default=8, show_default=True, type=_COUNT, help="CPUs of a GPU node."),
    click.option("--gpu-node-price", type=_PRICE, help="Of a GPU node, per hour; without prices there is no cost."),
    click.option("--cpus-per-cpu-node", default=16, show_default=True, type=_COUNT, help="CPUs of a node without one."),
    click.option("--cpu-node-price", type=_PRICE, help="Of a node without GPUs, per hour."),
    click.option("--cpu-nodes", type=click.IntRange(0, 100_000), help="Nodes without GPUs; by default what is needed."),
    click.option("--hours", type=Finite(0, 1e6, min_open=True), help="Also find a pool that takes no longer."),
    json_option("the plan"),
)


class _PlanCommand(CommandWithKeys):
    config = PlanConfig


@click.command(cls=_PlanCommand)
@config_option
@all_of(_OPTIONS)
@overrides_argument
def plan(config_path: str | None, json_path: str | None, overrides: tuple[str, ...], **asked: Any) -> int:
    """Measure a few of input.uris and say what the run will take; writes nothing to output.uri."""
    config = load_config(config_path, overrides, PlanConfig)
    from pager_ray.plan.request import Request, plan_job
    from pager_ray.plan.text import plan_lines

    result = plan_job(config, Request.of(**asked))
    echo_lines(plan_lines(result))
    write_json(json_path, result.to_json())
    return 0
