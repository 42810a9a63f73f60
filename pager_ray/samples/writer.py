"""Sample panoramas on disk: pictures, their ground truth and a listing that the inference job reads."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pager_ray.errors import ConfigError, StorageError
from pager_ray.samples.catalogue import make_scene
from pager_ray.samples.tracer import render

if TYPE_CHECKING:
    from os import PathLike

    from pager_ray.samples.scene import Kind

LISTING = "samples.csv"
GROUND_TRUTH = "ground_truth"


def write_samples(
    folder: str | PathLike[str], count: int, height: int = 512, seed: int = 0, ground_truth: bool = True
) -> Path:
    """Render ``count`` panoramas into a local folder, indoors and outdoors in turn.

    Writes ``<id>.jpg`` (quality 95), ``ground_truth/<id>.npz`` with the arrays ``depth`` (float32 metres along the
    ray, 0 at sky), ``normals`` (float32, x forward, y up, z right, zero vectors at sky) and ``sky`` (bool), and last
    the listing ``samples.csv`` with the columns ``uri`` (relative to the listing's folder), ``id`` and ``scene``.

    Args:
        folder: made if it does not exist; files of the same names are overwritten.
        count: how many, at least 1.
        height: rows; the width is twice that.
        seed: first seed; sample k is the same for the same ``seed`` and ``height`` whatever ``count`` is.
        ground_truth: whether to write it.

    Returns:
        The listing's path.

    Raises:
        ConfigError: ``count`` below 1 or a negative seed.
        StorageError: the folder cannot be written to.
    """
    if count < 1 or seed < 0:
        raise ConfigError(f"cannot write {count} samples from seed {seed}: count must be at least 1, seed at least 0")
    target = Path(folder)
    rows = []
    try:
        (target / GROUND_TRUTH if ground_truth else target).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            kind: Kind = "outdoor" if number % 2 else "indoor"
            scene = make_scene(seed + number // 2, kind)
            panorama = render(scene, height, 2 * height)
            name = f"{number:04d}-{scene.style}"
            Image.fromarray(panorama.rgb).save(target / f"{name}.jpg", quality=95)
            if ground_truth:
                truth = target / GROUND_TRUTH / f"{name}.npz"
                np.savez(truth, depth=panorama.depth, normals=panorama.normals, sky=panorama.sky)
            rows.append((f"{name}.jpg", name, scene.kind))
        listing = target / LISTING
        with listing.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("uri", "id", "scene"), *rows])
    except OSError as error:
        raise StorageError(
            f"cannot write samples to {target}: {error}; choose a folder that can be written to"
        ) from error
    return listing
