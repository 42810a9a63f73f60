"""Cost of spherical padding in one full-size dense head on the CPU, beside padding that resamples whole maps.

Times a depth head (random weights, one panorama) twice: with the border-only padding of the package, and with the
straightforward version, which resamples every padded map as a whole with ``grid_sample``. Both give the same numbers.
Only time spent inside the padding modules counts as padding. Times are processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from benchmarks.frame import Report
from benchmarks.released_model import WholeVolumePadding
from pager_ray.model.architecture import FACES, PRESETS, Architecture, HeadSpec
from pager_ray.model.dense_head import DenseHead
from pager_ray.model.spherical_padding import Borders, SphericalPadding

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 0.10


class Stopwatch:
    """Adds up the time spent in a padding's methods."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Count the time of a call."""

        def timed(x: Tensor, **how: bool) -> Tensor:
            started = time.process_time()
            result = call(x, **how)
            self.seconds += time.process_time() - started
            return result

        return timed


def build_head(face_size: int, features: int) -> tuple[DenseHead, Architecture]:
    giant = PRESETS["da3-giant"]
    head = HeadSpec(features, tuple(c * features // giant.head.features for c in giant.head.out_channels))
    architecture = Architecture(("depth",), face_size, giant.backbone, head)
    torch.manual_seed(0)
    return DenseHead("depth", architecture, Borders(architecture.cube_fov)).eval().requires_grad_(False), architecture


def padded_modules(head: nn.Module) -> list[Any]:
    """The modules that hold a padding."""
    return [module for module in head.modules() if isinstance(getattr(module, "border", None), nn.Module)]


def time_of(head: nn.Module, levels: list[Tensor], repeats: int) -> tuple[float, float, Tensor]:
    """Median seconds of the head and of the padding in it, and the head's values."""
    watch = Stopwatch()
    for border in {id(m.border): m.border for m in padded_modules(head)}.values():
        border.forward = watch.around(border.forward)
        border.refresh = watch.around(border.refresh)
    totals, shares = [], []
    for run in range(repeats + 1):
        watch.seconds = 0.0
        started = time.process_time()
        values = head(levels).values
        if run:  # the first one warms up
            totals.append(time.process_time() - started)
            shares.append(watch.seconds)
    return statistics.median(totals), statistics.median(shares), values


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--face-size", type=int, default=504)
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)


def measure(options: argparse.Namespace, report: Report) -> None:
    torch.set_num_threads(options.threads)
    title = f"dense head, face {options.face_size}, features {options.features}, {options.threads} threads"
    table = report.table(title, {"head s": ".2f", "padding s": ".3f", "share": ".1%"})
    results = {}
    for name in ("border only", "whole volume"):
        head, architecture = build_head(options.face_size, options.features)
        if name == "whole volume":
            made: dict[int, WholeVolumePadding] = {}
            for module in padded_modules(head):
                border = module.border
                assert isinstance(border, SphericalPadding)
                module.border = made.setdefault(id(border), WholeVolumePadding(border))
        generator = torch.Generator().manual_seed(1)
        shape = (FACES, architecture.grid**2, 2 * architecture.backbone.embed_dim)
        levels = [torch.randn(shape, generator=generator) for _ in range(4)]
        with torch.no_grad():
            results[name] = time_of(head, levels, options.repeats)
        seconds, padding, _ = results[name]
        table.row(name, seconds, padding, padding / seconds)
    ours, naive = results["border only"], results["whole volume"]
    difference = float((ours[2] - naive[2]).abs().max() / naive[2].std())
    report.line(f"largest difference of the outputs: {difference:.1e} of their standard deviation")
    report.ratio("padding", "whole volumes", naive[1], ours[1], "{:.2f} s")
    report.ratio("dense head", "whole volumes", naive[0], ours[0], "{:.2f} s")
    report.figure("share of padding in a dense head", 100 * ours[1] / ours[0], "%", most=100 * LIMIT)
