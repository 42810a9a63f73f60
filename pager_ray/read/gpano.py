"""Where an image lies on the sphere: all of it, or the part that its GPano metadata name.

GPano is the photo-sphere XMP namespace (https://developers.google.com/streetview/spherical-metadata): a stitched
panorama that lacks floor and sky says in six numbers which rectangle of the full ERP it is. Heading, pitch and roll
are not applied: predictions belong to the panorama as it is stored.

Editors keep the packet of a picture that they cut, join or fill up, so what it says may be of another picture. Where
the pixels are 2:1 by themselves they are believed, and the packet is left out of account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from xml.parsers import expat

from pager_ray.errors import InputError

GpanoMode = Literal["auto", "ignore", "require"]
GPANO_IGNORED = "gpano_ignored"
"""Remark: the picture has GPano metadata that cannot be of it, and is 2:1 without them."""
ASPECT_TOLERANCE = 0.01
"""How far from 2:1 where nobody says."""

NAMESPACE = "http://ns.google.com/photos/1.0/panorama/"
MAX_XMP_BYTES = 1 << 20  # a GPano packet is a few kB; parsing cost grows with what a stranger puts there
MAX_QUOTED = 60  # characters of a stranger's text that a message repeats
MIN_WIDTH = 64  # an ERP this narrow has 16 pixels per face: nothing to predict from

_NUMBER = re.compile(r"\+?([0-9]{1,9})(\.0*)?")
_WIDTHS = ("CroppedAreaLeftPixels", "CroppedAreaImageWidthPixels", "FullPanoWidthPixels")
_HEIGHTS = ("CroppedAreaTopPixels", "CroppedAreaImageHeightPixels", "FullPanoHeightPixels")


class _Stale(InputError):
    """GPano that is doubled, empty or of another picture: no reason to lose one that is 2:1 without it."""


@dataclass(frozen=True)
class Placement:
    """A rectangle on a full ERP of exactly 2:1, all in pixels of that ERP; the rectangle may lie between pixels.

    ``stretch`` is by how much the image is scaled more across than down to fill it: 1 for not at all.
    """

    erp_height: int
    left: float
    top: float
    width: float
    height: float
    stretch: float = 1.0

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
        raise _Stale("bad_gpano", f"XMP packet of {len(xmp)} bytes; at most {MAX_XMP_BYTES} are read")
    packet = _Packet()
    try:
        packet.parser.Parse(xmp.strip(b"\0 \t\r\n"), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        reason = _shortened(str(error))
        raise _Stale("bad_gpano", f"XMP packet with GPano properties cannot be parsed: {reason}") from error
    if packet.doubled:
        raise _Stale("bad_gpano", packet.doubled)
    return packet.found


class _Packet:
    """Collects GPano properties while a packet is parsed, and builds no tree.

    An XML parser multiplies what a stranger writes: entities, default attributes of a document type and namespaces that
    are repeated in every element's name make gigabytes of a megabyte. Here there is no document type and thereby no
    entity, names stay as they are written, and only GPano's own texts are kept.
    """

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.doubled: str | None = None
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        # What each prefix means, innermost last: whether it is GPano.
        self._bound: dict[str, list[bool]] = {"": [False], "xml": [False], "xmlns": [False]}
        # Per open element: the prefixes that it binds, the property that it is, and that property's text so far.
        self._open: list[tuple[list[str], str | None, list[str]]] = []

    def _refuse_doctype(self, *_: object) -> None:
        raise InputError("bad_gpano", "XMP packet has a document type declaration, which no XMP needs; it is not read")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        binds = []
        for name, value in attributes.items():
            if name == "xmlns" or name.startswith("xmlns:"):
                prefix = name.partition(":")[2]
                self._bound.setdefault(prefix, []).append(value == NAMESPACE)
                binds.append(prefix)
        for name, value in attributes.items():
            # Without a prefix an attribute belongs to no namespace, whatever the default is.
            if ":" in name and (key := self._property(name)):
                self._note(key, value)
        self._open.append((binds, self._property(tag), []))

    def _end(self, _: str) -> None:
        binds, key, texts = self._open.pop()
        if key:
            self._note(key, "".join(texts))
        for prefix in binds:
            self._bound[prefix].pop()

    def _text(self, text: str) -> None:
        if self._open and self._open[-1][1]:
            self._open[-1][2].append(text)

    def _property(self, name: str) -> str | None:
        """The name without prefix if it is one of GPano's."""
        prefix, separator, key = name.partition(":")
        if not separator:
            prefix, key = "", name
        if not self._bound.get(prefix):
            raise _Stale("bad_gpano", f"XMP packet uses the prefix {_quoted(prefix)} and binds it to no namespace")
        return key if self._bound[prefix][-1] else None

    def _note(self, key: str, value: str) -> None:
        text = value.strip()
        if self.found.setdefault(key, text) != text:
            # The first one stays: others of the packet may still have to be refused for what they are.
            self.doubled = self.doubled or (
                f"GPano {_shortened(key)} is given twice: {_quoted(self.found[key])} and {_quoted(text)}"
            )


def _shortened(text: str) -> str:
    """The start of a stranger's text, on one line."""
    line = "".join(character if character.isprintable() else " " for character in text[: 2 * MAX_QUOTED])
    return line if len(text) <= 2 * MAX_QUOTED else f"{line}…"


def _quoted(text: str) -> str:
    """A stranger's text as a message may repeat it: escaped, and its start only."""
    return repr(text) if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]!r}…"


