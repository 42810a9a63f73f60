"""Ground truth of rendered scenes, as a dataset would give it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pager_ray.datasets import GroundTruth
from pager_ray.samples import make_scene, render


@lru_cache(maxsize=4)
def rendered_truth(seed: int = 0, kind: str = "indoor", height: int = 128) -> GroundTruth:
    rendered = render(make_scene(seed, kind), height, 2 * height, supersample=1)
    depth = np.clip(rendered.depth, 0.01, 75).astype(np.float32)
    return GroundTruth(depth=depth, mask=(depth > 0.0101) & (depth < 74.25), normals=rendered.normals)
