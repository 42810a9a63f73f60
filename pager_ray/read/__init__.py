"""Read: the bytes of an image file to an equirectangular panorama, or to an input error with a stable class."""

from __future__ import annotations

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