def settle(
    width: int, height: int, xmp: bytes | None, mode: GpanoMode = "auto", tolerance: float = ASPECT_TOLERANCE
) -> tuple[Placement, tuple[str, ...]]:
    """Find where an image of ``width`` × ``height`` lies on its ERP, and say what was left out of account for it.

    Args:
        xmp: its XMP packet, if there is one.
        mode: ``auto`` takes GPano metadata as told, unless they cannot be of a picture that is 2:1 by itself;
            ``ignore`` does not read them; ``require`` takes no picture without them, and none that they contradict.
        tolerance: as for :func:`place`.

    Raises:
        InputError: ``not_a_panorama``, ``too_small`` or ``bad_gpano``, each with the numbers.
    """
    if mode == "ignore":
        return place(width, height, {}, tolerance), ()
    try:
        gpano = read_gpano(xmp)
        if mode == "require" and not gpano:
            raise InputError(
                "not_a_panorama",
                f"{width}×{height} pixels without GPano metadata, and input.gpano is require; auto takes it by its "
                "aspect",
            )
        return place(width, height, gpano, tolerance), ()
    except _Stale:
        if mode == "require" or not _is_close(width, 2 * height, tolerance):
            raise
        return place(width, height, {}, tolerance), (GPANO_IGNORED,)


def place(width: int, height: int, gpano: Mapping[str, str], tolerance: float = ASPECT_TOLERANCE) -> Placement:
    """Find where an image of ``width`` × ``height`` lies on its ERP.

    Without GPano numbers the image must be the whole ERP: 2:1 within the tolerance, or the one pixel that rounding an
    odd size costs; the ERP then keeps the image's height. With them the rectangle is taken as told, in the image's own
    resolution also when the file was scaled (evenly) after it was stitched.

    Args:
        tolerance: how much more an image may be stretched along one side than along the other, 0.01 for 1 %.

    Raises:
        InputError: ``not_a_panorama``, ``too_small`` or ``bad_gpano``, each with the numbers.
    """
    projection = gpano.get("ProjectionType", "equirectangular")
    if projection.lower() != "equirectangular":
        error = _Stale if not projection else InputError
        raise error("bad_gpano", f"GPano ProjectionType is {_quoted(projection)}; only equirectangular is read")
    if not any(name in gpano for name in (*_WIDTHS, *_HEIGHTS)):
        if not _is_close(width, 2 * height, tolerance):
            raise InputError(
                "not_a_panorama",
                f"{width}×{height} pixels, aspect {width / height:.2f}: an equirectangular panorama is 2:1 (within "
                f"{tolerance:.2%}: input.aspect_tolerance), or has GPano metadata that say which part of one it is",
            )
        placement = Placement(height, 0, 0, 2 * height, height, 2 * height / width)
    else:
        placement = _place_cropped(width, height, gpano, tolerance)
    if placement.erp_width < MIN_WIDTH:
        raise InputError(
            "too_small",
            f"panorama of {placement.erp_width}×{placement.erp_height} pixels; {MIN_WIDTH} wide is the least",
        )
    return placement


def _is_close(one: int, other: int, tolerance: float) -> bool:
    """Whether a length is stretched to another by no more than the tolerance, or one pixel of rounding."""
    return abs(one - other) <= max(1.0, tolerance * one)


def _place_cropped(width: int, height: int, gpano: Mapping[str, str], tolerance: float) -> Placement:
    said = ", ".join(
        f"{name} {gpano[name] if gpano[name].isdecimal() and len(gpano[name]) < MAX_QUOTED else _quoted(gpano[name])}"
        for name in (*_WIDTHS, *_HEIGHTS)
        if name in gpano
    )

    def bad(why: str) -> InputError:
        return _Stale("bad_gpano", f"GPano {why}; image {width}×{height}, {said}")

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
    if full_width is None and full_height is None and _is_close(crop_width, 2 * crop_height, tolerance):
        full_width, full_height = crop_width, crop_height
    if full_width is None or full_height is None:
        raise bad("lacks FullPanoWidthPixels or FullPanoHeightPixels")
    left = 0 if left is None and crop_width == full_width else left
    top = 0 if top is None and crop_height == full_height else top
    if left is None or top is None:
        raise bad("lacks CroppedAreaLeftPixels or CroppedAreaTopPixels")

    if min(crop_width, crop_height, full_width, full_height) < 1:
        raise bad("has an empty area")
    if not _is_close(full_width, 2 * full_height, tolerance):
        raise bad("full panorama is not 2:1")
    if left + crop_width > full_width or top + crop_height > full_height:
        raise bad("cropped area leaves the full panorama")
    # One pixel of rounding along either axis; anything else is stretched.
    skew = abs(width * crop_height - height * crop_width)
    if skew > max(crop_width, crop_height, tolerance * width * crop_height):
        raise bad("cropped area has another aspect than the image")

    if crop_height == full_height:
        erp_height = height
    else:
        scale = width / crop_width if crop_width >= crop_height else height / crop_height
        erp_height = max(1, round(full_height * scale))
    across, down = 2 * erp_height / full_width, erp_height / full_height
    stretch = (crop_width * across / width) / (crop_height * down / height)
    is_rounded = abs(full_width - 2 * full_height) <= 1 and skew <= max(crop_width, crop_height)
    # A panorama and a part of it that are each a little off add up.
    if not is_rounded and abs(stretch - 1) > tolerance:
        raise bad(
            f"would stretch the image by {abs(stretch - 1):.2%}, at most {tolerance:.2%} (input.aspect_tolerance)"
        )
    return Placement(erp_height, left * across, top * down, crop_width * across, crop_height * down, stretch)
