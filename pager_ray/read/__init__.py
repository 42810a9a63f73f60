"""Read: the bytes of an image file to an equirectangular panorama, or to an input error with a stable class.

Names load on first use: who lists inputs, or reads what a run left, needs no decoder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pager_ray.read.content import Content, decode_content
    from pager_ray.read.cubemap import DecodedCubemap, decode_cubemap
    from pager_ray.read.formats import IMAGE_SUFFIXES, is_image_name
    from pager_ray.read.panorama import DecodedPanorama, decode_panorama

__all__ = [
    "IMAGE_SUFFIXES",
    "Content",
    "DecodedCubemap",
    "DecodedPanorama",
    "decode_content",
    "decode_cubemap",
    "decode_panorama",
    "is_image_name",
]

_HOMES = {
    "IMAGE_SUFFIXES": "formats",
    "Content": "content",
    "DecodedCubemap": "cubemap",
    "DecodedPanorama": "panorama",
    "decode_content": "content",
    "decode_cubemap": "cubemap",
    "decode_panorama": "panorama",
    "is_image_name": "formats",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"pager_ray.read.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'pager_ray.read' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
