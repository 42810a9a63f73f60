"""An input's bytes, one file, a cubemap's six or a video's frame, and what is made of each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pager_ray.read.cubemap import DecodedCubemap, decode_cubemap
from pager_ray.read.frames import Frame, decode_frame
from pager_ray.read.panorama import MAX_WIDTH, DecodedPanorama, decode_panorama

Content = bytes | tuple[bytes, ...] | Frame
"""A file, or six in the order of :data:`pager_ray.cubemaps.FACES`, or a frame that was decoded already."""


NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def length_of(content: Content) -> int:
    """Bytes of all files, or of a frame's pixels."""
    if isinstance(content, Frame):
        return content.pixels.nbytes
    return len(content) if isinstance(content, bytes) else sum(map(len, content))


def digest_of(content: Content) -> str:
    """SHA-256 of all files' bytes, one after the other, with its name before it."""
    if isinstance(content, Frame):
        return content.digest()
    digest = hashlib.sha256()
    for part in (content,) if isinstance(content, bytes) else content:
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def decode_content(
    content: Content,
    *,
    max_pixels: int = 2**28,
    max_width: int = MAX_WIDTH,
    video: Mapping[str, Any] = NOTHING,
    **settings: Any,
) -> DecodedPanorama | DecodedCubemap:
    """Decode a panorama, or the six faces of one, or place a frame.

    Args:
        max_pixels, max_width: as of :func:`~pager_ray.read.panorama.decode_panorama`.
        video: what the user says of videos: further arguments of :func:`~pager_ray.read.frames.decode_frame`.
        settings: its further arguments; to faces the exposure alone means anything.

    Raises:
        InputError: as of that, of :func:`~pager_ray.read.cubemap.decode_cubemap` and of
            :func:`~pager_ray.read.frames.decode_frame`.
    """
    if isinstance(content, Frame):
        known = {name: settings[name] for name in ("aspect_tolerance", "exposure") if name in settings}
        return decode_frame(content, max_pixels=max_pixels, max_width=max_width, **known, **video)
    if isinstance(content, bytes):
        return decode_panorama(content, max_pixels=max_pixels, max_width=max_width, **settings)
    exposure = settings.get("exposure", "auto")
    return decode_cubemap(content, max_pixels=max_pixels, max_width=max_width, exposure=exposure)
