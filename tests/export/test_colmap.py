"""Panoramas with poses are one COLMAP project: pycolmap opens it, and its points lie on the one scene they all show."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pycolmap
import pytest

from pager_ray import geometry
from pager_ray.encode import get_codec
from pager_ray.errors import ConfigError, StorageError
from pager_ray.export.axes import rotation
from pager_ray.export.faces import quaternion
from pager_ray.export.formats import ExportSettings
from pager_ray.pipeline.export import ExportRequest, run_export
from pager_ray.report.outcomes import ExportOutcome
from pager_ray.samples import RenderedPanorama, Scene, render
from pager_ray.samples.index import index_around
from pager_ray.samples.kernels import first_hits
from pager_ray.storage import safe_name
from tests.export.scenes import rendered
from tests.reader.runs import SmallRun

HEIGHT, SIZE = 64, 32
QUATERNIONS, ANGLES = ("qw", "qx", "qy", "qz"), ("heading", "pitch", "roll")


def places() -> dict[str, Scene]:
    """One room, seen from two places in two directions; ids that would collide as folders."""
    scene = rendered("indoor", HEIGHT)[0]
    x, y, z = scene.eye
    return {
        "walk/1": scene,
        "walk 1": replace(scene, eye=(x + 0.3, y - 0.2, z + 0.2), heading=scene.heading + 0.7, tilt=(0.2, -0.1)),
    }


@cache
def seen() -> dict[str, RenderedPanorama]:
    """What each place shows."""
    return {id: render(scene, HEIGHT, 2 * HEIGHT) for id, scene in places().items()}


def pose_columns(scene: Scene, names: tuple[str, ...], axes: str) -> dict[str, float]:
    """Where a scene's camera stands, in the words of a listing."""
    into = rotation(axes)
    x, y, z = into @ np.asarray(scene.eye)
    own = quaternion(into @ scene.camera @ into.T)
    # North is where z points away: y of the world with z up.
    angles = np.degrees([scene.heading + np.pi / 2, scene.tilt[0], -scene.tilt[1]])
    values = {"x": x, "y": y, "z": z} | dict(zip((*QUATERNIONS, *ANGLES), (*own, *angles), strict=True))
    return {name: float(values[name]) for name in names}


def posed_run(folder: Path, names: tuple[str, ...], axes: str, **changes: dict[str, Any]) -> SmallRun:
    """A run of the places, its pictures beside it; ``changes`` by number of the row."""
    run = SmallRun(folder / "run", codec="exact", kept=names)
    (folder / "sources").mkdir(parents=True)
    rows = []
    for number, (id, scene) in enumerate(places().items()):
        truth = seen()[id]
        source = folder / "sources" / f"{number}.png"
        cv2.imwrite(str(source), truth.rgb[..., ::-1])
        maps = {"depth": truth.depth, "normals": truth.normals, "sky": truth.sky.astype(np.float32)}
        arrays = {name: get_codec(name, "exact").encode(array) for name, array in maps.items()}  # type: ignore[arg-type]
        sizes = {"map_height": HEIGHT, "map_width": 2 * HEIGHT, "log_scale": 0.0}
        kept = json.dumps(pose_columns(scene, names, axes) | changes.get(f"row{number}", {}))
        rows.append(run.prediction(id, uri=str(source)) | arrays | sizes | {"kept": kept})
    run.write("0123456789ab-00000000-abcdef", *rows)
    run.complete()
    return run


def export(folder: Path, axes: str | None = None, **request: Any) -> ExportOutcome:
    settings = ExportSettings("colmap", face_size=SIZE, images_from=str(folder / "sources"), axes=axes)  # type: ignore[arg-type]
    return run_export(ExportRequest(str(folder / "run"), settings, local=True, **request))


