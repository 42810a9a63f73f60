"""Training sees the very faces that the product would make, and truth that fits them however they are turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pager_ray.errors import ConfigError
from pager_ray.geometry import erp_to_cubemap, ray_length_factor
from pager_ray.train.panoramas import Folder, TruePanorama, Turn, _face_rays, read_panorama, to_faces
from tests.train.conftest import corridor


@pytest.fixture
def panorama() -> TruePanorama:
    return TruePanorama(**corridor(128, outdoor=False))


def test_faces_are_the_products(panorama: TruePanorama) -> None:
    """Without a turn the pixels are those of erp_to_cubemap, but for the column where longitudes wrap."""
    faces = to_faces(panorama, 42, Turn.none()).rgb
    expected = erp_to_cubemap(panorama.rgb, 42).transpose(0, 3, 1, 2) / 255
    assert np.median(np.abs(faces - expected)) < 2e-3
    assert (np.abs(faces - expected) > 0.01).mean() < 0.02


@pytest.mark.parametrize("seed", range(6))
def test_truth_turns_with_the_picture(panorama: TruePanorama, seed: int) -> None:
    """Points of the turned depth lie on planes whose normals are the turned normals."""
    size = 42
    turn = Turn.random(np.random.default_rng(seed))
    sample = to_faces(panorama, size, turn)
    rays = _face_rays(size)
    rays = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).reshape(6, size, size, 3)
    points = np.exp(sample.log_z)[..., None] * ray_length_factor(size)[..., None] * rays
    floor_normal = turn.rotation[1]
    on_floor = (sample.normals.transpose(0, 2, 3, 1) @ floor_normal) > 0.99
    assert on_floor.sum() > 500
    heights = points[on_floor] @ floor_normal
    assert np.median(heights) == pytest.approx(-1.5, abs=0.05)
    assert np.percentile(np.abs(heights + 1.5), 80) < 0.15


def test_unknown_is_neither_sky_nor_solid() -> None:
    """NaN depth is no truth, 0 is sky."""
    values = corridor(64, outdoor=True)
    values["depth"][40:] = np.nan
    sample = to_faces(TruePanorama(**values), 28, Turn.none())
    assert not sample.known[5].any()
    assert sample.sky[4].all()
    assert np.isfinite(sample.log_z).all()


def test_what_is_not_finite_is_not_known() -> None:
    """Infinite depth is neither far nor sky; a normal with one wild part is zero, and its depth still counts."""
    values = corridor(64, outdoor=True)
    values["depth"][40:] = np.inf
    values["depth"][:20] = -np.inf
    values["normals"] = values["normals"].astype(np.float32) / 127
    values["normals"][30:34, :, 1] = np.nan
    sample = to_faces(TruePanorama(**values), 28, Turn.none())
    assert not sample.known[4:].any()
    assert not sample.sky[4:].any()
    assert np.isfinite(sample.log_z).all()
    assert np.isfinite(sample.normals).all()
    assert sample.known[:4, 14].all()
    assert not sample.normals[:4, :, 14].any()


def test_numbers_decide(scenes: Path) -> None:
    """A number gives the same sample in any process, and kinds alternate."""
    one, other = Folder(scenes, 5), Folder(scenes, 5)
    other.sample(3, 28)
    np.testing.assert_array_equal(one.sample(8, 28).rgb, other.sample(8, 28).rgb)
    assert [one.sample(k, 28).outdoor for k in range(4)] == [False, True, False, True]
    assert (one.sample(8, 28).rgb != Folder(scenes, 6).sample(8, 28).rgb).any()


def test_unfinished_files_are_left_alone(scenes: Path, tmp_path: Path) -> None:
    """What a renderer is still writing is no panorama; a folder of none is an error that says so."""
    (tmp_path / "0000000.partial.npz").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="holds no"):
        Folder(tmp_path, 0)


def test_a_broken_file_names_itself(tmp_path: Path) -> None:
    """The error says which file."""
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(ConfigError, match=r"bad\.npz"):
        read_panorama(tmp_path / "bad.npz")
