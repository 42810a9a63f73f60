"""A prediction as a point cloud: cleaned, thinned, coloured."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pager_ray import geometry
from pager_ray.errors import ConfigError, InputError
from pager_ray.export.axes import FRAME, FRAMES, turn
from pager_ray.export.cleaning import (
    EDGE_ABSOLUTE,
    EDGE_RELATIVE,
    FAR_PERCENTILE,
    cluster_keep,
    edge_keep,
    generator,
    row_chances,
    thin,
)
from pager_ray.export.shown import shown_map
from pager_ray.preview import colorize_normals

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int64, UInt8

    from pager_ray.prediction import Prediction

RANGE_LIMIT: Final = 75.0
"""The farthest scale-invariant depth that a run stores, in metres before scaling."""


def check_knob(
    name: str, value: object, least: float, most: float = math.inf, *, whole: bool = False, optional: bool = True
) -> None:
    """Refuse a setting that is no number of its range; None, where it may be, leaves its step out.

    Raises:
        ConfigError: it is none.
    """
    if value is None and optional:
        return
    kind: Any = numbers.Integral if whole else numbers.Real
    # Python takes true for 1, and no comparison holds with NaN.
    if isinstance(value, kind) and not isinstance(value, bool):
        number: Any = value
        if least <= number <= most and number != math.inf:
            return
    between = "" if least == -math.inf else f" from {least:g}" + ("" if most == math.inf else f" to {most:g}")
    takes = f"a {'whole ' if whole else ''}number{between}" + (", or None to leave it out" if optional else "")
    raise ConfigError(f"{name}: got {value!r}, takes {takes}")


@dataclass(frozen=True)
class Cleaning:
    """Which pixels become points.

    Attributes:
        sky_threshold: pixels with a larger probability of sky are dropped; None keeps them.
        edge_absolute, edge_relative: of :func:`~pager_ray.export.cleaning.edge_keep`; None keeps edges.
        saturation: pixels at or beyond this share of the depth range's end are dropped; None keeps them.
        far_percentile: of :func:`~pager_ray.export.cleaning.cluster_keep`; None keeps isolated clusters.
        max_points: of :func:`~pager_ray.export.cleaning.thin`; None keeps every point.
        seed: decides which points stay.

    Raises:
        ConfigError: one of them is no number of its range.
    """

    sky_threshold: float | None = 0.3
    edge_absolute: float = EDGE_ABSOLUTE
    edge_relative: float | None = EDGE_RELATIVE
    saturation: float | None = 0.99
    far_percentile: float | None = FAR_PERCENTILE
    max_points: int | None = 1_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_knob("sky_threshold", self.sky_threshold, 0, 1)
        check_knob("edge_absolute", self.edge_absolute, 0, optional=False)
        check_knob("edge_relative", self.edge_relative, 0)
        check_knob("saturation", self.saturation, 0)
        check_knob("far_percentile", self.far_percentile, 0, 100)
        check_knob("max_points", self.max_points, 1, whole=True)
        check_knob("seed", self.seed, -math.inf, whole=True, optional=False)


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points of one panorama, in the order of its pixels.

    Attributes:
        xyz: (N, 3) float32, metres (relative where the checkpoint has no scale), in ``frame``.
        colors: (N, 3) uint8 RGB.
        normals: (N, 3) float32 unit vectors in the same frame; None where the run has none.
        frame: which way x, y and z point.
    """

    xyz: Float32[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]
    normals: Float32[np.ndarray, "n 3"] | None = None
    frame: str = FRAME

    def turned(self, axes: str) -> PointCloud:
        """The cloud with other axes; see :mod:`pager_ray.export.axes`."""
        normals = turn(self.normals, axes) if self.normals is not None else None
        return replace(self, xyz=turn(self.xyz, axes), normals=normals, frame=FRAMES[axes])

    def __len__(self) -> int:
        """Number of points."""
        return len(self.xyz)


