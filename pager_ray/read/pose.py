"""How a picture was held: pitch, roll and heading, as strangers write them.

Signs are those of Photo Sphere XMP, see :func:`pager_ray.geometry.level_rotation`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pager_ray.errors import InputError

Upright = Literal["off", "gpano", "columns"]

BAD_POSE: Final = "bad_pose"
"""Class of rejects whose pitch or roll is none."""

COLUMNS: Final = ("pitch_degrees", "roll_degrees")
"""What listings and containers call them."""

MAX_TEXT: Final = 40
"""Characters of a value that are kept: no number needs more."""

_LIMITS: Final = (90.0, 180.0)
_GPANO: Final = ("PosePitchDegrees", "PoseRollDegrees")
_GPANO_HEADING: Final = "PoseHeadingDegrees"
_NUMBER: Final = re.compile(r"[+-]?([0-9]{1,9}(\.[0-9]*)?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,2})?", re.ASCII)


@dataclass(frozen=True)
class Pose:
    """What is known of how a camera was held, in degrees; None for what nobody said, or said wrongly.

    Attributes:
        pitch: of the picture's centre above the horizon.
        roll: by which the horizon is turned counterclockwise in the picture.
        heading: of the picture's centre, clockwise from north, in [0, 360).
        problem: what is wrong with a pitch or a roll that somebody gave; None for nothing.
    """

    pitch: float | None = None
    roll: float | None = None
    heading: float | None = None
    problem: str | None = None

    def tilt(self) -> tuple[float, float] | None:
        """Pitch and roll to level by, one that is missing as 0; None where nobody gave either.

        Raises:
            InputError: ``bad_pose``: one is none.
        """
        if self.problem is not None:
            raise InputError(BAD_POSE, self.problem)
        if self.pitch is None and self.roll is None:
            return None
        return self.pitch or 0.0, self.roll or 0.0


UNKNOWN: Final = Pose()


def pose_of_gpano(gpano: Mapping[str, str]) -> Pose:
    """The pose that the GPano properties of a picture say."""
    pose = _pose({name: gpano.get(name) for name in _GPANO}, "GPano ")
    heading = _number(gpano.get(_GPANO_HEADING))
    if heading is None or not -360 < heading <= 360:
        return pose
    return Pose(pose.pitch, pose.roll, heading % 360, pose.problem)


def pose_text(values: Mapping[str, Any]) -> str | None:
    """The columns of a pose as one text, as a row of a listing carries them; None where it has none of them."""
    given = {name: values[name] for name in COLUMNS if values.get(name) not in (None, "")}
    found = {name: str(value).strip()[: MAX_TEXT + 1] for name, value in given.items()}
    return json.dumps(found, separators=(",", ":")) if found else None


def pose_of_columns(text: str | None) -> Pose:
    """The pose that :func:`pose_text` wrote; what it did not write is a problem."""
    if not text:
        return UNKNOWN
    try:
        values = json.loads(text)
        texts = {name: values.get(name) for name in COLUMNS}
    except (ValueError, AttributeError, RecursionError):
        texts = {COLUMNS[0]: 0}
    if not all(isinstance(value, str | None) for value in texts.values()):
        return Pose(problem=f"what its listing says of its pose is {text[:MAX_TEXT]!r}, which no job wrote")
    return _pose(texts, "")


def _pose(texts: Mapping[str, str | None], prefix: str) -> Pose:
    angles, problems = list[float | None](), list[str]()
    for (name, text), most in zip(texts.items(), _LIMITS, strict=True):
        angle = _number(text)
        if text is not None and (angle is None or abs(angle) > most):
            shown = repr(text) if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]!r}…"
            problems.append(f"{prefix}{name} is {shown}; takes degrees from −{most:g} to {most:g}")
            angle = None
        angles.append(angle)
    pitch, roll = angles
    return Pose(pitch, roll, problem="; ".join(problems) or None)


def _number(text: str | None) -> float | None:
    if text is None or _NUMBER.fullmatch(text.strip()) is None:
        return None
    value = float(text)
    return value if math.isfinite(value) else None
