"""The options of ``pager-ray plan``."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class Finite(click.FloatRange):
    """A range that NaN is outside of."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number.

        Raises:
            click.BadParameter: it is none, or out of range.
        """
        number = super().convert(value, param, ctx)
        return number if number == number else self.fail(f"{value!r} is not a number.", param, ctx)


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
    click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Also write the plan as JSON."),
)


def plan_options(command: Command) -> Command:
    """Give a command all of them."""
    return reduce(lambda inner, option: option(inner), reversed(_OPTIONS), command)
