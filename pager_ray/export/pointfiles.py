"""Point clouds as GLB, PLY and LAZ."""

from __future__ import annotations

import io
import json
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.export.libraries import load
from pager_ray.export.points import FRAME

if TYPE_CHECKING:
    from pager_ray.export.points import PointCloud

LAZ_STEP: Final = 1e-4
"""LAZ stores whole multiples of this many metres: a coordinate is off by at most half of it."""

# glTF's numbers for what its chunks hold.
_POINTS, _BYTE, _FLOAT, _ARRAY = 0, 5121, 5126, 34962


def encode_glb(cloud: PointCloud, unit: str = "metre") -> bytes:
    """Binary glTF 2.0 with one primitive of points and their colours; unit and frame among the scene's extras.

    It is two chunks of known layout: written here, at the speed of a copy. Colours are the picture's bytes, as the
    released clouds have them.
    """
    rgba = np.full((len(cloud), 4), 255, np.uint8)
    rgba[:, :3] = cloud.colors
    positions, colors = np.ascontiguousarray(cloud.xyz, dtype="<f4").tobytes(), rgba.tobytes()
    corners = {"min": cloud.xyz.min(0).tolist(), "max": cloud.xyz.max(0).tolist()}
    about = {
        "asset": {"version": "2.0", "generator": "pager_ray"},
        "scene": 0,
        "scenes": [{"nodes": [0], "extras": {"unit": unit, "frame": FRAME}}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"mode": _POINTS, "attributes": {"POSITION": 0, "COLOR_0": 1}}]}],
        "accessors": [
            {"bufferView": 0, "componentType": _FLOAT, "count": len(cloud), "type": "VEC3", **corners},
            {"bufferView": 1, "componentType": _BYTE, "count": len(cloud), "type": "VEC4", "normalized": True},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(positions), "target": _ARRAY},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(colors), "target": _ARRAY},
        ],
        "buffers": [{"byteLength": len(positions) + len(colors)}],
    }
    text = json.dumps(about, separators=(",", ":")).encode()
    # Chunks are whole multiples of four bytes; both kinds of data are.
    text += b" " * (-len(text) % 4)
    size = 12 + 8 + len(text) + 8 + len(positions) + len(colors)
    head = struct.pack("<4sIII4s", b"glTF", 2, size, len(text), b"JSON")
    return b"".join([head, text, struct.pack("<I4s", len(positions) + len(colors), b"BIN\0"), positions, colors])


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
    plyfile.PlyData([element], text=False, byte_order="<", comments=[f"unit: {unit}", f"frame: {FRAME}"]).write(file)
    return file.getvalue()


def encode_laz(cloud: PointCloud, unit: str = "metre") -> bytes:
    """LAZ 1.4, point format 7 (colours of 16 bits), the camera at the origin, :data:`LAZ_STEP` metres a step."""
    laspy = load("laspy")
    load("lazrs")
    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = np.full(3, LAZ_STEP), np.zeros(3)
    header.vlrs.append(
        laspy.VLR(user_id="pager_ray", record_id=1, description="unit and frame", record_data=_about(unit))
    )
    las = laspy.LasData(header)
    las.xyz = cloud.xyz.astype(np.float64)
    for channel, name in enumerate(("red", "green", "blue")):
        # By the standard, bytes fill all sixteen bits.
        setattr(las, name, cloud.colors[:, channel].astype(np.uint16) * 257)
    file = io.BytesIO()
    las.write(file, do_compress=True, laz_backend=laspy.LazBackend.Lazrs)
    return file.getvalue()


def _about(unit: str) -> bytes:
    return f"unit: {unit}; frame: {FRAME}".encode()
