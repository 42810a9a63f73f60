"""Arrays in the released layout: one npz file each, ``arr_0``, float32, channels first."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from typing import Final

import numpy as np

from pager_ray.encode.limits import check_unpacked
from pager_ray.errors import ShapeError
from pager_ray.limits import MAX_MAP_PIXELS

MEMBER: Final = "arr_0.npy"
MAX_VALUES: Final = 3 * MAX_MAP_PIXELS
"""Most numbers in one array: normals of the largest map. More is not unpacked."""

# What NumPy and zipfile raise on files that are damaged, encrypted or something else.
_DAMAGE = (ValueError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


def encode_npz(name: str, array: np.ndarray) -> bytes:
    """Pack a map as the released evaluation scripts read it.

    Args:
        name: ``depth``, ``normals`` or ``sky``.
        array: (…, H, W), or (…, H, W, 3) for normals; cube faces keep their leading axis of six.

    Returns:
        An npz file with ``arr_0``, float32, (…, 1, H, W) or (…, 3, H, W).
    """
    channels_first = np.moveaxis(array, -1, -3) if name == "normals" else np.expand_dims(array, -3)
    file = io.BytesIO()
    np.savez(file, np.ascontiguousarray(channels_first, dtype=np.float32))
    return file.getvalue()


def decode_npz(content: bytes, wanted: tuple[int, ...] | None = None) -> np.ndarray:
    """Unpack ``arr_0`` of an npz file; its header is checked before anything is unpacked.

    Args:
        content: the file.
        wanted: the shape that it must have; any when None.

    Returns:
        Floating-point numbers in the file's own dtype.

    Raises:
        ShapeError: no npz file with exactly one array of up to :data:`MAX_VALUES` floating-point numbers.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if names != [MEMBER]:
                raise ShapeError(f"holds {', '.join(names[:3]) or 'nothing'}, takes {MEMBER} alone")
            with archive.open(MEMBER) as member:
                version = np.lib.format.read_magic(member)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }.get(version)
                if read_header is None:
                    raise ShapeError(f"holds an npy array of format version {version}, takes 1.0 or 2.0")
                shape, _, dtype = read_header(member)
            values = math.prod(shape)
            if dtype.kind != "f" or dtype.itemsize > 8 or min(shape, default=0) < 0 or values > MAX_VALUES:
                raise ShapeError(f"holds {dtype} {shape}, takes up to {MAX_VALUES} floating-point numbers")
            if wanted is not None and shape != wanted:
                raise ShapeError(f"holds {dtype} {shape}")
            check_unpacked(values * dtype.itemsize, len(content))
            if archive.getinfo(MEMBER).file_size < values * dtype.itemsize:
                raise ShapeError(f"is too short for {dtype} {shape}")
            with archive.open(MEMBER) as member:
                return np.lib.format.read_array(member, allow_pickle=False)
    except ShapeError:
        raise
    except _DAMAGE as error:
        raise ShapeError(f"is no readable npz file ({' '.join(str(error).split())}); write it again") from error
