"""Panoramas that other processes render."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pager_ray.train.scenes import load_panorama, render_training_panorama, write_panoramas
from pager_ray.train.scenes.panoramas import panorama_path, save_panorama


def test_what_is_there_is_not_rendered_again(tmp_path: Path) -> None:
    """A second run makes the missing panoramas alone, in other processes the same ones."""
    save_panorama(tmp_path, 1, render_training_panorama(8, 2, 16))
    assert sorted(write_panoramas(tmp_path, 0, 3, height=16, seed=2, processes=2)) == [0, 2]
    kept, made = load_panorama(panorama_path(tmp_path, 1)), render_training_panorama(8, 2, 16)
    np.testing.assert_array_equal(kept.rgb, made.rgb)
    other = load_panorama(panorama_path(tmp_path, 2))
    np.testing.assert_array_equal(other.depth, render_training_panorama(2, 2, 16).depth)
