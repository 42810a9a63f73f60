"""Masks as PNG files of one bit per pixel: whatever reads pictures reads them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.encode.limits import is_bomb
from pager_ray.encode.planes import opened_png
from pager_ray.errors import StorageError
from pager_ray.limits import MAX_PANORAMA_PIXELS

if TYPE_CHECKING:
    from jaxtyping import Bool

_HEAD: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
# Bit depth 1, grey, and the only methods there are, not interlaced.
_BILEVEL: Final = b"\x01\0\0\0\0"


def encode_mask(mask: Bool[np.ndarray, "h w"]) -> bytes:
    """A mask's PNG; white is true."""
    import cv2

    # A quarter of Pillow's time.
    _, encoded = cv2.imencode(".png", mask.view(np.uint8) * np.uint8(255), [cv2.IMWRITE_PNG_BILEVEL, 1])
    return encoded.tobytes()


def decode_mask(data: bytes) -> Bool[np.ndarray, "h w"]:
    """The mask in a file that :func:`encode_mask` wrote.

    Raises:
        StorageError: it is no such file, damaged, or of more pixels than a panorama has.
    """
    end = len(_HEAD) + 8
    if data[: len(_HEAD)] != _HEAD or data[end : end + len(_BILEVEL)] != _BILEVEL:
        raise StorageError("mask is no PNG of one bit per pixel")
    width, height = struct.unpack(">II", data[len(_HEAD) : end])
    if width * height > MAX_PANORAMA_PIXELS or is_bomb(width * height // 8, len(data)):
        raise StorageError(f"mask of {width}×{height} pixels in {len(data)} bytes, more than any panorama's")
    try:
        with opened_png(data) as picture:
            mask = np.asarray(picture)
    except (OSError, ValueError, SyntaxError) as error:
        raise StorageError(f"mask cannot be decoded ({type(error).__name__})") from error
    if mask.dtype != np.bool_:
        raise StorageError("mask is no PNG of one bit per pixel")
    return mask
