"""360° videos: containers whose members are frames, listed from their index and chosen by rate or by number."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

import numpy as np
import pyarrow as pa

from pager_ray.errors import InputError
from pager_ray.plain import get_logger
from pager_ray.read.containers.movies import Track, Unreadable, read_track
from pager_ray.read.containers.places import CORRUPT, MEMBER_SCHEMA, IndexSettings, Members, members_of
from pager_ray.read.containers.spherical import Sphere, told
from pager_ray.read.ranges import Ranged

log = get_logger(__name__)

EXTRA: Final = "video"
NEEDS_EXTRA: Final = f"videos are read by an extra: pip install 'pager_ray[{EXTRA}]' on every node"

GROUP: Final = 64
"""Frames that one task decodes, at most: those between two key frames are decoded together, and held as faces."""

DIGITS: Final = 6

# What a decoder holds of frames that others are made from, and the conversion to RGB, in bytes per pixel.
_WORKING_SET: Final = 12


def is_available() -> bool:
    """Whether this installation decodes videos."""
    return find_spec("av") is not None


@dataclass(frozen=True)
class Chosen:
    """Frames of a track: their numbers, and the groups that they are decoded in."""

    numbers: np.ndarray
    groups: np.ndarray


def choose(track: Track, fps: float | None, every: int | None) -> Chosen:
    """The frames to take.

    Args:
        track: the video.
        fps: of each interval of so many a second the frame that is nearest to its middle; all where there are fewer.
        every: each so many-th frame instead, from the first on.
    """
    count = len(track.shown)
    if every is not None:
        numbers = np.arange(0, count, every)
    else:
        place = track.seconds * (1.0 if fps is None else fps)
        slots = np.rint(place)
        order = np.lexsort([np.abs(place - slots), slots])
        _, first = np.unique(slots[order], return_index=True)
        numbers = np.sort(order[first])
    between = np.cumsum(track.is_key)[numbers]
    starts = np.diff(between, prepend=between[0] - 1) != 0
    begins = np.maximum.accumulate(np.where(starts, np.arange(len(numbers)), 0))
    starts |= (np.arange(len(numbers)) - begins) % GROUP == 0
    return Chosen(numbers, np.cumsum(starts) - 1)


def index_video(file: Ranged, settings: IndexSettings) -> Members:
    """List the frames of a video that are to be taken."""
    found = Members(members_of([]))
    try:
        track = read_track(file)
        sphere = told(track.sphere, settings.projection, settings.stereo)
        if track.width * track.height > settings.max_pixels:
            raise InputError("too_large", f"has frames of {track.width}×{track.height} pixels, beyond input.max_pixels")
    except InputError as error:
        found.problem, found.problem_class = str(error), error.error_class
        return found
    except Unreadable as error:
        found.problem, found.problem_class = str(error), CORRUPT
        return found
    if not is_available():
        found.problem, found.problem_class = f"is a video; {NEEDS_EXTRA}", "unsupported_format"
        return found
    chosen = choose(track, settings.fps, settings.every)
    found.table = _table(track, chosen)
    found.left_out.update({"frames of videos (input.video.every=1 takes all)": len(track.shown) - len(chosen.numbers)})
    found.left_out = +found.left_out
    _tell_stereo(sphere, file.path)
    return found


def _table(track: Track, chosen: Chosen) -> pa.Table:
    count = len(chosen.numbers)
    columns = {
        "name": [frame_name(number, len(track.shown)) for number in chosen.numbers.tolist()],
        "is_utf8": np.ones(count, dtype=bool),
        "time": track.seconds[chosen.numbers],
        "offset": track.shown[chosen.numbers],
        "size": np.full(count, track.width * track.height * _WORKING_SET),
        "row_group": chosen.groups.astype(np.int32),
        "row": chosen.numbers.astype(np.int32),
    }
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in MEMBER_SCHEMA
    ]
    return pa.table(arrays, schema=MEMBER_SCHEMA)


def frame_name(number: int, count: int) -> str:
    """What a frame is called: its number, counted from 0 as it is shown, in at least six digits."""
    return f"{number:0{max(DIGITS, len(str(max(count - 1, 0))))}}"


def _tell_stereo(sphere: Sphere, path: str) -> None:
    if sphere.stereo != "mono":
        log.info("%s holds two eyes (%s); the left one is taken", path.rpartition("/")[2], sphere.stereo)
