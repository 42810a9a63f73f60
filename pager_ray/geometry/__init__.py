"""Panoramas to cubemaps and back, on NumPy and OpenCV: what the CPU stages of a run compute.

Sample positions are those the released weights were trained and scored with, end points and half-pixel offsets
included; the modules say where a position differs from the textbook one.
"""

from __future__ import annotations

from pager_ray.geometry.erp import erp_rays, face_map
from pager_ray.geometry.faces import FACE_AXES, FACE_NAMES, ray_length_factor
from pager_ray.geometry.project import erp_to_cubemap
from pager_ray.geometry.stitch import cubemap_to_erp, normalise_normals

__all__ = [
    "FACE_AXES",
    "FACE_NAMES",
    "cubemap_to_erp",
    "erp_rays",
    "erp_to_cubemap",
    "face_map",
    "normalise_normals",
    "ray_length_factor",
]
