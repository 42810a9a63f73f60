"""Bytes of an image file to one equirectangular panorama, or to an error that says why it is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pager_ray.errors import InputError
from pager_ray.read.gpano import place, read_gpano
from pager_ray.read.pixels import decode_pixels, open_image

if TYPE_CHECKING:
    from jaxtyping import UInt8


@dataclass(frozen=True, eq=False)
class DecodedPanorama:
    """A panorama ready to be sampled.

    Attributes:
        erp: RGB bytes (H, 2H, 3), C-contiguous; black where a cropped panorama has no image.
        source_height: height of the full panorama before any reduction, where results are stitched back to.
        source_width: exactly twice that.
        file_width: width of the image in the file, as displayed (EXIF orientation applied).
        file_height: height of the image in the file, as displayed.
        coverage: share of the ERP's pixels that the file covers; 1.0 unless GPano metadata say less.
    """

    erp: UInt8[np.ndarray, "h w 3"]
    source_height: int
    source_width: int
    file_width: int
    file_height: int
    coverage: float


def decode_panorama(data: bytes, *, max_pixels: int = 2**28, max_width: int = 4096) -> DecodedPanorama:
    """Decode, check and place one panorama.

    A whole panorama must be 2:1 within one pixel (|W − 2H| ≤ 1) and is resampled by that pixel to exactly 2:1, its
    height kept; a cropped one must say with GPano metadata which part of the sphere it is. Nothing is ever stretched
    otherwise. Wider than ``max_width``, it is reduced to that with antialiasing: by the JPEG decoder where that can
    be had, by area averaging for the rest.

    Args:
        data: a whole image file; the formats are those of :func:`~pager_ray.read.formats.supported_formats`.
        max_pixels: limit on the file's pixels and on the full panorama's, checked before decoding.
        max_width: largest width of the returned ERP, even; at least 64.

    Raises:
        InputError: with ``error_class`` ``empty_file``, ``not_an_image``, ``unsupported_format``, ``corrupt_image``,
            ``too_large``, ``too_small``, ``not_a_panorama`` or ``bad_gpano``.
    """
    header = open_image(data, max_pixels)
    placement = place(header.width, header.height, read_gpano(header.xmp))
    if placement.erp_width * placement.erp_height > max_pixels:
        raise InputError(
            "too_large",
            f"the full panorama has {placement.erp_width}×{placement.erp_height} pixels, at most {max_pixels} are read",
        )
    height = min(placement.erp_height, max_width // 2)
    scale = height / placement.erp_height
    left, right = _pixel_span(placement.left * scale, placement.width * scale, 2 * height)
    top, bottom = _pixel_span(placement.top * scale, placement.height * scale, height)
    image = _resize(decode_pixels(header, right - left, bottom - top), right - left, bottom - top)
    if image.shape[:2] == (height, 2 * height):
        erp = image
    else:
        erp = np.zeros((height, 2 * height, 3), dtype=np.uint8)
        erp[top:bottom, left:right] = image
    return DecodedPanorama(
        erp, placement.erp_height, placement.erp_width, header.width, header.height, placement.coverage
    )


def _pixel_span(start: float, length: float, limit: int) -> tuple[int, int]:
    """Round a rectangle's side to whole pixels, at least one, inside the ERP."""
    first = min(round(start), limit - 1)
    return first, min(max(round(start + length), first + 1), limit)


def _resize(image: UInt8[np.ndarray, "h w 3"], width: int, height: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    shrinks = columns - width > 1 or rows - height > 1
    # Area averaging only antialiases when it shrinks; for the odd pixel of rounding it would repeat or drop one.
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
