"""Sample panoramas on disk: pictures, their ground truth and a listing that the inference job reads."""

from __future__ import annotations

import csv
import io
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pager_ray.errors import ConfigError, StorageError
from pager_ray.masking import mask_uri
from pager_ray.owned import check_unclaimed, mark, standing
from pager_ray.samples.catalogue import make_scene
from pager_ray.samples.tracer import render
from pager_ray.schemes import own_path
from pager_ray.storage import Folder

if TYPE_CHECKING:
    from os import PathLike

    from pager_ray.samples.scene import Kind

LISTING = "samples.csv"
MARKER = "samples.json"
GROUND_TRUTH = "ground_truth"


def write_samples(
    folder: str | PathLike[str], count: int, height: int = 512, seed: int = 0, ground_truth: bool = True
) -> Path:
    """Render ``count`` panoramas into a local folder; what is written is what :func:`put_samples` says.

    Returns:
        The listing's path.

    Raises:
        ConfigError, StorageError: as of that; or the folder is none of this machine.
    """
    target = own_path(fspath(folder), "samples")
    put_samples(str(target), count, height, seed, ground_truth)
    return target / LISTING


def put_samples(folder: str, count: int, height: int = 512, seed: int = 0, ground_truth: bool = True) -> str:
    """Render ``count`` panoramas into a folder on any fsspec URL, indoors and outdoors in turn.

    Writes ``<id>.jpg`` (quality 95), ``ground_truth/<id>.npz`` with the arrays ``depth`` (float32 metres along the
    ray, 0 at sky), ``normals`` (float32, x forward, y up, z right, zero vectors at sky) and ``sky`` (bool), and last
    the listing ``samples.csv`` with the columns ``uri`` (relative to the listing's folder), ``id`` and ``scene``.

    Args:
        folder: made if it does not exist; holds nothing but what an earlier call wrote, which is overwritten. The
            file ``samples.json`` says so.
        count: how many, at least 1.
        height: rows; the width is twice that.
        seed: first seed; sample k is the same for the same ``seed`` and ``height`` whatever ``count`` is.
        ground_truth: whether to write it.

    Returns:
        The listing's URI.

    Raises:
        ConfigError: ``count`` below 1, a negative seed, or a folder that holds something else.
        StorageError: the folder cannot be written to.
    """
    if count < 1 or seed < 0:
        raise ConfigError(f"cannot write {count} samples from seed {seed}: count must be at least 1, seed at least 0")
    kinds: list[Kind] = ["outdoor" if number % 2 else "indoor" for number in range(count)]
    # Made twice: what a scene holds while it is rendered is much more than its name.
    names = [f"{number:04d}-{make_scene(seed + number // 2, kind).style}" for number, kind in enumerate(kinds)]
    place = Folder(folder)
    if place.is_local:
        try:
            Path(place.path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot write samples to {place.path}: {error}; choose a folder that can be written to"
            ) from error
    _claim(place, names, ground_truth)
    for number, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        panorama = render(make_scene(seed + number // 2, kind), height, 2 * height)
        file = io.BytesIO()
        Image.fromarray(panorama.rgb).save(file, "JPEG", quality=95)
        place.write(f"{name}.jpg", file.getvalue())
        if ground_truth:
            file = io.BytesIO()
            np.savez(file, depth=panorama.depth, normals=panorama.normals, sky=panorama.sky)
            (place / GROUND_TRUTH).write(f"{name}.npz", file.getvalue())
    text = io.StringIO()
    rows = [(f"{name}.jpg", name, kind) for name, kind in zip(names, kinds, strict=True)]
    csv.writer(text, lineterminator="\n").writerows([("uri", "id", "scene"), *rows])
    place.write(LISTING, text.getvalue().encode())
    return mask_uri(place.uri(LISTING))


def _claim(place: Folder, names: list[str], ground_truth: bool) -> None:
    """Make the folder ours: what earlier calls wrote stays listed beside what this one will write."""
    before = standing(place, MARKER, "samples", option="samples")
    own = {name for name in (before or {}).get("files", []) if isinstance(name, str)}
    wanted = {LISTING, *(f"{name}.jpg" for name in names)}
    if ground_truth:
        wanted |= {f"{GROUND_TRUTH}/{name}.npz" for name in names}
    check_unclaimed(place, wanted, own, option="samples")
    mark(place, MARKER, own | wanted)
