"""Scenes for training: the samples' families with seeds of their own, and rooms and places drawn at random.

Nothing here needs Ray or torch.
"""

from __future__ import annotations

from pager_ray.train.scenes.catalogue import FAMILIES, FIRST_SEED, sample_scene, training_scene
from pager_ray.train.scenes.panoramas import (
    TrainingPanorama,
    load_panorama,
    render_training_panorama,
    write_panoramas,
)

__all__ = [
    "FAMILIES",
    "FIRST_SEED",
    "TrainingPanorama",
    "load_panorama",
    "render_training_panorama",
    "sample_scene",
    "training_scene",
    "write_panoramas",
]
