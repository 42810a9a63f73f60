"""Encode: depth, normals and sky maps to compact, checked bytes with stated error bounds, and back."""

from __future__ import annotations

from pager_ray.encode.codec import Codec, Kind
from pager_ray.encode.registry import PURPOSES, codec_from_metadata, codec_names, get_codec

__all__ = ["PURPOSES", "Codec", "Kind", "codec_from_metadata", "codec_names", "get_codec"]
