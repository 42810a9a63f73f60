"""One panorama, in this process: what the job does per row, without Ray, files or codecs."""

from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath
from typing import Final, Literal

import numpy as np
import PIL.Image
from PIL import ImageOps

from pager_ray.errors import ConfigError, InputError, ShapeError
from pager_ray.geometry import level_rotation, levelling
from pager_ray.infer import InferenceSettings, Predictor
from pager_ray.infer.predictor import Router
from pager_ray.infer.profiling import profiled
from pager_ray.infer.routing import load_router, needs_clip
from pager_ray.masking import mask_uri
from pager_ray.model import PagerModel, load_model
from pager_ray.prediction import Prediction, array_of
from pager_ray.read import Content, DecodedCubemap, DecodedPanorama, decode_content
from pager_ray.read.fetch import fetch_content
from pager_ray.read.maskpicture import decode_mask_picture
from pager_ray.read.panorama import resized
from pager_ray.schemes import short_name
from pager_ray.shapes import UInt8
from pager_ray.tracing import recorder, span, traced
from pager_ray.validity import Validity

Mask = str | os.PathLike[str] | PIL.Image.Image | np.ndarray

MAX_CAP: Final = 90.0
MAX_PIXELS: Final = 2**28

# Left to the decoder: 16 bits lose half; floats, 32 bits and Lab are refused.
_KEPT_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F", "LAB"}


def predict(
    image: str | os.PathLike[str] | PIL.Image.Image | UInt8[np.ndarray, "h w 3"],
    model: PagerModel | str | os.PathLike[str],
    *,
    scene: str | None = None,
    settings: InferenceSettings | None = None,
    router: Router | None = None,
    upright: Literal["off", "gpano"] = "off",
    pitch_degrees: float | None = None,
    roll_degrees: float | None = None,
    mask: Mask | None = None,
    nadir_degrees: float = 0.0,
    zenith_degrees: float = 0.0,
    trace: str | os.PathLike[str] | None = None,
) -> Prediction:
    """Depth, normals and sky of one panorama, at its own size.

    Args:
        image: path or fsspec URL of an image file, a PIL image, or an RGB array; 2:1. A URL with six names in braces
            (``room/{front,right,back,left,up,down}.jpg``) is a cubemap. Pixels in memory are treated
            as their file would be; only a cropped panorama's GPano metadata are not read from a PIL image.
        model: from :func:`pager_ray.load_model`; or what that takes, such as ``embedded``, loaded at the first call of
            this process, and kept until another is named.
        scene: ``indoor`` or ``outdoor`` picks the scale head; None lets the checkpoint's router
            decide, or CLIP where it has none, when the model has two.
        settings: depth range, sky knobs and filling; the released defaults when None.
        router: a loaded ``SceneRouter``, to share it between calls; loaded on first need when None.
        upright: ``gpano`` levels the panorama for the network by the pitch and roll of its GPano metadata; maps are of
            the picture's own pixels all the same.
        pitch_degrees, roll_degrees: levels it by these, with GPano's signs
            (:func:`pager_ray.geometry.level_rotation`).
        mask: a picture of the size of ``image``, white for what means something: a path or URL, a PIL image, or
            an array (H, W), bool or uint8. What is black is in no number, and false in ``valid``.
        nadir_degrees, zenith_degrees: what is less than this from straight down and up is not valid either.
        trace: a file for what happened when, as a Chrome trace: decoding, sampling the faces, the network under torch's
            profiler, which slows it down. ui.perfetto.dev opens it.

    Raises:
        ConfigError: the trace cannot be written where it is to be; ``upright`` or an angle is none, or both are given.
        InputError: the image cannot be read or is no panorama, or its mask is none; ``error_class`` is the one that a
            job rejects it with.
        ShapeError: an image or a mask that is nothing of what is taken, an array that is not uint8 (H, W, 3), or a mask
            that is not (H, W).
        CheckpointError: the checkpoint cannot be used, or the scene router is needed and its weights cannot be found.
    """
    if isinstance(model, str | os.PathLike):
        model = _LOADED.get(os.fspath(model))
    given = _given_tilt(upright, pitch_degrees, roll_degrees)
    for name, degrees in {"nadir_degrees": nadir_degrees, "zenith_degrees": zenith_degrees}.items():
        if not 0 <= degrees < MAX_CAP:
            raise ConfigError(f"{name}: got {degrees!r}, takes a number from 0 to less than {MAX_CAP:g}")
    valid = partial(_valid, mask, nadir_degrees, zenith_degrees)
    with traced(trace, "trace"):
        return _predict(image, model, scene, settings or InferenceSettings(), router, upright, given, valid)


