"""Read: the bytes of an image file to an equirectangular panorama, or to an input error with a stable class."""

from __future__ import annotations

from pager_ray.read.formats import IMAGE_SUFFIXES, is_image_name
from pager_ray.read.panorama import DecodedPanorama, decode_panorama

__all__ = ["IMAGE_SUFFIXES", "DecodedPanorama", "decode_panorama", "is_image_name"]
