"""How near a job came to its own limit: what its model workers could do if nothing else existed, and their chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pager_ray.stages.work import StageWork


def limit_of(
    infer: StageWork,
    model_workers: int,
    workers: Sequence[Mapping[str, Any]] = (),
    workers_per_gpu: float | None = None,
) -> dict[str, Any] | None:
    """Set what a job did beside what its model workers alone could do.

    A worker alone does a panorama in the time that its device was at work on one. The window is that of *infer*, from
    its first panorama to its last, loading left out.

    Args:
        infer: what the stage did so far.
        model_workers: model actors that were at work.
        workers: what they say of themselves; see :func:`pager_ray.infer.device.describe_worker`.
        workers_per_gpu: how many of them share a GPU; None on CPUs.

    Returns:
        None before there is something to tell; else ``panoramas_per_second``, ``model_workers``, ``workers_could`` (in
        panoramas per second) and ``share``, at most 1; and where all workers have one kind of chip whose matrix rate is
        known, ``device``, ``matrix_rate`` (its operations per second) and ``matrix_share``, the network's part of them
        while it was at work.
    """
    if not infer.rows or not infer.seconds or not model_workers or infer.began is None or infer.ended is None:
        return None
    if infer.ended <= infer.began:
        return None
    rate, could = infer.rows / (infer.ended - infer.began), model_workers * infer.rows / infer.seconds
    limit: dict[str, Any] = {
        "panoramas_per_second": _rounded(rate),
        "model_workers": model_workers,
        "workers_could": _rounded(could),
        "share": _rounded(min(rate / could, 1.0)),
    }
    chips = {(worker.get("device"), worker.get("flop_per_panorama"), worker.get("matrix_rate")) for worker in workers}
    if len(chips) == 1:
        device, flops, matrix_rate = chips.pop()
        if flops and matrix_rate:
            share = (workers_per_gpu or 1.0) * flops * infer.rows / (infer.seconds * matrix_rate)
            limit |= {"device": device, "matrix_rate": matrix_rate, "matrix_share": _rounded(share)}
    return limit


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
