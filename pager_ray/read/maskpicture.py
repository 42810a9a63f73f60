"""A mask picture's bytes to which of its panorama's pixels are valid.

White is valid and black is not, as COLMAP, nerfstudio and the tools of panoramas have it; what is at least half as
bright as the brightest pixel counts as white, so that masks of 0 and 1, and those that were JPEGs, mean what they did.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from pager_ray.cubemaps import FACES
from pager_ray.errors import InputError
from pager_ray.geometry.cubes import cubemap_mask
from pager_ray.read.cubemap import DecodedCubemap
from pager_ray.read.panorama import DecodedPanorama
from pager_ray.read.pixels import decode_light, open_image

if TYPE_CHECKING:
    from jaxtyping import Bool

    from pager_ray.read.content import Content

BAD_MASK: Final = "bad_mask"
"""Class of rejects whose mask is none of theirs, or damaged."""


def decode_mask_picture(
    content: Content, panorama: DecodedPanorama | DecodedCubemap, max_pixels: int, *, keep: bool = False
) -> Bool[np.ndarray, "h w"]:
    """The valid pixels of a picture, at the size that its file has; of a cubemap those of its panorama.

    Args:
        content: the mask's file; of a cubemap a file for each face, in their order.
        panorama: that the mask is of.
        max_pixels: larger masks are refused.
        keep: the next panorama has the same one; it is not decoded again.

    Raises:
        InputError: ``bad_mask``: of another size, of another kind, damaged, or no picture.
    """
    if isinstance(panorama, DecodedCubemap):
        if not isinstance(content, tuple):
            raise InputError(BAD_MASK, "is one picture, and the panorama is a cubemap; give a mask for each face")
        size = panorama.source_height // 2
        faces = []
        for face, one in zip(FACES, content, strict=True):
            try:
                faces.append(_decoded(one, size, size, max_pixels))
            except InputError as error:
                raise InputError(BAD_MASK, f"{face} face: {error}") from error
        return cubemap_mask(_bright(np.stack(faces)), 2 * size, 4 * size)
    if not isinstance(content, bytes):
        raise InputError(BAD_MASK, "is a cubemap's, and the panorama is one picture; give one mask")
    make = _kept_mask if keep else _panorama_mask
    return make(content, panorama.file_width, panorama.file_height, max_pixels)


def _panorama_mask(content: bytes, width: int, height: int, max_pixels: int) -> Bool[np.ndarray, "h w"]:
    mask = _bright(_decoded(content, width, height, max_pixels))
    mask.flags.writeable = False
    return mask


_kept_mask = lru_cache(maxsize=1)(_panorama_mask)


def _bright(light: np.ndarray) -> Bool[np.ndarray, "*n"]:
    # Of an all black one nothing is.
    return light >= light.dtype.type(max(1, (int(light.max()) + 1) // 2))


def _decoded(content: bytes, width: int, height: int, max_pixels: int) -> np.ndarray:
    """See :func:`~pager_ray.read.pixels.decode_light`."""
    try:
        header = open_image(content, max_pixels)
        if (header.width, header.height) != (width, height):
            raise InputError(
                BAD_MASK,
                f"has {header.width}×{header.height} pixels, its picture {width}×{height}; make one of the same size",
            )
        return decode_light(header, width, height)
    except InputError as error:
        raise InputError(BAD_MASK, str(error)) from error
