"""Files of datasets to arrays: pictures, 16-bit depth, ``.dpt``, ``.npy``, masks, and what all of them go through.

Sizes are read from headers and bounded before anything is decoded. The functions know nothing of files' names: whoever
calls them adds the name to the error.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from PIL import Image

from pager_ray.errors import InputError
from pager_ray.read.pixels import decode_pixels, open_image

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, UInt8, UInt16
    from PIL.ImageFile import ImageFile

MAX_PIXELS: Final = 2**27
"""Most pixels of a picture or a map: those of 8192×16384, sixteen times a benchmark's."""

BAD_TRUTH: Final = "bad_ground_truth"
DPT_MAGIC: Final = 202021.25
_AGAIN: Final = "fetch the file again"
_DPT_HEADER: Final = struct.Struct("<fii")
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_ZIP_DAMAGE = (ValueError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


def decode_rgb(data: bytes, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Decode a picture to eight bits per channel and resample it with Pillow's LANCZOS to the given size.

    The alpha channel of a PNG is dropped, not blended: colours under transparent pixels are what the released protocol
    shows its network.

    Raises:
        InputError: the classes of :func:`pager_ray.read.pixels.open_image` and ``decode_pixels``.
    """
    header = open_image(data, MAX_PIXELS)
    if header.format == "PNG" and header.image.has_transparency_data:
        pixels = np.asarray(header.image.convert("RGB"))
    else:
        pixels = decode_pixels(header, header.width, header.height)
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def picture_size(data: bytes) -> tuple[int, int]:
    """Height and width of a picture, as displayed.

    Raises:
        InputError: the classes of :func:`pager_ray.read.pixels.open_image`.
    """
    header = open_image(data, MAX_PIXELS)
    return header.height, header.width


def decode_depth_png(data: bytes) -> UInt16[np.ndarray, "h w"]:
    """Decode a grey PNG of 16 bits.

    Raises:
        InputError: ``bad_ground_truth``: no such PNG, damaged or too large.
    """
    image = _open_map(data)
    if not image.mode.startswith("I;16"):
        raise _bad(f"is a PNG with {image.mode} pixels, takes grey ones of 16 bits")
    return np.asarray(image)


def steps_to_metres(steps: UInt16[np.ndarray, "h w"], metres: float, per_steps: float) -> Float32[np.ndarray, "h w"]:
    """Scale whole steps to metres, ``steps · metres / per_steps``, rounded once to float32.

    The product must be exact in float32, below 2²⁴: a factor multiplied at once would be rounded before it is used, and
    the last bit would differ from the released depth of Stanford2D3DS and Structured3D.
    """
    depth = steps.astype(np.float32)
    if metres != 1:
        depth *= np.float32(metres)
    depth /= np.float32(per_steps)
    return depth


def decode_mask(data: bytes) -> Bool[np.ndarray, "h w"]:
    """Decode a PNG whose pixels above zero, in any colour, are valid; transparency says nothing.

    Raises:
        InputError: ``bad_ground_truth``: no PNG, damaged or too large.
    """
    image = _open_map(data)
    if image.mode in {"1", "L"} or image.mode.startswith("I;16"):
        return np.asarray(image) > 0
    return np.asarray(image.convert("RGB")).max(axis=-1) > 0


def decode_colours(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """Decode the three colours of a PNG that holds a map, at its own size, without its transparency.

    Raises:
        InputError: ``bad_ground_truth``: no such PNG, damaged or too large.
    """
    image = _open_map(data)
    if image.mode not in {"RGB", "RGBA"}:
        raise _bad(f"is a PNG with {image.mode} pixels, takes three colours of 8 bits")
    return np.asarray(image.convert("RGB"))


def _open_map(data: bytes) -> ImageFile:
    """Open a PNG, which is decoded, and its checksums compared, once its size is known to be allowed."""
    try:
        header = open_image(data, MAX_PIXELS)
    except InputError as error:
        raise _bad(str(error)) from error
    if header.format != "PNG":
        raise _bad(f"is a {header.format} file, takes PNG")
    return header.image


def decode_dpt(data: bytes) -> Float32[np.ndarray, "h w"]:
    """View a ``.dpt`` file as the depth in it: magic 202021.25 (float32), width, height (int32), H·W float32 metres.

    Everything is little-endian. Bytes after the last pixel are ignored.

    Returns:
        A read-only view of ``data``.

    Raises:
        InputError: ``bad_ground_truth``: another magic, an impossible size or fewer bytes than the size needs.
    """
    if len(data) < _DPT_HEADER.size:
        raise _bad(f"has {len(data)} bytes, less than the header of a .dpt file; {_AGAIN}")
    magic, width, height = _DPT_HEADER.unpack_from(data)
    if magic != DPT_MAGIC:
        raise _bad(f"starts with {magic}, a .dpt file with {DPT_MAGIC}; {_AGAIN}")
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise _bad(f"says {height}×{width} pixels, takes 1 to {MAX_PIXELS}; {_AGAIN}")
    needed = _DPT_HEADER.size + 4 * width * height
    if len(data) < needed:
        raise _bad(f"has {len(data)} bytes, {height}×{width} pixels take {needed}; {_AGAIN}")
    return np.frombuffer(data, "<f4", width * height, _DPT_HEADER.size).reshape(height, width)


def decode_npy(data: bytes, kinds: str = "f") -> np.ndarray:
    """View a ``.npy`` file as the array in it, without unpickling anything.

    Args:
        data: the file; it is not copied.
        kinds: NumPy's letters of the dtypes that are taken.

    Returns:
        A read-only array of the file's shape and dtype.

    Raises:
        InputError: ``bad_ground_truth``: no such file, another dtype, too large or incomplete.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version not in _NPY_HEADERS:
            raise _bad(f"is an npy file of version {version}, takes 1.0 and 2.0; save it anew")
        shape, fortran_order, dtype = _NPY_HEADERS[version](file)
    except ValueError as error:
        raise _bad(f"is no npy file ({' '.join(str(error).split())}); {_AGAIN}") from error
    count = math.prod(shape)
    if dtype.kind not in kinds or min(shape, default=1) < 1 or count > 3 * MAX_PIXELS:
        raise _bad(f"holds {dtype} {shape}; takes dtypes of kind {kinds} and 1 to {3 * MAX_PIXELS} values")
    if len(data) - file.tell() < count * dtype.itemsize:
        raise _bad(f"has {len(data)} bytes, too few for {dtype} {shape}; {_AGAIN}")
    values = np.frombuffer(data, dtype, count, file.tell())
    return values.reshape(shape, order="F" if fortran_order else "C")


def decode_npz(data: bytes, names: Sequence[str], kinds: str = "fb") -> dict[str, np.ndarray]:
    """Unpack the named arrays of an ``.npz`` file; others stay packed.

    Raises:
        InputError: ``bad_ground_truth``: no such file, an array is missing, too large or none that is taken.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in names:
                member = archive.getinfo(f"{name}.npy")
                # Three channels of double precision and a header; the archive reader stops at this size itself.
                if member.file_size > 24 * MAX_PIXELS + 2**16:
                    raise _bad(f"unpacks {member.file_size} bytes for {name}, takes at most {24 * MAX_PIXELS}")
                arrays[name] = decode_npy(archive.read(member), kinds)
    except _ZIP_DAMAGE as error:
        reason = " ".join(str(error).split())
        raise _bad(f"is no npz file with {', '.join(names)} ({reason}); {_AGAIN}") from error
    return arrays


def as_depth_map(values: np.ndarray) -> Float32[np.ndarray, "h w"]:
    """A depth map as (H, W) float32, whether it came with a channel axis, first or last, or without.

    Raises:
        InputError: ``bad_ground_truth``: it is no single map.
    """
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    elif values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise _bad(f"holds {values.shape} as depth, takes (H, W), (1, H, W) or (H, W, 1)")
    return np.ascontiguousarray(values, dtype=np.float32)


def as_normal_map(values: np.ndarray) -> Float32[np.ndarray, "h w 3"]:
    """Normals as (H, W, 3) float32, whether their components are the last axis or the first.

    Raises:
        InputError: ``bad_ground_truth``: they are no map of vectors.
    """
    if values.ndim == 4 and values.shape[0] == 1:
        values = values[0]
    if values.ndim == 3 and values.shape[-1] != 3 and values.shape[0] == 3:
        values = np.moveaxis(values, 0, -1)
    if values.ndim != 3 or values.shape[-1] != 3:
        raise _bad(f"holds {values.shape} as normals, takes (H, W, 3) or (3, H, W)")
    return np.ascontiguousarray(values, dtype=np.float32)


def resize_nearest(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Take the nearest pixel by OpenCV's INTER_NEAREST rule: output pixel i is source pixel ⌊i / (new / old)⌋.

    Args:
        values: (H, W) or (H, W, 3): bool, uint8, uint16 or float32.
        height: rows of the result.
        width: columns of the result.

    Returns:
        ``values`` itself where nothing changes, else a new array of the same dtype.
    """
    if values.shape[:2] == (height, width):
        return values
    if values.dtype == np.bool_:
        return resize_nearest(values.view(np.uint8), height, width).view(np.bool_)
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST)


def clip_depth(
    depth: Float32[np.ndarray, "h w"], depth_range: tuple[float, float], mask: Bool[np.ndarray, "h w"] | None = None
) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Clip depth to its range and say where it is valid: 1.01·min < d < 0.99·max, and the scene's own mask.

    Comparisons are made in float32 on the clipped values. Pixels without a number become the least depth, which is not
    valid, so that no NaN reaches what is computed from whole maps.

    Returns:
        New arrays: depth, and the mask.
    """
    low, high = depth_range
    clipped = np.fmax(depth, np.float32(low), dtype=np.float32)
    np.fmin(clipped, np.float32(high), out=clipped)
    valid = clipped > np.float32(1.01 * low)
    valid &= clipped < np.float32(0.99 * high)
    if mask is not None:
        valid &= mask
    return clipped, valid


def cropped_rows(height: int, share: float) -> int:
    """How many rows a protocol cuts at the top, and as many at the bottom: ⌊share · height⌋."""
    return int(share * height)


def _bad(why: str) -> InputError:
    return InputError(BAD_TRUTH, why)
