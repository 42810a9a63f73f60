"""What a video says of the sphere that it shows: boxes ``st3d`` and ``sv3d`` (V2), or XML in a ``uuid`` box (V1).

Both are of https://github.com/google/spatial-media; where both stand, the boxes count, as that says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pager_ray.errors import InputError
from pager_ray.read.boxes import boxes

Stereo = Literal["mono", "top-bottom", "left-right"]

NO_SPHERE: Final = "not_spherical"
"""Class of rejects whose video does not say that it is a panorama, or is one of another kind."""

UUID: Final = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
MAX_XML: Final = 1 << 20
_MOST: Final = 4096

# Any other mode, such as one that is told by a mesh, is no picture beside a picture.
_MODES: Final[dict[int, Stereo]] = {0: "mono", 1: "top-bottom", 2: "left-right", 4: "left-right"}
_WORDS: Final[dict[str, Stereo]] = {"mono": "mono", "top-bottom": "top-bottom", "left-right": "left-right"}
_PROJECTIONS: Final = {b"equi": "equirectangular", b"cbmp": "cubemap", b"mshp": "mesh"}
_ELEMENT: Final = re.compile(r"<GSpherical:(\w{1,64})>\s*([^<>]{0,256}?)\s*</GSpherical:\w{1,64}>")
_CROP: Final = (
    "CroppedAreaImageWidthPixels",
    "CroppedAreaImageHeightPixels",
    "FullPanoWidthPixels",
    "FullPanoHeightPixels",
    "CroppedAreaLeftPixels",
    "CroppedAreaTopPixels",
)


@dataclass(frozen=True)
class Sphere:
    """How a frame lies on the sphere.

    Attributes:
        projection: ``equirectangular``, or the name of another one.
        stereo: where a second eye's picture is.
        bounds: what the frame of an eye lacks of the sphere above, below, left and right, as shares of it.
        crop: the same as GPano's numbers, in pixels of an eye's frame; V1 has them.
    """

    projection: str = "equirectangular"
    stereo: Stereo = "mono"
    bounds: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    crop: Mapping[str, str] = field(default_factory=dict)

    def eye(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of one eye's picture in a frame."""
        if self.stereo == "top-bottom":
            return width, height // 2
        return (width // 2, height) if self.stereo == "left-right" else (width, height)

    def gpano(self, width: int, height: int) -> dict[str, str]:
        """Where one eye's picture, of so many pixels, lies: GPano's numbers; none for a whole sphere."""
        if self.crop:
            return dict(self.crop)
        top, bottom, left, right = self.bounds
        if not any(self.bounds):
            return {}
        full_width, full_height = round(width / (1 - left - right)), round(height / (1 - top - bottom))
        numbers = (width, height, full_width, full_height, round(left * full_width), round(top * full_height))
        return {name: str(number) for name, number in zip(_CROP, numbers, strict=True)}


def told(sphere: Sphere | None, projection: str, stereo: str) -> Sphere:
    """The sphere of a video, as its file and its user say.

    Args:
        sphere: the file's word; None for none.
        projection, stereo: the user's (``input.video``); ``auto`` leaves it to the file.

    Raises:
        InputError: ``not_spherical``.
    """
    if sphere is None and projection == "auto":
        raise InputError(
            NO_SPHERE,
            "has no spherical metadata; where its frames are equirectangular, say so with "
            "input.video.projection=equirectangular (and input.video.stereo, where they hold two eyes)",
        )
    found = sphere or Sphere()
    if projection == "auto" and found.projection != "equirectangular":
        raise InputError(
            NO_SPHERE,
            f"its projection is {found.projection}; takes equirectangular: convert it, with ffmpeg's v360 for instance",
        )
    kept = found if projection == "auto" else Sphere(stereo=found.stereo)
    return kept if stereo == "auto" else Sphere(kept.projection, stereo, kept.bounds, kept.crop)  # type: ignore[arg-type]


def read_sphere(data: bytes, track: tuple[int, int], entry: tuple[int, int]) -> Sphere | None:
    """What a track says; None where it says nothing.

    Args:
        data: the file's ``moov`` box.
        track: the content of its ``trak``.
        entry: the boxes in the sample's entry.

    Raises:
        InputError: ``not_spherical``: it cannot be understood.
    """
    found = {kind: (start, end) for kind, start, end in boxes(data, *entry)}
    if b"sv3d" in found:
        return _read_boxes(data, found)
    for kind, start, end in boxes(data, *track, _MOST):
        if kind == b"uuid" and data[start : start + 16] == UUID:
            return _read_xml(data[start + 16 : min(end, start + 16 + MAX_XML)])
    return None


def _read_boxes(data: bytes, found: Mapping[bytes, tuple[int, int]]) -> Sphere:
    stereo: Stereo = "mono"
    if b"st3d" in found:
        start, end = found[b"st3d"]
        mode = data[start + 4] if end - start >= 5 else -1
        if mode not in _MODES:
            raise InputError(NO_SPHERE, f"its stereo mode is {mode}; takes mono, top-bottom and left-right")
        stereo = _MODES[mode]
    for kind, start, end in boxes(data, *found[b"sv3d"]):
        if kind != b"proj":
            continue
        for inner, at, stop in boxes(data, start, end):
            if inner not in _PROJECTIONS:
                continue
            shares = [int.from_bytes(data[one : one + 4], "big") / 2**32 for one in range(at + 4, at + 20, 4)]
            top, bottom, left, right = shares if inner == b"equi" and stop - at >= 20 else (0.0, 0.0, 0.0, 0.0)
            if top + bottom >= 1 or left + right >= 1:
                raise InputError(NO_SPHERE, "its spherical metadata leave nothing of the sphere")
            return Sphere(_PROJECTIONS[inner], stereo, (top, bottom, left, right))
    raise InputError(NO_SPHERE, "its spherical metadata name no projection that is known")


def _read_xml(content: bytes) -> Sphere:
    # A dozen flat elements that tools write as text: nothing of XML's that could grow is looked at.
    values = dict(_ELEMENT.findall(content.decode("utf-8", "replace")))
    if values.get("Spherical", "true").lower() != "true":
        raise InputError(NO_SPHERE, "its spherical metadata say that it is none")
    word = values.get("StereoMode", "mono").lower() or "mono"
    if word not in _WORDS:
        raise InputError(NO_SPHERE, f"its stereo mode is {word[:40]!r}; takes mono, top-bottom and left-right")
    crop = {name: values[name] for name in _CROP if name in values}
    numbers = [float(text) if text.isdecimal() else math.nan for text in crop.values()]
    is_whole = len(crop) == len(_CROP) and numbers[:2] == numbers[2:4]
    projection = values.get("ProjectionType", "equirectangular").lower() or "equirectangular"
    return Sphere(projection[:40], _WORDS[word], crop={} if is_whole else crop)