def _predict(
    image: str | os.PathLike[str] | PIL.Image.Image | np.ndarray,
    model: PagerModel,
    scene: str | None,
    settings: InferenceSettings,
    router: Router | None,
    upright: str,
    given: tuple[float, float] | None,
    valid_of: Callable[[DecodedPanorama | DecodedCubemap], Validity],
) -> Prediction:
    with span("read and decode"):
        uri, panorama = _load(image)
        found = valid_of(panorama)
        level = given if upright == "off" else _own_tilt(panorama, uri)
    architecture = model.architecture
    with span("sample the faces"):
        rotation = None if level is None else levelling(*level)
        faces = panorama.faces(architecture.face_size, architecture.cube_fov, rotation)
        valid = None if found.is_whole else [found.faces(architecture.face_size, architecture.cube_fov, rotation)]
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
        level=level,
        picture=partial(_picture, panorama),
        validity=lambda: found,
    )


def _valid(
    mask: Mask | None, nadir_degrees: float, zenith_degrees: float, panorama: DecodedPanorama | DecodedCubemap
) -> Validity:
    """Which pixels of a panorama are valid; see :func:`predict`."""
    found = panorama.validity.capped(nadir_degrees, zenith_degrees)
    if mask is not None:
        content: Content
        named = "mask"
        if isinstance(mask, str | os.PathLike):
            content, named = fetch_content(os.fspath(mask)), f"mask {mask_uri(os.fspath(mask))}"
        elif isinstance(mask, PIL.Image.Image):
            content = _as_file(_plain(mask))
        else:
            content = _mask_file(array_of(mask, "mask", "bool or uint8 (H, W), a PIL image, or a path or URL"))
        try:
            found = found.masked(decode_mask_picture(content, panorama, MAX_PIXELS))
        except InputError as error:
            raise InputError(error.error_class, f"{named}: {error}") from error
    if not found.fraction:
        raise InputError("nothing_valid", "no pixel is valid; look at the mask, the caps and the picture itself")
    return found


def _mask_file(array: np.ndarray) -> bytes:
    if array.dtype not in (np.bool_, np.uint8) or array.ndim != 2 or not array.size:
        raise ShapeError(f"mask: got {array.dtype} {array.shape}, takes bool or uint8 (H, W)")
    return _as_file(PIL.Image.fromarray(np.ascontiguousarray(array)))


def _given_tilt(upright: str, pitch: float | None, roll: float | None) -> tuple[float, float] | None:
    """Pitch and roll that a caller levels by; None where he gives none.

    Raises:
        ConfigError: they are none, or something else is to say them.
    """
    if upright not in ("off", "gpano"):
        raise ConfigError(f"upright: got {upright!r}, takes off or gpano; or give pitch_degrees and roll_degrees")
    if pitch is None and roll is None:
        return None
    if upright != "off":
        raise ConfigError("upright: gpano takes no pitch_degrees and roll_degrees beside it; leave one of them away")
    try:
        level_rotation(pitch or 0.0, roll or 0.0)
    except ShapeError as error:
        raise ConfigError(f"pitch_degrees, roll_degrees: {error}") from error
    return float(pitch or 0.0), float(roll or 0.0)


def _own_tilt(panorama: DecodedPanorama | DecodedCubemap, uri: str) -> tuple[float, float] | None:
    try:
        return panorama.pose.tilt()
    except InputError as error:
        raise InputError(error.error_class, f"{uri or 'image'}: {error}", error.attempts) from error


def _picture(panorama: DecodedPanorama | DecodedCubemap) -> UInt8[np.ndarray, "h w 3"]:
    """The picture at the size of the maps."""
    return resized(panorama.erp, panorama.source_width, panorama.source_height)


def _same(array: np.ndarray) -> np.ndarray:
    return array


_routers: dict[str, Router] = {}


class _Loaded:
    """The checkpoint that was named last, loaded once for all threads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._name: str | None = None
        self._model: PagerModel | None = None

    def get(self, name: str) -> PagerModel:
        """The model of a checkpoint.

        Raises:
            CheckpointError: it cannot be used.
        """
        with self._lock:
            if self._model is None or self._name != name:
                # Two may be more than a device holds.
                self._name = self._model = None
                self._model = load_model(name)
                self._name = name
            return self._model


_LOADED: Final = _Loaded()


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
        takes = "uint8 (H, W, 3), a PIL image, or a path or URL"
        content, shown = file_of(array_of(image, "image", takes)), ""
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
