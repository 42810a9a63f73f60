"""Training sees the very faces that the product would make, and truth that fits them however they are turned."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pager_ray.errors import ConfigError
from pager_ray.geometry import erp_to_cubemap, ray_length_factor
from pager_ray.train.panoramas import (
    RENDER_FAILED,
    Folder,
    Numbered,
    TruePanorama,
    Turn,
    _face_rays,
    read_outdoor,
    read_panorama,
    to_faces,
)
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


def test_names_decide_which_files_count(scenes: Path) -> None:
    """What else lies in the folder is not seen, and what is missing is not asked for."""
    folder = Folder(scenes, 0, names=["0000001.npz", "0000007.npz"])
    assert len(folder) == 1
    assert all(folder.sample(number, 28).outdoor for number in range(4))


def test_unfinished_files_are_left_alone(scenes: Path, tmp_path: Path) -> None:
    """What a renderer is still writing is no panorama; a folder of none is an error that says so."""
    (tmp_path / "0000000.partial.npz").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="holds no"):
        Folder(tmp_path, 0)


@pytest.mark.parametrize("kept", [None, 0.0, 0.3, 0.999])
@pytest.mark.parametrize("read", [read_panorama, read_outdoor, lambda path: Folder(path.parent, 0)])
def test_a_broken_file_names_itself(tmp_path: Path, read: Callable[[Path], object], kept: float | None) -> None:
    """The error says which file, whoever reads it: one that is cut off, empty, or of something else."""
    path = tmp_path / "bad.npz"
    np.savez(path, **corridor(64, outdoor=False))
    path.write_bytes(b"no archive" if kept is None else path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ConfigError, match=r"bad\.npz: is no panorama with truth \(.+\); delete it, and render"):
        read(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rgb", np.zeros((128, 256, 3), np.uint8), r"rgb is (128, 256, 3), and depth (64, 128)"),
        ("rgb", np.zeros((64, 128), np.uint8), "rgb is (64, 128), and depth (64, 128)"),
        ("rgb", np.zeros((64, 128, 3), np.float32), "rgb is float32, takes uint8"),
        ("normals", np.zeros((32, 64, 3), np.int8), "normals is (32, 64, 3), and depth (64, 128)"),
        ("normals", np.zeros((64, 128, 3), np.uint8), "normals are uint8, takes int8 or float32"),
        ("depth", np.ones((64, 64), np.float32), "depth is (64, 64), takes (H, 2H)"),
        ("depth", np.ones((64, 128, 1), np.float32), "depth is (64, 128, 1), takes (H, 2H)"),
        ("depth", np.ones((64, 128), np.uint16), "depth is uint16, takes float16 or float32"),
        ("outdoor", np.array([True, False]), "outdoor is bool (2,), takes a single bool"),
        ("outdoor", np.array("False"), "outdoor is <U5 (), takes a single bool"),
        ("outdoor", None, "outdoor"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, name: str, value: np.ndarray | None, message: str) -> None:
    """Pairs of pixels that are none are not trained on: the error says file, array and both shapes."""
    arrays = corridor(64, outdoor=False) | {name: value}
    np.savez(tmp_path / "odd.npz", **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(ConfigError, match=rf"odd\.npz: is no panorama with truth \(.*{re.escape(message)}"):
        read_panorama(tmp_path / "odd.npz")


def test_documented_types_are_taken(tmp_path: Path) -> None:
    """Single and double floats as half ones, normals as bytes or floats, a whole number for what is outdoors."""
    for depth, normals in ((np.float16, np.int8), (np.float32, np.float32), (np.float64, np.float16)):
        arrays = corridor(64, outdoor=True)
        arrays |= {"depth": arrays["depth"].astype(depth), "normals": arrays["normals"].astype(normals), "outdoor": 1}
        np.savez(tmp_path / "0.npz", **arrays)
        assert read_panorama(tmp_path / "0.npz").outdoor


def test_a_scene_that_will_not_come_is_not_waited_for(tmp_path: Path) -> None:
    """Who waits for one learns why rendering ended, long before patience does; what is rendered is still had."""
    (tmp_path / RENDER_FAILED).write_text("no space left on device", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"0000000\.npz: was not rendered, and no other will be: no space left"):
        Numbered(tmp_path, 4, 0, patience=0.0).sample(0, 28)
