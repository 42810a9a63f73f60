"""A sequence whose poses are known is one COLMAP project: its frames' points lie on the same surfaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial.transform import Rotation

import pager_ray
from pager_ray.cli.entry import cli
from pager_ray.errors import ConfigError
from pager_ray.export.axes import rotation
from pager_ray.here import run_here
from pager_ray.model import resolve_checkpoint
from pager_ray.model.random_checkpoint import write_random_checkpoint
from pager_ray.scaling import remove_scales, settle_scales
from tests.test_scaling import NOISE, Oracle
from tests.test_videos import config_of
from tests.walk import Walk, walk

pytestmark = pytest.mark.usefixtures("networks_once")

COUNT, AXES = 12, "z-up"


@pytest.fixture(scope="module")
def posed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Walk]:
    """A walk with its poses, one frame of another sequence without any, and noise on every scale."""
    folder = tmp_path_factory.mktemp("posed")
    write_random_checkpoint(folder / "checkpoint", "tiny")
    one = walk(count=COUNT)
    listing = one.write_folder(folder / "in")
    head, *lines = listing.read_text().splitlines()
    into = rotation(AXES)
    columns = ["x", "y", "z", "qw", "qx", "qy", "qz"]
    for number, turned in enumerate(one.turned):
        x, y, z, w = Rotation.from_matrix(into @ turned @ into.T).as_quat()
        pose = [*(into @ one.places[number]), w, x, y, z]
        lines[number] += "," + ",".join(f"{value:.9f}" for value in pose)
    lines[-1] = lines[-1].replace(",walk,", ",other,").split(",")[:4]  # type: ignore[call-overload]
    lines[-1] = ",".join([*lines[-1], *[""] * len(columns)])
    listing.write_text("\n".join([",".join([head, *columns]), *lines]) + "\n")
    more = {"output.size": "64x128", "input.keep_columns": f"[{', '.join(columns)}]", "scale.sequence": "robust"}
    config = config_of(listing, folder / "out", folder / "checkpoint", **more)
    errors = np.random.default_rng(5).normal(0, NOISE, COUNT)
    run_here(config, resolve_checkpoint(config.checkpoint), Oracle(folder / "checkpoint", one, errors - errors.mean()))
    return folder, one


def disagreement(project: Path, one: Walk) -> float:
    """By how much the distances of one frame's points, seen from the next frame, differ from what is exact there."""
    into = rotation(AXES)
    lines = (project / "sparse/0/points3D.txt").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    # Six images a frame, in order.
    frames = np.array([(int(row[8]) - 1) // 6 for row in rows])
    world = np.array([row[1:4] for row in rows], float) @ into
    found = []
    for frame in range(COUNT - 2):
        seen = (world[frames == frame] - one.places[frame + 1]) @ one.turned[frame + 1]
        distance = np.linalg.norm(seen, axis=1)
        x, y, z = (seen / distance[:, None]).T
        truth = one.panoramas[frame + 1].depth
        height, width = truth.shape
        row = np.clip((0.5 - np.arcsin(y) / np.pi) * height, 0, height - 1).astype(int)
        column = np.clip((0.5 + np.arctan2(z, x) / (2 * np.pi)) * width, 0, width - 1).astype(int)
        found.append(np.abs(np.median(np.log(distance / truth[row, column]))))
    return float(np.mean(found))


def test_points_of_a_walk_lie_on_each_other(posed: tuple[Path, Walk], tmp_path: Path) -> None:
    """Selected by their sequence; with one scale far closer than with each frame's own."""
    folder, one = posed
    command = ["export", "--to", "colmap", "--axes", AXES, "--face-size", "64", "--local", str(folder / "out")]
    command += ["--images-from", str(folder / "in"), "--where", "sequence = 'walk'"]
    settle_scales(folder / "out")
    result = CliRunner().invoke(cli, [*command, "--output", str(tmp_path / "one")])
    assert result.exit_code == 0, result.output
    remove_scales(folder / "out")
    assert CliRunner().invoke(cli, [*command, "--output", str(tmp_path / "own")]).exit_code == 0
    assert len(list((tmp_path / "one" / "images" / "front").iterdir())) == COUNT - 1
    consistent, own = disagreement(tmp_path / "one", one), disagreement(tmp_path / "own", one)
    assert consistent < 0.03
    assert consistent < own / 2, (consistent, own)


def test_a_frame_without_a_pose_is_named(posed: tuple[Path, Walk], tmp_path: Path) -> None:
    """Before any work."""
    folder, _ = posed
    assert len(pager_ray.open_run(folder / "out")) == COUNT
    command = ["export", "--to", "colmap", "--local", str(folder / "out"), "--images-from", str(folder / "in")]
    command += ["--output", str(tmp_path / "x")]
    result = CliRunner().invoke(cli, command)
    assert isinstance(result.exception, ConfigError)
    assert f"1 of {COUNT} panoramas have no pose (first: 'walk/{COUNT - 1:06}'" in str(result.exception)
