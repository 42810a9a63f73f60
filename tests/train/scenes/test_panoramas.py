"""Stored panoramas: what was rendered comes back, whole files alone are seen, and what is there is not made again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pager_ray.errors import ConfigError, InputError
from pager_ray.samples import render
from pager_ray.train.scenes import load_panorama, render_training_panorama, training_scene, write_panoramas
from pager_ray.train.scenes.__main__ import main
from pager_ray.train.scenes.panoramas import panorama_path, save_panorama


def test_a_panorama_is_its_scene_in_compact_types() -> None:
    """Colour as rendered, depth to float16's rounding, normals to 1/127, the scene's kind and the camera's height."""
    stored, shot = render_training_panorama(3, 5, 32), render(training_scene(3, 5), 32, 64, supersample=1)
    np.testing.assert_array_equal(stored.rgb, shot.rgb)
    np.testing.assert_allclose(stored.depth, shot.depth, rtol=1e-3)
    np.testing.assert_allclose(stored.normals / 127, shot.normals, atol=0.5 / 127 + 1e-6)
    assert (stored.depth.dtype, stored.normals.dtype) == (np.float16, np.int8)
    assert stored.outdoor
    assert stored.eye_height == training_scene(3, 5).eye[1]
    np.testing.assert_array_equal(stored.depth == 0, shot.sky)


def test_a_folder_gives_back_what_was_rendered(tmp_path: Path) -> None:
    """Files carry every field, there is one for each index, and nothing half-written remains."""
    assert list(write_panoramas(tmp_path, 4, 3, height=16, seed=2)) == [4, 5, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0000004.npz",
        "0000005.npz",
        "0000006.npz",
        "scenes.json",
    ]
    found, made = load_panorama(panorama_path(tmp_path, 5)), render_training_panorama(5, 2, 16)
    for name, value in vars(made).items():
        np.testing.assert_array_equal(getattr(found, name), value)


def test_a_folder_keeps_to_its_settings(tmp_path: Path) -> None:
    """Scenes of another seed, size or choice of families do not get mixed into a folder."""
    list(write_panoramas(tmp_path, 0, 1, height=16, seed=2))
    with pytest.raises(ConfigError, match="choose another folder"):
        list(write_panoramas(tmp_path, 1, 1, height=16, seed=3))
    with pytest.raises(ConfigError, match="'leave_out': \\['park'\\]"):
        list(write_panoramas(tmp_path, 1, 1, height=16, seed=2, leave_out=("park",)))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """A file that is cut short or lacks a field is an error with its name and what to do."""
    path = save_panorama(tmp_path, 0, render_training_panorama(0, 2, 16))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"0000000\.npz is no training panorama.*render its index again"):
        load_panorama(path)
    np.savez(path, rgb=np.zeros((2, 4, 3), np.uint8))
    with pytest.raises(InputError, match="0000000"):
        load_panorama(path)


def test_the_command_renders_and_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line renders a folder; a size that is no ERP's and a folder of other scenes end with 2."""
    folder = str(tmp_path / "out")
    assert main([folder, "--count", "1", "--size", "32x16", "--processes", "1"]) == 0
    assert json.loads((tmp_path / "out" / "scenes.json").read_text()) == {"height": 16, "seed": 0, "leave_out": []}
    assert main([folder, "--count", "1", "--size", "32x16", "--seed", "9", "--processes", "1"]) == 2
    assert "choose another folder" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([folder, "--count", "1", "--size", "32x32"])


def test_scenes_need_neither_ray_nor_torch() -> None:
    """Making a scene in a bare process loads none of the heavy libraries."""
    code = (
        "import sys; from pager_ray.train.scenes import training_scene; training_scene(2, 0); "
        "print([name for name in ('ray', 'torch', 'cv2', 'pyarrow', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
