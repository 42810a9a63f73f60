"""Point clouds as GLB, PLY and LAZ."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.export.gltf import ARRAY, FLOAT, POINTS, encode_gltf
from pager_ray.export.libraries import load

if TYPE_CHECKING:
    from jaxtyping import Float32

    from pager_ray.export.points import PointCloud

LAZ_STEP: Final = 1e-4
"""LAZ stores whole multiples of this many metres: a coordinate is off by at most half of it."""


def encode_glb(cloud: PointCloud, unit: str = "metre") -> bytes:
    """Binary glTF 2.0 with one primitive of points and their colours; unit and frame among the scene's extras.

    Colours of vertices are linear by the standard: the picture's sRGB bytes as light. As floats: dark ones would be
    lost in bytes, and readers are known that mistake 16 bits.
    """
    corners = {"min": cloud.xyz.min(0).tolist(), "max": cloud.xyz.max(0).tolist()}
    about = {
        "scenes": [{"nodes": [0], "extras": {"unit": unit, "frame": cloud.frame}}],
        "meshes": [{"primitives": [{"mode": POINTS, "attributes": {"POSITION": 0, "COLOR_0": 1}}]}],
        "accessors": [
            {"bufferView": 0, "componentType": FLOAT, "count": len(cloud), "type": "VEC3", **corners},
            {"bufferView": 1, "componentType": FLOAT, "count": len(cloud), "type": "VEC3"},
        ],
    }
    return encode_gltf(about, [(np.ascontiguousarray(cloud.xyz, "<f4"), ARRAY), (_LINEAR[cloud.colors], ARRAY)])


def _linear() -> Float32[np.ndarray, "256"]:
    """Light of each sRGB byte (IEC 61966-2-1)."""
    value = np.arange(256) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return light.astype("<f4")


_LINEAR: Final = _linear()


def encode_ply(cloud: PointCloud, unit: str = "metre") -> bytes:
    """Binary little-endian PLY: x, y, z, normals where there are some, colours; unit and frame as comments."""
    plyfile = load("plyfile")
    columns = [(name, "<f4", cloud.xyz[:, axis]) for axis, name in enumerate("xyz")]
    if cloud.normals is not None:
        columns += [(f"n{name}", "<f4", cloud.normals[:, axis]) for axis, name in enumerate("xyz")]
    columns += [(name, "u1", cloud.colors[:, channel]) for channel, name in enumerate(("red", "green", "blue"))]
    vertices = np.empty(len(cloud), [(name, kind) for name, kind, _ in columns])
    for name, _, values in columns:
        vertices[name] = values
    file = io.BytesIO()
    element = plyfile.PlyElement.describe(vertices, "vertex")
    plyfile.PlyData([element], text=False, byte_order="<", comments=[f"unit: {unit}", f"frame: {cloud.frame}"]).write(
        file
    )
    return file.getvalue()


def encode_laz(cloud: PointCloud, unit: str = "metre") -> bytes:
    """LAZ 1.4, point format 7 (colours of 16 bits), the camera at the origin, :data:`LAZ_STEP` metres a step."""
    laspy = load("laspy")
    load("lazrs")
    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = np.full(3, LAZ_STEP), np.zeros(3)
    header.vlrs.append(
        laspy.VLR(user_id="pager_ray", record_id=1, description="unit and frame", record_data=_about(cloud, unit))
    )
    las = laspy.LasData(header)
    las.xyz = cloud.xyz.astype(np.float64)
    for channel, name in enumerate(("red", "green", "blue")):
        # By the standard, bytes fill all sixteen bits.
        setattr(las, name, cloud.colors[:, channel].astype(np.uint16) * 257)
    file = io.BytesIO()
    las.write(file, do_compress=True, laz_backend=laspy.LazBackend.Lazrs)
    return file.getvalue()


def _about(cloud: PointCloud, unit: str) -> bytes:
    return f"unit: {unit}; frame: {cloud.frame}".encode()
