"""ERP → faces where the network runs: samples of :func:`pager_ray.geometry.erp_to_cubemap`, not rounded to uint8."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pager_ray.errors import ShapeError
from pager_ray.geometry.face_positions import face_positions

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32, UInt8
    from torch import Tensor

KEPT_SIZES = 4
"""Sizes of panoramas whose tables stay on the device: 72·S² bytes each, 18 MB at S = 504."""


MAX_PANORAMA_BYTES = 3 * 2048 * 4096 + 4 * 3 * 6 * 504 * 504
"""The largest panorama that a decoder hands on, and its faces in float32 at the size of the released checkpoints."""


@dataclass(frozen=True)
class _Taps:
    """For each pixel of the faces the upper left of four pixels of the panorama, and the shares of the others."""

    corner: Int32[Tensor, " p"]
    across: Float32[Tensor, "p 1"]
    down: Float32[Tensor, "p 1"]


class DeviceProjection:
    """Samples the faces of panoramas on one device.

    Args:
        face_size: S, pixels per side of a face.
        fov: field of view of a face in degrees.
        device: where the panoramas go and the faces stay.
    """

    def __init__(self, face_size: int, fov: float, device: torch.device) -> None:
        self.face_size = face_size
        self.fov = float(fov)
        self.device = device
        self._tables: OrderedDict[tuple[int, int], _Taps] = OrderedDict()

    def __call__(self, erp: UInt8[np.ndarray, "h w 3"]) -> Float32[Tensor, "6 3 s s"]:
        """Sample the six faces in float32, as levels 0…255; nothing waits for the device.

        Raises:
            ShapeError: no uint8 (H, W, 3) of at least 2×2 pixels.
        """
        if erp.dtype != np.uint8 or erp.ndim != 3 or erp.shape[2] != 3 or min(erp.shape[:2]) < 2:
            raise ShapeError(f"panorama: got {erp.dtype} {erp.shape}, takes uint8 (H, W, 3)")
        height, width, _ = erp.shape
        taps = self._taps(height, width)
        # torch takes no array that cannot be written, such as a view of another process's memory.
        source = erp if erp.flags.writeable else erp.copy()
        pixels = to_device(torch.from_numpy(source), self.device).view(height * width, 3)
        first, right, below, across = (
            pixels.index_select(0, taps.corner + offset).float() for offset in (0, 1, width, width + 1)
        )
        upper = torch.lerp(first, right, taps.across)
        lower = torch.lerp(below, across, taps.across)
        size = self.face_size
        return torch.lerp(upper, lower, taps.down).view(6, size, size, 3).permute(0, 3, 1, 2)

    def _taps(self, height: int, width: int) -> _Taps:
        taps = self._tables.pop((height, width), None) or self._make(height, width)
        self._tables[height, width] = taps
        if len(self._tables) > KEPT_SIZES:
            self._tables.popitem(last=False)
        return taps

    def _make(self, height: int, width: int) -> _Taps:
        columns, rows = (positions.reshape(-1) for positions in face_positions(height, width, self.face_size, self.fov))
        # The last row and column have no neighbour beyond them: they are reached with a share of one.
        left = np.minimum(columns.astype(np.int32), width - 2)
        top = np.minimum(rows.astype(np.int32), height - 2)
        shares = ((columns - left).astype(np.float32)[:, None], (rows - top).astype(np.float32)[:, None])
        tables = (top * width + left, *shares)
        return _Taps(*(to_device(torch.from_numpy(table), self.device) for table in tables))


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy to a device without waiting for it: from ordinary memory a copy to CUDA would."""
    if device.type != "cuda":
        return values.to(device)
    # torch keeps pinned memory for the next copy of its size.
    return values.pin_memory().to(device, non_blocking=True)
