"""Rendered scenes as predictions: the maps are exact, so what is exported can be checked against the scene."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from pager_ray.prediction import Prediction
from pager_ray.samples import Kind, RenderedPanorama, Scene, make_scene, render

HEIGHT = 128


@lru_cache(maxsize=4)
def rendered(kind: Kind = "indoor", height: int = HEIGHT) -> tuple[Scene, RenderedPanorama]:
    """A scene and its panorama."""
    scene = make_scene(3, kind)
    return scene, render(scene, height, 2 * height)


def predicted(truth: RenderedPanorama, **changes: Any) -> Prediction:
    """The panorama's ground truth in place of a network's answer; sky has the depth of the range's end."""
    maps = {
        "depth": np.where(truth.sky, np.float32(75), truth.depth),
        "normals": truth.normals,
        "sky": truth.sky.astype(np.float32),
    } | changes
    height, width = truth.depth.shape
    loaders = {name: (lambda value=value: value) for name, value in maps.items() if value is not None}
    return Prediction(id="a", uri="/in/a.jpg", height=height, width=width, fov=90.0, loaders=loaders, scene=truth.scene)
