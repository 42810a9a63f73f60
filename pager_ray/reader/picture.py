"""The source picture of a prediction, at the size of its maps.

Where it lies is a column of the run, which may be anybody's: nothing is fetched but from where the reader says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pager_ray.errors import InputError
from pager_ray.masking import mask_uri
from pager_ray.read.fetch import fetch_content
from pager_ray.schemes import FORBIDDEN, lies_below

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from pager_ray.prediction import Prediction
    from pager_ray.read import Content
    from pager_ray.retrying import Retry


def fetch_source(uri: str, images_from: str, retry: Retry | None = None) -> Content:
    """The bytes of a panorama that a run names; of a cubemap those of its six faces.

    Args:
        uri: as the run has it.
        images_from: folder, or web host, that it must lie below.
        retry: for how long a troubled store is asked.

    Raises:
        InputError: ``forbidden_uri``: it lies elsewhere; and the classes of :func:`pager_ray.read.fetch.fetch_content`.
        StorageError: the store it lies on cannot be used at all.
    """
    if not lies_below(uri, images_from):
        raise InputError(
            FORBIDDEN, f"{mask_uri(uri)}: does not lie below {mask_uri(images_from)}, where pictures are read from"
        )
    return fetch_content(uri, retry)


def source_picture(prediction: Prediction, images_from: str, retry: Retry | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Read the panorama that a prediction was made from, placed and resized like its maps.

    Args:
        prediction: its ``uri`` is the run's word.
        images_from: folder, or web host, that the picture must lie below.
        retry: for how long a troubled store is asked.

    Raises:
        InputError: it lies elsewhere, is gone or cannot be read; its classes are those of an inference job's rejects.
        StorageError: the store it lies on cannot be used at all.
    """
    return picture_of(fetch_source(prediction.uri, images_from, retry), prediction)


def picture_of(content: Content, prediction: Prediction) -> UInt8[np.ndarray, "h w 3"]:
    """The panorama in the bytes that a prediction was made from, placed and resized like its maps.

    Raises:
        InputError: it cannot be read.
    """
    # Who reads maps alone needs no decoder of pictures.
    from pager_ray.read import decode_content
    from pager_ray.read.panorama import resized

    height, width = prediction.height, prediction.width
    try:
        erp = decode_content(content, max_width=max(64, width + width % 2), **prediction.reading).erp
    except InputError as error:
        raise InputError(error.error_class, f"{mask_uri(prediction.uri)}: {error}", error.attempts) from error
    return resized(erp, width, height)
