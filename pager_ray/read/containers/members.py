"""The bytes of one picture in a container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pager_ray.errors import InputError
from pager_ray.read.containers.index import DIRECTORIES
from pager_ray.read.containers.parquets import HELD
from pager_ray.read.containers.tars import read_tar_member
from pager_ray.read.containers.zips import read_zip_member


@dataclass(frozen=True)
class Place:
    """Where a member lies, as its listing says.

    Attributes:
        offset, size: of a tar's or zip's member; of a video's frame the offset is when it is shown, in ticks.
        row_group, row: of a Parquet file's.
    """

    offset: int | None = None
    size: int | None = None
    row_group: int | None = None
    row: int | None = None


def read_member(
    filesystem: Any, path: str, member: tuple[str, str, str], place: Place, max_bytes: int, max_row_group_bytes: int
) -> bytes:
    """The bytes of a member; where its place is not told, its container is listed first.

    Args:
        filesystem, path: its container's.
        member: of :func:`pager_ray.schemes.split_member`.
        place: where it is.
        max_bytes: larger ones are refused.
        max_row_group_bytes: larger row groups are refused.

    Raises:
        InputError: ``changed``, ``corrupt_container``, ``missing``, ``no_bytes``, ``row_group_too_large``,
            ``too_large`` or ``unsupported_format``.
        OSError and what the file system's client raises.
    """
    kind, name, container = member
    if kind == "parquet":
        column, _, number = name.rpartition("/")
        if not column or not number.isdecimal():
            raise InputError("unsupported_uri", "names no row; takes parquet://column/number::file")
        group, row = place.row_group, place.row
        if group is None or row is None:
            group, row = HELD.find_row(filesystem, path, int(number))
        return HELD.cell(filesystem, path, column, group, row, max_row_group_bytes, max_bytes)
    if kind == "video":
        raise InputError("unsupported_uri", "is a frame of a video, which is no file")
    offset, size = place.offset, place.size
    if offset is None or size is None:
        offset, size = DIRECTORIES.find(kind, container, name, filesystem, path)
    if size > max_bytes:
        raise InputError("too_large", f"has {size} bytes; takes at most {max_bytes}")
    if kind == "tar":
        return read_tar_member(filesystem, path, offset, size)
    return read_zip_member(filesystem, path, name, offset, size, max_bytes)
