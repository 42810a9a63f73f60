"""Which way of running the network a machine can have, and which one it takes where nobody says.

The rule looks at what is installed and never at a clock, so every worker of a node comes to the same answer:

- ``eager``: operation by operation; everywhere.
- ``graphs``: the forward pass as a CUDA graph; on CUDA.
- ``fused``: as ``graphs``, with this package's own kernels between matrix products and convolutions; on CUDA where
  Triton is found. They are compiled in seconds, once per machine.
- ``compile``: compiled by ``torch.compile``, on CUDA then replayed as a graph; where Triton (CUDA) or a C++ compiler
  (CPU) is found. It takes minutes before the first batch.
- ``auto``: ``graphs`` on CUDA, else ``eager``. Never ``compile``: no measurement says that it is worth its minutes.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from pager_ray.errors import ConfigError

ACCELERATIONS = ("auto", "eager", "graphs", "fused", "compile")


@dataclass(frozen=True)
class Acceleration:
    """What was taken.

    Attributes:
        way: ``eager``, ``graphs``, ``fused`` or ``compile``.
        reason: why, in words for a log.
    """

    way: str
    reason: str

    def __str__(self) -> str:
        return f"{self.way} ({self.reason})"


def settle_acceleration(asked: str, device: torch.device) -> Acceleration:
    """Find the way of running for a device.

    Raises:
        ConfigError: the name is unknown, or the device or machine does not have what was asked for.
    """
    if asked not in ACCELERATIONS:
        raise ConfigError(f"compute.acceleration: got {asked!r}, takes {', '.join(ACCELERATIONS)}")
    if asked == "auto":
        if device.type == "cuda":
            return Acceleration("graphs", "auto: on CUDA graphs start kernels at once")
        return Acceleration("eager", f"auto: {device.type} has no graphs")
    if asked == "eager":
        return Acceleration("eager", "as asked")
    problem = (_graphs_problem(device, asked) if asked != "compile" else None) or (
        compile_problem(device, asked) if asked != "graphs" else None
    )
    if problem:
        raise ConfigError(f"compute.acceleration: {asked} cannot be had ({problem}); take auto or eager")
    return Acceleration(asked, "as asked")


def _graphs_problem(device: torch.device, asked: str) -> str | None:
    needs = "fused needs" if asked == "fused" else "graphs need"
    return None if device.type == "cuda" else f"the model runs on {device}, and {needs} CUDA"


def compile_problem(device: torch.device, asked: str = "compile") -> str | None:
    """Why code for a way cannot be generated on this machine; None where it can."""
    generator = "torch.compile" if asked == "compile" else asked
    if device.type == "cuda":
        if find_spec("triton") is None:
            return f"{generator} needs Triton on CUDA, and it is not installed"
        capability = torch.cuda.get_device_capability(device)
        if capability < (7, 0):
            return f"Triton needs compute capability 7.0, the device has {capability[0]}.{capability[1]}"
    if device.type not in ("cuda", "cpu"):
        return f"the model runs on {device}"
    # Triton's launchers are C, too.
    compilers = [os.environ.get("CXX"), os.environ.get("CC"), "g++", "clang++", "gcc", "clang", "cc", "c++"]
    if device.type == "cpu":
        compilers = [os.environ.get("CXX"), "g++", "clang++", "c++"]
    if not any(name and shutil.which(name) for name in compilers):
        return f"{generator} needs a C compiler, and none is found (CXX, g++, clang++)"
    return None