def pixels_kept(prediction: Prediction, cleaning: Cleaning) -> Bool[np.ndarray, "h w"]:
    """Pixels that become points before thinning: valid, with finite depth, no sky, no edge, not at the range's end."""
    depth = _depth(prediction)
    if cleaning.edge_relative is not None:
        keep = edge_keep(depth, cleaning.edge_absolute, cleaning.edge_relative)
    else:
        keep = depth > 0
    keep &= np.isfinite(depth)
    if cleaning.saturation is not None:
        # The range is that of depth before its scale, so a scale moves its end along.
        end = cleaning.saturation * RANGE_LIMIT * np.exp(prediction.log_scale or 0.0)
        keep &= depth < np.float32(end)
    if cleaning.sky_threshold is not None and prediction.sky is not None:
        keep &= prediction.sky <= np.float32(cleaning.sky_threshold)
    return keep


def surface_kept(
    prediction: Prediction, cleaning: Cleaning
) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Depth, and which pixels show a surface, those at its edges included."""
    return _depth(prediction), pixels_kept(prediction, replace(cleaning, edge_relative=None))


def points_kept(
    prediction: Prediction, cleaning: Cleaning
) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "n 3"], Float64[np.ndarray, " h"]]:
    """Pixels that become points, counted row by row, with their points and each row's chance to stay in thinning.

    A pixel's point is its depth times the unit ray through its centre.

    Raises:
        InputError: ``no_points``: nothing is left; ``no_map``: it lacks depth.
    """
    depth = _depth(prediction)
    keep = pixels_kept(prediction, cleaning)
    chances = np.ones(len(keep))
    if cleaning.max_points is not None:
        chances = row_chances(keep, cleaning.max_points)
        keep = thin(keep, cleaning.max_points, generator(cleaning.seed, prediction.id))
    pixels = np.flatnonzero(keep)
    xyz = depth.reshape(-1)[pixels, None] * geometry.erp_rays(*depth.shape).reshape(-1, 3)[pixels]
    if cleaning.far_percentile is not None:
        near = cluster_keep(xyz, cleaning.far_percentile)
        pixels, xyz = pixels[near], xyz[near]
    if not len(xyz):
        raise InputError(
            "no_points", f"{prediction.id}: no pixel is left after cleaning (all sky, or all edges); check its maps"
        )
    return pixels, xyz, chances


def point_cloud(
    prediction: Prediction, picture: UInt8[np.ndarray, "h w 3"] | None, cleaning: Cleaning | None = None
) -> PointCloud:
    """A prediction's points: depth times the unit ray through each pixel's centre.

    Args:
        prediction: with depth; normals are taken along where it has them.
        picture: (H, W, 3) RGB at the size of the maps; None colours by normals.
        cleaning: the released one by default.

    Raises:
        InputError: ``no_points``: nothing is left of it; ``no_map``: it lacks depth, or normals to colour by.
    """
    normals = prediction.normals
    if picture is None and normals is None:
        raise InputError("no_map", f"{prediction.id}: has no normals to colour by; take --color rgb")
    pixels, xyz, _ = points_kept(prediction, cleaning or Cleaning())
    kept_normals = normals.reshape(-1, 3)[pixels] if normals is not None else None
    return PointCloud(xyz, colors_of(pixels, picture, kept_normals), kept_normals)


def colors_of(
    pixels: Int64[np.ndarray, " n"],
    picture: UInt8[np.ndarray, "h w 3"] | None,
    normals: Float32[np.ndarray, "n 3"] | None,
) -> UInt8[np.ndarray, "n 3"]:
    """Colours of some pixels: the picture's, or where there is none those of their normals."""
    if picture is not None:
        return picture.reshape(-1, 3)[pixels]
    assert normals is not None
    return colorize_normals(normals[None])[0]


def _depth(prediction: Prediction) -> Float32[np.ndarray, "h w"]:
    # What is not valid is no depth, so that it makes no edge either.
    depth: Float32[np.ndarray, "h w"] = shown_map(prediction, "depth")
    return depth
