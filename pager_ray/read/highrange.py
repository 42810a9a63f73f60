"""Pictures of light as it is, far brighter than white: Radiance and OpenEXR files, exposed as a photo would be.

Networks are trained on photos. The rule, stated once: ``exposure`` ``auto`` scales the light so that its mean (the mean
of the logarithm of luminance, by solid angle, over all that is not black) becomes middle grey, 0.18; a number scales it
by 2 to that. Then Reinhard's curve with white at 4 (Photographic Tone Reproduction, 2002, equation 4) brings each
channel below 1, and the curve of sRGB makes bytes of it.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import cv2
import numpy as np

from pager_ray.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, UInt8

Exposure = float | Literal["auto"]

TONE_MAPPED: Final = "tone_mapped"
"""Remark: light was exposed and brought into the range of a photo."""

_GREY: Final = 0.18
_WHITE: Final = 4.0
_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722], np.float32)
_BAND: Final = 1 << 20
_SAMPLES: Final = 512
_MOST_LIGHT: Final = 1e30
_LINES: Final = 64
"""Of an OpenEXR file, read at a time: what it reads of a damaged one the library never gives back."""

_RADIANCE_SIZE: Final = re.compile(rb"([-+])([XY]) (\d{1,9}) ([-+])([XY]) (\d{1,9})\n")
_RADIANCE_HEADER: Final = 1 << 16
_EXR_SAMPLE: Final = re.compile(r"^(?:(.*)\.)?([RGBAY])$")

_decoder = threading.Lock()

Measured = tuple[float, float]
"""Of some light: the weighted sum of its logarithms, and of the weights."""


@dataclass(frozen=True)
class LightHead:
    """A high-range file whose header was read.

    Attributes:
        width: pixels.
        height: pixels.
        data: the file.
        xmp: the XMP packet, if there is one.
        extra: what its decoder needs to know.
    """

    width: int
    height: int
    data: bytes
    xmp: bytes | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def read_radiance_head(data: bytes) -> LightHead:
    """Read the header of a Radiance file.

    Raises:
        ValueError: it cannot be understood.
        InputError: ``unsupported_format``: its pixels are no red, green and blue.
    """
    end = data.find(b"\n\n", 0, _RADIANCE_HEADER)
    size = _RADIANCE_SIZE.match(data, end + 2) if end > 0 else None
    if size is None:
        raise ValueError("its header has no size")
    exposure = 1.0
    for line in data[:end].split(b"\n"):
        name, _, value = line.partition(b"=")
        if name.strip() == b"FORMAT" and value.strip() != b"32-bit_rle_rgbe":
            raise InputError("unsupported_format", "Radiance HDR file with XYZ colours; convert it to RGBE")
        if name.strip() == b"EXPOSURE":
            exposure *= float(value)
    if not 1e-20 < exposure < 1e20:
        raise ValueError("its exposure is no brightness")
    first_sign, first, first_length, second_sign, second, second_length = size.groups()
    if first == second:
        raise ValueError("its size is of one side alone")
    lengths = int(first_length), int(second_length)
    height, width = lengths if first == b"Y" else lengths[::-1]
    # As stored, rows go down (-Y) and columns to the right (+X).
    signs = {first: first_sign, second: second_sign}
    flips = {"down": signs[b"Y"] == b"+", "across": signs[b"X"] == b"-", "turned": first == b"X"}
    return LightHead(width, height, data, None, {"body": size.end(), "lengths": lengths, "exposure": exposure, **flips})


def read_exr_head(data: bytes, max_pixels: int) -> LightHead:
    """Read the header of an OpenEXR file's first part; of several layers, the one without a name or the first.

    Raises:
        ValueError, OSError: it cannot be understood.
        InputError: ``unsupported_format``: it has no red, green and blue, or grey; ``too_large``.
    """
    import OpenEXR

    # Not by InputFile, which crashes on names that are no text.
    with _as_file(data) as path:
        header = OpenEXR.File(path, separate_channels=True, header_only=True, num_threads=0).header(0)
    shown, stored = (_window(*header[name]) for name in ("displayWindow", "dataWindow"))
    if (tiles := header.get("tiles")) is not None and int(tiles.xSize) * int(tiles.ySize) > max_pixels:
        raise InputError("too_large", f"OpenEXR tiles of {tiles.xSize}×{tiles.ySize} pixels")
    if stored[2] * stored[3] > max_pixels:
        raise InputError("too_large", f"OpenEXR file with data of {stored[2]}×{stored[3]} pixels")
    if header.get("type") in (OpenEXR.deepscanline, OpenEXR.deeptile):
        raise InputError("unsupported_format", "OpenEXR file of deep pixels; flatten it")
    channels = [str(channel.name) for channel in header["channels"]]
    layers: dict[str, dict[str, str]] = {}
    for name, channel in zip(channels, header["channels"], strict=True):
        match = _EXR_SAMPLE.match(name)
        if match and (channel.xSampling, channel.ySampling) == (1, 1):
            layers.setdefault(match[1] or "", {})[match[2]] = name
    # Named layers of X, Y and Z are no grey.
    coloured = {layer: names for layer, names in layers.items() if {*"RGB"} <= {*names} or ("Y" in names and not layer)}
    if not coloured or {"RY", "BY"} & {*channels}:
        raise InputError(
            "unsupported_format",
            f"OpenEXR file with the channels {', '.join(sorted(channels))[:200]}; takes R, G and B, or Y",
        )
    layer = min(coloured, key=lambda name: (name != "", "combined" not in name.lower(), name))
    xmp = header.get("xmp")
    xmp = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp
    return LightHead(
        shown[2], shown[3], data, xmp if isinstance(xmp, bytes) else None,
        {"channels": coloured[layer], "shown": shown, "stored": stored},
    )  # fmt: skip


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path under which the library finds the content: what it throws while it reads a stream of Python's is fatal."""
    descriptor = os.memfd_create("panorama.exr")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _window(least: Any, most: Any) -> tuple[int, int, int, int]:
    """Left, top, width and height."""
    left, top = int(least[0]), int(least[1])
    return left, top, int(most[0]) - left + 1, int(most[1]) - top + 1


