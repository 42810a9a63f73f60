"""Stages *stitch* and *encode*: from geometry on the faces to stored bytes.

They share a task, because a stitched 2048×4096 panorama is 160 MB of float32 and its encoding a sixth of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pyarrow as pa

from pager_ray.config.schema import OutputConfig
from pager_ray.encode import get_codec
from pager_ray.encode.npz import encode_npz
from pager_ray.geometry import levelling, stitch_maps
from pager_ray.preview import panel_size, render_preview
from pager_ray.runs.valid_column import VALID
from pager_ray.shapes import Float64
from pager_ray.stages.names import StageName
from pager_ray.stages.rows import (
    ENCODE_SCHEMA,
    IDENTITY,
    INFERRED,
    SOURCE,
    STATUS,
    Row,
    carry,
    iterate,
    to_table,
    view,
)
from pager_ray.validity import validity_of

if TYPE_CHECKING:
    from pager_ray.ranges import DepthRange, SkySettings

PREVIEW_WIDTH = 1024


@dataclass(frozen=True)
class StitchSettings:
    """How faces become stored maps.

    Attributes:
        half_normals: whether normals arrive from *infer* as float16.
        metric: whether depth is in metres.
        preview_sky: how previews fill the sky; None where it is filled already, or there are no previews.
    """

    output: OutputConfig
    face_size: int
    fov: float
    half_normals: bool
    metric: bool
    preview_sky: tuple[SkySettings, DepthRange] | None


@dataclass(frozen=True)
class _Faces:
    depth: np.ndarray | None
    normals: np.ndarray | None
    sky: np.ndarray | None


def make_stitch_fn(settings: StitchSettings) -> Callable[[pa.Table], pa.Table]:
    """Make the block function: ``INFER_SCHEMA`` → ``ENCODE_SCHEMA``, one row each, rejects included."""

    def stitch(table: pa.Table) -> pa.Table:
        # Ray runs as many tasks as there are cores; threads inside them would only compete.
        cv2.setNumThreads(1)
        rows = []
        for scalars in iterate(table):
            row = carry(scalars, [*IDENTITY, *STATUS, *SOURCE, *INFERRED])
            if row["error_class"] is None:
                row |= _store(row, scalars, settings)
            rows.append(row)
        return to_table(rows, ENCODE_SCHEMA, table.num_rows, StageName.STITCH)

    return stitch


def stitched_maps(
    row: Row, scalars: Mapping[str, pa.Scalar], settings: StitchSettings
) -> tuple[dict[str, np.ndarray], tuple[int, int]]:
    """A row's maps, float32, stitched or as faces where those are asked for, and the size of the ERP.

    Stitched maps are of the picture's own pixels; faces are as they were predicted, of the levelled sphere where a row
    says so.
    """
    faces = _faces(scalars, settings)
    height, width = settings.output.erp_size(row["height"], row["width"])
    is_cubemap = settings.output.projection == "cubemap"
    stored = faces if is_cubemap else _stitch(faces, height, width, settings.fov, _rotation(row))
    maps = {"depth": stored.depth, "normals": stored.normals, "sky": stored.sky}
    return {name: array for name, array in maps.items() if array is not None}, (height, width)


def _faces(scalars: Mapping[str, pa.Scalar], settings: StitchSettings) -> _Faces:
    size = settings.face_size
    normals_type = np.float16 if settings.half_normals else np.float32
    normals = view(scalars["normals"], normals_type, (6, size, size, 3))
    return _Faces(
        depth=view(scalars["depth"], np.float32, (6, size, size)),
        normals=normals.astype(np.float32, copy=False) if normals is not None else None,
        sky=view(scalars["sky"], np.float32, (6, size, size)),
    )


def _store(row: Row, scalars: Mapping[str, pa.Scalar], settings: StitchSettings) -> Row:
    maps, (height, width) = stitched_maps(row, scalars, settings)
    output = settings.output
    encode = encode_npz if output.format == "npz" else _codec_bytes(output.codec)
    result: Row = {name: encode(name, array) for name, array in maps.items()}
    result |= {"map_height": height, "map_width": width}
    if scalars["thumbnail"].is_valid:
        result["preview"] = _preview(row, scalars["thumbnail"], _faces(scalars, settings), settings)
    return result


def _rotation(row: Row) -> Float64[np.ndarray, "3 3"] | None:
    return levelling(row["level_pitch"], row["level_roll"])


def _stitch(faces: _Faces, height: int, width: int, fov: float, rotation: Float64[np.ndarray, "3 3"] | None) -> _Faces:
    """The faces as ERP maps of the given size, float32, normals of unit length, in the picture's frame."""
    return _Faces(*stitch_maps(faces.depth, faces.normals, faces.sky, height, width, fov, rotation))


def _codec_bytes(purpose: str) -> Callable[[str, np.ndarray], bytes]:
    def encode(name: str, array: np.ndarray) -> bytes:
        return get_codec(name, purpose).encode(array)  # type: ignore[arg-type]

    return encode


def _preview(row: Row, thumbnail: pa.Scalar, faces: _Faces, settings: StitchSettings) -> bytes:
    """rgb | depth | normals | sky as JPEG; depth and normals with their sky filled, whatever is stored."""
    height, width = panel_size(PREVIEW_WIDTH)
    rgb = np.frombuffer(thumbnail.as_buffer(), np.uint8).reshape(height, width, 3)
    validity = validity_of(row[VALID.name])
    if settings.preview_sky is not None:
        shown = None if validity is None else validity.faces(settings.face_size, settings.fov, _rotation(row))
        faces = _filled(faces, row["log_scale"], *settings.preview_sky, shown)
    stitched = _stitch(faces, height, width, settings.fov, _rotation(row))
    return render_preview(
        rgb,
        stitched.depth,
        stitched.normals,
        stitched.sky,
        width=PREVIEW_WIDTH,
        metric=settings.metric,
        title=row["id"],
        valid=None if validity is None else validity.erp(height, width),
    )


def _filled(
    faces: _Faces, log_scale: float | None, sky: SkySettings, depth_range: DepthRange, valid: np.ndarray | None
) -> _Faces:
    """Depth and normals with the sky pushed to the far end of the range; as they are without a sky or depth head."""
    if faces.depth is None or faces.sky is None:
        return faces
    # Only previews need torch in a CPU worker, where it costs seconds and 300 MB.
    import torch

    from pager_ray.postprocess import fill_sky_probability

    torch.set_num_threads(1)

    def channels_first(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array if array.ndim == 4 else array[..., None])).movedim(-1, 1)[None]

    depth, normals = fill_sky_probability(
        channels_first(faces.depth),
        channels_first(faces.normals) if faces.normals is not None else None,
        channels_first(faces.sky),
        torch.tensor([[log_scale]]) if log_scale is not None else None,
        sky,
        depth_range,
        None if valid is None else torch.from_numpy(valid)[None],
    )
    return _Faces(
        depth[0, :, 0].numpy(),
        np.ascontiguousarray(normals[0].movedim(1, -1).numpy()) if normals is not None else None,
        faces.sky,
    )