@pytest.mark.parametrize(
    ("turning", "axes"),
    [(QUATERNIONS, "z-up"), (ANGLES, "z-up"), (ANGLES, "y-up"), (QUATERNIONS, "y-down")],
)
def test_two_panoramas_are_one_project(tmp_path: Path, turning: tuple[str, ...], axes: str) -> None:
    """Six cameras, one rig, two frames where the listing says, and points of both on the scene that both show."""
    posed_run(tmp_path, ("x", "y", "z", *turning), axes)
    assert export(tmp_path, axes).exit_code == 0
    project = tmp_path / "run" / "exports" / "colmap"
    model = pycolmap.Reconstruction(str(project / "sparse" / "0"))
    assert (len(model.cameras), len(model.rigs), len(model.frames), len(model.images)) == (6, 1, 2, 12)
    assert model.is_valid()
    into, scenes = rotation(axes), places()
    names = {image.name for image in model.images.values()}
    assert names == {f"{face}/{name}.jpg" for face in geometry.FACE_NAMES for name in ("walk%2F1", "walk%201")}
    for image in model.images.values():
        face, name = image.name.removesuffix(".jpg").split("/")
        scene = scenes[name.replace("%2F", "/").replace("%20", " ")]
        pose = image.cam_from_world()
        np.testing.assert_allclose(image.projection_center(), into @ scene.eye, atol=1e-6)
        axes_of = geometry.FACE_AXES[geometry.FACE_NAMES.index(face)]
        np.testing.assert_allclose(pose.rotation.matrix(), axes_of @ scene.camera.T @ into.T, atol=1e-6)
        assert cv2.imread(str(project / "images" / image.name)).shape == (SIZE, SIZE, 3)
        depth = OpenEXR.File(str(project / "depth" / face / f"{name}.exr"), separate_channels=True)
        assert depth.channels()["Z"].pixels.shape == (SIZE, SIZE)
        for point in image.points2D:
            seen = model.cameras[image.camera_id].img_from_cam(pose * model.points3D[point.point3D_id].xyz)
            np.testing.assert_allclose(seen, point.xy, atol=1e-3)
    assert len(model.points3D) > 2000
    assert sum(len(image.points2D) for image in model.images.values()) == len(model.points3D)
    for id, scene in scenes.items():
        images = {number for number, image in model.images.items() if image.name.endswith(f"/{safe_name(id)}.jpg")}
        points = model.points3D.values()
        xyz = [point.xyz for point in points if point.track.elements[0].image_id in images]
        # From the other place too, whatever is seen from there is where it is seen.
        for eye in (scene.eye, next(other.eye for name, other in scenes.items() if name != id)):
            off = misses_from(scene, np.asarray(eye, np.float64), np.asarray(xyz) @ into)
            assert np.quantile(off, 0.9 if eye is scene.eye else 0.5) < 1e-4


def misses_from(scene: Scene, eye: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """How far points are from what a ray from the eye through them meets, as a share of its distance."""
    apart = xyz - eye
    distance = np.linalg.norm(apart, axis=1)
    met, _ = first_hits(
        scene.packed, index_around(scene.packed, eye), eye, np.ascontiguousarray((apart / distance[:, None]).T)
    )
    return np.abs(met - distance) / distance


def test_a_project_grows(tmp_path: Path) -> None:
    """A larger selection adds to a smaller one: the model has both, the first one's files are left alone."""
    posed_run(tmp_path, ("x", "y", "z"), "z-up")
    assert export(tmp_path, ids=("walk/1",)).exported == 1
    project = tmp_path / "run" / "exports" / "colmap"
    before = (project / "images" / "front" / "walk%2F1.jpg").stat().st_mtime_ns
    assert len(pycolmap.Reconstruction(str(project / "sparse/0")).frames) == 1
    outcome = export(tmp_path)
    assert (outcome.exported, outcome.fresh) == (2, 1)
    assert len(pycolmap.Reconstruction(str(project / "sparse/0")).frames) == 2
    assert (project / "images" / "front" / "walk%2F1.jpg").stat().st_mtime_ns == before


def test_one_panorama_needs_no_pose(tmp_path: Path) -> None:
    """It stands at the origin; a second one makes the question one that nobody has answered."""
    posed_run(tmp_path, (), "z-up")
    assert export(tmp_path, ids=("walk/1",)).exported == 1
    model = pycolmap.Reconstruction(str(tmp_path / "run/exports/colmap/sparse/0"))
    assert all(not image.projection_center().any() for image in model.images.values())
    with pytest.raises(ConfigError, match=r"2 panoramas in one project must say .* no column x, y, z"):
        export(tmp_path, ids=("walk 1",))


@pytest.mark.parametrize(
    ("names", "change", "told"),
    [
        (
            ("x", "y"),
            {},
            "2 panoramas in one project must say .* the run has no column z; takes x, y, z",
        ),
        (("x", "y", "z", "qw"), {}, "no column qx, qy, qz"),
        (("x", "y", "z"), {"y": None}, r"1 of 2 panoramas have no pose \(first: 'walk 1' with x .*, y None, z"),
        (("x", "y", "z"), {"y": "north"}, "y 'north', z"),
        (("x", "y", "z"), {"y": 1e300}, "1 of 2 panoramas have no pose"),
        (("x", "y", "z", *QUATERNIONS), {"qw": 3.0}, "qw 3.0"),
        (("x", "y", "z", *ANGLES), {"heading": None}, "heading None"),
    ],
)
def test_missing_poses_are_one_line(tmp_path: Path, names: tuple[str, ...], change: dict[str, Any], told: str) -> None:
    """Before any work, with the first panorama that lacks one and what to list; leaving it out goes on."""
    posed_run(tmp_path, names, "z-up", row1=change)
    with pytest.raises(ConfigError, match=f"--to colmap: .*{told}"):
        export(tmp_path)
    assert not (tmp_path / "run" / "exports").exists()
    if change:
        assert export(tmp_path, ids=("walk/1",)).exported == 1


def test_points_that_are_damaged_are_named(tmp_path: Path) -> None:
    """The file, and what to do."""
    posed_run(tmp_path, ("x", "y", "z"), "z-up")
    export(tmp_path)
    (tmp_path / "run/exports/colmap/points/walk%201.ply").write_bytes(b"ply")
    with pytest.raises(StorageError, match=r"walk%201.ply: holds no points of an export .* remove it"):
        export(tmp_path)
