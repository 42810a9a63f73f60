"""Tests of pager_ray.datasets.structured3d."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pager_ray.datasets import open_dataset
from pager_ray.errors import ConfigError
from tests.datasets.folders import image_bytes, picture_bytes, write_dataset, write_tree

NAME = "Structured3D"
ROOM = "scene_03250/2D_rendering/77"


def test_samples_are_full_panoramas_of_test_scenes(tmp_path: Path) -> None:
    """Scenes 3250…3499 count; perspective views and empty or simple panoramas are no samples."""
    write_dataset(NAME, str(tmp_path))
    others = [f"{ROOM}/panorama/{kind}/rgb_rawlight.png" for kind in ("empty", "simple")]
    others += ["scene_3260/2D_rendering/1/panorama/full/rgb_rawlight.png", f"{ROOM}/panorama/full/rgb_warmlight.png"]
    write_tree(f"{tmp_path}/{NAME}", dict.fromkeys(others, b""))
    samples = open_dataset(NAME, str(tmp_path)).samples()
    assert [(sample.id, sample.scene, sample.labels) for sample in samples] == [
        ("scene_03250_77", "indoor", {"scene": "scene_03250"}),
        ("scene_03499_77", "indoor", {"scene": "scene_03499"}),
    ]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (f"{ROOM}/panorama/full/rgb_rawlight.png", ["scene_03499_77"]),
        (f"{ROOM}/panorama/full/depth.png [all zero]", ["scene_03499_77"]),
        (f"{ROOM}/panorama/full/normal.png [missing [twice]]", ["scene_03499_77"]),
        (f"/mnt/data/Structured3D/{ROOM}/panorama/full/depth.png [x]", ["scene_03499_77"]),
        (f"Structured3D/{ROOM}/", ["scene_03499_77"]),
        (f"  {ROOM.replace('/', chr(92))}  ", ["scene_03499_77"]),
        ("scene_03250 [whole scene]", ["scene_03499_77"]),
        (f"{ROOM}/perspective/full/0/rgb_rawlight.png", ["scene_03250_77", "scene_03499_77"]),
        (f"{ROOM}7/panorama/full/depth.png", ["scene_03250_77", "scene_03499_77"]),
        (f"{ROOM}/panorama/full/semantic.png", ["scene_03250_77", "scene_03499_77"]),
        (" [nothing]", ["scene_03250_77", "scene_03499_77"]),
    ],
)
def test_broken_samples_are_left_out(tmp_path: Path, line: str, left: list[str]) -> None:
    """A line leaves out the room whose file it names, or everything below a folder; what follows " [" is a remark."""
    write_dataset(NAME, str(tmp_path))
    write_tree(f"{tmp_path}/{NAME}", {"broken_samples.txt": f"\n{line}\n\n".encode()})
    assert [sample.id for sample in open_dataset(NAME, str(tmp_path)).samples()] == left


def test_a_list_of_broken_samples_that_is_no_text(tmp_path: Path) -> None:
    """A list that cannot be read is a ConfigError that names it: nothing broken may slip into a mean."""
    dataset = open_dataset(NAME, write_dataset(NAME, str(tmp_path)))
    write_tree(f"{tmp_path}/{NAME}", {"broken_samples.txt": b"\xff\xfe\x00"})
    with pytest.raises(ConfigError, match=r"broken_samples\.txt cannot be read .*; takes UTF-8 with a path per line"):
        dataset.samples()


def test_depth_and_normals(tmp_path: Path) -> None:
    """Depth is in millimetres; stored (x, y, z) in steps of 1/128 from −1 become (−z, y, −x)."""
    dataset = open_dataset(NAME, write_dataset(NAME, str(tmp_path)))
    sample = dataset.samples()[0]
    stored = np.random.default_rng(0).integers(0, 256, (512, 1024, 3), np.uint8)
    steps = np.random.default_rng(0).integers(0, 65536, (512, 1024)).astype(np.uint16)
    files = {"normal.png": image_bytes(stored), "depth.png": image_bytes(steps)}
    write_tree(f"{tmp_path}/{NAME}", {f"{ROOM}/panorama/full/{name}": data for name, data in files.items()})
    truth = dataset.read_ground_truth(sample)
    x, y, z = (stored[..., axis] / 128 - 1 for axis in range(3))
    assert truth.normals is not None
    np.testing.assert_array_equal(truth.normals, np.stack([-z, y, -x], axis=-1))
    np.testing.assert_array_equal(truth.depth, np.maximum(steps / 1000, 0.01).astype(np.float32))
    np.testing.assert_array_equal(truth.mask, steps / 1000 > 0.0101)


def test_normals_with_transparency(tmp_path: Path) -> None:
    """A fourth channel in any file changes nothing."""
    dataset = open_dataset(NAME, write_dataset(NAME, str(tmp_path)))
    sample = dataset.samples()[0]
    before, rgb = dataset.read_ground_truth(sample), dataset.read_rgb(sample)
    files = {"normal.png": np.full((8, 16, 4), 200, np.uint8)}
    write_tree(f"{tmp_path}/{NAME}", {f"{ROOM}/panorama/full/{name}": image_bytes(px) for name, px in files.items()})
    after = dataset.read_ground_truth(sample)
    assert before.normals is not None
    assert after.normals is not None
    np.testing.assert_array_equal(before.normals, after.normals)
    assert picture_bytes() == (tmp_path / NAME / sample.source["rgb"]).read_bytes()
    assert rgb.shape == (512, 1024, 3)
