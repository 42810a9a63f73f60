"""Cost of spherical padding in one full-size dense head on the CPU, beside padding that resamples whole maps.

Times a depth head (random weights, one panorama) twice: with the border-only padding of the package, and with the
straightforward version, which resamples every padded map as a whole with ``grid_sample``. Both give the same numbers.
Only time spent inside the padding modules counts as padding.

    python benchmarks/spherical_padding.py [--face-size 504] [--features 256] [--repeats 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from released_model import WholeVolumePadding
from torch import nn

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

    def around(self, call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Count the time of a call."""

        def timed(x: Tensor) -> Tensor:
            started = time.perf_counter()
            result = call(x)
            self.seconds += time.perf_counter() - started
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


def measure(head: nn.Module, levels: list[Tensor], repeats: int) -> tuple[float, float, Tensor]:
    """Median seconds of the head and of the padding in it, and the head's values."""
    watch = Stopwatch()
    for border in {id(m.border): m.border for m in padded_modules(head)}.values():
        border.forward = watch.around(border.forward)
        border.refresh = watch.around(border.refresh)
    totals, shares = [], []
    for run in range(repeats + 1):
        watch.seconds = 0.0
        started = time.perf_counter()
        values = head(levels).values
        if run:  # the first one warms up
            totals.append(time.perf_counter() - started)
            shares.append(watch.seconds)
    return statistics.median(totals), statistics.median(shares), values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--face-size", type=int, default=504)
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"dense head, face {options.face_size}, features {options.features}, "
        f"{options.threads} threads, torch {torch.__version__}"
    )
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
            results[name] = measure(head, levels, options.repeats)
        seconds, padding, _ = results[name]
        print(f"{name:12}  head {seconds:7.2f} s  padding {padding:7.3f} s  share {padding / seconds:6.1%}")
    ours, naive = results["border only"], results["whole volume"]
    difference = float((ours[2] - naive[2]).abs().max() / naive[2].std())
    print(f"whole volume / border only: padding {naive[1] / ours[1]:.1f} x, head {naive[0] / ours[0]:.2f} x")
    print(f"largest difference of the outputs: {difference:.1e} of their standard deviation")
    share = ours[1] / ours[0]
    print(f"share of border-only padding {share:.1%}, limit {LIMIT:.0%}")
    return 0 if share < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
