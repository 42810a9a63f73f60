"""Replaying a forward pass as a CUDA graph: its kernels are launched at once instead of one by one from Python."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

MAX_GRAPHS = 8
"""Graphs kept: the batch sizes of one job (the full one, halves after a lack of memory, the last) by two kinds of
routes. Past that the one unused for longest goes."""

# Kernels choose their algorithms and libraries allocate their workspaces on the first run, which no graph may hold.
_WARM_UPS = 2


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    faces: Tensor
    outdoor: Tensor | None
    outputs: dict[str, Tensor]


class GraphReplay:
    """A forward pass that is recorded at its first call for each shape and choice of heads, and replayed afterwards.

    Results are copies of the graph's own memory: the next replay changes none that was given out. All graphs share
    that memory, so calls belong on one stream, one after the other; each waits for nothing on the host.

    Args:
        forward: the network, as it is or compiled; what it runs may depend on shapes and names alone.
    """

    def __init__(self, forward: Callable[..., dict[str, Tensor]]) -> None:
        self._forward = forward
        self._recordings: OrderedDict[tuple[object, ...], _Recording] = OrderedDict()
        self._pool: Any = None

    @torch.no_grad()
    def __call__(
        self,
        faces: Float[Tensor, "b 6 3 s s"],
        scale_heads: tuple[str, ...] = (),
        outdoor: Bool[Tensor, " b"] | None = None,
    ) -> dict[str, Tensor]:
        """Predict as the network does."""
        key = (tuple(faces.shape), faces.dtype, scale_heads, outdoor is None)
        recording = self._recordings.pop(key, None) or self._record(faces, scale_heads, outdoor)
        self._recordings[key] = recording
        if len(self._recordings) > MAX_GRAPHS:
            self._recordings.popitem(last=False)
        recording.faces.copy_(faces)
        if recording.outdoor is not None and outdoor is not None:
            recording.outdoor.copy_(outdoor)
        recording.graph.replay()
        return {name: value.clone() for name, value in recording.outputs.items()}

    def _record(self, faces: Tensor, scale_heads: tuple[str, ...], outdoor: Tensor | None) -> _Recording:
        # Tensors made in inference mode could only be refilled there, and calls come from inside and outside of it.
        with torch.inference_mode(False):
            faces = torch.empty_like(faces).copy_(faces)
            outdoor = None if outdoor is None else torch.empty_like(outdoor).copy_(outdoor)
        here, aside = torch.cuda.current_stream(faces.device), torch.cuda.Stream(faces.device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._forward(faces, scale_heads, outdoor)
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may wait for events or pin memory meanwhile, which a recording of the whole process forbids.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = self._forward(faces, scale_heads, outdoor)
        self._pool = self._pool or graph.pool()
        return _Recording(graph, faces, outdoor, outputs)
