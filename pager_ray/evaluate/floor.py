"""Ground truth as a network would see it: through the cubemap and back.

What that costs is the resampling floor, the error of a network without any: 504-px faces resolve a 2016-px panorama,
and the sample positions of the two directions differ by half a face pixel (:mod:`pager_ray.geometry`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from pager_ray.evaluate.maps import PredictedMaps
from pager_ray.geometry import erp_to_cubemap, stitch_maps

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

    from pager_ray.datasets import GroundTruth

# Weight of valid pixels below which a sample position counts as having none: its value would be rounding noise.
_LEAST_WEIGHT = 0.02

# Side of the square that a face pixel without valid depth is filled from. A valid pixel of the panorama is stitched
# from positions up to two face pixels away from those that it was sampled to.
_FILL = 5


def truth_to_faces(
    truth: GroundTruth, face_size: int, fov: float
) -> tuple[Float32[np.ndarray, "6 s s"], Float32[np.ndarray, "6 s s 3"] | None]:
    """Sample ground truth on the six faces (F, R, B, L, U, D), bilinearly over its valid pixels only.

    Invalid pixels hold clipped or missing depth, which no network would predict: mixing them in would be an error that
    no resampling has. A face pixel without valid depth takes the mean of the valid ones around it on its face, and the
    clipped depth where there are none: no valid pixel of the panorama is stitched from there.

    Returns:
        Depth in metres along the ray; normals (not unit length), None where the truth has none.
    """
    weight = truth.mask.astype(np.float32)
    # One channel at a time: no copies of the panorama beside it.
    total, share, clipped = (
        erp_to_cubemap(channel[..., None], face_size, fov)[..., 0]
        for channel in (truth.depth * weight, weight, truth.depth)
    )
    is_valid = share > _LEAST_WEIGHT
    depth = np.divide(total, share, out=clipped, where=is_valid)
    for face, valid in zip(depth, is_valid, strict=True):
        if not valid.all():
            _fill(face, valid)
    normals = None
    if truth.normals is not None:
        # What is not valid may be anything, and NaN is no number to multiply.
        normals = erp_to_cubemap(np.where(truth.mask[..., None], truth.normals, np.float32(0)), face_size, fov)
    return depth, normals


def _fill(face: Float32[np.ndarray, "s s"], valid: Bool[np.ndarray, "s s"]) -> None:
    stacked = np.dstack([np.where(valid, face, np.float32(0)), valid.astype(np.float32)])
    sums = cv2.boxFilter(stacked, cv2.CV_64F, (_FILL, _FILL), normalize=False, borderType=cv2.BORDER_CONSTANT)
    total, count = sums[..., 0], sums[..., 1]
    wanted = ~valid & (count > 0.5)
    face[wanted] = (total[wanted] / count[wanted]).astype(np.float32)


def stitch_prediction(
    depth: Float32[np.ndarray, "6 s s"] | None,
    normals: Float32[np.ndarray, "6 s s 3"] | None,
    height: int,
    width: int,
    fov: float,
) -> PredictedMaps:
    """What is scored of faces: maps of the given size, normals of unit length."""
    stitched, unit, _ = stitch_maps(depth, normals, None, height, width, fov)
    return PredictedMaps(stitched, unit)
