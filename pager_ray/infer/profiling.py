"""One batch under torch's profiler: every operation and kernel of the network, as events of a trace."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from pager_ray.infer.predictor import Pending
from pager_ray.tracing import Event, profiler_events


def profiled(submit: Callable[[], Pending], process: str) -> tuple[Pending, list[Event]]:
    """Submit a batch, wait for it, and tell what ran where meanwhile.

    Args:
        submit: puts the batch on the device.
        process: what this process is called in the trace.

    Returns:
        The batch, whose results are there, and its events.
    """
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        pending = submit()
        pending.wait()
    with tempfile.TemporaryDirectory(prefix="pager-ray-trace-") as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        return pending, profiler_events(file.read_bytes(), process)
