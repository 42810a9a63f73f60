"""The device that a model runs on: its kind, the memory that it took, and what a prediction depends on."""

from __future__ import annotations

import os
import platform
import resource
from typing import TYPE_CHECKING, Any

import torch

from pager_ray.model.flops import matrix_rate_of, panorama_flops

if TYPE_CHECKING:
    from pager_ray.model import PagerModel


def device_kind(device: torch.device) -> str:
    """What devices of equal memory are called; batch sizes are remembered under it."""
    if device.type != "cuda":
        return "CPU"
    gigabytes = torch.cuda.get_device_properties(device).total_memory / 2**30
    return f"{torch.cuda.get_device_name(device)} ({gigabytes:.0f} GiB)"


def most_memory() -> int:
    """The most memory, in bytes, that this process has held: on its GPU where it uses one, else its own."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def describe_worker(model: PagerModel, acceleration: str) -> dict[str, Any]:
    """What a prediction depends on besides the configuration: hardware, library versions, the way the network runs.

    With ``flop_per_panorama`` and ``matrix_rate`` (operations per second, of chips whose rate is known), which say how
    near a panorama's time comes to the chip's.
    """
    precision, device = model.precision, model.device
    on_gpu = device.type == "cuda"
    return {
        "node": platform.node(),
        "process": str(os.getpid()),
        "precision": precision,
        "acceleration": acceleration,
        "device": torch.cuda.get_device_name(device) if on_gpu else f"CPU ({torch.get_num_threads()} threads)",
        # A plain string: unpickling torch's own type would import torch wherever it is read.
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if on_gpu else None,
        "flop_per_panorama": panorama_flops(model.architecture) if on_gpu else None,
        "matrix_rate": matrix_rate_of(torch.cuda.get_device_name(device), precision) if on_gpu else None,
    }
