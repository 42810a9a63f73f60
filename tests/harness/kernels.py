"""``python -m tests.harness.kernels DTYPE CAPABILITY…``: compile what the full-size network's kernels are on GPUs.

No GPU is needed: the network lies on torch's device ``meta``, which has shapes and dtypes and no numbers, and Triton is
told what it compiles for. Prints a line of JSON per kernel and GPU. ``TRITON_INTERPRET`` must not be set.
"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from typing import Any

import torch
from torch import nn
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from pager_ray.model import fused
from pager_ray.model.network import PagerNetwork
from pager_ray.model.random_checkpoint import random_architecture
from pager_ray.model.spherical_padding import SphericalPadding
from pager_ray.model.weights import parameter_dtypes

PANORAMAS = 2


class Absent:
    """A GPU that is not there, as Triton asks for it."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        """What to compile for."""
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        """A number of its own, by which compiled kernels are kept."""
        return self.capability

    def get_current_stream(self, device: int) -> int:
        """The only one."""
        return 0


class Shapes:
    """Tables of padded faces without their numbers."""

    def __init__(self, device: torch.device) -> None:
        self._table = partial(torch.empty, device=device)

    def whole(self, border: SphericalPadding) -> tuple[torch.Tensor, torch.Tensor]:
        """As of all pixels."""
        pixels = 6 * border.outer**2
        return self._table(pixels, dtype=torch.int32), self._table(pixels, 4)

    def border(self, border: SphericalPadding) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As of the border's."""
        pixels = border.places.numel()
        return (*(self._table(pixels, dtype=torch.int32) for _ in range(2)), self._table(pixels, 4))


def network(dtype: torch.dtype) -> PagerNetwork:
    """The full-size network, with the kernels, without numbers."""
    with torch.device("meta"):
        made = PagerNetwork(random_architecture("da3-giant"))
    for key, wanted in parameter_dtypes(made, dtype).items():
        module, _, name = key.rpartition(".")
        shape = made.get_parameter(key).shape
        parameter = nn.Parameter(torch.empty(shape, dtype=wanted, device="meta"), requires_grad=False)
        setattr(made.get_submodule(module), name, parameter)
    made.to("meta").freeze()
    fused._Tables = Shapes  # type: ignore[assignment, misc]
    fused.fuse(made)
    return made


def main() -> None:
    """Run the network once for each GPU, where starting a kernel is compiling it."""
    found: dict[int, tuple[str, Any]] = {}

    def compile_only(kernel: JITFunction[Any], grid: Any) -> Any:
        def start(*arguments: Any, **named: Any) -> None:
            made = kernel.warmup(*arguments, grid=grid, **named)
            found[id(made)] = (kernel.fn.__name__, made)

        return start

    JITFunction.__getitem__ = compile_only  # type: ignore[method-assign]
    dtype, *capabilities = sys.argv[1:]
    model = network(getattr(torch, dtype))
    architecture = model.architecture
    faces = torch.empty(PANORAMAS, 6, 3, architecture.face_size, architecture.face_size, device="meta")
    outdoor = torch.empty(PANORAMAS, dtype=torch.bool, device="meta")
    for capability in map(int, capabilities):
        found.clear()
        driver.set_active(Absent(capability))  # type: ignore[arg-type]
        with torch.no_grad():
            model(faces, architecture.scale_heads, outdoor)
        for name, made in found.values():
            divisions = len(re.findall(r"\b(?:div|rem)\.[su]64", made.asm["ptx"]))
            line = {"capability": capability, "name": name, "bytes": len(made.asm["cubin"]), "divisions": divisions}
            sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
