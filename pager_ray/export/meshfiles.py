"""A mesh as GLB, the panorama its texture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.export.gltf import ARRAY, FLOAT, INDICES, INT, encode_gltf
from pager_ray.export.images import encode_jpeg
from pager_ray.export.libraries import load

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from pager_ray.export.mesh import Mesh

MAX_TEXTURE: Final = 8192
"""Columns of the largest texture: wider ones are not drawn everywhere."""

# The standard's numbers.
_TRIANGLES, _REPEAT, _CLAMP, _LINEAR, _MIPMAPS = 4, 10497, 33071, 9729, 9987


def encode_mesh(mesh: Mesh, picture: UInt8[np.ndarray, "h w 3"], unit: str = "metre") -> bytes:
    """Binary glTF 2.0 with one textured mesh; unit and frame among the scene's extras.

    The texture is the picture as it is, sRGB as the standard has base colours, and the material needs no light
    (``KHR_materials_unlit``): the panorama has its own. Front sides face the camera.
    """
    cv2 = load("cv2")
    height, width = picture.shape[:2]
    if width > MAX_TEXTURE:
        size = (MAX_TEXTURE, max(1, round(height * MAX_TEXTURE / width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    corners = {"min": mesh.xyz.min(0).tolist(), "max": mesh.xyz.max(0).tolist()}
    about = {
        "extensionsUsed": ["KHR_materials_unlit"],
        "scenes": [{"nodes": [0], "extras": {"unit": unit, "frame": mesh.frame}}],
        "meshes": [
            {
                "primitives": [
                    {
                        "mode": _TRIANGLES,
                        "attributes": {"POSITION": 0, "TEXCOORD_0": 1},
                        "indices": 2,
                        "material": 0,
                    }
                ]
            }
        ],
        "materials": [
            {
                "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0, "roughnessFactor": 1},
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        "textures": [{"source": 0, "sampler": 0}],
        # Around the seam, and not over the poles.
        "samplers": [{"wrapS": _REPEAT, "wrapT": _CLAMP, "magFilter": _LINEAR, "minFilter": _MIPMAPS}],
        "images": [{"bufferView": 3, "mimeType": "image/jpeg"}],
        "accessors": [
            {"bufferView": 0, "componentType": FLOAT, "count": len(mesh.xyz), "type": "VEC3", **corners},
            {"bufferView": 1, "componentType": FLOAT, "count": len(mesh.uv), "type": "VEC2"},
            {"bufferView": 2, "componentType": INT, "count": mesh.faces.size, "type": "SCALAR"},
        ],
    }
    parts: list[tuple[np.ndarray | bytes, int | None]] = [
        (mesh.xyz.astype("<f4"), ARRAY),
        (mesh.uv.astype("<f4"), ARRAY),
        (mesh.faces.astype("<u4"), INDICES),
        (encode_jpeg(picture), None),
    ]
    return encode_gltf(about, parts)
