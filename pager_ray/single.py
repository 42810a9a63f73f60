"""One panorama, in this process: what the job does per row, without Ray, files or codecs."""

from __future__ import annotations

import os
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import fsspec
import numpy as np

from pager_ray.errors import InputError, ShapeError
from pager_ray.geometry import erp_to_cubemap
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.prediction import Prediction
from pager_ray.read import decode_panorama
from pager_ray.storage import mask_uri

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from PIL.Image import Image

    from pager_ray.infer.predictor import Router
    from pager_ray.model import PagerModel


def predict(
    image: str | os.PathLike[str] | Image | UInt8[np.ndarray, "h w 3"],
    model: PagerModel,
    *,
    scene: str | None = None,
    settings: InferenceSettings | None = None,
    router: Router | None = None,
) -> Prediction:
    """Depth, normals and sky of one panorama, at its own size.

    Args:
        image: path or fsspec URL of an image file, a PIL image, or an RGB array; 2:1.
        model: from :func:`pager_ray.load_model`.
        scene: ``indoor`` or ``outdoor`` picks the scale head; None lets CLIP decide when the model has two.
        settings: depth range, sky knobs and filling; the released defaults when None.
        router: a loaded ``SceneRouter``, to share it between calls; loaded on first need when None.

    Raises:
        InputError: the image cannot be read or is no panorama.
        CheckpointError: the scene router is needed and its weights cannot be found.
    """
    settings = settings or InferenceSettings()
    uri, erp, height, width = _load_erp(image)
    architecture = model.architecture
    faces = erp_to_cubemap(erp, architecture.face_size, architecture.cube_fov)
    if router is None and scene is None and model.has_two_scales and settings.scene_mode == "auto":
        router = _shared_router(model)
    result = Predictor(model, settings, router)(faces[None], [scene])[0]
    maps = {"depth": result.depth, "normals": result.normals, "sky": result.sky}
    return Prediction(
        id=PurePosixPath(uri).stem if uri else "",
        uri=uri,
        height=height,
        width=width,
        fov=architecture.cube_fov,
        loaders={name: partial(_same, array) for name, array in maps.items() if array is not None},
        scene=result.scene,
        p_outdoor=result.p_outdoor,
        log_scale=result.log_scale,
    )


def _same(array: np.ndarray) -> np.ndarray:
    return array


_routers: dict[str, Router] = {}


def _shared_router(model: PagerModel) -> Router:
    """The router for this model's device, loaded once per process."""
    from pager_ray.model.router import SceneRouter

    key = f"{model.device}"
    if key not in _routers:
        _routers[key] = SceneRouter.load(device=model.device)
    return _routers[key]


def _load_erp(image: str | os.PathLike[str] | Image | np.ndarray) -> tuple[str, np.ndarray, int, int]:
    """URI (empty for pixels in memory), ERP (H, W, 3) uint8 and the size to stitch to."""
    if isinstance(image, (str, os.PathLike)):
        uri = os.fspath(image)
        try:
            with fsspec.open(uri, "rb") as file:
                data = file.read()
        except FileNotFoundError as error:
            raise InputError("missing", f"{mask_uri(uri)}: does not exist") from error
        decoded = decode_panorama(data)
        return mask_uri(uri), decoded.erp, decoded.source_height, decoded.source_width
    array = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ShapeError(f"image: got {array.dtype} {array.shape}, takes uint8 (H, W, 3)")
    height, width = array.shape[:2]
    if width != 2 * height:
        raise InputError("not_a_panorama", f"image of {width}x{height} is no equirectangular panorama; takes 2:1")
    return "", np.ascontiguousarray(array), height, width
