"""The device that a model runs on: its kind, the memory that it took, and what a prediction depends on."""

from __future__ import annotations

import os
import platform
import resource

import torch


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


def describe_worker(precision: str, device: torch.device) -> dict[str, str | None]:
    """What a prediction depends on besides the configuration: hardware and library versions."""
    on_gpu = device.type == "cuda"
    return {
        "node": platform.node(),
        "process": str(os.getpid()),
        "precision": precision,
        "device": torch.cuda.get_device_name(device) if on_gpu else f"CPU ({torch.get_num_threads()} threads)",
        # A plain string: unpickling torch's own type would import torch wherever it is read.
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if on_gpu else None,
    }
