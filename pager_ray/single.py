"""One panorama, in this process: what the job does per row, without Ray, files or codecs."""

from __future__ import annotations

import io
import os
import struct
from functools import partial
from pathlib import PurePosixPath

import numpy as np
import PIL.Image
from PIL import ImageOps

from pager_ray.errors import InputError, ShapeError
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.infer.predictor import Router
from pager_ray.infer.profiling import profiled
from pager_ray.infer.routing import load_router, needs_clip
from pager_ray.masking import mask_uri
from pager_ray.model import PagerModel
from pager_ray.prediction import Prediction
from pager_ray.read import Content, DecodedCubemap, DecodedPanorama, decode_content
from pager_ray.read.fetch import fetch_content
from pager_ray.read.panorama import resized
from pager_ray.schemes import short_name
from pager_ray.shapes import UInt8
from pager_ray.tracing import recorder, span, traced

# Left to the decoder: 16 bits lose half; floats, 32 bits and Lab are refused.
_KEPT_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F", "LAB"}


def predict(
    image: str | os.PathLike[str] | PIL.Image.Image | UInt8[np.ndarray, "h w 3"],
    model: PagerModel,
    *,
    scene: str | None = None,
    settings: InferenceSettings | None = None,
    router: Router | None = None,
    trace: str | os.PathLike[str] | None = None,
) -> Prediction:
    """Depth, normals and sky of one panorama, at its own size.

    Args:
        image: path or fsspec URL of an image file, a PIL image, or an RGB array; 2:1. A URL with six names in braces
            (``room/{front,right,back,left,up,down}.jpg``) is a cubemap. Pixels in memory are treated
            as their file would be; only a cropped panorama's GPano metadata are not read from a PIL image.
        model: from :func:`pager_ray.load_model`.
        scene: ``indoor`` or ``outdoor`` picks the scale head; None lets the checkpoint's router
            decide, or CLIP where it has none, when the model has two.
        settings: depth range, sky knobs and filling; the released defaults when None.
        router: a loaded ``SceneRouter``, to share it between calls; loaded on first need when None.
        trace: a file for what happened when, as a Chrome trace: decoding, sampling the faces, the network under torch's
            profiler, which slows it down. ui.perfetto.dev opens it.

    Raises:
        ConfigError: the trace cannot be written where it is to be.
        InputError: the image cannot be read or is no panorama; ``error_class`` is the one that a job rejects it with.
        ShapeError: an array that is not uint8 (H, W, 3).
        CheckpointError: the scene router is needed and its weights cannot be found.
    """
    with traced(trace, "trace"):
        return _predict(image, model, scene, settings or InferenceSettings(), router)


def _predict(
    image: str | os.PathLike[str] | PIL.Image.Image | np.ndarray,
    model: PagerModel,
    scene: str | None,
    settings: InferenceSettings,
    router: Router | None,
) -> Prediction:
    with span("read and decode"):
        uri, panorama = _load(image)
    architecture = model.architecture
    with span("sample the faces"):
        faces = panorama.faces(architecture.face_size, architecture.cube_fov)
        found = panorama.validity
        valid = None if found.is_whole else [found.faces(architecture.face_size, architecture.cube_fov)]
    if router is None and scene is None and settings.scene_mode == "auto" and needs_clip(architecture):
        with span("load the scene router"):
            router = _shared_router(model)
    predictor = Predictor(model, settings, router)
    with span("predict"):
        if (current := recorder()) is not None:
            pending, events = profiled(lambda: predictor.submit(faces[None], [scene], valid), current.process)
            current.events += events
            result = pending.result()[0]
        else:
            result = predictor(faces[None], [scene], valid)[0]
    maps = {"depth": result.depth, "normals": result.normals, "sky": result.sky}
    return Prediction(
        id=PurePosixPath(short_name(uri)).stem if uri else "",
        uri=uri,
        height=panorama.source_height,
        width=panorama.source_width,
        fov=architecture.cube_fov,
        loaders={name: partial(_same, array) for name, array in maps.items() if array is not None},
        scene=result.scene,
        p_outdoor=result.p_outdoor,
        log_scale=result.log_scale,
        picture=partial(_picture, panorama),
        validity=lambda: panorama.validity,
    )


def _picture(panorama: DecodedPanorama | DecodedCubemap) -> UInt8[np.ndarray, "h w 3"]:
    """The picture at the size of the maps."""
    return resized(panorama.erp, panorama.source_width, panorama.source_height)


def _same(array: np.ndarray) -> np.ndarray:
    return array


_routers: dict[str, Router] = {}


def _shared_router(model: PagerModel) -> Router:
    """The router for this model's device, loaded once per process."""
    key = f"{model.device}"
    if key not in _routers:
        _routers[key] = load_router(model)
    return _routers[key]


def _load(image: str | os.PathLike[str] | PIL.Image.Image | np.ndarray) -> tuple[str, DecodedPanorama | DecodedCubemap]:
    """The panorama, and its masked URI (empty for pixels in memory).

    Pixels in memory are decoded as the file that they would be: limits, aspect, reduction, depth and transparency
    have one rule.
    """
    content: Content
    if isinstance(image, (str, os.PathLike)):
        uri = os.fspath(image)
        content, shown = fetch_content(uri), mask_uri(uri)
    elif isinstance(image, PIL.Image.Image):
        content, shown = _as_file(_plain(image)), ""
    else:
        content, shown = file_of(np.asarray(image)), ""
    try:
        return shown, decode_content(content)
    except InputError as error:
        raise InputError(error.error_class, f"{shown or 'image'}: {error}", error.attempts) from error


def _plain(image: PIL.Image.Image) -> PIL.Image.Image:
    """The picture upright, in a mode that TIFF stores as it is, without other metadata than its colour profile."""
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError("corrupt_image", f"image: cannot be decoded ({error}); give a whole image") from error
    try:
        upright = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):
        # As with files: EXIF that cannot be read costs its orientation, not the picture.
        upright = image.copy()
    profile = upright.info.get("icc_profile")
    # Colours of a profile are the decoder's to convert, in the mode that they are of.
    kept = _KEPT_MODES | ({"L", "CMYK"} if profile and not upright.has_transparency_data else set())
    if upright.mode not in kept:
        upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    upright.info.clear()
    if isinstance(profile, bytes):
        upright.info["icc_profile"] = profile
    return upright


def file_of(array: np.ndarray) -> bytes:
    """An uncompressed file of an RGB array.

    Raises:
        ShapeError: it is not uint8 (H, W, 3).
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ShapeError(f"image: got {array.dtype} {array.shape}, takes uint8 (H, W, 3)")
    return _as_file(PIL.Image.fromarray(np.ascontiguousarray(array)))


def _as_file(image: PIL.Image.Image) -> bytes:
    """An uncompressed file with exactly these pixels."""
    if 0 in image.size:
        raise ShapeError(f"image: got {image.width}×{image.height} pixels, takes a panorama that has some")
    file = io.BytesIO()
    image.save(file, "TIFF", compression="raw")
    return file.getvalue()
