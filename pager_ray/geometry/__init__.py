"""Panoramas to cubemaps and back, on NumPy and OpenCV: what the CPU stages of a run compute.

Sample positions are those the released weights were trained and scored with, end points and half-pixel offsets
included; the modules say where a position differs from the textbook one. Names load on first use: the network's side of
the package needs ray lengths where there is no OpenCV.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pager_ray.geometry.erp import erp_rays, face_map
    from pager_ray.geometry.faces import FACE_AXES, FACE_NAMES, ray_length_factor
    from pager_ray.geometry.level import level_rotation, levelling, turned_back
    from pager_ray.geometry.project import erp_to_cubemap
    from pager_ray.geometry.stitch import cubemap_to_erp, normalise_normals, stitch_maps

__all__ = [
    "FACE_AXES",
    "FACE_NAMES",
    "cubemap_to_erp",
    "erp_rays",
    "erp_to_cubemap",
    "face_map",
    "level_rotation",
    "levelling",
    "normalise_normals",
    "ray_length_factor",
    "stitch_maps",
    "turned_back",
]

_HOMES = {
    "FACE_AXES": "faces",
    "FACE_NAMES": "faces",
    "cubemap_to_erp": "stitch",
    "erp_rays": "erp",
    "erp_to_cubemap": "project",
    "face_map": "erp",
    "level_rotation": "level",
    "levelling": "level",
    "normalise_normals": "stitch",
    "ray_length_factor": "faces",
    "stitch_maps": "stitch",
    "turned_back": "level",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"pager_ray.geometry.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'pager_ray.geometry' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
