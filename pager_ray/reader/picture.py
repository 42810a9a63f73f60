"""The source picture of a prediction, at the size of its maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from pager_ray.errors import InputError
from pager_ray.read import decode_panorama
from pager_ray.read.fetch import fetch
from pager_ray.storage import mask_uri

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from pager_ray.prediction import Prediction
    from pager_ray.retrying import Retry


def source_picture(prediction: Prediction, retry: Retry | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Read the panorama that a prediction was made from, placed and resized like its maps.

    Raises:
        InputError: it is gone or cannot be read; its classes are those of an inference job's rejects.
        StorageError: the store it lies on cannot be used at all.
    """
    height, width = prediction.height, prediction.width
    content = fetch(prediction.uri, retry)
    try:
        erp = decode_panorama(content, max_width=max(64, width + width % 2)).erp
    except InputError as error:
        raise InputError(error.error_class, f"{mask_uri(prediction.uri)}: {error}", error.attempts) from error
    if erp.shape[:2] == (height, width):
        return erp
    shrinks = erp.shape[0] > height
    return cv2.resize(erp, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
