"""Bytes of an image file to one equirectangular panorama, or to an error that says why it is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from pager_ray.errors import InputError
from pager_ray.geometry import erp_to_cubemap
from pager_ray.read.emptiness import emptiness_of
from pager_ray.read.gpano import ASPECT_TOLERANCE, GPANO_IGNORED, GpanoMode, Placement, read_gpano, settle
from pager_ray.read.highrange import Exposure
from pager_ray.read.pixels import Pixels, decode, open_image
from pager_ray.read.pose import UNKNOWN, Pose, pose_of_gpano
from pager_ray.validity import Validity

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


MAX_WIDTH: Final = 4096
"""Columns of the largest ERP that is handed on: the network has never been fed from more."""


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
        stretch: by how much the file was scaled more across than down to be 2:1; 1.0 for not at all.
        blank_fraction: share of the ERP's pixels that carry nothing: outside the file's part, transparent, or black
            in a way that :mod:`pager_ray.read.emptiness` knows.
        suspect: ``black_bars`` or ``dual_fisheye`` for what looks like that rather than like a panorama; else None.
        remarks: what was noticed about the file, as short stable names; see ``docs/outputs.md``.
        validity: which of its pixels mean something: those of the file that are not transparent.
        pose: how the camera was held, as the file's GPano metadata say.
    """

    erp: UInt8[np.ndarray, "h w 3"]
    source_height: int
    source_width: int
    file_width: int
    file_height: int
    coverage: float
    stretch: float
    blank_fraction: float
    suspect: str | None
    remarks: tuple[str, ...]
    validity: Validity
    pose: Pose = UNKNOWN

    def faces(
        self, face_size: int, fov: float, rotation: Float[np.ndarray, "3 3"] | None = None
    ) -> UInt8[np.ndarray, "6 s s 3"]:
        """The network's faces, sampled from the panorama, or from it after a rotation."""
        return erp_to_cubemap(self.erp, face_size, fov, rotation)

    def picture(self, width: int) -> UInt8[np.ndarray, "h w 3"]:
        """The panorama where about so many columns are wanted: all of it, as it is there."""
        return self.erp


def decode_panorama(
    data: bytes,
    *,
    max_pixels: int = 2**28,
    max_width: int = MAX_WIDTH,
    aspect_tolerance: float = ASPECT_TOLERANCE,
    gpano: GpanoMode = "auto",
    exposure: Exposure = "auto",
) -> DecodedPanorama:
    """Decode, check and place one panorama, in sRGB.

    A whole panorama must be 2:1 within the tolerance, or within one pixel (|W − 2H| ≤ 1), and is resampled to exactly
    2:1, its height kept; a cropped one must say with GPano metadata which part of the sphere it is. Nothing is ever
    stretched otherwise. Wider than ``max_width``, it is reduced to that with antialiasing: by the JPEG decoder where
    that can be had, by area averaging for the rest.

    Args:
        data: a whole image file; the formats are those of :func:`~pager_ray.read.formats.supported_formats`.
        max_pixels: limit on the file's pixels and on the full panorama's, checked before decoding.
        max_width: largest width of the returned ERP, even; at least 64.
        aspect_tolerance: how much more a picture may be stretched along one side than along the other.
        gpano: as for :func:`pager_ray.read.gpano.settle`.
        exposure: of Radiance and OpenEXR files, ``auto`` or stops; see :mod:`pager_ray.read.highrange`.

    Raises:
        InputError: with ``error_class`` ``empty_file``, ``not_an_image``, ``unsupported_format``, ``corrupt_image``,
            ``too_large``, ``too_small``, ``not_a_panorama`` or ``bad_gpano``.
    """
    header = open_image(data, max_pixels)
    placement, remarks = settle(header.width, header.height, header.xmp, gpano, aspect_tolerance)
    # A packet that is not believed where the picture lies is not believed how it was held.
    is_believed = gpano != "ignore" and GPANO_IGNORED not in remarks
    return placed(
        lambda width, height: decode(header, width, height, exposure),
        (header.width, header.height),
        placement,
        remarks,
        max_pixels,
        max_width,
        pose_of_gpano(read_gpano(header.xmp)) if is_believed else UNKNOWN,
    )


def placed(
    decode_at: Callable[[int, int], Pixels],
    size: tuple[int, int],
    placement: Placement,
    remarks: tuple[str, ...],
    max_pixels: int,
    max_width: int,
    pose: Pose = UNKNOWN,
) -> DecodedPanorama:
    """A picture on its sphere.

    Args:
        decode_at: gives its pixels, at least as many as are asked for across and down where it has them.
        size: width and height of the picture, as displayed.
        placement: where it lies.
        remarks: what was noticed.
        max_pixels, max_width: as of :func:`decode_panorama`.
        pose: how its camera was held.

    Raises:
        InputError: ``too_large``, and what ``decode_at`` raises.
    """
    if placement.erp_width * placement.erp_height > max_pixels:
        raise InputError(
            "too_large",
            f"the full panorama has {placement.erp_width}×{placement.erp_height} pixels, at most {max_pixels} are read",
        )
    height = min(placement.erp_height, max_width // 2)
    scale = height / placement.erp_height
    left, right = _pixel_span(placement.left * scale, placement.width * scale, 2 * height)
    top, bottom = _pixel_span(placement.top * scale, placement.height * scale, height)
    pixels = decode_at(right - left, bottom - top)
    is_whole = placement.coverage == 1
    empty = emptiness_of(pixels.rgb, pixels.hidden, is_whole=is_whole)
    image = resized(pixels.rgb, right - left, bottom - top)
    if pixels.conversion is not None:
        image = pixels.conversion(image)
    if image.shape[:2] == (height, 2 * height):
        erp = image
    else:
        erp = np.zeros((height, 2 * height, 3), dtype=np.uint8)
        erp[top:bottom, left:right] = image
    return DecodedPanorama(
        erp,
        placement.erp_height,
        placement.erp_width,
        *size,
        placement.coverage,
        placement.stretch,
        max(0.0, 1 - placement.coverage * (1 - empty.share)),
        empty.suspect,
        (*pixels.remarks, *remarks),
        _validity(placement, pixels.hidden),
        pose,
    )


def _validity(placement: Placement, hidden: UInt8[np.ndarray, "h w"] | None) -> Validity:
    left, right = _pixel_span(placement.left, placement.width, placement.erp_width)
    top, bottom = _pixel_span(placement.top, placement.height, placement.erp_height)
    found = Validity(placement.erp_height, placement.erp_width, left, top, right - left, bottom - top)
    return found if hidden is None else found.masked(hidden == 0)


def _pixel_span(start: float, length: float, limit: int) -> tuple[int, int]:
    """Round a rectangle's side to whole pixels, at least one, inside the ERP."""
    first = min(round(start), limit - 1)
    return first, min(max(round(start + length), first + 1), limit)


def resized(image: UInt8[np.ndarray, "h w *c"], width: int, height: int) -> UInt8[np.ndarray, "h2 w2 *c"]:
    """The picture at another size, antialiased where it shrinks."""
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    shrinks = columns - width > 1 or rows - height > 1
    # Area averaging only antialiases when it shrinks; for the odd pixel of rounding it would repeat or drop one.
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
