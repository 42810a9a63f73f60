"""Replaying a forward pass as a CUDA graph: its kernels are launched at once instead of one by one from Python."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

MAX_GRAPHS = 8
"""Graphs kept: the batch sizes of one job (the full one, halves after a lack of memory, the last) by two kinds of
routes. Past that the one unused for longest goes."""

# Kernels choose their algorithms and libraries allocate their workspaces on the first run, which no graph may hold.
_WARM_UPS = 2


# Panoramas, the rest of the faces' shape, their dtype, scale heads, and what is not there: `outdoor`, `known`.
_Key: TypeAlias = tuple[int, tuple[int, ...], torch.dtype, tuple[str, ...], bool, bool]


class _Inputs(NamedTuple):
    """What a forward pass is given."""

    faces: Tensor
    scale_heads: tuple[str, ...]
    outdoor: Tensor | None
    known: Tensor | None


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: _Inputs
    outputs: dict[str, Tensor]


class GraphReplay:
    """A forward pass that is recorded at its first call for each shape and choice of heads, and replayed afterwards.

    Results are copies of the graph's own memory: the next replay changes none that was given out. All graphs share
    that memory, so calls belong on one stream, one after the other; each waits for nothing on the host. What has to run
    before it can be recorded takes as much memory once more: another choice of heads for as many panoramas is recorded
    together with the others anew, so that no graph holds any meanwhile.

    Args:
        forward: the network, as it is or compiled; what it runs may depend on shapes and names alone.

    Attributes:
        batch: panoramas of the batches in use; smaller ones fill the first rows of the same graph, whose other rows
            then repeat what was there before. None records every size.
    """

    def __init__(self, forward: Callable[..., dict[str, Tensor]]) -> None:
        self._forward = forward
        self._recordings: OrderedDict[_Key, _Recording] = OrderedDict()
        self._pool: Any = None
        self._aside: torch.cuda.Stream | None = None
        self._batch: int | None = None

    @property
    def batch(self) -> int | None:
        """Panoramas of the batches in use."""
        return self._batch

    @batch.setter
    def batch(self, panoramas: int | None) -> None:
        if panoramas != self._batch:
            # Graphs of another size would keep the memory that the new ones need.
            self.forget()
        self._batch = panoramas

    def forget(self) -> None:
        """Drop all graphs and their memory."""
        self._recordings.clear()
        self._pool = None

    @torch.no_grad()
    def __call__(
        self,
        faces: Float[Tensor, "b 6 3 s s"],
        scale_heads: tuple[str, ...] = (),
        outdoor: Bool[Tensor, " b"] | None = None,
        known: Bool[Tensor, " b"] | None = None,
    ) -> dict[str, Tensor]:
        """Predict as the network does."""
        rows = len(faces)
        panoramas = max(rows, self._batch or 0)
        key = (panoramas, tuple(faces.shape[1:]), faces.dtype, scale_heads, outdoor is None, known is None)
        recording = self._recordings.pop(key, None)
        if recording is None:
            try:
                filled = [_filled(values, panoramas) for values in (faces, outdoor, known)]
                recording = self._record_with_its_like(key, _Inputs(filled[0], scale_heads, filled[1], filled[2]))
            except Exception:
                # Half a recording holds memory, and a batch that did not fit comes again in halves.
                self.forget()
                raise
        self._recordings[key] = recording
        if len(self._recordings) > MAX_GRAPHS:
            self._recordings.popitem(last=False)
        held = recording.inputs
        held.faces[:rows].copy_(faces)
        if held.outdoor is not None and outdoor is not None:
            held.outdoor[:rows].copy_(outdoor)
        if held.known is not None and known is not None:
            held.known[:rows].copy_(known)
        recording.graph.replay()
        return {name: value[:rows].clone() for name, value in recording.outputs.items()}

    def _record_with_its_like(self, key: _Key, inputs: _Inputs) -> _Recording:
        """Record one more kind of pass, and again those of as many panoramas: none holds memory while any warms up."""
        kinds = {other: held.inputs for other, held in self._recordings.items() if other[0] == key[0]}
        for other in kinds:
            del self._recordings[other]
        if not self._recordings:
            self._pool = None
        for given in [*kinds.values(), inputs]:
            self._warm_up(given)
        for other, given in kinds.items():
            self._recordings[other] = self._record(given)
        return self._record(inputs)

    def _warm_up(self, inputs: _Inputs) -> None:
        aside, here = self._stream(inputs), torch.cuda.current_stream(inputs.faces.device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._forward(*inputs)
        here.wait_stream(aside)

    def _stream(self, inputs: _Inputs) -> torch.cuda.Stream:
        """The one that all graphs are recorded on, as they share memory.

        It is of the model's device: torch's own is one of the first device that anything was recorded on, and a graph
        from it holds nothing of what runs on another.
        """
        self._aside = self._aside or torch.cuda.Stream(inputs.faces.device)
        return self._aside

    def _record(self, inputs: _Inputs) -> _Recording:
        aside = self._stream(inputs)
        graph = torch.cuda.CUDAGraph()
        # Gives the warm-up's memory back before it records. Other threads may wait for events or pin memory meanwhile,
        # which a recording of the whole process forbids.
        recording = torch.cuda.graph(graph, pool=self._pool, stream=aside, capture_error_mode="thread_local")
        with torch.cuda.device(inputs.faces.device), recording:
            outputs = self._forward(*inputs)
        self._pool = self._pool or graph.pool()
        return _Recording(graph, inputs, outputs)


def _filled(values: Any, panoramas: int) -> Any:
    """A copy that no caller holds, with rows of zeros up to a number of panoramas; None stays None."""
    if values is None:
        return None
    shape = (panoramas, *values.shape[1:])
    # Tensors made in inference mode could only be refilled there, and calls come from inside and outside of it.
    with torch.inference_mode(False):
        if values.stride(0) * len(values) == values.numel():
            # In the layout of what is given: panoramas after each other, their channels perhaps last.
            filled = torch.empty_strided(shape, values.stride(), dtype=values.dtype, device=values.device).zero_()
        else:
            filled = values.new_zeros(shape)
        filled[: len(values)].copy_(values)
    return filled
