"""Maps as images: OpenEXR in float32, PNG in 8 and 16 bits, each saying in itself what its numbers mean.

A PNG carries that as text (``unit``, ``scale``, ``ray_type``, …) and, being a panorama, GPano metadata as XMP; an EXR
as attributes of the same names and as a latitude-longitude environment map. Rows and columns are those of the run's
ERP maps: the centre looks forward.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from pager_ray.errors import ShapeError
from pager_ray.export.axes import FRAMES, turn
from pager_ray.export.libraries import load
from pager_ray.read.gpano import NAMESPACE

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

RAY_TYPE: Final = "euclidean"
NORMAL_STEPS: Final = 32767
"""A component of a 16-bit normal is (value − 32768) / this; the zero vector of filled sky is 32768 three times."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP_KEY = b"XML:com.adobe.xmp"


def encode_depth_exr(depth: Float[np.ndarray, "h w"], unit: str = "metre", ray_type: str = RAY_TYPE) -> bytes:
    """Depth in the channel ``Z``, float32, as stored: nothing is lost."""
    about = {"unit": unit, "rayType": ray_type}
    return _exr({"Z": depth}, about, panorama=ray_type == RAY_TYPE)


def encode_normals_exr(normals: Float[np.ndarray, "h w 3"], axes: str = "y-up") -> bytes:
    """Normals in the channels ``N.X``, ``N.Y`` and ``N.Z``, float32."""
    normals = turn(normals, axes)
    channels = {f"N.{name}": normals[..., axis] for axis, name in enumerate("XYZ")}
    return _exr(channels, {"unit": "unit vector", "frame": FRAMES[axes]}, panorama=True)


class Rectangle(NamedTuple):
    """A part of a panorama, pixels."""

    left: int
    top: int
    width: int
    height: int


def encode_depth_png(depth: Float[np.ndarray, "h w"], unit: str = "metre", rectangle: Rectangle | None = None) -> bytes:
    """Depth of 16 bits: value · ``scale`` is the depth along the ray, 0 is none.

    The scale is a millimetre up to 65.5 m; beyond it, the next step of the 1-2-5 series that reaches the farthest
    pixel. The error is at most half a scale, except that what is nearer than half of one becomes one.

    Args:
        depth: of the whole panorama.
        unit: of depth.
        rectangle: the part of it that is written; GPano metadata say where it lies.
    """
    scale = depth_scale(depth)
    valid = np.isfinite(depth) & (depth > 0)
    steps = np.rint(np.where(valid, depth, 0.0) / scale)
    values = np.where(valid, np.maximum(steps, 1), 0).astype(np.uint16)
    about = {"scale": f"{scale:g}", "unit": unit, "ray_type": RAY_TYPE, "invalid": "0"}
    return _png(values, about, rectangle)


def depth_scale(depth: Float[np.ndarray, "h w"]) -> float:
    """Metres that one step of a 16-bit depth image stands for."""
    valid = depth[np.isfinite(depth) & (depth > 0)]
    farthest = float(valid.max()) if valid.size else 0.0
    series = (float(f"{digit}e{power}") for power in range(-3, 6) for digit in (1, 2, 5))
    scale = next((step for step in series if farthest <= step * 65535), None)
    if scale is None:
        raise ShapeError(f"depth of {farthest:g} m does not fit into 16 bits; choose depth-exr")
    return scale


def encode_normals_png(
    normals: Float[np.ndarray, "h w 3"], axes: str = "y-up", rectangle: Rectangle | None = None
) -> bytes:
    """Normals as 16-bit RGB: (value − 32768) / 32767 are x, y and z, each off by at most 1/65534."""
    values = (np.rint(np.clip(turn(normals, axes), -1, 1) * NORMAL_STEPS) + 32768).astype(np.uint16)
    about = {"scale": "1/32767", "offset": "32768", "unit": "unit vector", "frame": FRAMES[axes]}
    return _png(values[..., ::-1], about, rectangle)


def encode_sky_png(sky: Float[np.ndarray, "h w"], rectangle: Rectangle | None = None) -> bytes:
    """Probability of sky of 8 bits: value / 255, off by at most 1/510."""
    values = np.rint(np.clip(sky, 0, 1) * 255).astype(np.uint8)
    return _png(values, {"scale": "1/255", "unit": "probability"}, rectangle)


def encode_mask_png(mask: Bool[np.ndarray, "h w"]) -> bytes:
    """A mask for other files, white where it is true; it says nothing of itself."""
    cv2 = load("cv2")
    values = mask.astype(np.uint8) * 255
    done, encoded = cv2.imencode(".png", values)
    return _encoded(done, encoded, values)


def encode_jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A picture for other files, colours at full size; it says nothing of itself."""
    cv2 = load("cv2")
    done, encoded = cv2.imencode(
        ".jpg",
        np.ascontiguousarray(picture[..., ::-1]),
        [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    )
    return _encoded(done, encoded, picture)


def gpano(height: int, width: int, rectangle: Rectangle | None = None) -> bytes:
    """An XMP packet that says: an equirectangular panorama, or a part of it, its centre straight ahead."""
    part = rectangle or Rectangle(0, 0, width, height)
    properties = {
        "ProjectionType": "equirectangular",
        "UsePanoramaViewer": "True",
        "FullPanoWidthPixels": width,
        "FullPanoHeightPixels": height,
        "CroppedAreaImageWidthPixels": part.width,
        "CroppedAreaImageHeightPixels": part.height,
        "CroppedAreaLeftPixels": part.left,
        "CroppedAreaTopPixels": part.top,
    }
    attributes = " ".join(f'GPano:{name}="{value}"' for name, value in properties.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:GPano="{NAMESPACE}" {attributes}/></rdf:RDF></x:xmpmeta>'
    ).encode()


def _exr(channels: Mapping[str, np.ndarray], about: Mapping[str, str], *, panorama: bool) -> bytes:
    openexr = load("OpenEXR")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage, **about}
    if panorama:
        height, width = next(iter(channels.values())).shape
        header |= {"envmap": openexr.ENVMAP_LATLONG, "xmp": gpano(height, width).decode()}
    pixels = {name: np.ascontiguousarray(channel, dtype=np.float32) for name, channel in channels.items()}
    file = io.BytesIO()
    # One thread: a job has a task per core.
    openexr.File(header, pixels, num_threads=0).write(file)
    return file.getvalue()


def _png(values: np.ndarray, about: Mapping[str, str], rectangle: Rectangle | None) -> bytes:
    """A PNG with text and GPano metadata; colours in OpenCV's order, blue first."""
    cv2 = load("cv2")
    height, width = values.shape[:2]
    if rectangle is not None:
        left, top, across, down = rectangle
        values = values[top : top + down, left : left + across]
    # The fastest level: these maps hardly compress better at a higher one, for ten times the work.
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(values), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    content = _encoded(done, encoded, values)
    texts = [_chunk(b"tEXt", f"{key}\0{value}".encode("latin-1")) for key, value in about.items()]
    # Not compressed, no language, no translated keyword: three empty fields, the first of two bytes.
    xmp = _chunk(b"iTXt", _XMP_KEY + b"\0\0\0\0\0" + gpano(height, width, rectangle))
    # Behind the header, which is always the first chunk and always 25 bytes.
    head = len(_SIGNATURE) + 25
    return b"".join([content[:head], *texts, xmp, content[head:]])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _encoded(done: bool, encoded: np.ndarray, values: np.ndarray) -> bytes:
    if not done:
        raise ShapeError(f"an image of {values.dtype} {values.shape} cannot be encoded; takes maps of one panorama")
    return encoded.tobytes()
