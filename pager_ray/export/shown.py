"""A prediction's maps as exports have them: without a value where a pixel is not valid.

No value is what the formats have for it: depth 0, the zero vector, no sky. Pictures of the whole panorama that people
look at are cut to what the source file covers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pager_ray import geometry
from pager_ray.errors import InputError
from pager_ray.export.images import Rectangle, encode_mask_png

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from pager_ray.prediction import Prediction

FOV: Final = 90.0
"""Of the faces that exports have, degrees."""


def shown_map(prediction: Prediction, name: str) -> Any:
    """``depth``, ``normals`` or ``sky`` with zeros where a pixel is not valid.

    Raises:
        InputError: ``no_map``: the checkpoint does not give it.
    """
    array = getattr(prediction, name)
    if array is None:
        raise InputError("no_map", f"{prediction.id}: has no {name}; choose a format of what it has")
    if prediction.validity is None:
        return array
    valid = prediction.valid
    return np.where(valid if array.ndim == valid.ndim else valid[..., None], array, array.dtype.type(0))


def shown_picture(
    prediction: Prediction, picture: UInt8[np.ndarray, "h w 3"] | None, colours: Any
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture; where there is none, what ``colours`` makes of the normals."""
    return picture if picture is not None else colours(shown_map(prediction, "normals"))


def rectangle_of(prediction: Prediction) -> Rectangle | None:
    """What the source file covers of the maps; None where that is all."""
    if prediction.validity is None:
        return None
    found = prediction.validity.rectangle(prediction.height, prediction.width)
    return None if found == (0, 0, prediction.width, prediction.height) else Rectangle(*found)


def face_masks(prediction: Prediction, size: int) -> dict[str, bytes]:
    """Masks of the six faces as PNG, white is valid, by the faces' names; none where all is valid."""
    if prediction.validity is None:
        return {}
    faces = prediction.validity.faces(size, FOV)
    return {name: encode_mask_png(face) for name, face in zip(geometry.FACE_NAMES, faces, strict=True)}
