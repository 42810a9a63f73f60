"""ICC colour profiles: from a picture's own colours to sRGB, which networks are trained on.

A profile is a stranger's program of tables and curves, run by Little CMS. It is small (:data:`MAX_PROFILE_BYTES`) or
left out of account, as is one that is damaged or of another kind of colour than the pixels: viewers show such pictures
without it, so do we, and a remark says so.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageCms

if TYPE_CHECKING:
    from jaxtyping import UInt8

MAX_PROFILE_BYTES: Final = 1 << 22
"""Those of printing presses have two megabytes."""

PROFILE_CONVERTED: Final = "profile_converted"
"""Remark: colours were converted to sRGB."""
PROFILE_IGNORED: Final = "profile_ignored"
"""Remark: the picture has a colour profile that cannot be used."""

_NO_CACHE: Final = 0x0040  # lcms2.h: transforms keep the last colour otherwise, which threads may not share
_SAME: Final = 2
"""Levels that a profile called sRGB may differ from another one of that name, by how its numbers were rounded."""
_PIXELS: Final = 1 << 20

# Which pixels a profile's colours are, by the mode that Pillow has for them; all others are red, green and blue.
_GREY: Final = frozenset({"1", "L", "LA", "La", "I", "F"})


class Conversion:
    """From pixels of a profile to sRGB.

    Attributes:
        space: of the profile's colours: ``RGB``, ``GRAY`` or ``CMYK``.
    """

    def __init__(self, profile: bytes) -> None:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        self.space = source.profile.xcolor_space.strip()
        self._mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[self.space]
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | _NO_CACHE
        self._transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            self._mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags,
        )

    def __call__(self, pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
        """Convert; of grey pixels the first of three equal channels is taken."""
        rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
        rows = max(1, _PIXELS // max(1, pixels.shape[1]))
        for top in range(0, pixels.shape[0], rows):
            band = pixels[top : top + rows]
            image = Image.fromarray(np.ascontiguousarray(band[..., 0] if self._mode == "L" else band), self._mode)
            rgb[top : top + rows] = np.asarray(ImageCms.applyTransform(image, self._transform))
        return rgb

    def is_identity(self) -> bool:
        """Whether colours stay what they are, but for rounding."""
        levels = np.arange(0, 256, 15, dtype=np.uint8)
        if self.space == "CMYK":
            return False
        grid = np.stack(np.meshgrid(*[levels] * (3 if self.space == "RGB" else 1), indexing="ij"), -1)
        colours = np.broadcast_to(grid.reshape(1, -1, grid.shape[-1]), (1, grid[..., 0].size, 3))
        return int(np.abs(self(colours).astype(np.int16) - colours).max()) <= _SAME


def conversion_for(profile: bytes | None, mode: str) -> tuple[Conversion | None, str | None]:
    """The conversion that pixels of a mode of Pillow's need, and the remark where there should be one and is none."""
    if profile is None:
        return None, None
    space = "CMYK" if mode == "CMYK" else "GRAY" if mode in _GREY or mode.startswith("I;16") else "RGB"
    conversion, is_identity = _conversion(profile)
    if is_identity:
        return None, None
    if conversion is None or conversion.space != space:
        return None, PROFILE_IGNORED
    return conversion, None


@lru_cache(maxsize=8)
def _conversion(profile: bytes) -> tuple[Conversion | None, bool]:
    """A profile's conversion, None where it is none that can be used, and whether it changes nothing.

    Most pictures of a collection have one of a few profiles, which is understood once.
    """
    if not 128 <= len(profile) <= MAX_PROFILE_BYTES:
        return None, False
    try:
        conversion = Conversion(profile)
        return conversion, conversion.is_identity()
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError, TypeError, AttributeError):
        return None, False
