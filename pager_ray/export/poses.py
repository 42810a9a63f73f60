"""Where panoramas stand and look, from columns that a run kept from its listing.

``x``, ``y`` and ``z`` are the camera's place, metres in a world with the axes of the export. How it is turned is told
by ``qw``, ``qx``, ``qy`` and ``qz``, a quaternion from the panorama's axes to the world's, or by ``heading``, ``pitch``
and ``roll``, degrees as in GPano metadata: clockwise from north, which is y where z is up and x is east; up from the
horizon; clockwise as the camera sees it. Without either, panoramas look forward as the world's axes do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pager_ray.errors import ConfigError
from pager_ray.export.axes import rotation

if TYPE_CHECKING:
    from jaxtyping import Float64

    from pager_ray.reader.run import Run

PLACE: Final = ("x", "y", "z")
QUATERNION: Final = ("qw", "qx", "qy", "qz")
ANGLES: Final = ("heading", "pitch", "roll")
_HOW: Final = (
    "x, y, z, and qw, qx, qy, qz or heading, pitch, roll (degrees): list them beside the panoramas and keep them with "
    "input.keep_columns"
)


@dataclass(frozen=True, eq=False)
class Pose:
    """A panorama in the world.

    Attributes:
        turned: (3, 3) from the panorama's axes to the world's.
        place: (3,) of the camera, metres.
    """

    turned: Float64[np.ndarray, "3 3"]
    place: Float64[np.ndarray, "3"]


def read_poses(run: Run, ids: Sequence[str], axes: str) -> dict[str, Pose]:
    """The poses of some predictions; of a single one without any, the origin.

    Args:
        run: the run, with the columns kept.
        ids: those that need one.
        axes: of the world; a name of :data:`pager_ray.export.axes.FRAMES`.

    Raises:
        ConfigError: several panoramas, of which one or more have none, or one that is none.
    """
    there = [name for name in (*PLACE, *QUATERNION, *ANGLES) if name in run.kept]
    if not there and len(ids) == 1:
        return {ids[0]: Pose(np.eye(3), np.zeros(3))}
    turning = QUATERNION if any(name in there for name in QUATERNION) else ANGLES if "heading" in there else ()
    if lacking := [name for name in (*PLACE, *(QUATERNION if turning == QUATERNION else ())) if name not in there]:
        raise ConfigError(
            f"--to colmap: {len(ids)} panoramas in one project must say where they stand, and the run has no column "
            f"{', '.join(lacking)}; takes {_HOW}, or take one panorama with --ids"
        )
    needed = [name for name in there if name in PLACE or name in turning]
    wanted = {*ids}
    rows = [row for row in run.table(["id", *needed]).to_pylist() if row["id"] in wanted]
    poses, wrong = {}, {}
    for row in rows:
        try:
            poses[row["id"]] = _pose(row, turning, axes)
        except (TypeError, ValueError):
            wrong[row["id"]] = ", ".join(f"{name} {row[name]!r}" for name in needed)
    if missing := [id for id in ids if id not in poses]:
        shown = missing[0]
        raise ConfigError(
            f"--to colmap: {len(missing)} of {len(ids)} panoramas have no pose (first: {shown!r} with "
            f"{wrong.get(shown, 'no row')}); takes {_HOW}, or leave them out with --where or --ids"
        )
    return poses


def _pose(row: Mapping[str, Any], turning: Sequence[str], axes: str) -> Pose:
    place = np.array([_number(row[name]) for name in PLACE])
    if turning == QUATERNION:
        return Pose(_of_quaternion([_number(row[name]) for name in QUATERNION]), place)
    if not turning:
        return Pose(np.eye(3), place)
    # A level camera is one without pitch and roll.
    heading, pitch, roll = (_number(row[name]) if row.get(name) is not None else 0.0 for name in ANGLES)
    if row["heading"] is None:
        raise ValueError("no heading")
    into = rotation(axes) @ rotation("z-up").T
    return Pose(into @ _of_angles(*np.radians([heading, pitch, roll])) @ into.T, place)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or abs(number) > 1e9:
        raise ValueError(f"{value!r} is no place")
    return number


def _of_quaternion(values: Sequence[float]) -> Float64[np.ndarray, "3 3"]:
    q = np.asarray(values, np.float64)
    length = float(np.linalg.norm(q))
    if abs(length - 1) > 1e-2:
        raise ValueError("no unit quaternion")
    w, x, y, z = q / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _of_angles(heading: float, pitch: float, roll: float) -> Float64[np.ndarray, "3 3"]:
    """From the panorama (x forward, y left, z up) to the world (x east, y north, z up)."""
    forward = np.array([np.sin(heading) * np.cos(pitch), np.cos(heading) * np.cos(pitch), np.sin(pitch)])
    level = np.array([np.cos(heading), -np.sin(heading), 0.0])
    above = np.cross(level, forward)
    right = np.cos(roll) * level - np.sin(roll) * above
    up = np.cos(roll) * above + np.sin(roll) * level
    return np.stack([forward, -right, up], axis=1)