def load_radiance(head: LightHead) -> Float32[np.ndarray, "h w 3"]:
    """Decode to linear red, green and blue.

    Raises:
        ValueError: it is damaged.
        InputError: ``read_failed``: the decoder cannot put down the file that it reads.
    """
    rows, columns = head.extra["lengths"]
    file = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (rows, columns) + head.data[head.extra["body"] :]
    with _decoder:
        # What is wrong with a file is said in its reject, not in the log.
        level = cv2.utils.logging.setLogLevel(0)
        try:
            light = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
        finally:
            cv2.utils.logging.setLogLevel(level)
    if light is None:
        _check_temporary_files(file)
        raise ValueError("its pixels cannot be decoded")
    if light.shape != (rows, columns, 3) or light.dtype != np.float32:
        raise ValueError(f"its picture is {light.dtype} {light.shape}")
    light = cv2.cvtColor(light, cv2.COLOR_BGR2RGB)
    if head.extra["exposure"] != 1.0:
        light /= np.float32(head.extra["exposure"])
    light = light.transpose(1, 0, 2) if head.extra["turned"] else light
    light = light[::-1] if head.extra["down"] else light
    return light[:, ::-1] if head.extra["across"] else light


def _check_temporary_files(content: bytes) -> None:
    """Tell a full disk from a damaged file: the decoder reads from a temporary one."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(content)
    except OSError as error:
        raise InputError(
            "read_failed", f"its decoder needs a temporary file ({error.strerror}); make room, then --retry-rejects "
            "read_failed"
        ) from error  # fmt: skip


def load_exr(head: LightHead) -> tuple[Float32[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"] | None]:
    """Decode to linear red, green and blue, and where there is none of them.

    Raises:
        ValueError, OSError: it is damaged.
    """
    import Imath
    import OpenEXR

    names: dict[str, str] = head.extra["channels"]
    left, top, width, height = head.extra["stored"]
    wanted = [names[one] for one in ("RGB" if "R" in names else "Y")] + [names[one] for one in "A" if one in names]
    floats = Imath.PixelType(Imath.PixelType.FLOAT)
    stored = np.empty((height, width, 3), np.float32)
    empty = np.empty((height, width), bool) if "A" in names else None
    with _decoder, _as_file(head.data) as path:
        file = OpenEXR.InputFile(path)
        if not file.isComplete():
            raise ValueError("parts of it are missing")
        for begin in range(0, height, _LINES):
            end = min(begin + _LINES, height)
            band = file.channels(wanted, floats, top + begin, top + end - 1)
            planes = [np.frombuffer(part, np.float32).reshape(end - begin, width) for part in band]
            for place in range(3):
                stored[begin:end, :, place] = planes[place if "R" in names else 0]
            if empty is not None:
                empty[begin:end] = planes[-1] <= 0
    shown_left, shown_top, shown_width, shown_height = head.extra["shown"]
    if (left, top, width, height) == (shown_left, shown_top, shown_width, shown_height):
        return stored, empty
    # The picture is what is shown; data may be a part of it, or reach beyond.
    light = np.zeros((shown_height, shown_width, 3), np.float32)
    nothing = np.ones((shown_height, shown_width), bool)
    first, begin = max(left, shown_left), max(top, shown_top)
    last, end = min(left + width, shown_left + shown_width), min(top + height, shown_top + shown_height)
    if first < last and begin < end:
        here = np.s_[begin - shown_top : end - shown_top, first - shown_left : last - shown_left]
        there = np.s_[begin - top : end - top, first - left : last - left]
        light[here] = stored[there]
        nothing[here] = False if empty is None else empty[there]
    return light, nothing


def expose(light: Float32[np.ndarray, "h w 3"], exposure: Exposure) -> UInt8[np.ndarray, "h w 3"]:
    """Light as a photo, by the rule of this module; a band of rows at a time."""
    gain = _gain(light) if exposure == "auto" else np.float32(2.0**exposure)
    rgb = np.empty(light.shape, np.uint8)
    rows = max(1, _BAND // max(1, light.shape[1]))
    for top in range(0, light.shape[0], rows):
        scaled = np.nan_to_num(light[top : top + rows], nan=0, posinf=_MOST_LIGHT, neginf=0)
        np.clip(scaled, 0, _MOST_LIGHT, out=scaled)
        scaled = np.minimum(scaled * gain, np.float32(_WHITE))
        curved = scaled * (1 + scaled / np.float32(_WHITE**2)) / (1 + scaled)
        rgb[top : top + rows] = _table()[(np.sqrt(np.minimum(curved, 1)) * 65535).astype(np.uint16)]
    return rgb


def _gain(light: Float32[np.ndarray, "h w 3"]) -> np.float32:
    """What brings the mean of the light to middle grey; 1 where all is dark."""
    height, width, _ = light.shape
    rows, columns = np.s_[:: max(1, height // _SAMPLES)], np.s_[:: max(1, width // (2 * _SAMPLES))]
    latitude = (0.5 - (np.arange(height)[rows] + 0.5) / height) * np.pi
    return _gain_of([_measured(light[rows, columns], np.cos(latitude)[:, None])])


def mean_of_face(light: Float32[np.ndarray, "n n 3"]) -> Measured:
    """What a face of a cubemap, 90 degrees wide, has in the mean of all light; see :func:`stops_of`."""
    step = max(1, light.shape[0] // _SAMPLES)
    plane = (np.arange(light.shape[0])[::step] + 0.5) * 2 / light.shape[0] - 1
    # A pixel's solid angle falls with the third power of its distance.
    return _measured(light[::step, ::step], (1 + plane[:, None] ** 2 + plane**2) ** -1.5)


def stops_of(measured: Sequence[Measured]) -> float:
    """The exposure, in stops, that brings the mean of all of it to middle grey."""
    return float(np.log2(_gain_of(measured)))


def _measured(light: Float32[np.ndarray, "h w 3"], weights: np.ndarray) -> Measured:
    luminance = np.nan_to_num(light @ _LUMINANCE, nan=0, posinf=_MOST_LIGHT, neginf=0).astype(np.float64)
    weights = np.where(luminance > 0, weights, 0)
    return float((np.log(np.where(luminance > 0, luminance, 1)) * weights).sum()), float(weights.sum())


def _gain_of(measured: Sequence[Measured]) -> np.float32:
    logarithms, weights = (sum(one[part] for one in measured) for part in (0, 1))
    return np.float32(np.clip(_GREY / np.exp(logarithms / weights), 1e-30, 1e30) if weights else 1)


@lru_cache(maxsize=1)
def _table() -> UInt8[np.ndarray, " 65536"]:
    """sRGB bytes by the square root of light, which is finest where eyes are."""
    linear = (np.arange(65536) / 65535) ** 2
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)
