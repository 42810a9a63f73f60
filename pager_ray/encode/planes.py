"""Components of arrays apart and together again: by OpenCV where it is, since that takes half the time, else by NumPy.

Who reads what a run left may have NumPy alone; the bytes are the same.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Shaped
    from PIL.PngImagePlugin import PngImageFile

HAS_OPENCV: Final = find_spec("cv2") is not None


def interleaved(
    planes: Sequence[Shaped[np.ndarray, "r w"]], out: Shaped[np.ndarray, "r w p"] | None = None
) -> Shaped[np.ndarray, "r w p"]:
    """Put planes beside each other, into ``out`` where it is given."""
    if out is None:
        out = np.empty((*planes[0].shape, len(planes)), planes[0].dtype)
    if HAS_OPENCV:
        import cv2

        cv2.merge(list(planes), out)
    else:
        np.stack(planes, axis=-1, out=out)
    return out


def opened_png(data: bytes | memoryview) -> PngImageFile:
    """A PNG file whose size its caller has checked: ``Image.open`` has a limit below that of the largest maps.

    Raises:
        OSError, ValueError, SyntaxError: no PNG file, or a damaged one, here or when its pixels are read.
    """
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile(io.BytesIO(data))


def decode_png(data: memoryview) -> Shaped[np.ndarray, "r w *p"] | None:
    """Grey values of 8 or 16 bits, or red, green and blue of 8; None where the file cannot be decoded."""
    if HAS_OPENCV:
        import cv2

        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        return image if image is None or image.ndim == 2 else image[..., ::-1]
    try:
        with opened_png(data) as picture:
            image = np.asarray(picture)
    except (OSError, ValueError, SyntaxError):
        return None
    return image.astype(np.uint16) if image.dtype == np.int32 else image
