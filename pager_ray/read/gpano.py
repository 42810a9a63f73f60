"""Where an image lies on the sphere: all of it, or the part that its GPano metadata name.

GPano is the photo-sphere XMP namespace (https://developers.google.com/streetview/spherical-metadata): a stitched
panorama that lacks floor and sky says in six numbers which rectangle of the full ERP it is. Heading, pitch and roll
are not applied: predictions belong to the panorama as it is stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from pager_ray.errors import InputError

NAMESPACE = "http://ns.google.com/photos/1.0/panorama/"
MAX_XMP_BYTES = 1 << 20  # a GPano packet is a few kB; parsing cost grows with what a stranger puts there
MIN_WIDTH = 64  # an ERP this narrow has 16 pixels per face: nothing to predict from

_NUMBER = re.compile(r"\+?(\d{1,9})(\.0*)?")
_WIDTHS = ("CroppedAreaLeftPixels", "CroppedAreaImageWidthPixels", "FullPanoWidthPixels")
_HEIGHTS = ("CroppedAreaTopPixels", "CroppedAreaImageHeightPixels", "FullPanoHeightPixels")


@dataclass(frozen=True)
class Placement:
    """A rectangle on a full ERP of exactly 2:1, all in pixels of that ERP; the rectangle may lie between pixels."""

    erp_height: int
    left: float
    top: float
    width: float
    height: float

    @property
    def erp_width(self) -> int:
        """Twice the height."""
        return 2 * self.erp_height

    @property
    def coverage(self) -> float:
        """Share of the ERP's pixels that the rectangle covers."""
        return self.width * self.height / (self.erp_width * self.erp_height)


def read_gpano(xmp: bytes | None) -> dict[str, str]:
    """Give the GPano properties of an XMP packet by name, from attributes and elements alike; none gives {}.

    Raises:
        InputError: ``bad_gpano``: the packet speaks of GPano and cannot be parsed, is oversized or contradicts itself.
    """
    if xmp is None or NAMESPACE.encode("ascii") not in xmp:
        return {}
    if len(xmp) > MAX_XMP_BYTES:
        raise InputError("bad_gpano", f"XMP packet of {len(xmp)} bytes; at most {MAX_XMP_BYTES} are read")
    try:
        root = fromstring(xmp.strip(b"\0 \t\r\n"))
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise InputError("bad_gpano", f"XMP packet with GPano properties cannot be parsed: {error}") from error
    found: dict[str, str] = {}
    prefix = f"{{{NAMESPACE}}}"
    for element in root.iter():
        for name, value in [*element.attrib.items(), (element.tag, element.text)]:
            if isinstance(name, str) and name.startswith(prefix):
                key, text = name.removeprefix(prefix), (value or "").strip()
                if found.setdefault(key, text) != text:
                    raise InputError("bad_gpano", f"GPano {key} is given twice: {found[key]!r} and {text!r}")
    return found


def place(width: int, height: int, gpano: Mapping[str, str]) -> Placement:
    """Find where an image of ``width`` × ``height`` lies on its ERP.

    Without GPano numbers the image must be the whole ERP: 2:1, give or take the one pixel that rounding an odd size
    costs; the ERP then keeps the image's height. With them the rectangle is taken as told, in the image's own
    resolution also when the file was scaled (evenly) after it was stitched.

    Raises:
        InputError: ``not_a_panorama``, ``too_small`` or ``bad_gpano``, each with the numbers.
    """
    projection = gpano.get("ProjectionType", "equirectangular")
    if projection.lower() != "equirectangular":
        raise InputError("bad_gpano", f"GPano ProjectionType is {projection!r}; only equirectangular is read")
    if not any(name in gpano for name in (*_WIDTHS, *_HEIGHTS)):
        if abs(width - 2 * height) > 1:
            raise InputError(
                "not_a_panorama",
                f"{width}×{height} pixels, aspect {width / height:.2f}: an equirectangular panorama is 2:1, "
                "or has GPano metadata that say which part of one it is",
            )
        placement = Placement(height, 0, 0, 2 * height, height)
    else:
        placement = _place_cropped(width, height, gpano)
    if placement.erp_width < MIN_WIDTH:
        raise InputError(
            "too_small",
            f"panorama of {placement.erp_width}×{placement.erp_height} pixels; {MIN_WIDTH} wide is the least",
        )
    return placement


def _place_cropped(width: int, height: int, gpano: Mapping[str, str]) -> Placement:
    said = ", ".join(f"{name} {gpano[name]}" for name in (*_WIDTHS, *_HEIGHTS) if name in gpano)

    def bad(why: str) -> InputError:
        return InputError("bad_gpano", f"GPano {why}; image {width}×{height}, {said}")

    def numbers(names: tuple[str, str, str]) -> tuple[int | None, int | None, int | None]:
        values: list[int | None] = []
        for name in names:
            match = _NUMBER.fullmatch(gpano[name]) if name in gpano else None
            if name in gpano and match is None:
                raise bad(f"{name} is no pixel count")
            values.append(int(match[1]) if match else None)
        return values[0], values[1], values[2]

    left, crop_width, full_width = numbers(_WIDTHS)
    top, crop_height, full_height = numbers(_HEIGHTS)
    crop_width = width if crop_width is None else crop_width
    crop_height = height if crop_height is None else crop_height
    if full_width is None and full_height is None and abs(crop_width - 2 * crop_height) <= 1:
        full_width, full_height = crop_width, crop_height
    if full_width is None or full_height is None:
        raise bad("lacks FullPanoWidthPixels or FullPanoHeightPixels")
    left = 0 if left is None and crop_width == full_width else left
    top = 0 if top is None and crop_height == full_height else top
    if left is None or top is None:
        raise bad("lacks CroppedAreaLeftPixels or CroppedAreaTopPixels")

    if min(crop_width, crop_height, full_width, full_height) < 1:
        raise bad("has an empty area")
    if abs(full_width - 2 * full_height) > 1:
        raise bad("full panorama is not 2:1")
    if left + crop_width > full_width or top + crop_height > full_height:
        raise bad("cropped area leaves the full panorama")
    # Equal up to one pixel of rounding along either axis; anything else would be stretched.
    if abs(width * crop_height - height * crop_width) > max(crop_width, crop_height):
        raise bad("cropped area has another aspect than the image")

    if crop_height == full_height:
        erp_height = height
    else:
        scale = width / crop_width if crop_width >= crop_height else height / crop_height
        erp_height = max(1, round(full_height * scale))
    across, down = 2 * erp_height / full_width, erp_height / full_height
    return Placement(erp_height, left * across, top * down, crop_width * across, crop_height * down)
