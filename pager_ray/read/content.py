"""An input's bytes, one file or a cubemap's six, and what is made of either."""

from __future__ import annotations

import hashlib
from typing import Any

from pager_ray.read.cubemap import DecodedCubemap, decode_cubemap
from pager_ray.read.panorama import MAX_WIDTH, DecodedPanorama, decode_panorama

Content = bytes | tuple[bytes, ...]
"""A file, or six in the order of :data:`pager_ray.cubemaps.FACES`."""


def length_of(content: Content) -> int:
    """Bytes of all files."""
    return len(content) if isinstance(content, bytes) else sum(map(len, content))


def digest_of(content: Content) -> str:
    """SHA-256 of all files' bytes, one after the other, with its name before it."""
    digest = hashlib.sha256()
    for part in (content,) if isinstance(content, bytes) else content:
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def decode_content(
    content: Content, *, max_pixels: int = 2**28, max_width: int = MAX_WIDTH, **settings: Any
) -> DecodedPanorama | DecodedCubemap:
    """Decode a panorama, or the six faces of one.

    Args:
        max_pixels, max_width: as of :func:`~pager_ray.read.panorama.decode_panorama`.
        settings: its further arguments; to faces the exposure alone means anything.

    Raises:
        InputError: as of that, and of :func:`~pager_ray.read.cubemap.decode_cubemap`.
    """
    if isinstance(content, bytes):
        return decode_panorama(content, max_pixels=max_pixels, max_width=max_width, **settings)
    exposure = settings.get("exposure", "auto")
    return decode_cubemap(content, max_pixels=max_pixels, max_width=max_width, exposure=exposure)
